//! What makes a struct an object of the Kubernetes API: its group, version and kind, in one place each.

/// Says which resource of which group a struct with a `metadata` field is, so that `kube::Api` takes it.
macro_rules! resource {
    ($kind:ident, $scope:ident, $group:literal, $version:literal, $plural:literal) => {
        impl kube::Resource for $kind {
            type DynamicType = ();
            type Scope = k8s_openapi::$scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                stringify!($kind).into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &kube::api::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut kube::api::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

/// A resource with a spec and a status. A status that is missing reads as an empty one, and an empty one is not sent:
/// Velero has no status subresource, so that whatever is sent is believed.
macro_rules! object {
    (
        $(#[$doc:meta])*
        $kind:ident { $spec:ty, $status:ty } = $scope:ident, $group:literal, $version:literal, $plural:literal
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        pub(crate) struct $kind {
            /// Name, labels and the like.
            #[serde(default)]
            pub(crate) metadata: kube::api::ObjectMeta,
            /// What is asked for.
            #[serde(default)]
            pub(crate) spec: $spec,
            /// What became of it.
            #[serde(default)]
            pub(crate) status: $status,
        }

        $crate::velero::object::resource!($kind, $scope, $group, $version, $plural);

        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                let told = self.status != <$status>::default();
                let mut object = serializer.serialize_struct(stringify!($kind), 4 + usize::from(told))?;
                object.serialize_field("apiVersion", concat!($group, "/", $version))?;
                object.serialize_field("kind", stringify!($kind))?;
                object.serialize_field("metadata", &self.metadata)?;
                object.serialize_field("spec", &self.spec)?;
                if told {
                    object.serialize_field("status", &self.status)?;
                }
                object.end()
            }
        }
    };
}

pub(super) use {object, resource};

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
