//! Measurements that were made before, on tables in memory and on servers: what is read again, and what is refused.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use fixtures::{TestServer, majors};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use verify_core::capture::capture;
use verify_core::capture_part::capture_part_like;
use verify_core::compare::Comparison;
use verify_core::database::Database;
use verify_core::event::{self, Event};
use verify_core::finding::Verdict;
use verify_core::journal::Journal;
use verify_core::manifest::Manifest;
use verify_core::merge::merge;
use verify_core::partial::PartNumber;
use verify_core::plan::Plan;
use verify_core::postgres::{Connection, Environment, SessionOptions, Settings};
use verify_core::reuse::{OpenJournal, Reuse};
use verify_core::verify::{compare_databases_reusing, verify, verify_reusing};
use verify_core::{Error, ErrorKind, Result};

use crate::measure::postgres;
use crate::memory::{Memory, MemoryTable};

fn database() -> Memory {
    let tables = vec![
        MemoryTable::new("a", 0..10),
        MemoryTable::new("b", 0..3_000),
        MemoryTable { unlogged: true, ..MemoryTable::new("u", 0..5) },
    ];
    Memory { tables, server_started_at: Some(Timestamp::UNIX_EPOCH), ..Memory::default() }
}

fn copy() -> Memory {
    Memory { server_started_at: Some(Timestamp::from_second(1).unwrap()), ..database() }
}

/// A run with a journal: its lines so far, and what was said.
#[derive(Default)]
struct Run {
    lines: Mutex<Vec<u8>>,
    notices: Mutex<Vec<String>>,
    /// Number of lines after which the run is cut off.
    lines_max: Option<usize>,
}

impl Run {
    fn with<T>(&self, run: impl FnOnce(OpenJournal<'_>, event::OnEvent<'_>) -> T) -> T {
        let content = Journal::read(&self.lines.lock().unwrap()[..]).unwrap();
        let append = |line: &[u8]| -> Result<()> {
            let mut lines = self.lines.lock().unwrap();
            if self.lines_max == Some(lines.iter().filter(|byte| **byte == b'\n').count()) {
                return Err(Error::new(ErrorKind::File, "append: no space"));
            }
            lines.extend(line);
            Ok(())
        };
        let note = |event: Event| {
            if let Event::Notice { message } = event {
                self.notices.lock().unwrap().push(message);
            }
            ControlFlow::Continue(())
        };
        run(OpenJournal { content: &content, append: &append }, &note)
    }

    fn verify(&self, manifest: &Manifest, restored: &dyn Database) -> Result<Comparison> {
        let plan = Plan::default();
        self.with(|journal, note| verify_reusing(manifest, restored, Reuse::Journal(journal), &plan, note))
    }

    fn compare(&self, source: &Memory, restored: &Memory) -> Result<Comparison> {
        self.with(|journal, note| {
            compare_databases_reusing(source, restored, Some(journal), &Plan::default(), note)
        })
    }

    /// The same journal, for another run.
    fn again(&self) -> Self {
        Self { lines: Mutex::new(self.lines.lock().unwrap().clone()), ..Self::default() }
    }

    fn notices(&self) -> String {
        self.notices.lock().unwrap().join("\n")
    }
}

/// Rows of each table that was read.
fn read(memory: &Memory) -> Vec<usize> {
    let mut read: Vec<usize> = memory
        .slices_read
        .lock()
        .unwrap()
        .iter()
        .filter(|(by_key, _)| !by_key)
        .map(|(_, rows)| *rows)
        .collect();
    read.sort_unstable();
    read
}

fn earlier(comparison: &Comparison) -> Vec<u64> {
    comparison.coverage().earlier.iter().map(|earlier| earlier.tables).collect()
}

#[test]
fn what_was_measured_is_not_read_again() {
    let manifest = capture(&database(), &Plan::default(), &event::ignore).unwrap();
    let run = Run { lines_max: Some(2), ..Run::default() };
    let cut = run.verify(&manifest, &copy()).unwrap_err();
    assert_eq!(*cut.kind(), ErrorKind::File);
    let (again, restored) = (run.again(), copy());
    let compared = again.verify(&manifest, &restored).unwrap();
    assert_eq!((compared.verdict(), earlier(&compared)), (Verdict::Pass, vec![1]));
    assert_eq!(read(&restored).len(), 2);
    assert!(again.notices().starts_with("1 of 3 tables of the restored database were measured earlier"));
    // All but the unlogged one are kept by now.
    let (last, restored) = (again.again(), copy());
    assert_eq!(earlier(&last.verify(&manifest, &restored).unwrap()), [2]);
    assert_eq!(read(&restored), [5]);
    let plain = verify(&manifest, &copy(), &Plan::default(), &event::ignore).unwrap();
    assert_eq!(earlier(&plain), [] as [u64; 0]);
    assert_eq!(plain.coverage().rows, compared.coverage().rows);
}

#[test]
fn a_change_since_has_all_tables_read_again_with_the_reason() {
    let manifest = capture(&database(), &Plan::default(), &event::ignore).unwrap();
    let run = Run::default();
    assert_eq!(earlier(&run.verify(&manifest, &copy()).unwrap()), [] as [u64; 0]);
    let written = Memory { snapshot: Some("10:11:"), ..copy() };
    let restarted = Memory { server_started_at: Some(Timestamp::from_second(2).unwrap()), ..copy() };
    for (restored, reason) in
        [(written, "1 transaction has written since"), (restarted, "was restarted since")]
    {
        let again = run.again();
        assert_eq!(earlier(&again.verify(&manifest, &restored).unwrap()), [] as [u64; 0], "{reason}");
        assert!(again.notices().contains(reason), "{}", again.notices());
        assert_eq!(read(&restored), [5, 10, 3_000], "{reason}");
        // It has begun anew.
        let once_more = again.again();
        assert_eq!(earlier(&once_more.verify(&manifest, &restored).unwrap()), [2], "{reason}");
    }
}

#[test]
fn a_table_that_is_found_otherwise_is_read() {
    let manifest = capture(&database(), &Plan::default(), &event::ignore).unwrap();
    let run = Run::default();
    let _ = run.verify(&manifest, &copy()).unwrap();
    let mut restored = copy();
    assert_eq!(earlier(&run.again().verify(&manifest, &copy()).unwrap()), [2]);
    let level = verify_core::table::PartitionLevel {
        strategy: verify_core::table::PartitionStrategy::List,
        columns: vec![Some("id".into())],
        bound: "FOR VALUES IN (1)".into(),
    };
    restored.tables[0].partition = Some(("p", level));
    assert_eq!(earlier(&run.again().verify(&manifest, &restored).unwrap()), [1]);
}

#[test]
fn a_journal_of_something_else_is_refused() {
    let manifest = capture(&database(), &Plan::default(), &event::ignore).unwrap();
    let run = Run::default();
    let _ = run.verify(&manifest, &copy()).unwrap();
    let mut other = manifest.clone();
    other.header.key.0[0] ^= 1;
    for (result, reason) in [
        (run.again().verify(&other, &copy()), "it is of another manifest"),
        (run.again().compare(&database(), &copy()), "it is of `verify`, not of `compare`"),
    ] {
        let error = result.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Manifest);
        assert!(error.to_string().contains(reason), "{error}");
    }
    let both = Run::default();
    let _ = both.compare(&database(), &copy()).unwrap();
    let error = both.verify(&manifest, &copy()).unwrap_err();
    assert!(error.to_string().contains("it is of `compare`, not of `verify`"), "{error}");
}

#[test]
fn of_two_databases_each_side_counts_as_long_as_the_source_has_not_changed() {
    let run = Run::default();
    let _ = run.compare(&database(), &copy()).unwrap();
    let (again, source) = (run.again(), database());
    assert_eq!(earlier(&again.compare(&source, &copy()).unwrap()), [2, 2]);
    assert_eq!(read(&source), [5]);
    let written = |memory: Memory| Memory { snapshot: Some("10:11:"), ..memory };
    let again = run.again();
    assert_eq!(earlier(&again.compare(&database(), &written(copy())).unwrap()), [2]);
    assert!(again.notices().contains("all tables of the restored database are read again: 1 transaction"));
    assert_eq!(earlier(&again.again().compare(&database(), &written(copy())).unwrap()), [2, 2]);
    // The key was drawn before the source was written to.
    let again = run.again();
    assert_eq!(earlier(&again.compare(&written(database()), &copy()).unwrap()), [] as [u64; 0]);
    assert!(again.notices().contains("so that the key of the hash is a new one"), "{}", again.notices());
    assert_eq!(earlier(&again.again().compare(&written(database()), &copy()).unwrap()), [2, 2]);
}

/// The rows of a copy, from two parts.
fn rows(like: &Manifest, restored: &Memory) -> Manifest {
    let parts = (1..=2).map(|number| {
        let part = PartNumber::new(number, 2).expect("one of them");
        let partial = capture_part_like(restored, part, like, &Plan::default(), &event::ignore)?;
        Ok::<_, Error>((part.to_string(), partial))
    });
    merge(parts).unwrap()
}

fn verify_with(manifest: &Manifest, rows: &Manifest, restored: &Memory) -> Result<Comparison> {
    verify_reusing(manifest, restored, Reuse::Rows(rows), &Plan::default(), &event::ignore)
}

#[test]
fn rows_that_several_processes_measured_are_not_read_and_give_the_same_findings() {
    let manifest = capture(&database(), &Plan::default(), &event::ignore).unwrap();
    let damaged = || {
        let mut damaged = copy();
        damaged.tables[0].rows[3].1 = Some(b"changed".to_vec());
        damaged.tables[1].rows.remove(7);
        damaged.tables[1].rows.push((9_999, None));
        damaged
    };
    for restored in [&copy as &dyn Fn() -> Memory, &damaged] {
        let (rows, restored_now) = (rows(&manifest, &restored()), restored());
        let compared = verify_with(&manifest, &rows, &restored_now).unwrap();
        let plain = verify(&manifest, &restored(), &Plan::default(), &event::ignore).unwrap();
        assert_eq!(compared.findings(), plain.findings());
        assert_eq!((earlier(&compared), earlier(&plain)), (vec![2], vec![]));
        let whole = restored_now.slices_read.lock().unwrap().iter().filter(|(by_key, _)| !by_key).count();
        assert_eq!(whole, 1, "only the unlogged table is read");
    }
}

#[test]
fn rows_that_may_have_changed_or_are_of_something_else_are_an_error() {
    let manifest = capture(&database(), &Plan::default(), &event::ignore).unwrap();
    let measured = rows(&manifest, &copy());
    let mut other = manifest.clone();
    other.header.key.0[0] ^= 1;
    let written = Memory { snapshot: Some("10:11:"), ..copy() };
    let restarted = Memory { server_started_at: Some(Timestamp::from_second(2).unwrap()), ..copy() };
    let mut unlike = measured.clone();
    unlike.tables.iter_mut().for_each(|entry| entry.columns_found = None);
    for (result, reason) in [
        (verify_with(&other, &measured, &copy()), "it is of another manifest"),
        (verify_with(&manifest, &measured, &written), "1 transaction has written since"),
        (verify_with(&manifest, &measured, &restarted), "the server was restarted since"),
        (
            verify_with(&manifest, &unlike, &copy()),
            "none of its tables was measured as those of the manifest",
        ),
    ] {
        let error = result.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Manifest);
        assert!(error.to_string().contains(reason), "{error}");
    }
}

/// A server with a database and its copy, in which nothing writes by itself; and the manifest.
fn server(major: u32) -> (TestServer, Manifest) {
    let installation = majors::installation(major).unwrap();
    let server = TestServer::start(&installation, &[("autovacuum", "off")]).unwrap();
    server.create_database("shop").unwrap();
    let rows = "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 1000)";
    server.psql("shop", rows).unwrap();
    server.copy_database("shop", "restored").unwrap();
    let manifest = capture(&postgres(&server, "shop").unwrap(), &Plan::default(), &event::ignore).unwrap();
    (server, manifest)
}

fn session(server: &TestServer, database: &str) -> Connection {
    let settings = Settings::parse(&server.conninfo(database), &Environment::default()).unwrap();
    Connection::open(&settings, &SessionOptions::default()).unwrap()
}

fn verdict(comparison: &Comparison) -> (Verdict, Vec<u64>) {
    (comparison.verdict(), earlier(comparison))
}

#[test]
fn a_transaction_in_progress_changes_rows_only_if_it_commits() {
    for major in [13, 15, 18] {
        let (server, manifest) = server(major);
        let restored = postgres(&server, "restored").unwrap();
        for (end, expected) in [("ROLLBACK", (Verdict::Pass, vec![1])), ("COMMIT", (Verdict::Fail, vec![]))] {
            let mut holder = session(&server, "restored");
            holder.execute("BEGIN; SAVEPOINT s; INSERT INTO t VALUES (1001)").unwrap();
            // It ends later than one that began later, so that the snapshot lists it.
            server.psql("postgres", "CREATE TABLE later (id int); DROP TABLE later").unwrap();
            let run = Run::default();
            assert_eq!(
                verdict(&run.verify(&manifest, &restored).unwrap()),
                (Verdict::Pass, vec![]),
                "{major}"
            );
            let meanwhile = run.again();
            assert_eq!(verdict(&meanwhile.verify(&manifest, &restored).unwrap()), (Verdict::Pass, vec![1]));
            holder.execute(end).unwrap();
            let again = run.again();
            assert_eq!(verdict(&again.verify(&manifest, &restored).unwrap()), expected, "{major} {end}");
            assert_eq!(again.notices().contains("written since"), end == "COMMIT", "{}", again.notices());
        }
    }
}

#[test]
fn a_server_that_recovered_from_a_crash_is_read_again() {
    for major in [13, 15, 18] {
        let (server, manifest) = server(major);
        let restored = postgres(&server, "restored").unwrap();
        let run = Run::default();
        assert_eq!(verdict(&run.verify(&manifest, &restored).unwrap()), (Verdict::Pass, vec![]), "{major}");
        assert_eq!(verdict(&run.again().verify(&manifest, &restored).unwrap()), (Verdict::Pass, vec![1]));
        let started = server.psql("postgres", "SELECT pg_postmaster_start_time()").unwrap();
        let mut victim = session(&server, "postgres");
        let rows = victim.query("SELECT pg_backend_pid()").unwrap();
        let pid = rows.first().and_then(|row| row.get(0)).unwrap().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        // The others may answer for a moment.
        thread::sleep(Duration::from_secs(1));
        while server.psql("postgres", "SELECT 1").is_err() {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(server.psql("postgres", "SELECT pg_postmaster_start_time()").unwrap(), started, "{major}");
        let again = run.again();
        assert_eq!(verdict(&again.verify(&manifest, &restored).unwrap()), (Verdict::Pass, vec![]), "{major}");
        assert!(again.notices().contains("the server recovered from a crash since"), "{}", again.notices());
    }
}

#[test]
fn nothing_is_kept_where_rows_may_change_without_a_transaction_or_snapshots_list_none() {
    const KEPT: &str = "no table of the restored database is kept for --resume: ";
    let (server, manifest) = server(15);
    let standby = server.standby(&[]).unwrap();
    let run = Run::default();
    let restored = postgres(&standby, "restored").unwrap().or_standby();
    assert_eq!(earlier(&run.verify(&manifest, &restored).unwrap()), [] as [u64; 0]);
    let said = format!("{KEPT}the server is or was in recovery");
    assert!(run.notices().contains(&said) && run.lines.lock().unwrap().is_empty(), "{}", run.notices());

    let restored = postgres(&server, "restored").unwrap();
    let before = "SELECT pg_current_snapshot()";
    server.psql("restored", "CREATE EXTENSION pg_surgery").unwrap();
    let then = server.psql("restored", before).unwrap();
    let run = Run::default();
    let _ = run.verify(&manifest, &restored).unwrap();
    let said = format!("{KEPT}the database has functions of pg_surgery");
    assert!(run.notices().contains(&said) && run.lines.lock().unwrap().is_empty(), "{}", run.notices());
    server.psql("restored", "SELECT heap_force_kill('t', ARRAY['(0,1)'::tid])").unwrap();
    assert_eq!(server.psql("restored", before).unwrap(), then, "it takes no transaction ID");
    assert_eq!(run.again().verify(&manifest, &restored).unwrap().verdict(), Verdict::Fail);
}
