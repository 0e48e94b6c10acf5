//! The event that drives the primary away, and its undoing.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use rustix::process::Signal;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::cluster::{Cluster, Evicted, RUN, Run, is_over};
use verify_drill::interrupt::{self, interrupted};
use verify_drill::process_group;
use verify_drill::until::{Check, Pace, Waited, until};
use verify_drill::watch::Watch;

/// Annotation with the run that made a node unschedulable, so that a later run finds the leftovers of a dead one.
pub(super) const CORDONED_BY: &str = "state-lab.dev/cordoned-by";
/// A command of the user's that takes longer is ended.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);

/// Event that moves the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "HowToDrive")]
pub enum How {
    /// Cordon the node and evict the primary's pod
    CordonEvict,
    /// Cordon the node and evict every pod on it, as `kubectl drain` does
    Drain,
    /// Delete the primary's pod
    DeletePod,
    /// Run the command of --command
    Command,
}

/// An event that has begun. It is undone when this value goes, should it not have been before.
pub(super) struct Event<'a> {
    target: EventTarget<'a>,
    watch: &'a Watch<'a>,
    undone: bool,
}

/// EventTarget of an event.
#[derive(Clone, Copy)]
pub(super) struct EventTarget<'a> {
    pub cluster: &'a Cluster,
    pub run: &'a Run,
    pub node: &'a str,
    pub namespace: &'a str,
    /// The primary's pod.
    pub pod: &'a str,
    pub how: How,
    pub command: Option<&'a str>,
    pub undo: Option<&'a str>,
    /// Time for which refused requests are retried.
    pub patience: Duration,
}

impl<'a> Event<'a> {
    /// Does it. What was done before an error is undone.
    ///
    /// # Errors
    ///
    /// If the API server or a disruption budget refuses, or the command fails.
    pub(super) fn begin(target: EventTarget<'a>, watch: &'a Watch<'a>) -> Result<Self> {
        let event = Self { target, watch, undone: false };
        match target.how {
            How::CordonEvict => {
                event.target.cordon()?;
                event.target.evict(target.namespace, target.pod)?;
            }
            How::Drain => {
                event.target.drained()?;
                event.target.cordon()?;
                event.target.drain()?;
            }
            How::DeletePod => drop(target.cluster.of::<Pod>(target.namespace).delete(target.pod)?),
            How::Command => shell(target.command.unwrap_or_default(), &target, &interrupt::asked)?,
        }
        Ok(event)
    }

    /// Brings the node back.
    pub(super) fn undo(mut self) -> Result<()> {
        self.undone = true;
        self.target.undo()
    }
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        if !self.undone
            && let Err(error) = self.target.undo()
        {
            self.watch.warn(format!("the node {} is not back: {error:#}", self.target.node));
        }
    }
}

impl EventTarget<'_> {
    fn undo(&self) -> Result<()> {
        match self.how {
            How::CordonEvict | How::Drain => uncordon(self.cluster, self.node, self.run.as_str()).map(drop),
            How::DeletePod => Ok(()),
            // Also after Ctrl-C.
            How::Command => self.undo.map_or(Ok(()), |undo| shell(undo, self, &|| false)),
        }
    }

    /// Makes the node unschedulable. One that is already is not ours to change back.
    fn cordon(&self) -> Result<()> {
        let nodes = self.cluster.global::<Node>();
        let node = nodes.get(self.node)?;
        let node = node.with_context(|| format!("failed to find the node {}", self.node))?;
        if node.spec.and_then(|spec| spec.unschedulable) == Some(true) {
            return Ok(());
        }
        let annotations = json!({ CORDONED_BY: self.run.as_str() });
        nodes.merge(
            self.node,
            &json!({ "metadata": { "annotations": annotations }, "spec": { "unschedulable": true } }),
        )
    }

    /// Evicts a pod; again while a disruption budget forbids it.
    fn evict(&self, namespace: &str, pod: &str) -> Result<()> {
        let pods = self.cluster.of::<Pod>(namespace);
        let evicted = until(self.patience, Pace::REMOTE, interrupt::asked, || {
            anyhow::Ok(match pods.evict(pod)? {
                Evicted::Going => Check::Done(()),
                Evicted::Refused(reason) => Check::Waiting(reason),
            })
        })?;
        match evicted {
            Waited::Done(()) => Ok(()),
            Waited::Stopped => Err(interrupted().into()),
            Waited::TimedOut(reason) => {
                bail!("failed to evict the pod {namespace}/{pod} for {} s: {reason}", self.patience.as_secs())
            }
        }
    }

    /// The pods that a drain evicts.
    ///
    /// # Errors
    ///
    /// Also if nothing would bring one of them back.
    fn drained(&self) -> Result<Vec<Pod>> {
        let mut pods = self.cluster.everywhere::<Pod>().list("")?;
        pods.retain(|pod| is_drained(pod, self.node));
        refuse_bare(&pods, self.node)?;
        Ok(pods)
    }

    /// Evicts what runs on the node, the primary first. What was placed there until the cordon is among it.
    fn drain(&self) -> Result<()> {
        let pods = self.drained()?;
        self.evict(self.namespace, self.pod)?;
        for pod in &pods {
            let namespace = pod.namespace().unwrap_or_default();
            if (namespace.as_str(), pod.name_any().as_str()) != (self.namespace, self.pod) {
                self.evict(&namespace, &pod.name_any())?;
            }
        }
        Ok(())
    }
}

/// Returns whether `kubectl drain --ignore-daemonsets --delete-emptydir-data` evicts a pod. Ours stay: they keep the
/// record.
fn is_drained(pod: &Pod, node: &str) -> bool {
    let here = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node);
    let daemon = pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet");
    let mirror = pod.annotations().contains_key("kubernetes.io/config.mirror");
    here && !is_over(pod) && !daemon && !mirror && !pod.labels().contains_key(RUN)
}

/// Refuses pods without a controller, which an eviction would delete permanently; `kubectl drain` refuses them as
/// well.
fn refuse_bare(drained: &[Pod], node: &str) -> Result<()> {
    let owned = |pod: &Pod| pod.owner_references().iter().any(|owner| owner.controller == Some(true));
    // A terminating one is lost without the drill.
    let bare = drained.iter().filter(|pod| !owned(pod) && pod.metadata.deletion_timestamp.is_none());
    let names: Vec<String> =
        bare.map(|pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())).collect();
    if !names.is_empty() {
        bail!(
            "failed to drain the node {node}: no controller owns the pods {}, so they would not be recreated; move or \
             delete them, or use --how cordon-evict",
            names.join(", ")
        );
    }
    Ok(())
}

/// The run that made a node unschedulable.
pub(super) fn cordoned_by(node: &Node) -> Option<&str> {
    node.annotations().get(CORDONED_BY).map(String::as_str)
}

/// Makes a node schedulable again if this run made it unschedulable; whether it had.
pub(super) fn uncordon(cluster: &Cluster, node: &str, run: &str) -> Result<bool> {
    let nodes = cluster.global::<Node>();
    let found = nodes.get(node)?;
    if found.as_ref().and_then(cordoned_by) != Some(run) {
        return Ok(false);
    }
    let annotations = json!({ CORDONED_BY: null });
    let fields = json!({ "metadata": { "annotations": annotations }, "spec": { "unschedulable": null } });
    nodes.merge(node, &fields).map(|()| true)
}

/// Runs a command of the user's. Its output goes to standard error: standard output is for results.
fn shell(command: &str, target: &EventTarget<'_>, asked: &dyn Fn() -> bool) -> Result<()> {
    let doing = || format!("failed to run the command {command:?}");
    let mut child = Command::new("sh")
        .args(["-c", &format!("exec >&2\n{command}")])
        .env("STATE_LAB_NODE", target.node)
        .env("STATE_LAB_NAMESPACE", target.namespace)
        .env("STATE_LAB_POD", target.pod)
        .stdin(Stdio::null())
        // Ctrl-C is ours to handle: a node that is half killed is worse than one that is killed and brought back.
        .process_group(0)
        .spawn()
        .with_context(doing)?;
    let status = wait(&mut child, asked).with_context(doing)?;
    if !status.success() {
        bail!("{}: it exited with {status}", doing());
    }
    Ok(())
}

fn wait(child: &mut Child, asked: &dyn Fn() -> bool) -> Result<ExitStatus> {
    let began = Instant::now();
    if let Some(status) = process_group::wait(child, COMMAND_TIMEOUT, asked)? {
        return Ok(status);
    }
    // Whatever it started would go on, and might take the node away again after `--undo` has brought it back.
    process_group::signal(child, Signal::KILL);
    child.wait()?;
    bail!("it was killed after {:.0} s", began.elapsed().as_secs_f64());
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_command_that_is_ended_takes_along_what_it_started() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 60 & echo started; wait"])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut String::new()).unwrap();
        let began = Instant::now();
        assert_eq!(wait(&mut child, &|| true).unwrap_err().to_string(), "it was killed after 0 s");
        // The pipe ends only once no process holds it.
        assert_eq!(said.read_to_string(&mut String::new()).unwrap(), 0);
        assert!(began.elapsed() < Duration::from_secs(50));
    }

    fn pod(change: &Value) -> Pod {
        let mut pod =
            json!({ "metadata": { "name": "x" }, "spec": { "nodeName": "worker-1", "containers": [] } });
        for (part, fields) in change.as_object().unwrap() {
            for (name, value) in fields.as_object().unwrap() {
                pod[part][name] = value.clone();
            }
        }
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn a_drain_that_would_destroy_a_pod_for_good_is_refused() {
        let called = |name: &str, owned: Option<bool>| {
            let owner =
                json!([{ "apiVersion": "v1", "kind": "Any", "name": "o", "uid": "1", "controller": owned }]);
            pod(&json!({ "metadata": { "name": name, "namespace": "app", "ownerReferences": owner } }))
        };
        let alone = pod(&json!({ "metadata": { "namespace": "app", "name": "alone" } }));
        let going = json!({ "name": "going", "deletionTimestamp": "2026-11-21T03:14:00Z" });
        for (drained, refused) in [
            (vec![], None),
            (vec![called("pg-0", Some(true)), pod(&json!({ "metadata": going }))], None),
            (vec![called("pg-0", Some(true)), alone.clone()], Some("the pods app/alone, so")),
            (vec![called("kin", None), alone], Some("the pods app/kin, app/alone, so")),
        ] {
            let found = refuse_bare(&drained, "worker-1").err().map(|error| error.to_string());
            match (&found, refused) {
                (None, None) => {}
                (Some(found), Some(refused)) => assert!(found.contains(refused), "{found}"),
                _ => panic!("{found:?}, but expected {refused:?}"),
            }
        }
    }

    #[test]
    fn a_drain_takes_what_kubectl_takes() {
        let owner = |kind: &str| json!([{ "apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "1" }]);
        for (change, drained) in [
            (json!({}), true),
            (json!({ "metadata": { "ownerReferences": owner("ReplicaSet") } }), true),
            (json!({ "metadata": { "ownerReferences": owner("DaemonSet") } }), false),
            (json!({ "metadata": { "annotations": { "kubernetes.io/config.mirror": "1" } } }), false),
            (json!({ "metadata": { "labels": { RUN: "1" } } }), false),
            (json!({ "spec": { "nodeName": "worker-2" } }), false),
            (json!({ "status": { "phase": "Succeeded" } }), false),
        ] {
            assert_eq!(is_drained(&pod(&change), "worker-1"), drained, "{change}");
        }
    }
}
