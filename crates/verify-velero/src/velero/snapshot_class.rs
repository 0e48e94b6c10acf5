//! VolumeSnapshotClass: whether and how a storage takes snapshots.

use kube::{CustomResource, ResourceExt};
use serde::{Deserialize, Serialize};

/// The label by which Velero picks one class for each driver.
pub const VELERO_LABEL: &str = "velero.io/csi-volumesnapshot-class";
/// Annotation of a driver's default class.
const DEFAULT_ANNOTATION: &str = "snapshot.storage.kubernetes.io/is-default-class";

/// Fields of a class besides name and labels.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "snapshot.storage.k8s.io", version = "v1", kind = "VolumeSnapshotClass", no_spec)]
#[kube(doc = "A class of snapshots.")]
#[kube(
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    attr = "cfg_attr(all(), serde(default))"
)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotClassSpec {
    /// The storage that it is for.
    pub driver: String,
}

/// The class that Velero takes for volumes of this driver unless annotations name another: the one with its label, the
/// driver's default, or the only one.
pub fn for_driver<'a>(classes: &'a [VolumeSnapshotClass], driver: &str) -> Option<&'a VolumeSnapshotClass> {
    let own: Vec<_> = classes.iter().filter(|class| class.spec.driver == driver).collect();
    let labelled = own.iter().find(|class| class.labels().contains_key(VELERO_LABEL));
    let default = || own.iter().find(|class| class.annotations().contains_key(DEFAULT_ANNOTATION));
    let only = || own.first().filter(|_| own.len() == 1);
    labelled.or_else(default).or_else(only).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn class(name: &str, metadata: &serde_json::Value) -> VolumeSnapshotClass {
        let mut class = json!({"metadata": metadata, "driver": "csi.example"});
        class["metadata"]["name"] = name.into();
        serde_json::from_value(class).unwrap()
    }

    #[test]
    fn the_class_is_the_one_that_velero_takes() {
        let plain = || class("plain", &json!({}));
        let default = || class("default", &json!({"annotations": {DEFAULT_ANNOTATION: "true"}}));
        let labelled = || class("labelled", &json!({"labels": {VELERO_LABEL: "true"}}));
        let table = [
            (vec![plain(), default(), labelled()], Some("labelled")),
            (vec![plain(), default()], Some("default")),
            (vec![plain()], Some("plain")),
            (vec![plain(), plain()], None),
            (vec![], None),
        ];
        for (classes, expected) in table {
            let found = for_driver(&classes, "csi.example").map(ResourceExt::name_any);
            assert_eq!(found.as_deref(), expected, "{classes:?}");
            assert_eq!(for_driver(&classes, "other.example"), None);
        }
    }
}
