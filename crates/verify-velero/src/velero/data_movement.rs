//! CSI snapshots whose data is moved to the object store and back: DataUpload and DataDownload.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::transfer::{Transfer, TransferStatus};

/// Specification of an upload.
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
pub struct DataUploadSpec {
    /// The claim's namespace.
    pub source_namespace: String,
    /// The claim.
    #[serde(rename = "sourcePVC")]
    pub source_pvc: String,
    /// The snapshot that is moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csi_snapshot: Option<MovedSnapshot>,
}

/// A snapshot on its way to the object store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MovedSnapshot {
    /// The VolumeSnapshot.
    pub volume_snapshot: String,
}

/// Specification of a download.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "velero.io",
    version = "v2alpha1",
    kind = "DataDownload",
    namespaced,
    status = "TransferStatus",
    doc = "The restore of one restored claim."
)]
#[kube(
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    attr = "cfg_attr(all(), serde(default))"
)]
#[serde(rename_all = "camelCase", default)]
pub struct DataDownloadSpec {
    /// The restored claim.
    pub target_volume: TargetVolume,
    /// The snapshot in Kopia's repository: that of the DataUpload.
    #[serde(rename = "snapshotID")]
    pub snapshot_id: String,
    /// The namespace that was backed up.
    pub source_namespace: String,
}

/// A claim that is filled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetVolume {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pvc: String,
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
