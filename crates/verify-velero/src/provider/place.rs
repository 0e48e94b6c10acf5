//! The validation namespace: the isolated place of a restored copy.
//!
//! state-lab works in its pods over exec and a socket, so that not even DNS is let through. Velero's own pods, which
//! move the data, are in Velero's namespace.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, ResourceQuota, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::ownership;
use super::storage::claim_in;
use crate::cluster::{Cluster, Component, Run, labels, lease, object};
use verify_drill::interrupt::{self, interrupted};
use verify_drill::until::{Check, Pace, Waited, until};

/// The name of the one policy, and of the one quota.
const NAME: &str = "state-lab";
/// The account that every pod has that asks for no other.
const ACCOUNT: &str = "default";
/// Time limit for the cluster to initialise a namespace.
const FURNISHED_TIMEOUT: Duration = Duration::from_secs(60);

/// The validation namespace of a run.
#[derive(Clone, Debug)]
pub(super) struct Place {
    run: Run,
}

impl Place {
    /// Namespace of this run; it need not exist.
    pub(super) fn of(run: &Run) -> Self {
        Self { run: run.clone() }
    }

    /// Its name.
    pub(super) fn name(&self) -> String {
        lease::name(&self.run)
    }

    /// Creates it, and waits until what it forbids is forbidden.
    ///
    /// # Errors
    ///
    /// If there is a namespace of this name that is not this run's, or the cluster does not furnish it. What was
    /// created by then is removed with the run.
    pub(super) fn create(&self, cluster: &Cluster) -> Result<()> {
        let name = self.name();
        let doing = || format!("failed to create the validation namespace {name}");
        cluster.global().create(&self.namespace()).with_context(doing)?;
        cluster.of(&name).create(&self.policy()).with_context(doing)?;
        cluster.of(&name).create(&self.quota()).with_context(doing)?;
        await_furnished(cluster, &name).with_context(doing)?;
        let no_token = json!({ "automountServiceAccountToken": false });
        cluster.of::<ServiceAccount>(&name).merge(ACCOUNT, &no_token).with_context(doing)
    }

    /// The volumes of its claims whose storage may be production's, with the reason. Nothing must be started on these:
    /// Velero restores some volumes as the objects that they were.
    ///
    /// # Errors
    ///
    /// If the cluster's volumes cannot be read.
    pub(super) fn foreign_volumes(&self, cluster: &Cluster) -> Result<Vec<String>> {
        let all = cluster.global::<PersistentVolume>().list("")?;
        Ok(foreign_volumes(&self.name(), &all))
    }

    fn namespace(&self) -> Namespace {
        let mut labels = labels(&self.run, Component::Validation);
        // The pod that Velero fills a volume in has an init container of Velero's, which is not as strict as ours.
        labels.insert("pod-security.kubernetes.io/enforce".to_owned(), "baseline".to_owned());
        object(json!({ "metadata": { "name": self.name(), "labels": labels } }))
    }

    fn policy(&self) -> NetworkPolicy {
        self.within(&json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }))
    }

    fn quota(&self) -> ResourceQuota {
        self.within(&json!({
            "hard": {
                "pods": "4",
                "services": "0",
                "services.loadbalancers": "0",
                "services.nodeports": "0",
                "count/jobs.batch": "2",
                "count/cronjobs.batch": "0",
                "count/daemonsets.apps": "0",
                "count/deployments.apps": "0",
                "count/replicasets.apps": "0",
                "count/replicationcontrollers": "0",
                "count/statefulsets.apps": "0",
            },
        }))
    }

    fn within<K: DeserializeOwned>(&self, spec: &Value) -> K {
        let labels = labels(&self.run, Component::Validation);
        object(json!({
            "metadata": { "name": NAME, "namespace": self.name(), "labels": labels },
            "spec": spec,
        }))
    }
}

fn foreign_volumes(namespace: &str, all: &[PersistentVolume]) -> Vec<String> {
    let foreign = all
        .iter()
        .filter(|volume| claim_in(volume, namespace).is_some())
        .filter_map(|volume| Some((volume.name_any(), ownership::foreign(volume, all)?)));
    foreign.map(|(name, reason)| format!("the storage of the PersistentVolume {name}: {reason}")).collect()
}

/// Waits for what controllers add to a namespace, without which no pod can be created in it: the account that pods
/// have, and the count of what there is, before which a quota refuses everything.
fn await_furnished(cluster: &Cluster, namespace: &str) -> Result<()> {
    let furnished = until(FURNISHED_TIMEOUT, Pace::REMOTE, interrupt::asked, || {
        let account = cluster.of::<ServiceAccount>(namespace).get(ACCOUNT)?.is_some();
        let quota = cluster.of::<ResourceQuota>(namespace).get(NAME)?;
        anyhow::Ok(missing(account, quota.as_ref()).map_or(Check::Done(()), Check::Waiting))
    })?;
    match furnished {
        Waited::Done(()) => Ok(()),
        Waited::Stopped => Err(interrupted().into()),
        Waited::TimedOut(missing) => bail!(
            "{missing} after {} s: is the cluster's controller manager running?",
            FURNISHED_TIMEOUT.as_secs()
        ),
    }
}

/// Returns what a namespace lacks, as text.
fn missing(account: bool, quota: Option<&ResourceQuota>) -> Option<&'static str> {
    let counted = quota.and_then(|quota| quota.status.as_ref()).is_some_and(|status| status.used.is_some());
    match (account, counted) {
        (true, true) => None,
        (false, _) => Some("it has no ServiceAccount `default`"),
        (true, false) => Some("its ResourceQuota has no status yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place::of(&Run::new())
    }

    #[test]
    fn nothing_goes_in_or_out() {
        let spec = place().policy().spec.unwrap();
        assert_eq!(
            spec.pod_selector,
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector::default())
        );
        assert_eq!(spec.policy_types, Some(vec!["Ingress".to_owned(), "Egress".to_owned()]));
        assert_eq!((spec.ingress, spec.egress), (None, None), "a rule would let something through");
    }

    #[test]
    fn no_workload_of_the_application_fits_in() {
        let hard = place().quota().spec.unwrap().hard.unwrap();
        let open: Vec<&str> =
            hard.iter().filter(|(_, most)| most.0 != "0").map(|(name, _)| name.as_str()).collect();
        assert_eq!(open, ["count/jobs.batch", "pods"]);
    }

    #[test]
    fn everything_says_whose_it_is() {
        let place = place();
        let namespace = place.namespace().metadata;
        assert_eq!(namespace.name, Some(format!("state-lab-{}", place.run)));
        assert_eq!(namespace.labels.as_ref().unwrap()["pod-security.kubernetes.io/enforce"], "baseline");
        for metadata in [namespace, place.policy().metadata, place.quota().metadata] {
            assert_eq!(Run::of(&Namespace { metadata, ..Namespace::default() }), Some(place.run.clone()));
        }
    }

    #[test]
    fn a_volume_that_is_productions_is_noticed_before_anything_starts_on_it() {
        let volume = |name: &str, namespace: &str, handle: &str| -> PersistentVolume {
            object(json!({
                "metadata": { "name": name, "uid": name },
                "spec": {
                    "claimRef": { "namespace": namespace, "name": "data" },
                    "csi": { "driver": "csi.test", "volumeHandle": handle },
                },
            }))
        };
        let all = [volume("a", "app", "1"), volume("b", "state-lab-1", "2"), volume("c", "state-lab-2", "1")];
        assert_eq!(foreign_volumes("state-lab-1", &all), [""; 0]);
        assert_eq!(
            foreign_volumes("state-lab-2", &all),
            ["the storage of the PersistentVolume c: it is also that of the PersistentVolume a"]
        );
    }

    #[test]
    fn a_namespace_is_furnished_once_pods_can_be_created_in_it() {
        let quota = |status: Value| -> ResourceQuota { object(json!({ "status": status })) };
        let counted = quota(json!({ "hard": { "pods": "4" }, "used": { "pods": "0" } }));
        assert_eq!(missing(true, Some(&counted)), None);
        assert!(missing(false, Some(&counted)).is_some());
        assert!(missing(true, Some(&quota(json!({})))).is_some());
        assert!(missing(true, None).is_some());
    }
}
