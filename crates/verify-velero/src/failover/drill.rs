//! The failover drill, from its first write to its last row.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::drill_outcome::{FailoverOutcome, ReadBackState};
use super::event::{Event, EventTarget, How};
use super::impact::Impact;
use super::leftovers;
use super::primary::{Move, Primary};
use super::probe::ProbeOrder;
use super::probe_pod::{ProbePod, ReadBack, record_path};
use super::sample::Sample;
use super::target::{DrillTarget, Wanted};
use super::watching::Watching;
use crate::cluster::{AgentPod, Cluster, Component, LiveRun, Placing, PodSettings, Run, pull_secrets};
use verify_drill::duration::Period;
use verify_drill::watch::Watch;

/// The user of our image.
const ACCOUNT: (i64, i64) = (65_532, 65_532);
/// Time after which a probe must have written.
const FIRST_WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// Time limit of an eviction that a disruption budget forbids.
const EVICTION_PATIENCE: Duration = Duration::from_secs(60);
/// Time for which the cluster has to stay healthy.
const STEADY: Duration = Duration::from_secs(2);
/// Additional lifetime of the pod beyond the longest drill.
const MARGIN: Duration = Duration::from_secs(600);

/// Parameters of a drill.
#[derive(Clone, Debug)]
pub struct Request {
    pub wanted: Wanted,
    pub node: String,
    pub how: How,
    pub command: Option<String>,
    pub undo: Option<String>,
    /// The image that holds this program.
    pub image: String,
    /// Settings of the probe's pod.
    pub pods: PodSettings,
    /// The node that the probe is to run on; without one any other than the drilled.
    pub probe_node: Option<String>,
    pub writers: u32,
    pub rate_hz: u32,
    /// Time to wait for a new primary that accepts writes.
    pub deadline: Period,
    /// Time to wait until the cluster is healthy again.
    pub rejoin: Period,
    /// Duration of the writes before the event and after the recovery.
    pub settle: Period,
    pub objective_ms: u64,
}

/// Drills.
///
/// # Errors
///
/// If it cannot begin, above all where the primary runs on another node; if the event cannot be brought about.
pub fn drill(cluster: &Cluster, request: &Request, watch: &Watch<'_>) -> Result<FailoverOutcome> {
    let target = DrillTarget::find(cluster, &request.wanted)?;
    refuse_elsewhere(&target.primary, &request.node)?;
    // An account may lack access to some namespaces, and leftovers are no obstacle; `cleanup` reports them.
    let _ = leftovers::sweep(cluster);
    let run = Run::new();
    let live = LiveRun::begin(cluster, &target.namespace, &run, Component::Probe)?;
    let outcome = Drill::begin(cluster, request, &target, &run, &live, watch).and_then(Drill::outcome);
    let ended = live.end();
    let outcome = outcome?;
    ended.map(|()| outcome)
}

/// The drill of a run with a lease. Its objects are deleted when this value is dropped.
struct Drill<'a> {
    cluster: &'a Cluster,
    request: &'a Request,
    target: &'a DrillTarget,
    run: &'a Run,
    live: &'a LiveRun,
    watch: &'a Watch<'a>,
    // Dropped before what it listens to.
    watching: Watching<'a>,
    probe: ProbePod<'a>,
    /// Offset of the probe's clock to this machine's.
    ahead: SignedDuration,
}

impl<'a> Drill<'a> {
    /// Starts the probe, and observes the cluster from here on.
    fn begin(
        cluster: &'a Cluster,
        request: &'a Request,
        target: &'a DrillTarget,
        run: &'a Run,
        live: &'a LiveRun,
        watch: &'a Watch<'a>,
    ) -> Result<Self> {
        watch.report(&format!(
            "the primary is {} on {}; writing through the Service {}",
            target.primary.pod, target.primary.node, target.service
        ));
        let pods = cluster.of::<Pod>(&target.namespace);
        let mut probe =
            ProbePod::create(pods, &pod(request, target, run), order(request, target, run), watch)?;
        let (_, ahead) = probe.begin()?;
        let watching = Watching::begin(cluster, target, &request.node, &probe, watch)?;
        Ok(Self { cluster, request, target, run, live, watch, watching, probe, ahead })
    }

    fn outcome(mut self) -> Result<FailoverOutcome> {
        let Self { request, target, .. } = self;
        let before = self.write_undisturbed()?;
        if self.live.lost() {
            bail!(
                "failed to start the event: could not renew this drill's lease; check the API server, and that the role \
                 may patch leases (docs/failover.md), then run it again"
            );
        }
        self.watch.report("starting the event");
        let event_at = Timestamp::now();
        // Undone, should anything fail, before the probe goes.
        let event = self.event()?;
        let during = self.fail_over(event_at)?;
        self.watch.report("bringing the node back");
        // The acknowledged rows are read all the same: they are deleted with the probe.
        let undone = event.undo();
        if let Err(error) = &undone {
            self.watch.report(&format!("the node is not back: {error:#}"));
        }
        let whole_after_ms = self.recover(&before, event_at)?;
        let reading = self.read_back(event_at);
        let (whole_after_ms, missing) =
            wholeness(undone, whole_after_ms, || self.watching.now.missing_since(&before));
        let after = self.watching.now.primary.clone().or(during);
        Ok(FailoverOutcome {
            moved: after.as_ref().map_or(Move::None, |after| target.primary.moved_to(after)),
            primary_before: target.primary.clone(),
            primary_after: after,
            namespace: target.namespace.clone(),
            cluster: target.postgres.name.clone(),
            service: target.service.clone(),
            node: request.node.clone(),
            how: request.how,
            event_at,
            reading,
            whole_after_ms,
            missing,
            changes: self.watching.changes.clone(),
            objective_ms: request.objective_ms,
        })
    }

    /// Waits until the probe writes, and for a while more; the cluster as it is then.
    fn write_undisturbed(&mut self) -> Result<Sample> {
        let Self { request, target, watching, .. } = self;
        if !watching.until(FIRST_WRITE_TIMEOUT, |watching| watching.progress.acknowledged > 0)? {
            let error = watching.progress.last_error.as_deref().unwrap_or("no error was reported either");
            bail!("failed to write through the Service {}: {error}", target.service);
        }
        watching.rest(request.settle.duration())?;
        let before = watching.now.clone();
        target.primary.expect_still(before.primary.as_ref())?;
        before.expect_whole()?;
        Ok(before)
    }

    /// Drives the primary away.
    fn event(&self) -> Result<Event<'a>> {
        let Self { cluster, request, target, run, watch, .. } = *self;
        Event::begin(
            EventTarget {
                cluster,
                run,
                node: &request.node,
                namespace: &target.namespace,
                pod: &target.primary.pod,
                how: request.how,
                command: request.command.as_deref(),
                undo: request.undo.as_deref(),
                patience: EVICTION_PATIENCE,
            },
            watch,
        )
    }

    /// Waits until a new primary takes writes, and for a while more; the primary of then.
    fn fail_over(&mut self, event_at: Timestamp) -> Result<Option<Primary>> {
        let Self { request, target, ahead, .. } = *self;
        let over = |watching: &Watching<'_>| is_over(watching, &target.primary, event_at, ahead);
        if self.watching.until(request.deadline.duration(), over)? {
            self.watching.rest(request.settle.duration())?;
        } else {
            self.watch.report(&format!("no new primary accepts writes after {}", request.deadline));
        }
        Ok(self.watching.now.primary.clone())
    }

    /// Waits until the cluster is as whole as before, which took so long, and the probe writes to it.
    fn recover(&mut self, before: &Sample, event_at: Timestamp) -> Result<Option<u64>> {
        let Self { request, ahead, .. } = *self;
        let whole_after_ms =
            wait_until_whole(&mut self.watching, before, request.rejoin.duration(), event_at)?;
        // A probe that was cut off needs a moment to find the new primary.
        self.watching.listen_again(&self.probe);
        let settle = request.settle.duration();
        self.watching.until(settle + FIRST_WRITE_TIMEOUT, |watching| !is_behind(watching, ahead))?;
        self.watching.rest(settle)?;
        Ok(whole_after_ms)
    }

    /// Ends the probe's writing, and reads what it wrote.
    fn read_back(&self, event_at: Timestamp) -> ReadBackState {
        self.watch.report("reading all writes back");
        match self.probe.read_back() {
            Ok(ReadBack { record, stored }) => {
                let event_us = record.offset_us(event_at + self.ahead);
                ReadBackState::Read(Box::new(Impact::of(&record, event_us, &stored)))
            }
            Err(error) => ReadBackState::Unread(format!("{error:#}")),
        }
    }
}

/// Returns the time at which the cluster was healthy again, or what is missing. A cluster whose node is still away is
/// not whole.
fn wholeness(
    undone: Result<()>,
    whole_after_ms: Option<u64>,
    missing: impl FnOnce() -> Vec<String>,
) -> (Option<u64>, Vec<String>) {
    let not_back = undone.err().map(|error| format!("the node was not brought back: {error:#}"));
    let others = if whole_after_ms.is_some() { Vec::new() } else { missing() };
    (whole_after_ms.filter(|_| not_back.is_none()), not_back.into_iter().chain(others).collect())
}

/// A drill on a node without the primary would show nothing.
fn refuse_elsewhere(primary: &Primary, node: &str) -> Result<()> {
    let Primary { pod, node: runs_on, .. } = primary;
    if runs_on != node {
        bail!(
            "failed to drill the node {node}: the primary is {pod}, which runs on {runs_on}; give --node {runs_on}"
        );
    }
    Ok(())
}

fn order(request: &Request, target: &DrillTarget, run: &Run) -> ProbeOrder {
    ProbeOrder {
        run: run.to_string(),
        database: target.database.clone(),
        writers: request.writers,
        rate_hz: request.rate_hz,
        record: record_path(),
        limit: duration_max(request),
    }
}

fn pod(request: &Request, target: &DrillTarget, run: &Run) -> AgentPod {
    let placing = match &request.probe_node {
        Some(node) => Placing::On(node.clone()),
        None => Placing::Off(request.node.clone()),
    };
    // The pull secrets of the database's image may be needed for state-lab's too.
    let image_pull_secrets = target.postgres.pod(&target.primary.pod).map(pull_secrets).unwrap_or_default();
    AgentPod {
        name: format!("state-lab-probe-{run}"),
        namespace: target.namespace.clone(),
        run: run.clone(),
        component: Component::Probe,
        tool_image: request.image.clone(),
        image: request.image.clone(),
        image_pull_secrets,
        account: ACCOUNT,
        mounts: Vec::new(),
        scratch: None,
        annotations: std::collections::BTreeMap::new(),
        deadline: duration_max(request),
        gated: false,
        placing: Some(placing),
        settings: request.pods.clone(),
    }
}

fn duration_max(request: &Request) -> Duration {
    let Request { deadline, rejoin, settle, .. } = request;
    deadline.duration() + rejoin.duration() + settle.duration() * 4 + MARGIN
}

/// Returns whether there is a new primary that accepts writes. A probe without a connection is asked afterwards.
fn is_over(watching: &Watching<'_>, before: &Primary, event_at: Timestamp, ahead: SignedDuration) -> bool {
    let Some(primary) = &watching.now.primary else { return false };
    let moved = before.moved_to(primary) != Move::None;
    let ready = watching.now.members.get(&primary.pod).is_some_and(|member| member.ready);
    // The old primary may have accepted writes until it was terminated.
    let since = watching.primary_changed_at.map_or(event_at, |at| at.max(event_at));
    let written = watching.progress.last_acknowledged_at.is_some_and(|at| at > since + ahead);
    moved && ready && (written || !watching.is_connected())
}

/// Returns whether the probe is reachable, and has not written for a second.
fn is_behind(watching: &Watching<'_>, ahead: SignedDuration) -> bool {
    let late = SignedDuration::from_secs(1);
    let last = watching.progress.last_acknowledged_at;
    watching.is_connected() && last.is_none_or(|at| (Timestamp::now() + ahead).duration_since(at) > late)
}

/// Waits until nothing is missing any more, and it stays so for a while; when that began.
fn wait_until_whole(
    watching: &mut Watching<'_>,
    before: &Sample,
    timeout: Duration,
    event_at: Timestamp,
) -> Result<Option<u64>> {
    let end = Instant::now() + timeout;
    let left = || Some(end.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero());
    while let Some(left) = left()
        && watching.until(left, |w| w.now.missing_since(before).is_empty())?
    {
        let since = Timestamp::now().duration_since(event_at).as_millis();
        if !watching.until(STEADY, |w| !w.now.missing_since(before).is_empty())? {
            return Ok(Some(u64::try_from(since).unwrap_or(0)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_cluster_whose_node_was_not_brought_back_is_not_whole() {
        let not_back = "the node was not brought back: no".to_owned();
        let cordoned = "the node is cordoned".to_owned();
        for (undone, whole_after_ms, expected) in [
            (Ok(()), Some(5), (Some(5), vec![])),
            (Ok(()), None, (None, vec![cordoned.clone()])),
            (Err(anyhow!("no")), Some(5), (None, vec![not_back.clone()])),
            (Err(anyhow!("no")), None, (None, vec![not_back, cordoned.clone()])),
        ] {
            assert_eq!(wholeness(undone, whole_after_ms, || vec![cordoned.clone()]), expected);
        }
    }
}
