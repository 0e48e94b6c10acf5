//! Claims that no storage was found for, with their StorageClass: what a pod or Velero waits for without saying so.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim};
use kube::ResourceExt;

use crate::cluster::Cluster;
use verify_drill::problem::Problem;

/// Poll interval.
const PERIOD: Duration = Duration::from_secs(5);

/// A claim that is watched until it has its volume.
pub(super) struct ClaimState<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    claim: &'a str,
    asked_at: Option<Instant>,
    found: Option<Problem>,
}

impl<'a> ClaimState<'a> {
    pub(super) fn new(cluster: &'a Cluster, namespace: &'a str, claim: &'a str) -> Self {
        Self { cluster, namespace, claim, asked_at: None, found: None }
    }

    /// Returns why the claim has no volume, if the cluster reports it. What cannot be read explains nothing.
    pub(super) fn problem(&mut self) -> Option<Problem> {
        if self.asked_at.is_none_or(|asked_at| asked_at.elapsed() > PERIOD) {
            self.asked_at = Some(Instant::now());
            self.found = self.look();
        }
        self.found.clone()
    }

    fn look(&self) -> Option<Problem> {
        // The accounts of deploy/nightly may list claims.
        let claims = self.cluster.of::<PersistentVolumeClaim>(self.namespace).list("").ok()?;
        let claim = claims.into_iter().find(|claim| claim.name_any() == self.claim).filter(is_pending)?;
        let events = self.cluster.of::<Event>(self.namespace).list("").unwrap_or_default();
        unprovisioned(&claim, &events)
    }
}

fn is_pending(claim: &PersistentVolumeClaim) -> bool {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    claim.metadata.deletion_timestamp.is_none() && phase == Some("Pending")
}

/// Returns why a pending claim gets no volume: the last message of its provisioner.
fn unprovisioned(claim: &PersistentVolumeClaim, events: &[Event]) -> Option<Problem> {
    let name = claim.name_any();
    let of_claim = events.iter().filter(|event| {
        event.involved_object.kind.as_deref() == Some("PersistentVolumeClaim")
            && event.involved_object.name.as_deref() == Some(name.as_str())
            && event.reason.as_deref() == Some("ProvisioningFailed")
    });
    let newest = of_claim.max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0))?;
    let message = newest.message.as_deref().unwrap_or("no reason is given");
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    let object = format!("the claim {name} of {}", storage_class(class));
    Some(Problem::failure(object, format!("gets no volume: {message}")).with_hint(
        "check `kubectl get storageclasses`, and that the provisioner runs; if the class has another name in this cluster, \
         let Velero map it (a ConfigMap with the label velero.io/change-storage-class)",
    ))
}

fn storage_class(name: Option<&str>) -> String {
    match name {
        Some(name) if !name.is_empty() => format!("the StorageClass {name}"),
        _ => "no StorageClass".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::object;
    use serde_json::{Value, json};

    fn event(kind: &str, name: &str, reason: &str, at: &str, message: &str) -> Event {
        object(json!({
            "metadata": {},
            "involvedObject": { "kind": kind, "name": name },
            "reason": reason,
            "lastTimestamp": at,
            "message": message,
        }))
    }

    fn claim(status: &Value, class: Option<&str>) -> PersistentVolumeClaim {
        object(
            json!({ "metadata": { "name": "data" }, "spec": { "storageClassName": class }, "status": status }),
        )
    }

    #[test]
    fn a_claim_without_a_volume_is_named_with_its_class_and_the_newest_reason() {
        let at = |minute: u8| format!("2026-11-21T08:{minute:02}:00Z");
        let kind = "PersistentVolumeClaim";
        let failed = "ProvisioningFailed";
        let newest = event(kind, "data", failed, &at(3), "storageclass.storage.k8s.io \"fast\" not found");
        let events = [
            event(kind, "data", failed, &at(1), "earlier"),
            newest,
            event(kind, "other", failed, &at(5), "of another claim"),
            event(kind, "data", "WaitForFirstConsumer", &at(6), "waiting for first consumer"),
            event("Pod", "data", failed, &at(7), "of a pod"),
        ];
        let pending = claim(&json!({ "phase": "Pending" }), Some("fast"));
        let text = "the claim data of the StorageClass fast gets no volume: storageclass.storage.k8s.io \"fast\" not found";
        assert_eq!(unprovisioned(&pending, &events).unwrap().to_string(), text);
        assert_eq!(unprovisioned(&pending, &events[2..]), None);
        let classless = claim(&json!({ "phase": "Pending" }), None);
        assert!(unprovisioned(&classless, &events).unwrap().object.ends_with("of no StorageClass"));
        assert!(is_pending(&pending));
        assert!(!is_pending(&claim(&json!({ "phase": "Bound" }), Some("fast"))));
    }
}
