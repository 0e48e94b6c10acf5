//! CSI snapshots: VolumeSnapshot and the VolumeSnapshotContent behind it.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::object::Observed;

/// Specification of a snapshot.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "snapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeSnapshot",
    namespaced,
    status = "VolumeSnapshotStatus",
    doc = "A snapshot as its user sees it. Velero removes it before the backup is complete: watch it, or miss it."
)]
#[kube(
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    attr = "cfg_attr(all(), serde(default))"
)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotSpec {
    /// Origin of the snapshot.
    pub source: VolumeSnapshotSource,
}

/// Origin of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotSource {
    /// A claim, of which the snapshot is to be taken; none where the snapshot exists, as in a restore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_name: Option<String>,
}

/// Status of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotStatus {
    /// True if it can be restored: from here on, the source may change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_to_use: Option<bool>,
    /// Reason why it is not ready. It may pass: a restore names the content before it makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<SnapshotError>,
}

/// The storage's complaint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SnapshotError {
    /// In its words.
    pub message: String,
}

/// Specification of a snapshot's content.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "snapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeSnapshotContent",
    status = "VolumeSnapshotContentStatus",
    doc = "A snapshot as the storage has it. Every restore from a snapshot leaves one, with the policy `Retain`."
)]
#[kube(
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    attr = "cfg_attr(all(), serde(default))"
)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotContentSpec {
    /// `Delete` or `Retain`: whether the storage's snapshot goes with this object.
    pub deletion_policy: String,
    /// Origin of the content.
    pub source: VolumeSnapshotContentSource,
    /// The snapshot in front of it.
    pub volume_snapshot_ref: VolumeSnapshotReference,
}

/// Origin of a content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotContentSource {
    /// A snapshot that exists, as in a restore; none where it is to be taken of a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_handle: Option<String>,
}

/// A snapshot, as its content points at it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotReference {
    /// Its namespace.
    pub namespace: String,
}

/// Status of a content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotContentStatus {
    /// The storage's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_handle: Option<String>,
}

impl VolumeSnapshot {
    /// Returns whether the storage has taken the snapshot, so that the source may change.
    pub fn ready(&self) -> bool {
        self.observed().ready_to_use == Some(true)
    }
}

impl VolumeSnapshotContent {
    /// The storage's name for it, from whichever field has it.
    pub fn handle(&self) -> Option<&str> {
        self.status.as_ref().and_then(|status| status.snapshot_handle.as_deref()).or(self
            .spec
            .source
            .snapshot_handle
            .as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::velero::sample;

    #[test]
    fn a_snapshot_is_ready_when_the_storage_says_so() {
        let table = [
            ("readyToUse=None.1", false),
            ("readyToUse=False.1", false),
            // It may pass: a restore names the content before it makes it.
            ("readyToUse=False-error.1", false),
            ("readyToUse=True.2", true),
            ("readyToUse=True-terminating.2", true),
        ];
        for (name, ready) in table {
            let snapshot: VolumeSnapshot = sample::load(&format!("VolumeSnapshot/{name}"));
            assert_eq!(snapshot.ready(), ready, "{name}");
        }
    }

    #[test]
    fn a_content_has_one_handle() {
        let table = [
            ("readyToUse=None.1", "snapshot-647d9611-090a-410b-a165-7b2ddde8a391"),
            ("readyToUse=True.1", "snapshot-647d9611-090a-410b-a165-7b2ddde8a391"),
            ("readyToUse=True.2", "snapshot-1321a570-d54c-466a-81e4-e92225441c89"),
        ];
        for (name, handle) in table {
            let content: VolumeSnapshotContent = sample::load(&format!("VolumeSnapshotContent/{name}"));
            assert_eq!(content.handle(), Some(handle), "{name}");
        }
    }
}
