//! The status of Velero's objects and of volume snapshots.
//!
//! Velero has no status subresource and believes a status that is sent to it: objects to create have `status: None`.
//! Its CustomResourceDefinitions require neither spec nor status. kube's derive accepts no `serde(default)` for the
//! object itself unless it is wrapped: hence `cfg_attr(all(), serde(default))` at each kind.

use std::borrow::Cow;

use kube::core::object::HasStatus;

/// An object whose status its controller writes some time after the object was created.
pub trait Observed: HasStatus<Status: Clone + Default> {
    /// Returns the status, or an empty one.
    fn observed(&self) -> Cow<'_, Self::Status> {
        self.status().map_or_else(Cow::default, Cow::Borrowed)
    }
}

impl<K: HasStatus<Status: Clone + Default>> Observed for K {}

#[cfg(test)]
mod tests {
    use kube::Resource;

    use crate::velero::backup::Backup;
    use crate::velero::data_movement::{DataDownload, DataUpload};
    use crate::velero::deletion::DeleteBackupRequest;
    use crate::velero::location::BackupStorageLocation;
    use crate::velero::pod_volume::{PodVolumeBackup, PodVolumeRestore};
    use crate::velero::restore::Restore;
    use crate::velero::sample;
    use crate::velero::snapshot::{VolumeSnapshot, VolumeSnapshotContent};
    use crate::velero::snapshot_class::VolumeSnapshotClass;

    fn path<K: Resource<DynamicType = ()>>(namespace: Option<&str>) -> String {
        K::url_path(&(), namespace)
    }

    #[test]
    fn every_kind_has_its_address() {
        let velero = Some("velero");
        let table = [
            (path::<Backup>(velero), "/apis/velero.io/v1/namespaces/velero/backups"),
            (path::<Restore>(velero), "/apis/velero.io/v1/namespaces/velero/restores"),
            (path::<PodVolumeBackup>(velero), "/apis/velero.io/v1/namespaces/velero/podvolumebackups"),
            (path::<PodVolumeRestore>(velero), "/apis/velero.io/v1/namespaces/velero/podvolumerestores"),
            (path::<DataUpload>(velero), "/apis/velero.io/v2alpha1/namespaces/velero/datauploads"),
            (path::<DataDownload>(velero), "/apis/velero.io/v2alpha1/namespaces/velero/datadownloads"),
            (
                path::<BackupStorageLocation>(velero),
                "/apis/velero.io/v1/namespaces/velero/backupstoragelocations",
            ),
            (
                path::<DeleteBackupRequest>(velero),
                "/apis/velero.io/v1/namespaces/velero/deletebackuprequests",
            ),
            (
                path::<VolumeSnapshot>(velero),
                "/apis/snapshot.storage.k8s.io/v1/namespaces/velero/volumesnapshots",
            ),
            (path::<VolumeSnapshotContent>(None), "/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents"),
            (path::<VolumeSnapshotClass>(None), "/apis/snapshot.storage.k8s.io/v1/volumesnapshotclasses"),
        ];
        for (path, expected) in table {
            assert_eq!(path, expected);
        }
    }

    #[test]
    fn what_was_read_is_written_with_its_type_and_status() {
        for name in ["none.1", "Queued.1", "Completed.2", "Failed.1"] {
            let backup: Backup = sample::load(&format!("Backup/{name}"));
            let written = serde_json::to_value(&backup).unwrap();
            assert_eq!(
                (&written["apiVersion"], &written["kind"]),
                (&"velero.io/v1".into(), &"Backup".into())
            );
            assert_eq!(serde_json::from_value::<Backup>(written).unwrap(), backup, "{name}");
        }
    }

    #[test]
    fn an_object_without_spec_and_status_is_read() {
        let text = r#"{"metadata": {"name": "x"}, "later": {"more": 1}}"#;
        let backup: Backup = serde_json::from_str(text).unwrap();
        assert_eq!(backup, Backup { metadata: backup.metadata.clone(), ..Backup::default() });
    }
}
