//! Captures in parts: processes of their own, under load, merged into the manifest of one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fixtures::{TestServer, majors};
use rustix::process::Signal;
use verify_core::manifest::Manifest;
use verify_core::postgres::{Connection, Environment, SessionOptions, Settings};
use verify_local::server;

use crate::json::document;
use crate::program::{RunResult, Running, outcome, run, state_lab};

/// A row a page, so that few rows have many chunks of 64 MiB: `large` three and a bit, `grown` one at first, and `shrunk` two, of
/// which VACUUM truncates one.
const SCHEMA: &str = "
    CREATE TABLE large (id int PRIMARY KEY, note text) WITH (fillfactor = 10, autovacuum_enabled = off);
    ALTER TABLE large ALTER note SET STORAGE PLAIN;
    INSERT INTO large SELECT i, repeat(chr(97 + i % 26), 700) FROM generate_series(1, 25000) i;
    CREATE TABLE grown (id int PRIMARY KEY, note text) WITH (fillfactor = 10, autovacuum_enabled = off);
    ALTER TABLE grown ALTER note SET STORAGE PLAIN;
    INSERT INTO grown SELECT i, 'early' FROM generate_series(1, 100) i;
    CREATE TABLE shrunk (id int PRIMARY KEY, note text) WITH (fillfactor = 10, autovacuum_enabled = off);
    ALTER TABLE shrunk ALTER note SET STORAGE PLAIN;
    INSERT INTO shrunk SELECT i, repeat('s', 700) FROM generate_series(1, 8500) i;
    DELETE FROM shrunk WHERE id > 100;
    CREATE TABLE keyless AS SELECT i % 10 AS v FROM generate_series(1, 1000) i;
    CREATE MATERIALIZED VIEW totals AS SELECT v, count(*) FROM keyless GROUP BY v;
    CREATE SEQUENCE numbers; CREATE TABLE empty (id int PRIMARY KEY); SELECT lo_from_bytea(0, 'a large object');
    CREATE SCHEMA other; CREATE TABLE other.small AS SELECT i AS id FROM generate_series(1, 10) i";

/// Changes the sizes of all three.
const GROWTH: &str = "
    INSERT INTO grown SELECT i, repeat('g', 700) FROM generate_series(101, 9000) i; VACUUM shrunk;
    INSERT INTO large SELECT i, repeat('l', 700) FROM generate_series(25001, 34000) i";
const LOAD: &str = "
    UPDATE large SET note = 'changed' WHERE id % 50 = (random() * 49)::int; DELETE FROM keyless WHERE random() < 0.01;
    INSERT INTO grown SELECT max(id) + 1, repeat('g', 700) FROM grown; VACUUM keyless";

struct Source {
    server: TestServer,
    directory: tempfile::TempDir,
    /// It has exported the snapshot `id`.
    exporter: Connection,
    id: String,
}

impl Source {
    fn new(major: u32) -> Self {
        let server = fixtures::server(major).unwrap();
        server.create_database("shop").unwrap();
        server.psql("shop", SCHEMA).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (exporter, id) = export(&server);
        let source = Self { server, directory, exporter, id };
        source.write_key("key", "0123456789abcdef");
        source
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn write_key(&self, name: &str, digits: &str) {
        std::fs::write(self.directory().join(name), format!("{}\n", digits.repeat(4))).unwrap();
    }

    fn capture(&self, id: &str, key: &str, part: &str, file: &str) -> Command {
        let mut command = state_lab(self.directory());
        let conninfo = self.server.conninfo("shop");
        command.args([
            "capture",
            &conninfo,
            "--snapshot-id",
            id,
            "--key-file",
            key,
            "--part",
            part,
            "-o",
            file,
        ]);
        command
    }

    fn part(&self, part: &str, file: &str) {
        let captured = outcome(&self.capture(&self.id, "key", part, file).output().unwrap());
        assert_eq!(captured.status, Some(0), "{part}: {captured:?}");
        assert!(captured.out.starts_with(&format!("part {part}: {file}\n")), "{captured:?}");
        assert!(!format!("{captured:?}").contains("0123456789abcdef"), "{captured:?}");
    }

    fn merge(&self, parts: &[&str], file: &str) -> RunResult {
        run(self.directory(), &[&["merge"], parts, &["-o", file]].concat())
    }

    /// The manifest, without what each process reads from its own clock.
    fn manifest(&self, file: &str) -> Vec<u8> {
        let mut manifest = Manifest::read(&std::fs::read(self.directory().join(file)).unwrap()[..]).unwrap();
        manifest.header.lsn = String::new();
        let mut bytes = Vec::new();
        manifest.write(&mut bytes).unwrap();
        bytes
    }

    /// Ends the session on it, and what autovacuum writes: statistics, in transactions.
    fn can_be_copied(&mut self) {
        self.exporter = export_of(&self.server, "postgres").0;
        self.server.psql("postgres", "ALTER SYSTEM SET autovacuum = off").unwrap();
        self.server.psql("postgres", "SELECT pg_reload_conf()").unwrap();
    }

    /// Runs `work` while rows are written.
    fn under_load(&self, work: impl FnOnce()) {
        let (ended, server) = (AtomicBool::new(false), &self.server);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                while !ended.load(Ordering::SeqCst) {
                    server.psql("shop", LOAD).unwrap();
                }
            });
            work();
            ended.store(true, Ordering::SeqCst);
            writer.join().unwrap();
        });
    }
}

/// A session that has exported a snapshot.
fn export(server: &TestServer) -> (Connection, String) {
    export_of(server, "shop")
}

fn export_of(server: &TestServer, database: &str) -> (Connection, String) {
    let settings = Settings::parse(&server.conninfo(database), &Environment::default()).unwrap();
    let mut exporter = Connection::open(&settings, &SessionOptions::default()).unwrap();
    exporter.execute("BEGIN ISOLATION LEVEL REPEATABLE READ").unwrap();
    let rows = exporter.query("SELECT pg_export_snapshot()").unwrap();
    let id = rows[0].get(0).unwrap().to_owned();
    (exporter, id)
}

fn program(name: &str, major: u32) -> PathBuf {
    match major {
        ..=15 => server::client_program(name, 15).unwrap(),
        _ => majors::client_programs(18).unwrap().join(name),
    }
}

fn succeed(command: &mut Command) {
    let ran = outcome(&command.output().unwrap());
    assert_eq!(ran.status, Some(0), "{command:?}: {ran:?}");
}

#[test]
fn parts_of_several_processes_under_load_are_the_manifest_of_one() {
    for major in [13, 15, 18] {
        let source = Source::new(major);
        let dump = source.directory().join("dump");
        succeed(
            Command::new(program("pg_dump", major))
                .args(["-Fc", "--snapshot", &source.id, "-d", &source.server.conninfo("shop"), "-f"])
                .arg(&dump),
        );
        source.part("1/1", "whole.part");
        assert_eq!(source.merge(&["whole.part"], "whole").status, Some(0));
        source.part("3/3", "3.part");
        source.server.psql("shop", GROWTH).unwrap();
        source.under_load(|| {
            let two = Running::start(&mut source.capture(&source.id, "key", "2/3", "2.part"));
            source.part("1/3", "1.part");
            let two = two.outcome();
            assert_eq!(two.status, Some(0), "{two:?}");
        });
        let merged = source.merge(&["2.part", "3.part", "1.part"], "merged");
        assert_eq!(merged.status, Some(0), "{major}: {merged:?}");
        assert!(merged.out.starts_with("manifest: merged\n"), "{merged:?}");
        assert_eq!(source.manifest("merged"), source.manifest("whole"), "{major}");

        source.server.create_database("restored").unwrap();
        let restored = source.server.conninfo("restored");
        succeed(Command::new(program("pg_restore", major)).args(["-d", &restored]).arg(&dump));
        let verified = run(source.directory(), &["verify", "merged", &restored]);
        assert_eq!(verified.status, Some(0), "{major}: {verified:?}");
        source.server.psql("restored", "UPDATE large SET note = 'damaged' WHERE id = 20000").unwrap();
        let verified = run(source.directory(), &["verify", "merged", &restored]);
        assert_eq!(verified.status, Some(1), "{major}: {verified:?}");
        assert!(verified.out.contains("id=20000"), "{major}: {verified:?}");
    }
}

#[test]
fn a_part_that_is_killed_is_captured_again_with_the_same_content() {
    let source = Source::new(15);
    for part in ["1", "2"] {
        source.part(&format!("{part}/2"), &format!("{part}.part"));
    }
    assert_eq!(source.merge(&["1.part", "2.part"], "first").status, Some(0));
    // It waits for the lock when it is killed.
    let settings = Settings::parse(&source.server.conninfo("shop"), &Environment::default()).unwrap();
    let mut holder = Connection::open(&settings, &SessionOptions::default()).unwrap();
    holder.execute("BEGIN; LOCK TABLE empty").unwrap();
    let again = Running::start(&mut source.capture(&source.id, "key", "2/2", "again.part"));
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    let deadline = Instant::now() + Duration::from_secs(30);
    while source.server.psql("shop", waits).unwrap() == "0" {
        assert!(Instant::now() < deadline, "it does not wait");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(again.end(Signal::KILL).status, None);
    assert!(!source.directory().join("again.part").exists());
    drop(holder);
    source.server.psql("shop", GROWTH).unwrap();
    source.part("2/2", "again.part");
    assert_eq!(source.merge(&["again.part", "1.part"], "second").status, Some(0));
    assert_eq!(source.manifest("second"), source.manifest("first"));
}

#[test]
fn parts_of_other_captures_and_parts_in_place_of_manifests_are_refused() {
    let source = Source::new(18);
    source.part("1/2", "1.part");
    let mut json = source.capture(&source.id, "key", "2/2", "2.part");
    let printed = document(&outcome(&json.args(["-q", "--output", "json"]).output().unwrap()));
    assert_eq!(
        (printed["format"].as_str(), printed["part"].as_str()),
        (Some("state-lab-part-summary"), Some("2/2"))
    );
    source.write_key("other-key", "fedcba9876543210");
    succeed(&mut source.capture(&source.id, "other-key", "2/2", "other-key.part"));
    source.server.psql("shop", "INSERT INTO keyless VALUES (1)").unwrap();
    let (_other, id) = export(&source.server);
    succeed(&mut source.capture(&id, "key", "2/2", "other-snapshot.part"));
    for (parts, reason) in [
        (&["1.part"][..], "missing: part 2/2"),
        (&["2.part"], "missing: part 1/2"),
        (&["1.part", "2.part", "2.part"], "2.part and 2.part are both part 2/2"),
        (
            &["1.part", "other-key.part"],
            "other-key.part is not of the same capture: it has another key of the hash",
        ),
        (
            &["1.part", "other-snapshot.part"],
            "other-snapshot.part is not of the same capture: it is of the snapshot",
        ),
        (&["1.part", "key"], "it is neither a manifest nor a report"),
    ] {
        let refused = source.merge(parts, "refused");
        assert_eq!(refused.status, Some(2), "{parts:?}: {refused:?}");
        assert!(refused.err.contains(reason), "{parts:?}: {refused:?}");
        assert!(!refused.err.contains("0123456789abcdef"), "{refused:?}");
        assert!(!source.directory().join("refused").exists(), "{parts:?}");
    }
    let restored = source.server.conninfo("shop");
    for arguments in [&["verify", "1.part", &restored][..], &["show", "1.part"]] {
        let refused = run(source.directory(), arguments);
        assert_eq!(refused.status, Some(2), "{refused:?}");
        assert!(refused.err.contains("it is part 1/2 of one"), "{refused:?}");
        assert!(refused.err.contains("hint: merge all parts first: state-lab merge"), "{refused:?}");
    }
    assert_eq!(source.merge(&["2.part", "1.part"], "merged").status, Some(0));
    let refused = source.merge(&["merged"], "again");
    assert!(refused.err.contains("it is a whole one, not a part"), "{refused:?}");
    let refused = source.merge(&["2.part", "1.part"], "merged");
    assert_eq!(refused.status, Some(2), "{refused:?}");
    drop(source.exporter);
}

/// Rows changed, lost and added.
const DAMAGE: &str = "UPDATE large SET note = 'damaged' WHERE id IN (3, 20000); DELETE FROM grown WHERE id = 50;
    INSERT INTO large VALUES (99999, 'added'); DELETE FROM keyless WHERE ctid IN (SELECT min(ctid) FROM keyless)";

/// The rows of a copy, measured by three processes in place of one.
struct RestoredInParts<'a> {
    source: &'a Source,
    database: &'static str,
}

impl RestoredInParts<'_> {
    fn part(&self, id: &str, part: &str, file: &str, like: &str) -> RunResult {
        let restored = self.source.server.conninfo(self.database);
        let arguments =
            ["capture", &restored, "--snapshot-id", id, "--part", part, "--like", like, "-o", file];
        run(self.source.directory(), &arguments)
    }

    /// The parts under one snapshot, merged.
    fn capture(&self, like: &str, merged: &str) {
        let (_exporter, id) = export_of(&self.source.server, self.database);
        let files = ["r1", "r2", "r3"];
        for (file, part) in files.into_iter().zip(["1/3", "2/3", "3/3"]) {
            let _ = std::fs::remove_file(self.source.directory().join(file));
            let captured = self.part(&id, part, file, like);
            assert_eq!(captured.status, Some(0), "{captured:?}");
        }
        let merged = self.source.merge(&files, merged);
        assert_eq!(merged.status, Some(0), "{merged:?}");
    }

    fn verify(&self, more: &[&str]) -> RunResult {
        let restored = self.source.server.conninfo(self.database);
        run(self.source.directory(), &[&["verify", "whole", &restored], more].concat())
    }
}

fn findings(found: &RunResult) -> Vec<&str> {
    let varies = ["checks: ", "restored: ", "measured earlier: "];
    found.out.lines().filter(|line| !varies.iter().any(|start| line.starts_with(start))).collect()
}

#[test]
fn a_copy_whose_rows_several_processes_measured_is_verified_as_by_one() {
    for major in [13, 15, 18] {
        let mut source = Source::new(major);
        source.part("1/1", "whole.part");
        assert_eq!(source.merge(&["whole.part"], "whole").status, Some(0));
        source.can_be_copied();
        for database in ["restored", "damaged"] {
            source.server.copy_database("shop", database).unwrap();
        }
        source.server.psql("damaged", DAMAGE).unwrap();
        for (database, status) in [("restored", 0), ("damaged", 1)] {
            let copy = RestoredInParts { source: &source, database };
            copy.capture("whole", "rows");
            let verified = copy.verify(&["--rows", "rows"]);
            std::fs::remove_file(source.directory().join("rows")).unwrap();
            assert_eq!(verified.status, Some(status), "{major}: {verified:?}");
            let plain = copy.verify(&[]);
            assert_eq!(findings(&verified), findings(&plain), "{major}");
            assert!(
                verified.out.contains("measured earlier: 8 tables of the restored database"),
                "{major}: {verified:?}"
            );
            for row in ["id=3", "id=20000", "id=50", "id=99999"] {
                assert_eq!(verified.out.contains(row), status == 1, "{major} {row}: {verified:?}");
            }
        }
    }
}

#[test]
fn rows_that_may_have_changed_or_are_of_something_else_are_refused() {
    let mut source = Source::new(15);
    source.part("1/1", "whole.part");
    assert_eq!(source.merge(&["whole.part"], "whole").status, Some(0));
    source.write_key("other-key", "fedcba9876543210");
    succeed(&mut source.capture(&source.id, "other-key", "1/1", "other.part"));
    assert_eq!(source.merge(&["other.part"], "other").status, Some(0));
    source.can_be_copied();
    source.server.copy_database("shop", "restored").unwrap();
    let refused = |source: &Source, rows: &str, reason: &str| {
        let copy = RestoredInParts { source, database: "restored" };
        let refused = copy.verify(&["--rows", rows]);
        assert_eq!((refused.status, refused.out.as_str()), (Some(2), ""), "{reason}: {refused:?}");
        assert!(refused.err.contains(reason), "{reason}: {refused:?}");
    };
    let copy = RestoredInParts { source: &source, database: "restored" };
    copy.capture("whole", "rows");
    copy.capture("other", "other-rows");
    assert_eq!(copy.verify(&["--rows", "rows", "--checks", "rows"]).status, Some(0));
    refused(&source, "whole", "it is of another database");
    refused(&source, "other-rows", "it is of another manifest");
    refused(&source, "r1", "it is part 1/3 of one");
    // With the key alone, the columns need not be those of the source.
    let (_exporter, id) = export_of(&source.server, "restored");
    let mut with_key = source.capture(&id, "key", "1/1", "key.part");
    with_key.args(["--like", "whole"]);
    assert_eq!(outcome(&with_key.output().unwrap()).status, Some(2));
    source.server.psql("shop", "CREATE TABLE elsewhere (id int)").unwrap();
    refused(&source, "rows", "1 transaction has written since");
    RestoredInParts { source: &source, database: "restored" }.capture("whole", "rows-again");
    source.server.restart_after(fixtures::Stop::Fast, |_| Ok(())).unwrap();
    refused(&source, "rows-again", "the server was restarted since");
}
