//! Copies that were damaged after the backup: the restore fails, or the damage is found and named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Database, Leftovers, Mended, Rig, get, kubectl, patiently};

/// A file that gets its content back when this value goes.
struct Changed<'a> {
    path: PathBuf,
    before: Vec<u8>,
    /// The snapshot that it lies in is read-only.
    subvolume: &'a Path,
}

impl<'a> Changed<'a> {
    fn new(path: PathBuf, subvolume: &'a Path, change: impl FnOnce(&mut [u8])) -> Self {
        let before = fs::read(&path).unwrap();
        let changed = Self { path, before, subvolume };
        let mut bytes = changed.before.clone();
        change(&mut bytes);
        assert!(bytes != changed.before, "nothing changed in {}", changed.path.display());
        changed.write(&bytes);
        changed
    }

    fn write(&self, bytes: &[u8]) {
        let read_only = |value: &str| {
            let mut btrfs = Command::new("btrfs");
            let status =
                btrfs.args(["property", "set", "-ts"]).arg(self.subvolume).args(["ro", value]).status();
            assert!(status.unwrap().success());
        };
        read_only("false");
        fs::write(&self.path, bytes).unwrap();
        read_only("true");
    }
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        self.write(&self.before);
    }
}

/// Replaces a text wherever it stands by one of the same length.
fn replace(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let places = bytes.windows(from.len()).enumerate().filter(|(_, window)| *window == from.as_bytes());
    let places: Vec<usize> = places.map(|(at, _)| at).collect();
    places.iter().for_each(|at| bytes[*at..*at + to.len()].copy_from_slice(to.as_bytes()));
}

#[test]
fn a_row_or_an_index_that_changed_in_the_snapshot_is_named() {
    let Some(rig) = Rig::find("a_row_or_an_index_that_changed") else { return };
    let Some(database) = Database::shared("a_row_or_an_index_that_changed") else { return };
    drop(rig);
    let before = Leftovers::before();
    let text = format!("good {}", database.namespace);
    let (name, snapshot) = backup_with_snapshot(&database, &text);
    let file = database.sql("select pg_relation_filepath('customers')");
    {
        let damaged = format!("evil {}", database.namespace);
        let path = snapshot.join("pgdata").join(&file);
        let _changed = Changed::new(path, &snapshot, |bytes| replace(bytes, &text, &damaged));
        let found = database.restore(&name);
        found.expect(1, "restore_status: success", &["integrity_checks: fail", "customers", "4711"]);
        before.expect_none();
    }
    {
        let file = database.sql("select pg_relation_filepath('customers_pkey')");
        let page = 8_192..16_384;
        let path = snapshot.join("pgdata").join(&file);
        let _changed = Changed::new(path, &snapshot, |bytes| bytes[page].fill(0));
        let found = database.restore(&name);
        found.expect(1, "restore_status: success", &["integrity_checks: fail", "customers_pkey"]);
        before.expect_none();
    }
    database.restore(&name).expect_pass();
    before.expect_none();
}

/// The snapshots in the storage.
fn snapshots() -> Vec<PathBuf> {
    fs::read_dir(Rig::pool().join("snapshots")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Backs the database up; the backup's name, and its snapshot in the storage.
fn backup_with_snapshot(database: &Database, content: &str) -> (String, PathBuf) {
    let earlier = snapshots();
    database.sql(&format!("update customers set name = '{content}' where id = 4711"));
    database.sql("checkpoint");
    let file = database.sql("select pg_relation_filepath('customers')");
    let name = database.backup("csi");
    let holds = |snapshot: &PathBuf| {
        let found = fs::read(snapshot.join("pgdata").join(&file)).unwrap_or_default();
        found.windows(content.len()).any(|window| window == content.as_bytes())
    };
    let snapshot = snapshots().into_iter().find(|snapshot| !earlier.contains(snapshot) && holds(snapshot));
    (name, snapshot.expect("a snapshot of the database"))
}

fn btrfs(arguments: &[&str], paths: &[&Path]) {
    let status = Command::new("btrfs").args(arguments).args(paths).status().unwrap();
    assert!(status.success(), "btrfs {arguments:?} {paths:?}");
}

#[test]
fn an_older_snapshot_under_the_backups_handle_fails() {
    let Some(_rig) = Rig::find("an_older_snapshot_under_the_backups_handle") else { return };
    let Some(database) = Database::shared("an_older_snapshot_under_the_backups_handle") else { return };
    let before = Leftovers::before();
    let (_, older) = backup_with_snapshot(&database, &format!("older {}", database.namespace));
    database.sql("create table later as select 1 as id");
    let (name, snapshot) = backup_with_snapshot(&database, &format!("newer {}", database.namespace));
    database.sql("drop table later");
    {
        let aside = snapshot.with_extension("aside");
        fs::rename(&snapshot, &aside).unwrap();
        let _mended = Mended(|| {
            btrfs(&["subvolume", "delete"], &[&snapshot]);
            fs::rename(&aside, &snapshot).unwrap();
        });
        btrfs(&["subvolume", "snapshot", "-r"], &[&older, &snapshot]);
        let found = database.restore(&name);
        found.expect(
            1,
            "restore_status: success",
            &["integrity_checks: fail", "[copy.older]", "public.later", "by the last commit"],
        );
        assert!(!found.stdout.contains("proven"), "{}", found.stdout);
        let events =
            get(&["events", "-n", "velero", "--field-selector", &format!("involvedObject.name={name}")]);
        let reasons: Vec<&str> =
            events["items"].as_array().unwrap().iter().filter_map(|event| event["reason"].as_str()).collect();
        assert!(reasons.contains(&"RestoreDiffers"), "{reasons:?}");
        before.expect_none();
    }
    database.restore(&name).expect_pass();
    before.expect_none();
}

/// Objects of region a that get their content back when this value goes.
struct Objects<'a> {
    rig: &'a Rig,
    saved: Vec<(String, PathBuf)>,
    _folder: tempfile::TempDir,
}

impl<'a> Objects<'a> {
    /// Those of a folder of the bucket whose names begin so.
    fn of(rig: &'a Rig, folder: &str, prefix: &str) -> Self {
        let local = tempfile::tempdir().unwrap();
        let folder = format!("a/velero/lab/{folder}");
        let listed = rig.run(&["s3", "mc", "ls", &folder]);
        let names = listed
            .lines()
            .filter_map(|line| line.split_whitespace().last())
            .filter(|name| name.starts_with(prefix));
        let saved = names.map(|name| (format!("{folder}{name}"), local.path().join(name)));
        let saved: Vec<(String, PathBuf)> = saved.collect();
        assert!(!saved.is_empty(), "nothing in {folder}");
        saved
            .iter()
            .for_each(|(object, file)| drop(rig.run(&["s3", "mc", "cp", object, file.to_str().unwrap()])));
        Self { rig, saved, _folder: local }
    }

    fn remove(&self) {
        self.saved.iter().for_each(|(object, _)| drop(self.rig.run(&["s3", "mc", "rm", object])));
    }

    /// Turns a byte in the middle of each.
    fn corrupt(&self) {
        for (object, file) in &self.saved {
            let mut bytes = fs::read(file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x20;
            let changed = file.with_extension("changed");
            fs::write(&changed, bytes).unwrap();
            self.rig.run(&["s3", "mc", "cp", changed.to_str().unwrap(), object]);
        }
    }

    fn put_back(&self) {
        for (object, file) in &self.saved {
            self.rig.run(&["s3", "mc", "cp", file.to_str().unwrap(), object]);
        }
    }
}

impl Drop for Objects<'_> {
    fn drop(&mut self) {
        self.put_back();
    }
}

#[test]
fn lost_and_corrupt_files_of_velero_fail_the_restore() {
    let Some(rig) = Rig::find("lost_and_corrupt_files_of_velero") else { return };
    let Some(database) = Database::shared("lost_and_corrupt_files_of_velero") else { return };
    let name = database.shared_backup("fs");
    let before = Leftovers::before();
    let packs = Objects::of(&rig, &format!("kopia/{}/", database.namespace), "p");
    packs.corrupt();
    let refused = database.restore(&name);
    refused.expect(2, "restore_status: failed", &[&name, "volume"]);
    before.expect_none();
    packs.remove();
    let refused = database.restore(&name);
    refused.expect(2, "restore_status: failed", &[&name, "volume"]);
    before.expect_none();
    packs.put_back();
    database.restore(&name).expect_pass();
    before.expect_none();
}

#[test]
fn a_manifest_that_is_not_the_one_of_the_backup_is_refused() {
    let Some(rig) = Rig::find("a_manifest_that_is_not_the_one") else { return };
    let Some(database) = Database::shared("a_manifest_that_is_not_the_one") else { return };
    let name = database.shared_backup("csi");
    let before = Leftovers::before();
    let manifests = Objects::of(&rig, &format!("backups/{name}/state-lab/manifests/"), "");
    manifests.corrupt();
    database.restore(&name).expect(2, "restore_status: failed", &["manifest"]);
    before.expect_none();
    manifests.remove();
    database.restore(&name).expect(2, "restore_status: failed", &["failed to find the manifest"]);
    before.expect_none();
    manifests.put_back();
    database.restore(&name).expect_pass();
}

#[test]
fn the_evidence_of_another_backup_is_refused() {
    let Some(rig) = Rig::find("the_evidence_of_another_backup") else { return };
    let Some(database) = Database::shared("the_evidence_of_another_backup") else { return };
    let (name, other) = (database.shared_backup("csi"), database.shared_backup("fs"));
    let before = Leftovers::before();
    let record = |name: &str| format!("a/velero/lab/backups/{name}/state-lab/backup.json");
    let own = Objects::of(&rig, &format!("backups/{name}/state-lab/"), "backup.json");
    rig.run(&["s3", "mc", "cp", &record(&other), &record(&name)]);
    database.restore(&name).expect(2, "restore_status: failed", &[&name, &other]);
    before.expect_none();
    own.put_back();
    database.restore(&name).expect_pass();
}

#[test]
fn another_backup_of_the_same_name_is_refused() {
    let Some(database) = Database::shared("another_backup_of_the_same_name") else { return };
    let name = database.shared_backup("csi");
    let before = Leftovers::before();
    let label = |run: &str| {
        kubectl(&[
            "label",
            "-n",
            "velero",
            "--overwrite",
            "backups.velero.io",
            &name,
            &format!("state-lab.dev/run={run}"),
        ]);
    };
    let run = kubectl(&[
        "get",
        "-n",
        "velero",
        "backups.velero.io",
        &name,
        "-o",
        "jsonpath={.metadata.labels.state-lab\\.dev/run}",
    ]);
    label("0123456789");
    let refused = database.restore(&name);
    label(&run);
    refused.expect(2, "restore_status: failed", &["another one of the same name"]);
    before.expect_none();
    // Velero may write a Backup's record at any time.
    patiently(10, "a restore", || (database.restore(&name).code == Some(0)).then_some(()));
}
