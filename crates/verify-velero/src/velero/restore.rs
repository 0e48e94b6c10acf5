//! Velero's Restore: what we ask for, and what it says of itself.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::backup::HookStatus;
use super::go_duration::go_duration;
use super::phase::Phase;
use verify_drill::duration::Period;

/// Specification of a restore. Missing fields are never requested: hooks, statuses, changes to what exists.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "Restore",
    namespaced,
    status = "RestoreStatus",
    doc = "A restore of a backup, or of parts of it."
)]
#[kube(
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    attr = "cfg_attr(all(), serde(default))"
)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreSpec {
    /// The backup.
    pub backup_name: String,
    /// Namespaces of the backup; none means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_namespaces: Vec<String>,
    /// Target of each namespace of the backup; one that is not listed is restored to its original name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub namespace_mapping: BTreeMap<String, String>,
    /// Kinds of objects, as `pods` or `volumesnapshots.snapshot.storage.k8s.io`; none means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_resources: Vec<String>,
    /// Labels of the selected objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<MatchLabels>,
    /// True to restore volumes with their claims.
    #[serde(rename = "restorePVs", skip_serializing_if = "Option::is_none")]
    pub restore_pvs: Option<bool>,
    /// Changes to objects on their way in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_modifier: Option<LocalReference>,
    /// Time limit of plugin operations, in Go's notation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_operation_timeout: Option<String>,
}

/// A selector of objects that have all of these labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MatchLabels {
    /// The labels.
    pub match_labels: BTreeMap<String, String>,
}

/// An object beside the restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalReference {
    /// Its group; empty for the core.
    pub api_group: String,
    /// Its kind, in lower case.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Status of a restore. Counts that are missing are zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreStatus {
    /// Phase.
    pub phase: Phase,
    /// Reasons why it never started.
    pub validation_errors: Vec<String>,
    /// Reason why it failed as a whole.
    pub failure_reason: String,
    /// Errors; their texts are in its results.
    pub errors: u64,
    /// Warnings; their texts are in its results.
    pub warnings: u64,
    /// Operations of plugins that were begun.
    pub restore_item_operations_attempted: u64,
    /// Completed operations.
    pub restore_item_operations_completed: u64,
    /// Failed operations.
    pub restore_item_operations_failed: u64,
    /// Its hooks.
    pub hook_status: HookStatus,
    /// Number of processed objects.
    pub progress: RestoreProgress,
    /// Start time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// End time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
}

/// Objects of the API, not of their volumes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreProgress {
    /// Number of objects that were restored.
    pub items_restored: u64,
    /// All that are known so far.
    pub total_items: u64,
}

/// A restore to be asked for.
#[derive(Clone, Debug)]
pub struct RestoreOrder {
    /// Its name; fixed, so that asking twice makes one.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The backup.
    pub backup: String,
    /// The one namespace of the backup that is restored. All others stay out of it, or they would go back to where
    /// they were, into production.
    pub source_namespace: String,
    /// Target namespace.
    pub target_namespace: String,
    /// Kinds of objects; none means all.
    pub included_resources: Vec<String>,
    /// Labels that the objects must have; none means any.
    pub match_labels: BTreeMap<String, String>,
    /// A ConfigMap beside the restore that holds a resource modifier.
    pub modifier: Option<String>,
    /// Time limit of the data movement.
    pub item_operation_timeout: Period,
}

/// The object that asks for this restore.
pub fn create(order: RestoreOrder) -> Restore {
    let RestoreOrder {
        name,
        labels,
        backup,
        source_namespace,
        target_namespace,
        included_resources,
        match_labels,
        modifier,
        item_operation_timeout,
    } = order;
    let spec = RestoreSpec {
        backup_name: backup,
        included_namespaces: vec![source_namespace.clone()],
        namespace_mapping: BTreeMap::from([(source_namespace, target_namespace)]),
        included_resources,
        label_selector: (!match_labels.is_empty()).then_some(MatchLabels { match_labels }),
        restore_pvs: Some(true),
        resource_modifier: modifier.map(config_map),
        item_operation_timeout: Some(go_duration(item_operation_timeout)),
    };
    let metadata = ObjectMeta { name: Some(name), labels: Some(labels), ..ObjectMeta::default() };
    Restore { metadata, spec, status: None }
}

/// Velero compares the kind in lower case.
fn config_map(name: String) -> LocalReference {
    LocalReference { api_group: String::new(), kind: "configmap".to_owned(), name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn order() -> RestoreOrder {
        RestoreOrder {
            name: "drill-001".to_owned(),
            labels: BTreeMap::new(),
            backup: "nightly-001".to_owned(),
            source_namespace: "app".to_owned(),
            target_namespace: "drill-001".to_owned(),
            included_resources: vec!["pods".to_owned(), "persistentvolumeclaims".to_owned()],
            match_labels: BTreeMap::from([("app".to_owned(), "pg".to_owned())]),
            modifier: Some("drill-001-modifier".to_owned()),
            item_operation_timeout: "4h".parse().unwrap(),
        }
    }

    #[test]
    fn a_restore_takes_one_namespace_and_changes_nothing_that_exists() {
        let created = serde_json::to_value(create(order())).unwrap();
        let expected = json!({
            "apiVersion": "velero.io/v1",
            "kind": "Restore",
            "metadata": {"name": "drill-001", "labels": {}},
            "spec": {
                "backupName": "nightly-001",
                "includedNamespaces": ["app"],
                "namespaceMapping": {"app": "drill-001"},
                "includedResources": ["pods", "persistentvolumeclaims"],
                "labelSelector": {"matchLabels": {"app": "pg"}},
                "restorePVs": true,
                "resourceModifier": {"apiGroup": "", "kind": "configmap", "name": "drill-001-modifier"},
                "itemOperationTimeout": "14400s",
            },
        });
        assert_eq!(created, expected);
    }

    #[test]
    fn what_is_not_asked_for_is_not_sent() {
        let order = RestoreOrder { match_labels: BTreeMap::new(), modifier: None, ..order() };
        let spec = create(order).spec;
        assert_eq!((spec.label_selector, spec.resource_modifier), (None, None));
    }
}
