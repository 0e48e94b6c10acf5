//! What drills that were killed left in a cluster: probes, and nodes that nothing can be placed on.

use std::collections::BTreeSet;

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::event::uncordon_all_but;
use crate::cluster::{Cluster, Component, Run, lease, selector};
use crate::provider::velero::Removal;

/// Removes the probes of dead drills and makes the nodes schedulable again that these had cordoned. Their tables go
/// with the next drill of the same database.
///
/// # Errors
///
/// If the cluster cannot be asked what there is.
pub(crate) fn sweep(cluster: &Cluster) -> Result<Removal> {
    let ours = selector(&[Component::Probe]);
    let pods = cluster.everywhere::<Pod>().list(&ours)?;
    // Read after the pods: a drill has its lease before it has anything else.
    let leases = cluster.everywhere::<Lease>().list(&ours)?;
    let now = Timestamp::now();
    let alive: BTreeSet<Run> =
        leases.iter().filter(|lease| !lease::is_dead(lease, now)).filter_map(Run::of).collect();
    let mut done = Removal::default();
    for pod in pods.iter().filter(|pod| Run::of(*pod).is_none_or(|run| !alive.contains(&run))) {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        note(&mut done, format!("Pod {namespace}/{name}"), cluster.of::<Pod>(&namespace).delete(&name));
    }
    for node in uncordon_all_but(cluster, &alive)? {
        done.removed.push(format!("cordon of the Node {node}"));
    }
    for lease in leases.iter().filter(|lease| Run::of(*lease).is_none_or(|run| !alive.contains(&run))) {
        let (namespace, name) = (lease.namespace().unwrap_or_default(), lease.name_any());
        note(&mut done, format!("Lease {namespace}/{name}"), cluster.of::<Lease>(&namespace).delete(&name));
    }
    Ok(done)
}

fn note(done: &mut Removal, what: String, removed: Result<bool>) {
    match removed {
        Ok(true) => done.removed.push(what),
        Ok(false) => {}
        Err(error) => done.left.push(format!("{what}: {error:#}")),
    }
}
