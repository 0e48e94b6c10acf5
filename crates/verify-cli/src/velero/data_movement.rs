//! CSI snapshots whose data is moved to the object store and back: DataUpload and DataDownload.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::transfer::{Transfer, TransferStatus};

/// What is uploaded.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "velero.io",
    version = "v2alpha1",
    kind = "DataUpload",
    namespaced,
    status = "TransferStatus",
    doc = "The upload of one claim's snapshot."
)]
#[kube(
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    attr = "cfg_attr(all(), serde(default))"
)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DataUploadSpec {
    /// The claim's namespace.
    pub(crate) source_namespace: String,
    /// The claim.
    #[serde(rename = "sourcePVC")]
    pub(crate) source_pvc: String,
    /// The snapshot that is moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) csi_snapshot: Option<MovedSnapshot>,
}

/// A snapshot on its way to the object store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct MovedSnapshot {
    /// The VolumeSnapshot.
    pub(crate) volume_snapshot: String,
}

/// What is filled, and from what.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "velero.io",
    version = "v2alpha1",
    kind = "DataDownload",
    namespaced,
    status = "TransferStatus",
    doc = "The filling of one restored claim."
)]
#[kube(
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    attr = "cfg_attr(all(), serde(default))"
)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DataDownloadSpec {
    /// The restored claim.
    pub(crate) target_volume: TargetVolume,
    /// The snapshot in Kopia's repository: that of the DataUpload.
    #[serde(rename = "snapshotID")]
    pub(crate) snapshot_id: String,
    /// The namespace that was backed up.
    pub(crate) source_namespace: String,
}

/// A claim that is filled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TargetVolume {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) pvc: String,
}

impl<'a> From<&'a DataUpload> for Transfer<'a> {
    fn from(object: &'a DataUpload) -> Self {
        let claim = format!("claim {}/{}", object.spec.source_namespace, object.spec.source_pvc);
        Self::new(object, &claim, None)
    }
}

impl<'a> From<&'a DataDownload> for Transfer<'a> {
    fn from(object: &'a DataDownload) -> Self {
        let target = &object.spec.target_volume;
        Self::new(object, &format!("claim {}/{}", target.namespace, target.pvc), None)
    }
}
