//! Velero's Backup: what we ask for, and what it says of itself.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::go_duration::go_duration;
use super::phase::Phase;
use super::volume::VolumeMethod;
use verify_drill::duration::Period;

/// Specification of a backup. A missing field has Velero's default: all resources, hooks by annotation alone, no
/// policies.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "Backup",
    namespaced,
    status = "BackupStatus",
    doc = "A backup of namespaces and of their volumes."
)]
#[kube(
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    attr = "cfg_attr(all(), serde(default))"
)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupSpec {
    /// The namespaces; none means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_namespaces: Vec<String>,
    /// The location that it is kept at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_location: Option<String>,
    /// Time for which it is kept, in Go's notation, as are the other times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// True to snapshot volumes that are not copied as files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_volumes: Option<bool>,
    /// True to move the snapshots' data to the object store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_move_data: Option<bool>,
    /// True to copy volumes as files without an annotation that requests it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_volumes_to_fs_backup: Option<bool>,
    /// Time limit until a snapshot has a handle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csi_snapshot_timeout: Option<String>,
    /// Time limit of plugin operations, including data movement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_operation_timeout: Option<String>,
}

/// Status of a backup. Counts that are missing are zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStatus {
    /// Phase.
    pub phase: Phase,
    /// Its place in the queue, from 1.
    pub queue_position: u64,
    /// Reasons why it never started.
    pub validation_errors: Vec<String>,
    /// Reason why it failed as a whole.
    pub failure_reason: String,
    /// Errors; their texts are in its results.
    pub errors: u64,
    /// Warnings; their texts are in its results.
    pub warnings: u64,
    /// Snapshots that were tried.
    pub csi_volume_snapshots_attempted: u64,
    /// Snapshots that were taken. Counted only once the backup is finalized.
    pub csi_volume_snapshots_completed: u64,
    /// Operations of plugins that were begun.
    pub backup_item_operations_attempted: u64,
    /// Completed operations.
    pub backup_item_operations_completed: u64,
    /// Failed operations.
    pub backup_item_operations_failed: u64,
    /// Its hooks.
    pub hook_status: HookStatus,
    /// Number of processed objects.
    pub progress: BackupProgress,
    /// Start time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// End time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// Time at which Velero will delete it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Time>,
}

/// Counts of hooks. With `on-error: Continue` only they show a failed hook.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HookStatus {
    /// Number of hooks that were run.
    pub hooks_attempted: u64,
    /// Number of hooks that failed.
    pub hooks_failed: u64,
}

/// Objects of the API, not of their volumes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupProgress {
    /// Number of objects that were backed up.
    pub items_backed_up: u64,
    /// All that are known so far.
    pub total_items: u64,
}

/// A backup to be asked for.
#[derive(Clone, Debug)]
pub struct BackupOrder {
    /// Its name; fixed, so that asking twice makes one.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The namespaces; none means all.
    pub included_namespaces: Vec<String>,
    /// The location; none means Velero's default.
    pub storage_location: Option<String>,
    /// Time for which it is kept.
    pub ttl: Period,
    /// Method by which its volumes are copied.
    pub method: VolumeMethod,
    /// Time limit until a snapshot has a handle.
    pub csi_snapshot_timeout: Period,
    /// Time limit of the data movement.
    pub item_operation_timeout: Period,
}

/// The object that asks for this backup.
pub fn create(order: BackupOrder) -> Backup {
    let BackupOrder {
        name,
        labels,
        included_namespaces,
        storage_location,
        ttl,
        method,
        csi_snapshot_timeout,
        item_operation_timeout,
    } = order;
    let spec = BackupSpec {
        included_namespaces,
        storage_location,
        ttl: Some(go_duration(ttl)),
        // Said in either case: the server's own defaults may be others.
        snapshot_volumes: Some(method != VolumeMethod::Files),
        snapshot_move_data: Some(method == VolumeMethod::MovedSnapshot),
        default_volumes_to_fs_backup: Some(false),
        csi_snapshot_timeout: Some(go_duration(csi_snapshot_timeout)),
        item_operation_timeout: Some(go_duration(item_operation_timeout)),
    };
    let metadata = ObjectMeta { name: Some(name), labels: Some(labels), ..ObjectMeta::default() };
    Backup { metadata, spec, status: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn order(method: VolumeMethod) -> BackupOrder {
        BackupOrder {
            name: "nightly-001".to_owned(),
            labels: BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), "state-lab".to_owned())]),
            included_namespaces: vec!["app".to_owned()],
            storage_location: Some("default".to_owned()),
            ttl: "30d".parse().unwrap(),
            method,
            csi_snapshot_timeout: "10m".parse().unwrap(),
            item_operation_timeout: "4h".parse().unwrap(),
        }
    }

    #[test]
    fn a_backup_says_how_volumes_are_copied() {
        let created = serde_json::to_value(create(order(VolumeMethod::Files))).unwrap();
        let expected = json!({
            "apiVersion": "velero.io/v1",
            "kind": "Backup",
            "metadata": {"name": "nightly-001", "labels": {"app.kubernetes.io/managed-by": "state-lab"}},
            "spec": {
                "includedNamespaces": ["app"],
                "storageLocation": "default",
                "ttl": "2592000s",
                "snapshotVolumes": false,
                "snapshotMoveData": false,
                "defaultVolumesToFsBackup": false,
                "csiSnapshotTimeout": "600s",
                "itemOperationTimeout": "14400s",
            },
        });
        assert_eq!(created, expected);
        for (method, snapshot, moved) in
            [(VolumeMethod::Snapshot, true, false), (VolumeMethod::MovedSnapshot, true, true)]
        {
            let spec = create(order(method)).spec;
            let said = (spec.snapshot_volumes, spec.snapshot_move_data, spec.default_volumes_to_fs_backup);
            assert_eq!(said, (Some(snapshot), Some(moved), Some(false)), "{method:?}");
        }
    }
}
