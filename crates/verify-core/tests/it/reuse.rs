//! Journals of interrupted runs on tables in memory: what is read again, and what is refused.

use std::ops::ControlFlow;
use std::sync::Mutex;

use jiff::Timestamp;
use verify_core::capture::capture;
use verify_core::compare::Comparison;
use verify_core::event::{self, Event};
use verify_core::finding::Verdict;
use verify_core::journal::Journal;
use verify_core::manifest::Manifest;
use verify_core::plan::Plan;
use verify_core::reuse::{OpenJournal, Reuse};
use verify_core::verify::{compare_databases_reusing, verify, verify_reusing};
use verify_core::{Error, ErrorKind, Result};

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

    fn verify(&self, manifest: &Manifest, restored: &Memory) -> Result<Comparison> {
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
