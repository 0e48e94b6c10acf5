//! `[velero]` in state-lab.toml: where the database, Velero and state-lab's image are.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::method::VeleroMethod;
use crate::cluster::{Cluster, PodSettings, Resources, Toleration};
use verify_drill::duration::Period;

/// A database in Kubernetes that Velero backs up.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The context of the kubeconfig; the current one unless given.
    pub context: Option<String>,
    /// The database's namespace; the context's unless given.
    pub namespace: Option<String>,
    /// The cluster of PostgreSQL: its operator's name for it, or that of its StatefulSet; needed where there are several.
    pub cluster: Option<String>,
    /// The databases to verify; all of the server's but `postgres` unless given.
    #[serde(default)]
    pub databases: Vec<String>,
    /// Method by which Velero copies: csi unless given.
    pub method: Option<VeleroMethod>,
    /// The image of state-lab that the cluster can pull.
    pub image: Option<String>,
    /// Velero's namespace; velero unless given.
    pub velero_namespace: Option<String>,
    /// The BackupStorageLocation; Velero's default unless given.
    pub location: Option<String>,
    /// The BackupStorageLocation of the other region's copy, for `replicas`.
    pub replica_location: Option<String>,
    /// The claim for base backups and dumps, for the methods fs and fs-dump.
    pub basebackup_claim: Option<String>,
    /// Location of a superuser's credentials; found at the database's own containers unless given.
    pub credentials: Option<CredentialsTable>,
    /// Time for which Velero keeps backups; 30d unless given.
    pub ttl: Option<Period>,
    /// Time limit without progress of Velero; 15m unless given.
    pub patience: Option<Period>,
    /// Requests and limits of each container of the pods that state-lab makes.
    #[serde(default)]
    pub resources: Resources,
    /// Secrets for pulling the images of these pods, besides the database's own; they must be in the pod's namespace.
    #[serde(default)]
    pub pull_secrets: Vec<String>,
    /// Labels of the nodes that these pods may run on; any node unless given.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that these pods tolerate.
    #[serde(default)]
    pub tolerations: Vec<Toleration>,
}

/// A Secret with a superuser's credentials, in the database's namespace.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialsTable {
    /// The Secret.
    pub secret: String,
    /// The key of the password; password unless given.
    pub password_key: Option<String>,
    /// The role; postgres unless given.
    pub user: Option<String>,
}

const MINUTE_MS: u64 = 60_000;
/// Velero's time limit of the data movement; `patience` ends it sooner if there is no progress.
pub(super) const ITEM_OPERATION_TIMEOUT: Period = Period::from_ms(24 * 60 * MINUTE_MS);

impl Settings {
    /// The cluster of the context.
    pub fn connect(&self) -> Result<Cluster> {
        Cluster::connect(self.context.as_deref())
    }

    /// The database's namespace.
    pub fn namespace_in<'a>(&'a self, cluster: &'a Cluster) -> &'a str {
        self.namespace.as_deref().unwrap_or_else(|| cluster.default_namespace())
    }

    /// Velero's namespace.
    pub fn velero_namespace(&self) -> &str {
        self.velero_namespace.as_deref().unwrap_or("velero")
    }

    /// Our image.
    pub fn image(&self) -> Result<&str> {
        self.image.as_deref().context(
            "failed to choose an image: state-lab runs inside the cluster; set an image of it that the cluster can \
             pull, as `image` in [velero] of state-lab.toml or with --image",
        )
    }

    /// Time for which Velero keeps backups.
    pub fn ttl(&self) -> Period {
        self.ttl.unwrap_or(Period::from_ms(30 * 24 * 60 * MINUTE_MS))
    }

    /// Settings of every pod that state-lab makes.
    pub fn pods(&self) -> PodSettings {
        PodSettings {
            resources: self.resources.clone(),
            pull_secrets: self.pull_secrets.clone(),
            node_selector: self.node_selector.clone(),
            tolerations: self.tolerations.clone(),
        }
    }

    /// Time limit without progress.
    pub fn patience(&self) -> Period {
        self.patience.unwrap_or(Period::from_ms(15 * MINUTE_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_for_every_pod_is_read_or_refused() {
        let text = "
            pull_secrets = ['mirror']
            node_selector = { disk = 'ssd' }
            tolerations = [{ key = 'dedicated', value = 'drills', effect = 'NoSchedule' }]
            [resources]
            requests = { memory = '1Gi' }
            limits = { cpu = '2', memory = '2Gi' }";
        assert_eq!(toml::from_str::<Settings>(text).unwrap().pods(), PodSettings::sample());
        assert_eq!(toml::from_str::<Settings>("").unwrap().pods(), PodSettings::default());
        for (text, reason) in [
            ("resources = { limits = { memory = '2 GB' } }", "invalid quantity \"2 GB\""),
            ("resources = { limit = { memory = '2Gi' } }", "unknown field `limit`"),
            ("tolerations = [{ key = 'k', effect = 'noschedule' }]", "unknown variant `noschedule`"),
        ] {
            let refused = toml::from_str::<Settings>(text).unwrap_err().to_string();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }
}
