//! Leftovers of aborted runs in a cluster: found by labels, distinguished from active runs by leases, and removed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};

use super::removal::{is_restored, remove};
use crate::cluster::{Cluster, Component, KEPT, Run, lease, selector};
use crate::velero::restore::Restore;
use verify_drill::interrupt::{self, interrupted};
use verify_drill::provider::Removal;
use verify_drill::until::pause;
use verify_drill::watch::Watch;

/// The runs whose things are removed here; another one's probe may belong to a run without a lease.
const COMPONENTS: [Component; 2] = [Component::Backup, Component::Validation];

/// Treatment of restored servers that were left running, in a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeptServers {
    Spare,
    Remove,
}

/// Removes everything of aborted runs: those whose lease has expired, and those that have objects and no lease.
///
/// # Errors
///
/// If the cluster cannot be asked what there is. Nothing is removed then.
pub(super) fn sweep(
    cluster: &Cluster,
    velero_namespace: &str,
    kept_servers: KeptServers,
    watch: &Watch<'_>,
) -> Result<Removal> {
    let found = runs(cluster, velero_namespace)?;
    // Read after the objects: a run has its lease before it has anything else. Another Velero's runs live elsewhere.
    let leases = cluster.everywhere::<Lease>().list(&selector(&COMPONENTS))?;
    // Read after the leases: a run marks what it keeps before its lease goes.
    let kept = match kept_servers {
        KeptServers::Spare => kept(cluster)?,
        KeptServers::Remove => BTreeSet::new(),
    };
    let now = Timestamp::now();
    let dead = dead(found, &leases, now);
    if dead.iter().any(|(run, lease)| lease.is_some() && !kept.contains(run)) {
        watch.report("waiting to confirm that a run has been aborted: its lease may still be renewed");
        if pause(lease::OBSERVATION, interrupt::asked) {
            return Err(interrupted().into());
        }
    }
    let mut done =
        Removal { at_work: lease::at_work(&leases, now), dead_after: lease::PATIENCE, ..Removal::default() };
    for (run, lease) in dead {
        if kept.contains(&run) {
            continue;
        }
        let namespace =
            lease.and_then(|lease| lease.metadata.namespace.as_deref()).unwrap_or(velero_namespace);
        match lease.map_or(Ok(true), |lease| lease::seize(cluster, lease)) {
            Ok(true) => {
                watch.report(&format!("removing leftovers of the run {run}"));
                done.add(remove(cluster, namespace, &run, watch));
            }
            // It lives after all, or another sweep is at it.
            Ok(false) => {}
            Err(error) => done.left.push(format!("leftovers of the run {run}: {error:#}")),
        }
    }
    Ok(done)
}

/// The runs that have objects in the cluster.
fn runs(cluster: &Cluster, velero_namespace: &str) -> Result<BTreeSet<Run>> {
    let selector = selector(&COMPONENTS);
    let mut found = BTreeSet::new();
    found.extend(cluster.global::<Namespace>().list(&selector)?.iter().filter_map(Run::of));
    found.extend(cluster.everywhere::<Job>().list(&selector)?.iter().filter_map(Run::of));
    let pods = cluster.everywhere::<Pod>().list(&selector)?;
    // A terminating one was removed by its own run.
    let there = |pod: &&Pod| !is_restored(*pod) && pod.metadata.deletion_timestamp.is_none();
    found.extend(pods.iter().filter(there).filter_map(Run::of));
    found.extend(cluster.of::<ConfigMap>(velero_namespace).list(&selector)?.iter().filter_map(Run::of));
    found
        .extend(cluster.of::<Restore>(velero_namespace).list_if_known(&selector)?.iter().filter_map(Run::of));
    Ok(found)
}

/// The runs that left their server running.
fn kept(cluster: &Cluster) -> Result<BTreeSet<Run>> {
    let selector = format!("{},{KEPT}=true", selector(&[Component::Validation]));
    Ok(cluster.global::<Namespace>().list(&selector)?.iter().filter_map(Run::of).collect())
}

/// The dead among the runs that were found, and those that left nothing but their lease, each with its lease.
fn dead(found: BTreeSet<Run>, leases: &[Lease], now: Timestamp) -> Vec<(Run, Option<&Lease>)> {
    let mut runs: BTreeMap<Run, Option<&Lease>> = found.into_iter().map(|run| (run, None)).collect();
    runs.extend(leases.iter().filter_map(|lease| Some((Run::of(lease)?, Some(lease)))));
    runs.into_iter().filter(|(_, lease)| lease.is_none_or(|lease| lease::is_dead(lease, now))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::labels;
    use crate::cluster::object as read;
    use jiff::SignedDuration;
    use serde_json::json;

    #[test]
    fn a_run_is_dead_when_its_lease_is_over_or_was_never_there() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let lease = |run: &Run, age: i64| -> Lease {
            let renewed = now - SignedDuration::from_secs(age);
            read(json!({
                "metadata": { "labels": labels(run, Component::Validation) },
                "spec": { "leaseDurationSeconds": 60, "renewTime": format!("{renewed:.6}") },
            }))
        };
        let [alive, asleep, expired, without, empty] = [(); 5].map(|()| Run::new());
        let leases = [lease(&alive, 5), lease(&asleep, 80), lease(&expired, 120), lease(&empty, 120)];
        let found = [&alive, &asleep, &expired, &without].map(Clone::clone).into();
        let mut expected = vec![(expired, true), (without, false), (empty, true)];
        expected.sort();
        let judged: Vec<_> =
            dead(found, &leases, now).into_iter().map(|(run, lease)| (run, lease.is_some())).collect();
        assert_eq!(judged, expected);
    }

    #[test]
    fn a_restored_pod_with_a_backups_labels_is_no_dead_run() {
        let in_namespace =
            |namespace: &str| -> Pod { read(json!({ "metadata": { "namespace": namespace } })) };
        assert!(is_restored(&in_namespace("state-lab-0123")));
        assert!(!is_restored(&in_namespace("app")));
    }
}
