//! Backups that would be worth nothing: refused before anything is made, or found to be failed, with the reason.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Database, Leftovers, Mended, StateLab, apply, kubectl, patiently, tried};

/// A pod of the application beside the database, with annotations; it goes with the value.
fn application(database: &Database, annotations: &str, claim: bool) -> Mended<impl FnMut() + use<>> {
    let namespace = database.namespace.clone();
    let (mount, volume) = match claim {
        true => {
            apply(&format!(
                "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: files, namespace: {namespace}}}, \
                 spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 100Mi}}}}}}}}"
            ));
            (
                "volumeMounts: [{name: files, mountPath: /files}],",
                "volumes: [{name: files, persistentVolumeClaim: {claimName: files}}],",
            )
        }
        false => ("", ""),
    };
    apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: application, namespace: {namespace}, annotations: {annotations}}}, \
         spec: {{terminationGracePeriodSeconds: 0, {volume} containers: [{{name: application, {mount} \
         image: 'lab.test/postgres:15', imagePullPolicy: IfNotPresent, command: [sleep, infinity]}}]}}}}"
    ));
    kubectl(&["wait", "-n", &namespace, "--for=condition=Ready", "pod/application", "--timeout=60s"]);
    Mended(move || {
        let _ = tried(&["delete", "-n", &namespace, "pod/application"]);
        let _ = tried(&["delete", "-n", &namespace, "persistentvolumeclaim/files", "--ignore-not-found"]);
    })
}

#[test]
fn a_hook_that_fails_fails_the_backup() {
    let Some(database) = Database::shared("a_hook_that_fails") else { return };
    let before = Leftovers::before();
    let hook = |command: &str| {
        format!("{{pre.hook.backup.velero.io/command: '[\"/bin/sh\", \"-c\", \"{command}\"]'}}")
    };
    {
        let _application = application(&database, &hook("exit 3"), false);
        let failed = database.try_backup(&database.new_name(), "csi");
        failed.expect(1, "backup_status: failed", &["hook"]);
        before.expect_none();
    }
    let _application = application(&database, &hook("exit 0"), false);
    database.try_backup(&database.new_name(), "csi").expect_pass();
}

#[test]
fn a_volume_that_nobody_copies_fails_the_backup() {
    let Some(database) = Database::shared("a_volume_that_nobody_copies") else { return };
    let before = Leftovers::before();
    {
        let _application = application(&database, "{}", true);
        let failed = database.try_backup(&database.new_name(), "fs");
        failed.expect(
            1,
            "backup_status: failed",
            &["files", "application", "backup.velero.io/backup-volumes=files"],
        );
        before.expect_none();
    }
    let _application = application(&database, "{backup.velero.io/backup-volumes: files}", true);
    database.try_backup(&database.new_name(), "fs").expect_pass();
}

#[test]
fn copying_the_files_of_a_running_server_is_refused() {
    let Some(database) = Database::shared("copying_the_files_of_a_running_server") else { return };
    let before = Leftovers::before();
    let annotate = |annotation: &str| {
        kubectl(&["annotate", "-n", &database.namespace, "pod/pg-0", annotation]);
    };
    let name = database.new_name();
    for method in ["fs", "csi"] {
        annotate("backup.velero.io/backup-volumes=data");
        let _mended = Mended(|| annotate("backup.velero.io/backup-volumes-"));
        let refused = database.try_backup(&name, method);
        refused.expect(2, "backup_status: failed", &["pg-0", "running server", "remove the annotation"]);
        assert!(tried(&["get", "-n", "velero", "backups.velero.io", &name]).is_err(), "Velero was asked");
        before.expect_none();
    }
    database.try_backup(&name, "csi").expect_pass();
}

#[test]
fn without_a_snapshot_class_only_files_are_copied() {
    let Some(database) = Database::shared("without_a_snapshot_class") else { return };
    let before = Leftovers::before();
    let classes = kubectl(&["get", "volumesnapshotclasses", "-o", "json"]);
    let name = database.new_name();
    {
        let _mended = Mended(|| {
            let mut classes: Value = serde_json::from_str(&classes).unwrap();
            for class in classes["items"].as_array_mut().unwrap() {
                class["metadata"]
                    .as_object_mut()
                    .unwrap()
                    .retain(|key, _| matches!(key.as_str(), "name" | "labels" | "annotations"));
            }
            apply(&classes.to_string());
        });
        kubectl(&["delete", "volumesnapshotclasses", "--all"]);
        let refused = database.try_backup(&name, "csi");
        refused.expect(2, "backup_status: failed", &["VolumeSnapshotClass", "--method fs"]);
        assert!(tried(&["get", "-n", "velero", "backups.velero.io", &name]).is_err(), "Velero was asked");
        before.expect_none();
        database.backup("fs");
    }
    database.try_backup(&name, "csi").expect_pass();
}

#[test]
fn wrong_credentials_are_told() {
    let Some(database) = Database::shared("wrong_credentials") else { return };
    let before = Leftovers::before();
    let location = &format!("wrong-{}", database.namespace);
    let keys = |secret: &str| {
        let credentials =
            format!("[default]\\naws_access_key_id=lab-access\\naws_secret_access_key={secret}\\n");
        apply(&format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: {location}, namespace: velero}}, \
             stringData: {{cloud: \"{credentials}\"}}}}"
        ));
    };
    keys("not-the-secret");
    let mut object: Value = serde_json::from_str(&kubectl(&[
        "get",
        "-n",
        "velero",
        "backupstoragelocations",
        "default",
        "-o",
        "json",
    ]))
    .unwrap();
    object["metadata"] = serde_json::json!({"name": location, "namespace": "velero"});
    object["spec"]["default"] = false.into();
    object["spec"]["objectStorage"]["prefix"] = location.as_str().into();
    object["spec"]["credential"] = serde_json::json!({"name": location, "key": "cloud"});
    object.as_object_mut().unwrap().remove("status");
    apply(&object.to_string());
    let _mended = Mended(|| {
        let _ = tried(&["delete", "-n", "velero", "backupstoragelocation", location]);
        let _ = tried(&["delete", "-n", "velero", "secret", location]);
    });
    let name = database.new_name();
    let phase = || {
        kubectl(&["get", "-n", "velero", "backupstoragelocation", location, "-o", "jsonpath={.status.phase}"])
    };
    let backup = ["backup", "--name", &name, "--location", location];
    patiently(60, "Velero's opinion", || (phase() == "Unavailable").then_some(()));
    let refused = database.state_lab.run(&backup);
    refused.expect(2, "backup_status: failed", &[location, "SignatureDoesNotMatch"]);
    before.expect_none();
    keys("lab-secret-key");
    patiently(90, "Velero's other opinion", || (phase() == "Available").then_some(()));
    // With the right keys the bucket is read, and holds no such backup.
    let found = database.state_lab.run(&["restore", "--snapshot", &name, "--location", location]);
    found.expect(2, "restore_status: failed", &["failed to find what proves the backup"]);
    // Before Velero has noticed, the bucket itself refuses.
    keys("again-not-the-secret");
    let refused = database.state_lab.run(&backup);
    refused.expect(2, "backup_status: failed", &["SignatureDoesNotMatch"]);
    before.expect_none();
}

#[test]
fn an_image_that_cannot_be_pulled_is_given_up() {
    let Some(database) = Database::shared("an_image_that_cannot_be_pulled") else { return };
    let before = Leftovers::before();
    let image = "registry.invalid/no-such:1";
    let refused = database.state_lab.run(&["backup", "--name", &database.new_name(), "--image", image]);
    refused.expect(
        2,
        "backup_status: failed",
        &["cannot start its container tool", image, "hint: correct the image's name"],
    );
    // Less than the patience of the tests, 60 s, and the rest of the run.
    assert!(refused.took < Duration::from_secs(70), "{refused:#?}");
    before.expect_none();
}

#[test]
fn a_namespace_whose_quota_counts_limits_is_backed_up_with_limits() {
    let Some(database) = Database::shared("a_namespace_whose_quota_counts_limits") else { return };
    let before = Leftovers::before();
    let namespace = &database.namespace;
    apply(&format!(
        "{{apiVersion: v1, kind: ResourceQuota, metadata: {{name: limits, namespace: {namespace}}}, \
         spec: {{hard: {{limits.cpu: '4', limits.memory: 4Gi}}}}}}"
    ));
    let _mended = Mended(|| {
        let _ = tried(&["delete", "-n", namespace, "resourcequota/limits"]);
    });
    let used = || kubectl(&["get", "-n", namespace, "resourcequota/limits", "-o", "jsonpath={.status.used}"]);
    patiently(30, "the quota's count", || (!used().is_empty()).then_some(()));
    let refused = database.try_backup(&database.new_name(), "csi");
    refused.expect(2, "backup_status: failed", &["must specify limits.cpu", "hint: set `limits`"]);
    assert!(!refused.stderr.contains("grant"), "a quota is no lack of permissions: {refused:#?}");
    before.expect_none();
    let limits = "[velero.resources]\nlimits = { cpu = \"1\", memory = \"1Gi\" }\n";
    let limited = StateLab::new(&format!("{}{limits}", database.settings));
    let name = database.new_name();
    limited.run(&["backup", "--name", &name, "--method", "csi"]).expect_pass();
    limited.run(&["restore", "--snapshot", &name]).expect_pass();
    before.expect_none();
}
