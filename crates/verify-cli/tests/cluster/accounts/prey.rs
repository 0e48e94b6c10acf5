//! Objects that requests can name: those that the accounts must not touch, and those of a run of their own.

use serde_json::{Value, json};

use super::objects::{labels, namespace, run_name, with};
use crate::support::{apply, get, patiently, tried};

pub(super) struct Prey {
    /// A run, whose validation namespace there is.
    pub(super) run: String,
    /// A run that has nothing yet.
    pub(super) next_run: String,
    /// The namespace of the database.
    pub(super) database: String,
}

impl Prey {
    pub(super) fn create() -> Self {
        let mut random = [0; 10];
        getrandom::fill(&mut random).unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (run, next_run) = (hex(&random[..5]), hex(&random[5..]));
        let prey = Self { database: format!("drill-{run}"), run, next_run };
        let database =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": prey.database } });
        apply_all(&[database, namespace(&prey.place(), &prey.run)]);
        for namespace in [&prey.database, &prey.place()] {
            let account = || tried(&["-n", namespace, "get", "serviceaccount", "default"]).ok();
            patiently(30, "the account default", account);
        }
        apply_all(&[prey.running(), prey.asked_of_velero(), prey.storage()].concat());
        apply_all(&prey.transfers());
        prey
    }

    /// The validation namespace of the run.
    pub(super) fn place(&self) -> String {
        run_name(&self.run)
    }

    /// The name of one of its objects.
    pub(super) fn named(&self, what: &str) -> String {
        format!("{what}-{}", self.run)
    }

    /// Pods, which never get a node, an account, and the network policy.
    fn running(&self) -> Vec<Value> {
        let pod = |namespace: &str, name: &str, labels: Value| {
            let container = json!({ "name": "c", "image": "lab.test/none:1",
                "securityContext": { "allowPrivilegeEscalation": false } });
            json!({ "apiVersion": "v1", "kind": "Pod",
                "metadata": { "name": name, "namespace": namespace, "labels": labels },
                "spec": { "containers": [container], "schedulingGates": [{ "name": "state-lab.dev/never" }] } })
        };
        vec![
            json!({ "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": { "name": "builder", "namespace": self.database } }),
            pod(&self.database, "pg-0", json!({ "app": "pg" })),
            pod(&self.database, &self.place(), labels(&self.run, "backup")),
            pod(&self.place(), "held", json!({})),
            json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": { "name": "state-lab", "namespace": self.place() },
                "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] } }),
        ]
    }

    /// Backups of somebody else, a proven one and one that is not; Restores, and what lies beside them.
    fn asked_of_velero(&self) -> Vec<Value> {
        let ours = labels(&self.run, "validation");
        let mut unproven = labels(&self.run, "backup");
        unproven["state-lab.dev/unproven"] = "true".into();
        let of_database = json!({ "includedNamespaces": [self.database] });
        // Velero never looks at it again.
        let ended = "FailedValidation";
        let mut objects = vec![
            velero("Backup", &self.named("theirs"), &json!({}), &of_database, ended, &[]),
            velero("Backup", &self.named("proven"), &labels(&self.run, "backup"), &of_database, ended, &[]),
            velero("Backup", &self.named("unproven"), &unproven, &of_database, ended, &[]),
        ];
        for (name, labels) in [(self.named("theirs"), json!({})), (self.place(), ours)] {
            let metadata = json!({ "name": name, "namespace": "velero", "labels": labels });
            objects.extend([
                velero(
                    "Restore",
                    &name,
                    &labels,
                    &json!({ "backupName": self.named("unproven") }),
                    ended,
                    &[],
                ),
                json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
                    "spec": { "holderIdentity": name } }),
                json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata }),
            ]);
        }
        objects
    }

    /// The copies of volumes for these Backups and Restores.
    fn transfers(&self) -> Vec<Value> {
        let backup = json!({ "pod": { "kind": "Pod", "name": "p", "namespace": "n" }, "volume": "v", "node": "n",
            "backupStorageLocation": "default", "repoIdentifier": "" });
        let restore = with(&backup, &json!({ "node": null, "snapshotID": "s", "sourceNamespace": "n" }));
        let [theirs, ours, unproven] = ["theirs", "ours", "unproven"].map(|name| self.named(name));
        let transfer = |kind: &str, name: &str, spec: &Value, owner: &str, owner_name: &str| {
            let found = get(&["-n", "velero", &format!("{owner}.velero.io"), owner_name]);
            let owner = json!({ "apiVersion": "velero.io/v1", "kind": found["kind"], "name": owner_name,
                "uid": found["metadata"]["uid"] });
            velero(kind, name, &json!({}), spec, "Completed", &[owner])
        };
        vec![
            transfer("PodVolumeBackup", &theirs, &backup, "backup", &theirs),
            transfer("PodVolumeBackup", &ours, &backup, "backup", &unproven),
            transfer("PodVolumeRestore", &theirs, &restore, "restore", &theirs),
            transfer("PodVolumeRestore", &ours, &restore, "restore", &self.place()),
        ]
    }

    /// Volumes and the contents of snapshots: production's, and those of the validation namespace.
    fn storage(&self) -> Vec<Value> {
        let volume = |name: &str, namespace: &str| {
            json!({ "apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": { "name": name, "annotations": { "pv.kubernetes.io/provisioned-by": "csi.test" } },
                "spec": { "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Mi" },
                    "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "none",
                    "claimRef": { "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "data",
                        "namespace": namespace, "uid": "6f1c8a52-0000-4000-8000-000000000000" },
                    "csi": { "driver": "csi.test", "volumeHandle": name } } })
        };
        let content = |name: &str, namespace: &str| {
            json!({ "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
                "metadata": { "name": name },
                "spec": { "deletionPolicy": "Retain", "driver": "csi.test", "source": { "snapshotHandle": name },
                    "volumeSnapshotRef": { "name": "data", "namespace": namespace } } })
        };
        let (theirs, ours, place) = (self.named("theirs"), self.named("ours"), self.place());
        vec![
            volume(&theirs, &self.database),
            content(&theirs, &self.database),
            volume(&ours, &place),
            content(&ours, &place),
            volume(&format!("velero-clone-{}", self.run), &place),
        ]
    }
}

/// The path of a kind in Velero's namespace.
pub(super) fn velero_path(kind: &str) -> String {
    let version = if kind.starts_with("data") { "v2alpha1" } else { "v1" };
    format!("/apis/velero.io/{version}/namespaces/velero/{kind}")
}

fn velero(kind: &str, name: &str, labels: &Value, spec: &Value, phase: &str, owners: &[Value]) -> Value {
    let metadata =
        json!({ "name": name, "namespace": "velero", "labels": labels, "ownerReferences": owners });
    json!({ "apiVersion": "velero.io/v1", "kind": kind, "metadata": metadata, "spec": spec, "status": { "phase": phase } })
}

fn apply_all(objects: &[Value]) {
    apply(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string());
}

impl Drop for Prey {
    fn drop(&mut self) {
        let [theirs, ours, proven, unproven] =
            ["theirs", "ours", "proven", "unproven"].map(|what| self.named(what));
        let (place, clone) = (self.place(), format!("velero-clone-{}", self.run));
        let objects = [
            format!("podvolumebackups.velero.io/{theirs} podvolumebackups.velero.io/{ours}"),
            format!("podvolumerestores.velero.io/{theirs} podvolumerestores.velero.io/{ours}"),
            format!("restores.velero.io/{theirs} restores.velero.io/{place}"),
            format!("backups.velero.io/{theirs} backups.velero.io/{proven} backups.velero.io/{unproven}"),
            format!("configmap/{theirs} configmap/{place} lease/{theirs} lease/{place}"),
        ]
        .join(" ");
        let storage = format!(
            "volumesnapshotcontent/{theirs} volumesnapshotcontent/{ours} pv/{theirs} pv/{ours} pv/{clone}"
        );
        let delete = |namespace: &str, objects: &str| {
            let mut arguments = vec!["-n", namespace, "delete", "--ignore-not-found", "--wait=false"];
            arguments.extend(objects.split(' '));
            let _ = tried(&arguments);
        };
        delete("velero", &objects);
        delete("default", &storage);
        // No driver serves this storage, so the finalizers of its objects would stay.
        for object in storage.split(' ') {
            let _ = tried(&["patch", object, "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]);
        }
        delete("default", &format!("namespace/{} namespace/{place}", self.database));
    }
}
