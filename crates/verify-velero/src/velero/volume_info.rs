//! The artefact `BackupVolumeInfos`: what a backup holds of each volume.
//!
//! It is beside the backup, so that another cluster has it too, where the objects that moved
//! the data are not.

use anyhow::Result;
use serde::Deserialize;

use super::artefact::decode_json;
use super::volume::{ExpectedVolume, VolumeMethod};

/// State of a volume in a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeInfo {
    /// Its claim.
    pub pvc_name: String,
    /// The claim's namespace.
    pub pvc_namespace: String,
    /// The persistent volume.
    pub pv_name: String,
    /// `PodVolumeBackup`, `CSISnapshot` or `NativeSnapshot`.
    pub backup_method: String,
    /// True if the snapshot's data were moved to the object store.
    pub snapshot_data_moved: bool,
    /// True if none of it was copied.
    pub skipped: bool,
    /// Reason why it was skipped.
    pub skipped_reason: String,
    /// `succeeded` or `failed`.
    pub result: String,
    /// The snapshot in the storage.
    pub csi_snapshot_info: Option<SnapshotInfo>,
    /// The snapshot's copy in the object store.
    pub snapshot_data_movement_info: Option<MovementInfo>,
    /// The copy of its files in the object store.
    pub pvb_info: Option<FilesInfo>,
}

/// A snapshot in the storage of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SnapshotInfo {
    /// The storage's name for it.
    pub snapshot_handle: String,
}

/// A snapshot's data in the object store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MovementInfo {
    /// `velero`, which an empty one means too, or another data mover.
    pub data_mover: String,
    /// `kopia`, which an empty one means too.
    pub uploader_type: String,
    /// The snapshot in Kopia's repository.
    pub snapshot_handle: String,
}

/// A volume's files in the object store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FilesInfo {
    /// The snapshot in Kopia's repository.
    pub snapshot_handle: String,
    /// `kopia`, or `restic` in old backups.
    pub uploader_type: String,
    /// The volume's name in the pod's `spec.volumes`.
    pub volume_name: String,
    /// The pod that mounted it.
    pub pod_name: String,
    /// The pod's namespace.
    pub pod_namespace: String,
}

/// A volume's data in a backup, by the name under which a restore must ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldCopy<'a> {
    /// Files in Kopia's repository: restored by a PodVolumeRestore of this snapshot.
    Files(&'a str),
    /// A snapshot's data in Kopia's repository: restored by a DataDownload of this snapshot.
    Moved(&'a str),
    /// A snapshot in the storage, restored by a VolumeSnapshotContent of this handle.
    Snapshot(&'a str),
}

/// Returns the volumes of a backup, from a packed artefact.
///
/// # Errors
///
/// If it is not gzip, is cut, is too large, or is no such artefact.
pub fn decode(packed: &[u8]) -> Result<Vec<VolumeInfo>> {
    decode_json(packed, "Velero's list of volumes")
}

/// Returns the backup's entry for this volume. Where it says several things, its data counts.
pub fn of<'a>(volumes: &'a [VolumeInfo], volume: &ExpectedVolume) -> Option<&'a VolumeInfo> {
    let mut own = volumes.iter().filter(|info| info.is_of(volume));
    own.clone().find(|info| info.copy().is_some()).or_else(|| own.next())
}

impl VolumeInfo {
    fn is_of(&self, volume: &ExpectedVolume) -> bool {
        // A volume that several pods mount is copied through one of them, so that its claim decides where it is known.
        if !self.pvc_name.is_empty() {
            return self.pvc_namespace == volume.namespace && self.pvc_name == volume.claim;
        }
        self.pvb_info.as_ref().is_some_and(|info| {
            info.pod_namespace == volume.namespace
                && info.pod_name == volume.pod
                && info.volume_name == volume.volume
        })
    }

    /// The data that the backup holds; none if it was skipped, failed, or was copied in a way that we cannot follow.
    pub fn copy(&self) -> Option<HeldCopy<'_>> {
        if self.skipped || self.result == "failed" {
            return None;
        }
        let copy = if let Some(files) = &self.pvb_info {
            HeldCopy::Files(&files.snapshot_handle)
        } else if let Some(moved) =
            self.snapshot_data_movement_info.as_ref().filter(|_| self.snapshot_data_moved)
        {
            HeldCopy::Moved(&moved.snapshot_handle)
        } else {
            HeldCopy::Snapshot(&self.csi_snapshot_info.as_ref()?.snapshot_handle)
        };
        (!copy.name().is_empty()).then_some(copy)
    }

    /// Returns whether the backup contains the data, by the requested method.
    pub(super) fn copied_by(&self, method: VolumeMethod) -> bool {
        matches!(
            (method, self.copy()),
            (VolumeMethod::Files, Some(HeldCopy::Files(_)))
                | (VolumeMethod::Snapshot, Some(HeldCopy::Snapshot(_)))
                | (VolumeMethod::MovedSnapshot, Some(HeldCopy::Moved(_)))
        )
    }
}

impl<'a> HeldCopy<'a> {
    /// Snapshot or handle, whichever it is.
    pub fn name(self) -> &'a str {
        match self {
            Self::Files(name) | Self::Moved(name) | Self::Snapshot(name) => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::velero::artefact::pack;
    use crate::velero::sample;

    #[test]
    fn each_method_has_its_copy() {
        let volumes = decode(&pack(sample::VOLUME_INFOS.as_bytes())).unwrap();
        let table = [
            ("basebackup", Some(HeldCopy::Files("a5a4bf59e09ee8a2018b67ad17ab1ec2"))),
            ("moved", Some(HeldCopy::Moved("5a31cf61594451e4e9ef977149308a7e"))),
            ("local", Some(HeldCopy::Snapshot("snapshot-647d9611-090a-410b-a165-7b2ddde8a391"))),
            ("skipped", None),
            ("failed", None),
            ("empty", None),
            ("native", None),
        ];
        for (claim, copy) in table {
            let info = of(&volumes, &sample::expected_volume("app", claim)).unwrap();
            assert_eq!(info.copy(), copy, "{claim}");
        }
        assert_eq!(of(&volumes, &sample::expected_volume("app", "absent")), None);
        assert_eq!(of(&volumes, &sample::expected_volume("elsewhere", "local")), None);
        assert_eq!(volumes.len(), table.len());
    }
}
