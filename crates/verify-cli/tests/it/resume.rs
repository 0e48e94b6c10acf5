//! `--resume`: runs that are killed go on, with the same findings, and nothing is used again of which a row may have changed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use fixtures::{Stop, TestServer, majors};
use rustix::process::Signal;

use crate::json::document;
use crate::program::{RunResult, Running, run, state_lab};

/// In the order in which one connection reads them: `big` and `middle` each by itself, then the small ones.
const SCHEMA: &str = "
    CREATE TABLE big (id int PRIMARY KEY, note text); INSERT INTO big SELECT i, repeat('b', 700) FROM generate_series(1, 9000) i;
    CREATE TABLE middle (id int PRIMARY KEY, note text); INSERT INTO middle SELECT i, repeat('m', 700) FROM generate_series(1, 7000) i;
    CREATE TABLE small (id int PRIMARY KEY); INSERT INTO small SELECT i FROM generate_series(1, 10) i;
    CREATE UNLOGGED TABLE unlogged AS TABLE small";
/// One row in a table that is measured before the run is cut off, and one after it.
const DAMAGE: &str = "UPDATE big SET note = 'damaged' WHERE id = 77; DELETE FROM middle WHERE id = 88;
    INSERT INTO small VALUES (99)";

struct Copy {
    server: TestServer,
    directory: tempfile::TempDir,
}

impl Copy {
    fn new(major: u32) -> Self {
        // Autovacuum writes statistics, in a transaction.
        let installation = majors::installation(major).unwrap();
        let server = TestServer::start(&installation, &[("autovacuum", "off")]).unwrap();
        server.create_database("shop").unwrap();
        server.psql("shop", SCHEMA).unwrap();
        let copy = Self { server, directory: tempfile::tempdir().unwrap() };
        let captured = copy.run(&["capture", &copy.server.conninfo("shop"), "-o", "manifest"]);
        assert_eq!(captured.status, Some(0), "{captured:?}");
        for name in ["restored", "damaged"] {
            copy.server.copy_database("shop", name).unwrap();
        }
        copy.server.psql("damaged", DAMAGE).unwrap();
        copy
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn run(&self, arguments: &[&str]) -> RunResult {
        run(self.directory(), arguments)
    }

    fn verify(&self, database: &str, more: &[&str]) -> RunResult {
        self.run(&[&["verify", "manifest", &self.server.conninfo(database)], more].concat())
    }

    /// Kills a run when it has measured `big`.
    fn cut_off(&self, arguments: &[&str]) {
        let mut command = state_lab(self.directory());
        command.args(arguments).args(["--resume", "journal", "--jobs", "1", "--max-rate", "4MiB"]);
        let sides = if arguments[0] == "compare" { 2 } else { 1 };
        kill_after(&mut command, &self.directory().join("journal"), 2 * sides);
    }

    fn cut_off_verify(&self, database: &str) {
        self.cut_off(&["verify", "manifest", &self.server.conninfo(database)]);
    }
}

/// Kills a run when its journal has this number of lines.
fn kill_after(command: &mut Command, journal: &Path, lines: usize) {
    let running = Running::start(command);
    let written = || fs::read(journal).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count();
    let deadline = Instant::now() + Duration::from_secs(60);
    while written() < lines {
        assert!(Instant::now() < deadline, "{} of {lines} lines", written());
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(running.end(Signal::KILL).status, None);
    assert_eq!(written(), lines, "it was cut off too late");
}

/// The report without what differs from run to run.
fn findings(found: &RunResult) -> String {
    let varies = ["checks: ", "restored: ", "measured earlier: "];
    let lines = found.out.lines().filter(|line| !varies.iter().any(|start| line.starts_with(start)));
    lines.collect::<Vec<_>>().join("\n")
}

const REUSED: &str = "1 of 4 tables of the restored database were measured earlier, under a snapshot of ";

#[test]
fn a_run_that_is_killed_goes_on_with_the_same_findings() {
    for major in [13, 15, 18] {
        let copy = Copy::new(major);
        for (database, status) in [("restored", 0), ("damaged", 1)] {
            copy.cut_off_verify(database);
            let resumed = copy.verify(database, &["--resume", "journal"]);
            assert_eq!(resumed.status, Some(status), "{major}: {resumed:?}");
            assert!(resumed.err.contains(REUSED), "{major}: {resumed:?}");
            let note = "measured earlier: 1 table of the restored database, under a snapshot of 20";
            assert!(resumed.out.contains(note), "{major}: {resumed:?}");
            assert!(!copy.directory().join("journal").exists(), "{major}");
            let plain = copy.verify(database, &[]);
            assert_eq!(findings(&resumed), findings(&plain), "{major}");
            for row in ["id=77", "id=88", "id=99"] {
                assert_eq!(resumed.out.contains(row), status == 1, "{major}: {resumed:?}");
            }
        }
    }
}

#[test]
fn two_databases_are_compared_on_from_where_the_run_was_cut_off() {
    let copy = Copy::new(15);
    let (shop, damaged) = (copy.server.conninfo("shop"), copy.server.conninfo("damaged"));
    copy.cut_off(&["compare", &shop, &damaged]);
    let journal = fs::read(copy.directory().join("journal")).unwrap();
    let resumed = copy.run(&["compare", &shop, &damaged, "--resume", "journal", "--output", "json"]);
    assert_eq!(resumed.status, Some(1), "{resumed:?}");
    let report = document(&resumed);
    let earlier = report["comparison"]["coverage"]["earlier"].as_array().unwrap();
    let earlier: Vec<_> = earlier.iter().map(|of| (of["side"].as_str(), of["tables"].as_u64())).collect();
    assert_eq!(earlier, [(Some("source"), Some(1)), (Some("restored"), Some(1))]);
    for row in ["id=77", "id=88", "id=99"] {
        assert!(resumed.out.contains(row), "{resumed:?}");
    }
    fs::write(copy.directory().join("journal"), journal).unwrap();
    let other = copy.verify("damaged", &["--resume", "journal"]);
    assert_eq!(other.status, Some(2), "{other:?}");
    assert!(other.err.contains("it is of `compare`, not of `verify`"), "{other:?}");
    assert!(copy.directory().join("journal").exists());
}

#[test]
fn whatever_may_have_changed_rows_has_all_tables_read_again() {
    let mut copy = Copy::new(15);
    copy.server.psql("postgres", "CREATE DATABASE other").unwrap();
    // Each has a journal of its own, for a complete run removes it.
    let resumed = |copy: &mut Copy, change: Change<'_>| {
        copy.cut_off_verify("damaged");
        change(copy);
        let resumed = copy.verify("damaged", &["--resume", "journal", "--checks", "rows"]);
        assert_eq!(resumed.status, Some(1), "{resumed:?}");
        assert!(resumed.out.contains("id=77") && resumed.out.contains("id=88"), "{resumed:?}");
        resumed
    };
    // What is rolled back, and what only maintains, changes no row.
    let harmless = resumed(&mut copy, &|copy| {
        for harmless in [
            "BEGIN; UPDATE big SET note = 'changed'; ROLLBACK",
            "BEGIN; TRUNCATE middle; ROLLBACK",
            "VACUUM (FREEZE) big",
            "CHECKPOINT",
        ] {
            copy.server.psql("damaged", harmless).unwrap();
        }
    });
    assert!(harmless.err.contains(REUSED), "{harmless:?}");
    let causes: [(Change<'_>, &str); 4] = [
        (&|copy| drop(copy.server.psql("damaged", "INSERT INTO small VALUES (100)").unwrap()), WRITTEN),
        (&|copy| drop(copy.server.psql("other", "CREATE TABLE elsewhere (id int)").unwrap()), WRITTEN),
        (&|copy| crash(&copy.server), "the server recovered from a crash since"),
        (
            &|copy| copy.server.restart_after(Stop::Fast, |_| Ok(())).unwrap(),
            "the server was restarted since",
        ),
    ];
    for (change, reason) in causes {
        let again = resumed(&mut copy, change);
        let said = format!("all tables of the restored database are read again: {reason}");
        assert!(again.err.contains(&said), "{again:?}");
        assert!(!again.out.contains("measured earlier"), "{again:?}");
    }
}

type Change<'a> = &'a dyn Fn(&mut Copy);
const WRITTEN: &str = "1 transaction has written since";

/// Crashes a process of the server, so that the server recovers without a new start.
fn crash(server: &TestServer) {
    let writer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'background writer'";
    let pid = server.psql("postgres", writer).unwrap().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    // The old processes may answer for a moment.
    thread::sleep(Duration::from_secs(1));
    while server.psql("postgres", "SELECT 1").is_err() {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn lines_that_are_torn_or_changed_are_read_again() {
    let copy = Copy::new(18);
    copy.cut_off_verify("damaged");
    let path = copy.directory().join("journal");
    let journal = fs::read(&path).unwrap();
    let begin = journal.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let flipped = {
        let mut changed = journal.clone();
        changed[begin + 200] ^= 1;
        changed
    };
    let torn_more = [&journal[..], &journal[begin..begin + 300]].concat();
    for (text, void, reused) in [
        (&journal[..begin + 100], 1, false),
        (&flipped, 1, false),
        (&torn_more, 1, true),
        (&journal, 0, true),
    ] {
        fs::write(&path, text).unwrap();
        let resumed = copy.verify("damaged", &["--resume", "journal", "--checks", "rows"]);
        assert_eq!(resumed.status, Some(1), "{resumed:?}");
        assert!(resumed.out.contains("id=77") && resumed.out.contains("id=88"), "{resumed:?}");
        assert_eq!(resumed.err.contains(REUSED), reused, "{resumed:?}");
        let note = format!("lines of the journal that are torn or damaged: {void};");
        assert_eq!(resumed.err.contains(&note), void > 0, "{resumed:?}");
    }
}

#[test]
fn a_file_of_something_else_is_refused_and_stays_as_it_is() {
    let copy = Copy::new(15);
    copy.cut_off_verify("damaged");
    let journal = fs::read(copy.directory().join("journal")).unwrap();
    let again = copy.run(&["capture", &copy.server.conninfo("shop"), "-o", "again"]);
    assert_eq!(again.status, Some(0), "{again:?}");
    let (damaged, restored) = (copy.server.conninfo("damaged"), copy.server.conninfo("restored"));
    let cases: [(&[&str], &[u8], &str); 5] = [
        (&["verify", "again", &damaged], &journal, "it is of another manifest"),
        (&["verify", "manifest", &restored], &journal, "it is of another database"),
        (&["compare", &restored, &damaged], &journal, "it is of `verify`, not of `compare`"),
        (&["verify", "manifest", &damaged], b"notes of mine", "its first line is not that of a journal"),
        (&["verify", "manifest", &damaged], &[b"{}\n", &journal[..]].concat(), "its first line is not"),
    ];
    for (arguments, content, reason) in cases {
        fs::write(copy.directory().join("journal"), content).unwrap();
        let refused = copy.run(&[arguments, &["--resume", "journal"]].concat());
        assert_eq!((refused.status, refused.out.as_str()), (Some(2), ""), "{reason}: {refused:?}");
        assert!(refused.err.contains(reason), "{refused:?}");
        assert!(refused.err.contains("hint: name another file, or remove this one"), "{refused:?}");
        assert_eq!(fs::read(copy.directory().join("journal")).unwrap(), content, "{reason}");
    }
    for path in [".", "missing/journal"] {
        let refused = copy.verify("damaged", &["--resume", path]);
        assert!(refused.err.contains(&format!("failed to resume from {path}")), "{refused:?}");
        assert!(refused.err.contains("hint: name a file in a directory that exists"), "{refused:?}");
    }
    for command in [&["capture", "-o", "m", &damaged][..], &["backup", "--name", "b", &damaged]] {
        let refused = copy.run(&[command, &["--resume", "journal"]].concat());
        assert_eq!(refused.status, Some(2), "{refused:?}");
        assert!(refused.err.contains("all rows must be those of one snapshot"), "{refused:?}");
    }
}

#[test]
fn one_run_at_a_time_uses_a_file() {
    let copy = Copy::new(15);
    let mut first = state_lab(copy.directory());
    let damaged = copy.server.conninfo("damaged");
    first.args(["verify", "manifest", &damaged, "--resume", "journal", "--jobs", "1", "--max-rate", "1MiB"]);
    let first = Running::start(&mut first);
    let deadline = Instant::now() + Duration::from_secs(30);
    while fs::metadata(copy.directory().join("journal")).map_or(0, |found| found.len()) == 0 {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(10));
    }
    let second = copy.verify("damaged", &["--resume", "journal"]);
    assert_eq!(second.status, Some(2), "{second:?}");
    assert!(second.err.contains("another run uses it"), "{second:?}");
    // One interruption leaves the file; the kernel frees its lock.
    let interrupted = first.end(Signal::INT);
    assert_eq!(interrupted.status, Some(130), "{interrupted:?}");
    let third = copy.verify("damaged", &["--resume", "journal"]);
    assert_eq!(third.status, Some(1), "{third:?}");
}
