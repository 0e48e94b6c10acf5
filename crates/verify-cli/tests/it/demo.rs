//! The demonstration as a stranger runs it: what it says, and that it leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use verify_local::server::Installation;

use crate::program::{RunResult, outcome, state_lab};

/// A temporary directory of a test's own, which a server's user may enter.
fn tmpdir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn demo(tmpdir: &Path, arguments: &[&str]) -> Command {
    let mut command = state_lab(tmpdir);
    // The place of another server does not matter to this one.
    command.arg("demo").args(arguments).env("TMPDIR", tmpdir).env("PGHOST", "127.0.0.1").env("PGPORT", "1");
    command
}

/// Returns what is left in the directory of all runs, and the processes that work in it.
fn left_behind(tmpdir: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let runs = tmpdir.join(format!("state-lab-{}", rustix::process::geteuid().as_raw()));
    let directories = fs::read_dir(runs).unwrap().map(|entry| entry.unwrap().path()).collect();
    let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let directory = entry.path().join("cwd").read_link().ok()?;
        directory.starts_with(tmpdir).then_some(directory)
    });
    (directories, processes.collect())
}

const NOTHING: (Vec<PathBuf>, Vec<PathBuf>) = (Vec::new(), Vec::new());

#[test]
fn a_shop_is_lost_restored_proven_and_damaged_and_nothing_is_left() {
    let tmpdir = tmpdir();
    let RunResult { status, out: stdout, err: stderr } = outcome(&demo(tmpdir.path(), &[]).output().unwrap());
    assert_eq!(status, Some(0), "{stdout}{stderr}");

    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[..2], ["restore_status: success", "integrity_checks: pass"]);
    assert!(lines[2].starts_with("rto: ") && lines[3].starts_with("rpo: <="), "{stdout}");
    for line in [
        "integrity_checks: fail",
        "      found: row.missing shop.order_items (order_id=4242, line=1)",
        "      found: row.changed shop.addresses (id=777)",
        "      found: row.changed shop.payments (id=1234)",
        "      found: row.missing shop.audit_log: 2 rows of the source missing",
        "      found: row.added shop.audit_log: 2 rows that the source never had",
        "6 of 6 found, and nothing else",
    ] {
        assert!(lines.contains(&line), "{line}\n{stdout}");
    }
    assert!(stdout.contains("      found: sequence.behind shop.order_number: "), "{stdout}");
    assert!(stdout.contains(", which covers the loss"), "{stdout}");
    assert!(lines.last().unwrap().starts_with("demo: pass in "), "{stdout}");
    assert!(lines.len() + stderr.lines().count() <= 70, "it fits on a page, with all that was not compared");
    assert!(stderr.contains("kill -9"), "{stderr}");
    assert_eq!(left_behind(tmpdir.path()), NOTHING);
}

#[test]
fn an_interrupted_demonstration_leaves_nothing_either() {
    let tmpdir = tmpdir();
    let mut child = demo(tmpdir.path(), &[]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("clients buy")), "the server is up and written to");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert_eq!(rest.last().map(String::as_str), Some("interrupted"));
    assert_eq!(left_behind(tmpdir.path()), NOTHING);
}

#[test]
fn a_missing_version_is_reported_with_a_hint() {
    let tmpdir = tmpdir();
    let absent = (13..=18).find(|major| Installation::of_major(*major).is_err());
    let absent = absent.expect("no machine has all six").to_string();
    let refused = outcome(&demo(tmpdir.path(), &["--major", &absent]).output().unwrap());
    assert_eq!((refused.status, refused.out.as_str()), (Some(2), ""));
    assert!(refused.err.contains(&format!("apt-get install postgresql-{absent}")), "{}", refused.err);
    assert_eq!(fs::read_dir(tmpdir.path()).unwrap().count(), 0);
}
