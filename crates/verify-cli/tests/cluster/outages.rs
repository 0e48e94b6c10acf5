//! Storage, node agents and nodes that go away in the middle: never a success, never for ever, and clean afterwards.

use std::time::Duration;

use crate::support::{
    Database, Ended, Leftovers, Rig, apply, get, kubectl, patiently, tried, validation_namespace,
};

/// No run hangs longer with a patience of a minute.
const BOUND: Duration = Duration::from_secs(240);

/// What the rig does when this value goes.
struct Mended<'a>(&'a Rig, &'a [&'a str]);

impl Drop for Mended<'_> {
    fn drop(&mut self) {
        self.0.run(self.1);
        if self.1[0] == "s3" {
            await_location("default");
            // Velero looks at a repository that it could not reach only minutes later; it makes a missing one anew at once.
            kubectl(&["delete", "backuprepositories", "--all", "-n", "velero"]);
        } else {
            kubectl(&["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s"]);
        }
    }
}

fn await_location(name: &str) {
    let phase = ["get", "-n", "velero", "backupstoragelocation", name, "-o", "jsonpath={.status.phase}"];
    patiently(120, "the backup storage location", || {
        (tried(&phase).as_deref() == Ok("Available")).then_some(())
    });
}

/// Fails if it was a success, took too long, or did not say why it was none.
#[track_caller]
fn expect_failed(ended: &Ended, status: &str) {
    assert!(matches!(ended.code, Some(1 | 2)), "{}", ended.told());
    assert!(ended.stdout.starts_with(&format!("{status}: failed")), "{}", ended.told());
    assert!(ended.stderr.contains("error: ") || ended.stdout.contains("problem: "), "{}", ended.told());
    assert!(!ended.stderr.contains("panicked"), "{}", ended.told());
    assert!(ended.took < BOUND, "{}", ended.told());
}

/// Cleans up until nothing is left: what could not be removed during the outage waits for its run's lease to end.
fn clean(database: &Database, before: &Leftovers) {
    patiently(200, "a clean cluster", || {
        let cleaned = database.state_lab.run(&["cleanup"]);
        (cleaned.code == Some(0) && before.is_clean()).then_some(())
    });
}

#[test]
fn storage_that_goes_away_during_a_backup_is_no_success() {
    let Some(rig) = Rig::find("storage_that_goes_away_during_a_backup") else { return };
    let Some(database) = Database::shared("storage_that_goes_away_during_a_backup") else { return };
    let before = Leftovers::before();
    let mut backup =
        database.state_lab.start(&["backup", "--name", &database.new_name(), "--method", "csi-move"]);
    backup.await_told("asking Velero for the backup");
    {
        let _mended = Mended(&rig, &["s3", "start", "a"]);
        rig.run(&["s3", "stop", "a"]);
        expect_failed(&backup.end(), "backup_status");
    }
    clean(&database, &before);
    database.backup("csi");
}

#[test]
fn storage_that_goes_away_during_a_restore_fails_it() {
    let Some(rig) = Rig::find("storage_that_goes_away_during_a_restore") else { return };
    let Some(database) = Database::shared("storage_that_goes_away_during_a_restore") else { return };
    let name = database.shared_backup("fs");
    let before = Leftovers::before();
    let mut restore = database.state_lab.start(&["restore", "--snapshot", &name]);
    restore.await_told("asking Velero to fill the volume");
    {
        let _mended = Mended(&rig, &["s3", "start", "a"]);
        rig.run(&["s3", "stop", "a"]);
        let ended = restore.end();
        expect_failed(&ended, "restore_status");
        assert_eq!(ended.code, Some(2), "{}", ended.told());
    }
    clean(&database, &before);
    database.restore(&name).expect_pass();
}

#[test]
fn a_node_agent_that_dies_during_a_backup_is_no_silent_loss() {
    let Some(database) = Database::shared("a_node_agent_that_dies") else { return };
    let before = Leftovers::before();
    let name = database.new_name();
    let mut backup = database.state_lab.start(&["backup", "--name", &name, "--method", "fs"]);
    backup.await_told("asking Velero for the backup");
    let selector = format!("velero.io/backup-name={name}");
    let node = patiently(60, "a PodVolumeBackup", || {
        let node = [
            "get",
            "-n",
            "velero",
            "podvolumebackups",
            "-l",
            &selector,
            "-o",
            "jsonpath={.items[0].spec.node}",
        ];
        tried(&node).ok().filter(|node| !node.is_empty())
    });
    let field = format!("--field-selector=spec.nodeName={node}");
    kubectl(&[
        "delete",
        "pods",
        "-n",
        "velero",
        "-l",
        "name=node-agent",
        &field,
        "--force",
        "--grace-period=0",
    ]);
    let ended = backup.end();
    assert!(ended.took < BOUND, "{}", ended.told());
    if ended.code == Some(0) {
        ended.expect_pass();
        database.restore(&name).expect_pass();
    } else {
        expect_failed(&ended, "backup_status");
    }
    kubectl(&["rollout", "status", "-n", "velero", "daemonset/node-agent", "--timeout=60s"]);
    clean(&database, &before);
    let name = database.backup("fs");
    database.restore(&name).expect_pass();
}

#[test]
fn a_node_that_dies_during_a_backup_is_no_success() {
    let Some(rig) = Rig::find("a_node_that_dies") else { return };
    let Some(database) = Database::shared("a_node_that_dies") else { return };
    let before = Leftovers::before();
    let node = kubectl(&["get", "-n", &database.namespace, "pod/pg-0", "-o", "jsonpath={.spec.nodeName}"]);
    let mut backup = database.state_lab.start(&["backup", "--name", &database.new_name(), "--method", "csi"]);
    backup.await_told("starting a pod beside");
    {
        let _mended = Mended(&rig, &["boot", &node]);
        rig.run(&["kill", &node]);
        expect_failed(&backup.end(), "backup_status");
    }
    patiently(180, "the database", || {
        tried(&["wait", "-n", &database.namespace, "--for=condition=Ready", "pod/pg-0", "--timeout=5s"]).ok()
    });
    kubectl(&["rollout", "status", "-n", "velero", "deployment/velero", "--timeout=120s"]);
    kubectl(&["rollout", "status", "-n", "velero", "daemonset/node-agent", "--timeout=120s"]);
    clean(&database, &before);
    database.await_writes();
    let name = database.backup("csi");
    database.restore(&name).expect_pass();
}

#[test]
fn the_other_region_restores_what_this_one_backed_up() {
    let Some(rig) = Rig::find("the_other_region_restores") else { return };
    let Some(database) = Database::shared("the_other_region_restores") else { return };
    let before = Leftovers::before();
    let name = database.backup("csi-move");
    patiently(90, "the copy in the other region", || {
        let copies = database.state_lab.run(&["replicas", &name]);
        (copies.code == Some(0)).then_some(())
    });
    {
        let _mended = Mended(&rig, &["s3", "start", "a"]);
        rig.run(&["s3", "stop", "a"]);
        let gone = database.restore(&name);
        assert_eq!(gone.code, Some(2), "{}", gone.told());
        kubectl(&["delete", "-n", "velero", "backups.velero.io", &name]);
        let location =
            ["get", "-n", "velero", "backups.velero.io", &name, "-o", "jsonpath={.spec.storageLocation}"];
        patiently(90, "the record from the other region", || {
            (tried(&location).as_deref() == Ok("region-b")).then_some(())
        });
        database.state_lab.run(&["restore", "--snapshot", &name, "--location", "region-b"]).expect_pass();
        // The record was written while the backup was not proven yet, and comes back with the labels of then.
        kubectl(&["delete", "-n", "velero", "backups.velero.io", &name]);
        before.expect_none();
    }
}

#[test]
fn a_resource_modifier_that_velero_has_not_seen_is_waited_for() {
    let Some(database) = Database::shared("a_resource_modifier_that_velero_has_not_seen") else { return };
    let name = database.shared_backup("fs");
    let before = Leftovers::before();
    let scale = |replicas: &str| kubectl(&["scale", "-n", "velero", "deployment/velero", replicas]);
    let _mended = crate::support::Mended(|| {
        scale("--replicas=1");
        kubectl(&["rollout", "status", "-n", "velero", "deployment/velero", "--timeout=120s"]);
    });
    scale("--replicas=0");
    kubectl(&["wait", "-n", "velero", "--for=delete", "pod", "--selector=deploy=velero", "--timeout=60s"]);
    let mut restore = database.state_lab.start(&["restore", "--snapshot", &name]);
    let run = validation_namespace(&name);
    // Velero finds the Restore, and no ConfigMap, as where its cache is older.
    let mut modifier = get(&["configmap", "-n", "velero", &run]);
    kubectl(&["delete", "-n", "velero", "configmap", &run]);
    scale("--replicas=1");
    restore.await_told("is asked for again");
    let metadata = modifier["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "labels"));
    apply(&modifier.to_string());
    restore.end().expect_pass();
    before.expect_none();
}
