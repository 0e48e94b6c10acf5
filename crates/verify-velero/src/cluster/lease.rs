//! The sign of life of a run in a cluster: a Lease that it renews, so that no other run sweeps away what it uses.
//!
//! A run begins with its lease, before it makes anything else, and its lease is the last thing that goes. So objects of
//! a run without a lease have no owner. A sweep takes an aborted run's lease over before it removes anything; a run that
//! was only asleep learns of that when it wakes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::client::Cluster;
use super::error;
use super::label::{Component, Run, labels};
use verify_drill::runtime::runtime;

/// Time after which a lease that is not renewed expires.
const DURATION: Duration = Duration::from_secs(60);
const RENEWAL_PERIOD: Duration = Duration::from_secs(10);
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which a lease that looks expired is watched before it is seized: clocks of two machines may differ, but a
/// running owner renews it meanwhile. Kubernetes' own leader election trusts observation alone for the same reason.
pub const OBSERVATION: Duration = Duration::from_secs(25);
/// Difference of clocks that is tolerated without a wait.
const CLOCK_MARGIN: Duration = Duration::from_secs(30);
/// Time after its last renewal at which a run is considered dead.
pub const PATIENCE: Duration = DURATION.saturating_add(CLOCK_MARGIN);
/// Holder of the lease of a run that is being cleaned up.
const SWEEP: &str = "state-lab-cleanup";

/// A run that is at work, as others see it.
///
/// When this value goes, the lease is only renewed no more: whatever the run left is swept once the lease has expired.
pub struct LiveRun {
    cluster: Cluster,
    namespace: String,
    name: String,
    state: Arc<Mutex<RenewalState>>,
    renewal: JoinHandle<()>,
}

/// Results of the last renewals.
#[derive(Clone, Copy, Debug)]
struct RenewalState {
    last: Instant,
    /// Another holder has the lease, or has removed it.
    taken: bool,
}

impl LiveRun {
    /// Makes the run's lease in `namespace`, Velero's or that of a drilled database, and renews it from now on.
    ///
    /// # Errors
    ///
    /// If it cannot be created; then nothing else of this run must be.
    pub fn begin(cluster: &Cluster, namespace: &str, run: &Run, component: Component) -> Result<Self> {
        let leases = cluster.of::<Lease>(namespace);
        let lease = lease(namespace, run, component, Timestamp::now());
        leases.create(&lease)?;
        let state = Arc::new(Mutex::new(RenewalState { last: Instant::now(), taken: false }));
        let renewal = runtime().spawn(renew(leases.api().clone(), name(run), Arc::clone(&state)));
        Ok(Self {
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            name: name(run),
            state,
            renewal,
        })
    }

    /// Returns whether others may consider this run dead, or have: then it must not create anything.
    pub fn lost(&self) -> bool {
        is_lost(*lock(&self.state), Instant::now())
    }

    /// Removes the lease of a run that has nothing left to be removed.
    ///
    /// # Errors
    ///
    /// If it cannot be removed. The next sweep does.
    pub fn end(self) -> Result<()> {
        self.renewal.abort();
        if !lock(&self.state).taken {
            self.cluster.of::<Lease>(&self.namespace).delete(&self.name)?;
        }
        Ok(())
    }
}

impl Drop for LiveRun {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// The name of a run's lease, as of everything that a run has one of.
pub fn name(run: &Run) -> String {
    format!("state-lab-{run}")
}

/// Returns whether the run of this lease is dead, for a judge whose clock shows `now`. A lease that does not say when
/// it was renewed does not belong to a run, and is kept.
pub fn is_dead(lease: &Lease, now: Timestamp) -> bool {
    let Some(spec) = &lease.spec else { return false };
    let Some(renewed) = spec.renew_time.as_ref().map(|time| time.0) else { return false };
    let duration = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let duration = duration.map_or(DURATION, Duration::from_secs);
    let patience = SignedDuration::try_from(duration + CLOCK_MARGIN).unwrap_or(SignedDuration::MAX);
    now.duration_since(renewed) > patience
}

/// The runs of the leases that are not dead.
pub fn at_work(leases: &[Lease], now: Timestamp) -> Vec<String> {
    let alive = leases.iter().filter(|lease| !is_dead(lease, now));
    alive.filter_map(Run::of).map(|run| run.to_string()).collect()
}

/// Takes an aborted run's lease over, before its objects are removed; returns whether it did. A run that has renewed it
/// since it was read keeps it.
pub fn seize(cluster: &Cluster, lease: &Lease) -> Result<bool> {
    let (Some(name), Some(namespace)) = (&lease.metadata.name, &lease.metadata.namespace) else {
        return Ok(false);
    };
    let fields = serde_json::json!({
        "metadata": { "resourceVersion": lease.metadata.resource_version },
        "spec": { "holderIdentity": SWEEP, "renewTime": MicroTime(Timestamp::now()) },
    });
    cluster.of::<Lease>(namespace).merge_unless_changed(name, &fields)
}

fn is_lost(state: RenewalState, now: Instant) -> bool {
    state.taken || now.saturating_duration_since(state.last) > DURATION
}

fn lease(namespace: &str, run: &Run, component: Component, now: Timestamp) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name(run)),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels(run, component)),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name(run)),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}

/// Renews the lease until it is taken away.
async fn renew(leases: Api<Lease>, name: String, state: Arc<Mutex<RenewalState>>) {
    let mut version = None;
    let mut renewals = interval(RENEWAL_PERIOD);
    renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first one is at once, and the lease is new.
    renewals.tick().await;
    loop {
        renewals.tick().await;
        // The lease is as fresh as the moment before it was asked for, not the one at which the answer came.
        let asked = Instant::now();
        let renewed = tokio::time::timeout(RENEWAL_TIMEOUT, renew_once(&leases, &name, &mut version)).await;
        match renewed {
            Ok(Renewal::Renewed) => lock(&state).last = asked,
            Ok(Renewal::Taken) => {
                lock(&state).taken = true;
                return;
            }
            Ok(Renewal::Failed) | Err(_) => {}
        }
    }
}

enum Renewal {
    Renewed,
    Taken,
    /// For now.
    Failed,
}

/// Renews the lease if it is still ours, in the version that was read.
async fn renew_once(leases: &Api<Lease>, name: &str, version: &mut Option<String>) -> Renewal {
    if version.is_none() {
        match leases.get_opt(name).await {
            Ok(Some(lease)) if held_by(&lease, name) => *version = lease.metadata.resource_version,
            Ok(_) => return Renewal::Taken,
            Err(_) => return Renewal::Failed,
        }
    }
    let fields = serde_json::json!({
        "metadata": { "resourceVersion": version },
        "spec": { "renewTime": MicroTime(Timestamp::now()) },
    });
    // Without an answer the version is unknown; and one that changed under us was changed by somebody.
    *version = None;
    match leases.patch(name, &PatchParams::default(), &Patch::Merge(&fields)).await {
        Ok(lease) => {
            *version = lease.metadata.resource_version;
            Renewal::Renewed
        }
        Err(refusal) if error::is_absent(&refusal) => Renewal::Taken,
        Err(_) => Renewal::Failed,
    }
}

fn held_by(lease: &Lease, holder: &str) -> bool {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) == Some(holder)
}

fn lock(state: &Mutex<RenewalState>) -> MutexGuard<'_, RenewalState> {
    // Both fields are whole after every statement.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_dead_when_its_lease_is_over_for_every_clock() {
        let renewed: Timestamp = "2026-01-02T03:04:05.25Z".parse().unwrap();
        let ours = lease("velero", &Run::new(), Component::Validation, renewed);
        for (seconds, dead) in
            [(-600, false), (0, false), (60, false), (61, false), (90, false), (91, true), (86_400, true)]
        {
            assert_eq!(is_dead(&ours, renewed + SignedDuration::from_secs(seconds)), dead, "{seconds}");
        }
        let with = |change: fn(&mut LeaseSpec)| {
            let mut lease = ours.clone();
            lease.spec.as_mut().map(change);
            is_dead(&lease, renewed + SignedDuration::from_secs(100))
        };
        assert!(with(|spec| spec.lease_duration_seconds = None));
        assert!(!with(|spec| spec.lease_duration_seconds = Some(100)));
        assert!(!with(|spec| spec.renew_time = None));
        assert!(!is_dead(&Lease { spec: None, ..ours.clone() }, Timestamp::MAX));
    }

    #[test]
    fn a_run_learns_that_it_passes_for_dead_before_others_think_so() {
        let last = Instant::now();
        for (taken, seconds, lost) in
            [(false, 0, false), (false, 60, false), (false, 61, true), (true, 0, true)]
        {
            assert_eq!(
                is_lost(RenewalState { last, taken }, last + Duration::from_secs(seconds)),
                lost,
                "{seconds} {taken}"
            );
        }
        assert!(DURATION > RENEWAL_PERIOD + RENEWAL_TIMEOUT);
    }

    #[test]
    fn a_lease_that_a_sweep_holds_is_not_ours() {
        let run = Run::new();
        let mut lease = lease("velero", &run, Component::Backup, Timestamp::UNIX_EPOCH);
        assert!(held_by(&lease, &name(&run)));
        lease.spec.as_mut().unwrap().holder_identity = Some(SWEEP.to_owned());
        assert!(!held_by(&lease, &name(&run)));
    }
}
