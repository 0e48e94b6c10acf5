//! Restores of a base backup to a point in time, by the program, on the oldest and the newest server.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use crate::drill::Drill;
use crate::program::{RunResult, outcome, state_lab};

/// A source that archives its WAL, and a base backup `b` of it.
struct Archived {
    drill: Drill,
    wal: PathBuf,
}

impl Archived {
    fn new(major: u32) -> Self {
        let settings = [("archive_mode", "on"), ("archive_command", "cp %p ../wal/%f")];
        let drill = Drill::with_settings(major, &settings);
        let wal = drill.source.directory().join("wal");
        verify_local::server::create_server_dir(&wal).unwrap();
        drill.beat("shop");
        drill.back_up("b", "physical");
        // The path of a drill has the programs of its version alone.
        symlink("/bin/cp", drill.directory().join("cp")).unwrap();
        Self { drill, wal }
    }

    fn psql(&self, sql: &str) -> String {
        self.drill.source.psql("shop", sql).unwrap()
    }

    fn archive(&self) {
        self.psql("CHECKPOINT");
        self.drill.source.archive_wal().unwrap();
    }

    fn run(&self, command: &mut Command) -> RunResult {
        let path = command.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap().to_owned();
        let path = format!("{}:{}", path.to_string_lossy(), self.drill.directory().display());
        outcome(&command.env("PATH", path).output().unwrap())
    }

    fn restore(&self, target: &[&str]) -> RunResult {
        let archive = self.wal.to_string_lossy();
        let arguments = [&["restore", "--snapshot", "b", "--archive", &archive], target].concat();
        let outcome = self.run(&mut self.drill.command(&arguments));
        assert_eq!(self.drill.left(), Vec::<PathBuf>::new(), "{outcome:?}");
        outcome
    }
}

fn bad_migration(major: u32) {
    let archived = Archived::new(major);
    archived.psql("INSERT INTO ledger (account, amount) SELECT i, 7 FROM generate_series(1, 500) i");
    let before = archived.psql("SELECT clock_timestamp()");
    let xid = archived.psql(
        "BEGIN; ALTER TABLE accounts DROP COLUMN note; DELETE FROM ledger; SELECT pg_current_xact_id(); COMMIT",
    );
    archived.archive();
    for target in [["--before-transaction", &xid], ["--to-time", &before]] {
        let restored = archived.restore(&target);
        assert_eq!(restored.status, Some(3), "{restored:?}");
        assert!(restored.out.contains("integrity_checks: inconclusive\n"), "{}", restored.out);
        assert!(restored.out.contains("rpo: <="), "{}", restored.out);
        assert!(restored.out.contains("there is no manifest of "), "{}", restored.out);
        let said = restored.err.find("there is no manifest of ").unwrap();
        assert!(said < restored.err.find("copying the base backup").unwrap(), "{}", restored.err);
    }
}

#[test]
fn before_a_bad_migration_of_13() {
    bad_migration(13);
}

#[test]
fn a_capture_of_18_is_restored_exactly() {
    let archived = Archived::new(18);
    archived.psql("INSERT INTO ledger (account, amount) SELECT i, 7 FROM generate_series(1, 500) i");
    let manifest = archived.drill.directory().join("noon.manifest");
    let mut capture = state_lab(archived.drill.directory());
    capture.args(["capture", &archived.drill.source.conninfo("shop"), "-o"]).arg(&manifest);
    let captured = outcome(&capture.output().unwrap());
    assert_eq!(captured.status, Some(0), "{captured:?}");
    archived.psql("DELETE FROM accounts WHERE id % 2 = 0; UPDATE ledger SET amount = 8");
    archived.archive();
    let restored = archived.restore(&["--to-capture", &manifest.to_string_lossy()]);
    assert_eq!(restored.status, Some(0), "{restored:?}");
    assert!(restored.out.contains("consistency commit-order\n"), "{}", restored.out);
    assert!(restored.out.contains("recovered to: the capture of "), "{}", restored.out);
}

#[test]
fn targets_are_checked_before_anything_is_copied() {
    let drill = Drill::new(15);
    for (target, reason) in [
        (["--to-lsn", "16"], "is not a WAL position such as 16/B374D848"),
        (["--to-time", "yesterday"], "expected a time with its offset from UTC"),
        (["--to-name", ""], "expected 1 to 63 bytes"),
        (["--before-transaction", "2"], "2 is not in 3.."),
        (["--to-lsn", "0/3000000"], "there is no WAL archive"),
    ] {
        let refused = drill.run(&[&["restore", "--snapshot", "b"], &target[..]].concat());
        assert_eq!(refused.status, Some(2), "{refused:?}");
        assert!(refused.err.contains(reason), "{}", refused.err);
    }
    let refused = drill.run(&["restore", "--snapshot", "b", "--archive", "."]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    let two = drill.run(&["restore", "--snapshot", "b", "--to-lsn", "0/1", "--to-name", "x"]);
    assert_eq!(two.status, Some(2), "{two:?}");
}
