//! Volumes copied as files through the pod that mounts them: PodVolumeBackup and PodVolumeRestore.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::transfer::{Transfer, TransferStatus};

/// Specification of a copy.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "PodVolumeBackup",
    namespaced,
    status = "TransferStatus",
    doc = "The copy of one volume of one pod."
)]
#[kube(
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    attr = "cfg_attr(all(), serde(default))"
)]
#[serde(rename_all = "camelCase", default)]
pub struct PodVolumeBackupSpec {
    /// The node of the pod, which copies it.
    pub node: String,
    /// The pod that mounts it.
    pub pod: PodReference,
    /// Its name in the pod's `spec.volumes`.
    pub volume: String,
}

/// Specification of a restore.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "PodVolumeRestore",
    namespaced,
    status = "TransferStatus",
    doc = "The restore of one volume of one restored pod."
)]
#[kube(
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    attr = "cfg_attr(all(), serde(default))"
)]
#[serde(rename_all = "camelCase", default)]
pub struct PodVolumeRestoreSpec {
    /// The restored pod.
    pub pod: PodReference,
    /// The volume's name in the pod's `spec.volumes`.
    pub volume: String,
    /// The snapshot in Kopia's repository: that of the PodVolumeBackup.
    #[serde(rename = "snapshotID")]
    pub snapshot_id: String,
    /// The namespace that was backed up.
    pub source_namespace: String,
}

/// A pod, as Velero points at it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodReference {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl<'a> From<&'a PodVolumeBackup> for Transfer<'a> {
    fn from(object: &'a PodVolumeBackup) -> Self {
        let volume = in_words(&object.spec.volume, &object.spec.pod);
        let node = Some(object.spec.node.as_str()).filter(|node| !node.is_empty());
        Self::new(object, &volume, node)
    }
}

impl<'a> From<&'a PodVolumeRestore> for Transfer<'a> {
    fn from(object: &'a PodVolumeRestore) -> Self {
        Self::new(object, &in_words(&object.spec.volume, &object.spec.pod), None)
    }
}

fn in_words(volume: &str, pod: &PodReference) -> String {
    format!("volume {volume} of pod {}/{}", pod.namespace, pod.name)
}
