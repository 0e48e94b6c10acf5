//! Backups by each method under write load, restored and proven; and several at once.

use serde_json::json;

use crate::support::{Database, Leftovers, Mended, apply, get, kubectl};

/// A backup and its restore, and nothing left of either.
fn drill(test: &str, method: &str) {
    let Some(database) = Database::shared(test) else { return };
    let before = Leftovers::before();
    database.await_writes();
    let name = database.backup(method);
    before.expect_none();
    database.restore(&name).expect_pass();
    before.expect_none();
}

#[test]
fn a_snapshot_is_restored_and_proven() {
    drill("a_snapshot_is_restored_and_proven", "csi");
}

#[test]
fn a_moved_snapshot_is_restored_and_proven() {
    let Some(database) = Database::shared("a_moved_snapshot_is_restored_and_proven") else { return };
    let before = Leftovers::before();
    database.await_writes();
    let name = database.backup("csi-move");
    database.restore(&name).expect_pass();
    // Many clusters let a volume's first pod choose its node. Velero then moves no data before there is one.
    let claim = get(&["-n", &database.namespace, "persistentvolumeclaim/data-pg-0"]);
    let class_name = claim["spec"]["storageClassName"].as_str().unwrap();
    let mut class = get(&["storageclass", class_name]);
    class["metadata"] = json!({ "name": class_name, "annotations": class["metadata"]["annotations"] });
    let replace = |mode: &str| {
        let mut class = class.clone();
        class["volumeBindingMode"] = mode.into();
        kubectl(&["delete", "storageclass", class_name]);
        apply(&class.to_string());
    };
    {
        let _mended = Mended(|| replace(class["volumeBindingMode"].as_str().unwrap()));
        replace("WaitForFirstConsumer");
        database.restore(&name).expect_pass();
    }
    before.expect_none();
}

#[test]
fn the_files_of_a_base_backup_are_restored_and_proven() {
    drill("the_files_of_a_base_backup_are_restored_and_proven", "fs");
}

#[test]
fn the_files_of_a_dump_are_restored_and_proven() {
    drill("the_files_of_a_dump_are_restored_and_proven", "fs-dump");
}

#[test]
fn backups_on_one_claim_take_turns() {
    let Some(database) = Database::shared("backups_on_one_claim") else { return };
    let before = Leftovers::before();
    let names = [database.new_name(), database.new_name()];
    let backup = |name| database.state_lab.start(&["backup", "--name", name, "--method", "fs"]);
    let mut first = backup(&names[0]);
    first.await_told("copying the data directory");
    let mut second = backup(&names[1]);
    second.await_told("is used by another backup");
    [first, second].into_iter().for_each(|run| run.end().expect_pass());
    before.expect_none();
    database.restore(&names[0]).expect_pass();
}

#[test]
fn drills_at_the_same_time_leave_each_other_alone() {
    let Some(database) = Database::shared("drills_at_the_same_time") else { return };
    let backup = database.shared_backup("csi");
    let before = Leftovers::before();
    let other = database.new_name();
    let runs = [
        database.state_lab.start(&["restore", "--snapshot", &backup]),
        database.state_lab.start(&["restore", "--snapshot", &backup]),
        database.state_lab.start(&["backup", "--name", &other, "--method", "csi"]),
    ];
    runs.into_iter().for_each(|run| run.end().expect_pass());
    before.expect_none();
    database.restore(&other).expect_pass();
}
