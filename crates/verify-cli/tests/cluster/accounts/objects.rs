//! Objects as the program makes them.

use serde_json::{Value, json};

use super::prey::Prey;

pub(super) fn run_name(run: &str) -> String {
    format!("state-lab-{run}")
}

pub(super) fn labels(run: &str, component: &str) -> Value {
    json!({
        "app.kubernetes.io/name": "state-lab",
        "app.kubernetes.io/instance": run_name(run),
        "app.kubernetes.io/managed-by": "state-lab",
        "app.kubernetes.io/part-of": "state-lab",
        "app.kubernetes.io/component": component,
        "state-lab.dev/run": run,
    })
}

/// An object with some of its fields replaced, or removed by null.
pub(super) fn with(object: &Value, changes: &Value) -> Value {
    let (Some(fields), Some(changed)) = (object.as_object(), changes.as_object()) else {
        return changes.clone();
    };
    let mut fields = fields.clone();
    for (name, change) in changed {
        match change {
            Value::Null => drop(fields.remove(name)),
            change => {
                let before = fields.get(name).cloned().unwrap_or(Value::Null);
                let before = if before.is_object() { before } else { json!({}) };
                fields.insert(name.clone(), with(&before, change));
            }
        }
    }
    fields.into()
}

/// A validation namespace of this name.
pub(super) fn namespace(name: &str, run: &str) -> Value {
    let mut labels = labels(run, "validation");
    labels["pod-security.kubernetes.io/enforce"] = "baseline".into();
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

fn pod_spec(claim: &str) -> Value {
    let confined = json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } });
    let container = |name: &str| {
        json!({ "name": name, "image": "lab.test/state-lab:dev", "securityContext": confined,
            "resources": { "requests": { "cpu": "50m" } }, "env": [{ "name": "TMPDIR", "value": "/state-lab" }],
            "volumeMounts": [{ "name": "tool", "mountPath": "/state-lab" }] })
    };
    json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "imagePullSecrets": [{ "name": "registry" }],
        "tolerations": [{ "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute" }],
        "nodeSelector": { "kubernetes.io/os": "linux" },
        "securityContext": { "runAsNonRoot": true, "runAsUser": 999, "runAsGroup": 999, "fsGroup": 999,
            "seccompProfile": { "type": "RuntimeDefault" } },
        "initContainers": [container("tool")],
        "containers": [container("state-lab")],
        "volumes": [{ "name": "tool", "emptyDir": {} },
            { "name": "data", "persistentVolumeClaim": { "claimName": claim } }],
    })
}

/// The pod beside the database.
pub(super) fn pod(prey: &Prey) -> Value {
    let labels = labels(&prey.next_run, "backup");
    let annotations = json!({ "backup.velero.io/backup-volumes": "basebackup" });
    let metadata = json!({ "name": run_name(&prey.next_run), "labels": labels, "annotations": annotations });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec("basebackup") })
}

/// The job of a restore.
pub(super) fn job(prey: &Prey) -> Value {
    let labels = labels(&prey.run, "validation");
    json!({ "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "name": prey.place(), "labels": labels },
        "spec": { "backoffLimit": 0,
            "template": { "metadata": { "labels": labels }, "spec": pod_spec("data") } } })
}

pub(super) fn backup(prey: &Prey) -> Value {
    let mut labels = labels(&prey.next_run, "backup");
    labels["state-lab.dev/unproven"] = "true".into();
    labels["state-lab.dev/cluster"] = "pg".into();
    json!({ "apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": { "name": prey.named("next"), "labels": labels },
        "spec": { "includedNamespaces": [prey.database], "storageLocation": "default", "ttl": "2592000s",
            "snapshotVolumes": true, "snapshotMoveData": false, "defaultVolumesToFsBackup": false,
            "csiSnapshotTimeout": "600s", "itemOperationTimeout": "86400s" } })
}

/// A request to delete one of the Backups.
pub(super) fn deletion_of(prey: &Prey, backup: &str) -> Value {
    json!({ "apiVersion": "velero.io/v1", "kind": "DeleteBackupRequest",
        "metadata": { "name": run_name(&prey.next_run), "labels": labels(&prey.next_run, "backup") },
        "spec": { "backupName": prey.named(backup) } })
}

/// A Restore of one of the Backups, of a snapshot.
pub(super) fn restore_of(prey: &Prey, backup: &str) -> Value {
    let mut labels = labels(&prey.next_run, "validation");
    labels["state-lab.dev/backup"] = "b".into();
    let target = run_name(&prey.next_run);
    json!({ "apiVersion": "velero.io/v1", "kind": "Restore",
        "metadata": { "name": target, "labels": labels },
        "spec": { "backupName": prey.named(backup), "includedNamespaces": [prey.database],
            "namespaceMapping": { prey.database.clone(): target },
            "includedResources": ["persistentvolumeclaims", "persistentvolumes", "volumesnapshots.snapshot.storage.k8s.io",
                "volumesnapshotcontents.snapshot.storage.k8s.io"],
            "labelSelector": { "matchLabels": { "velero.io/volume-snapshot-name": "s" } },
            "restorePVs": true, "itemOperationTimeout": "86400s" } })
}

/// A Restore of files, through a pod that a resource modifier holds back.
pub(super) fn restore_of_files(prey: &Prey) -> Value {
    let modifier = json!({ "apiGroup": "", "kind": "configmap", "name": run_name(&prey.next_run) });
    with(
        &restore_of(prey, "proven"),
        &json!({ "spec": { "includedResources": ["pods", "persistentvolumeclaims", "persistentvolumes"],
            "resourceModifier": modifier } }),
    )
}

/// The rules of a resource modifier.
pub(super) const RULES: &str = concat!(
    r#"{"version":"v1","resourceModifierRules":[{"conditions":{"groupResource":"pods"},"patches":[{"operation":"add","#,
    r#""path":"/spec/schedulingGates","value":"[{\"name\":\"state-lab.dev/hold\"}]"},{"operation":"add","path":"#,
    r#""/metadata/labels","value":"{\"state-lab.dev/run\":\"x\"}"}]},{"conditions":{"groupResource":"pods","#,
    r#""resourceNameRegex":"^pg-0$"},"patches":[{"operation":"test","path":"/spec/initContainers/0/name","value":"#,
    r#""restore-wait"},{"operation":"move","from":"/spec/initContainers/0","path":"/held"},{"operation":"replace","path":"#,
    r#""/spec","value":"{\"restartPolicy\":\"Never\"}"},{"operation":"move","from":"/held","path":"/spec/initContainers/0"},"#,
    r#"{"operation":"add","path":"/metadata/labels","value":"{}"},{"operation":"add","path":"/metadata/annotations","#,
    r#""value":"{}"}]}]}"#,
);

pub(super) fn modifier(prey: &Prey, rules: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": run_name(&prey.next_run), "labels": labels(&prey.next_run, "validation") },
        "data": { "rules.yaml": rules } })
}

pub(super) fn event(kind: &str, version: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Event", "reason": "RestoreProven", "message": "m", "type": "Normal",
        "metadata": { "name": "n", "namespace": "velero" },
        "involvedObject": { "apiVersion": version, "kind": kind, "name": "b", "namespace": "velero" } })
}

pub(super) fn lease(name: &str, labels: &Value) -> Value {
    json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": name, "labels": labels }, "spec": { "holderIdentity": name } })
}
