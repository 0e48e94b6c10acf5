//! Leftovers of killed drills in a cluster: probes, and unschedulable nodes.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;

use super::event::{cordoned_by, uncordon};
use crate::cluster::{Cluster, Component, RUN, lease, selector};
use verify_drill::interrupt::{self, interrupted};
use verify_drill::provider::Removal;
use verify_drill::until::pause;

/// Objects of a drill in a cluster, and its lease.
#[derive(Debug, Default)]
struct Traces<'a> {
    pods: Vec<&'a Pod>,
    nodes: Vec<&'a Node>,
    lease: Option<&'a Lease>,
}

/// Removes the probes of dead drills and makes the nodes schedulable again that these had cordoned. Their tables go with
/// the next drill of the same database.
///
/// # Errors
///
/// If the cluster cannot be asked what there is. Nothing is removed then.
pub fn sweep(cluster: &Cluster) -> Result<Removal> {
    let ours = selector(&[Component::Probe]);
    let pods = cluster.everywhere::<Pod>().list(&ours)?;
    let nodes = cluster.global::<Node>().list("")?;
    // Read after the rest: a drill has its lease before it has anything else, and its lease goes last.
    let leases = cluster.everywhere::<Lease>().list(&ours)?;
    let now = Timestamp::now();
    let dead = dead(&pods, &nodes, &leases, now);
    if dead.values().any(|traces| traces.lease.is_some()) {
        // An active run renews its lease meanwhile.
        if pause(lease::OBSERVATION, interrupt::asked) {
            return Err(interrupted().into());
        }
    }
    let mut done =
        Removal { at_work: lease::at_work(&leases, now), dead_after: lease::PATIENCE, ..Removal::default() };
    for (run, traces) in dead {
        match traces.lease.map_or(Ok(true), |lease| lease::seize(cluster, lease)) {
            Ok(true) => done.add(remove(cluster, run, &traces)),
            // It lives after all, or another sweep is at it.
            Ok(false) => {}
            Err(error) => done.left.push(format!("leftovers of the drill {run}: {error:#}")),
        }
    }
    Ok(done)
}

/// The drills whose lease has expired, and those without a lease, by their run.
fn dead<'a>(
    pods: &'a [Pod],
    nodes: &'a [Node],
    leases: &'a [Lease],
    now: Timestamp,
) -> BTreeMap<&'a str, Traces<'a>> {
    let mut drills: BTreeMap<&str, Traces<'_>> = BTreeMap::new();
    for pod in pods {
        drills.entry(run_of(pod)).or_default().pods.push(pod);
    }
    for node in nodes {
        if let Some(run) = cordoned_by(node) {
            drills.entry(run).or_default().nodes.push(node);
        }
    }
    for lease in leases {
        drills.entry(run_of(lease)).or_default().lease = Some(lease);
    }
    drills.retain(|_, traces| traces.lease.is_none_or(|lease| lease::is_dead(lease, now)));
    drills
}

/// The run of an object that was listed by its label.
fn run_of(object: &impl ResourceExt) -> &str {
    object.labels().get(RUN).map(String::as_str).unwrap_or_default()
}

/// Removes what a dead drill left. Its lease goes only with everything else, so that what is left is found again.
fn remove(cluster: &Cluster, run: &str, traces: &Traces<'_>) -> Removal {
    let mut done = Removal::default();
    for pod in &traces.pods {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        note(&mut done, format!("Pod {namespace}/{name}"), cluster.of::<Pod>(&namespace).delete(&name));
    }
    for node in &traces.nodes {
        let name = node.name_any();
        note(&mut done, format!("cordon of the Node {name}"), uncordon(cluster, &name, run));
    }
    if let Some(lease) = traces.lease
        && done.left.is_empty()
    {
        let (namespace, name) = (lease.namespace().unwrap_or_default(), lease.name_any());
        note(&mut done, format!("Lease {namespace}/{name}"), cluster.of::<Lease>(&namespace).delete(&name));
    }
    done
}

fn note(done: &mut Removal, what: String, removed: Result<bool>) {
    match removed {
        Ok(true) => done.removed.push(what),
        Ok(false) => {}
        Err(error) => done.left.push(format!("{what}: {error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use super::super::event::CORDONED_BY;
    use super::*;
    use crate::cluster::object as read;

    #[test]
    fn a_drill_is_dead_with_all_that_it_left_when_its_lease_is_over_or_was_never_there() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let pod = |name: &str, run: &str| -> Pod {
            read(json!({ "metadata": { "name": name, "labels": { RUN: run } } }))
        };
        let node = |name: &str, run: &str| -> Node {
            read(json!({ "metadata": { "name": name, "annotations": { CORDONED_BY: run } } }))
        };
        let lease = |run: &str, age_s: i64| -> Lease {
            let renewed = now - SignedDuration::from_secs(age_s);
            read(json!({
                "metadata": { "labels": { RUN: run } },
                "spec": { "leaseDurationSeconds": 60, "renewTime": format!("{renewed:.6}") },
            }))
        };
        let pods = [pod("p-alive", "alive"), pod("p-over", "over"), pod("p-none", "none")];
        let nodes = [
            node("n-alive", "alive"),
            node("n-over", "over"),
            node("n-none", "without"),
            read(json!({ "metadata": { "name": "n-free" } })),
        ];
        let leases = [lease("alive", 5), lease("asleep", 80), lease("over", 120), lease("empty", 120)];
        let found: Vec<_> = dead(&pods, &nodes, &leases, now)
            .into_iter()
            .map(|(run, Traces { pods, nodes, lease })| {
                let pods: Vec<String> = pods.into_iter().map(Pod::name_any).collect();
                let nodes: Vec<String> = nodes.into_iter().map(Node::name_any).collect();
                (run, pods.join(" "), nodes.join(" "), lease.is_some())
            })
            .collect();
        let expected = |run, pods: &str, nodes: &str, lease| (run, pods.to_owned(), nodes.to_owned(), lease);
        assert_eq!(
            found,
            [
                expected("empty", "", "", true),
                expected("none", "p-none", "", false),
                expected("over", "p-over", "n-over", true),
                expected("without", "", "n-none", false),
            ]
        );
    }
}
