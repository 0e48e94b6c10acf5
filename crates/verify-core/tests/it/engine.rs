//! The engine on tables in memory: every verdict, and that what could not be checked never passes.

use std::ops::ControlFlow;
use std::sync::Mutex;

use verify_core::capture::capture;
use verify_core::compare::{Comparison, compare};
use verify_core::database::{Database, Deviation, NOT_POPULATED, Obstacle, Placement};
use verify_core::event::{self, Event};
use verify_core::finding::{Code, Severity, Verdict};
use verify_core::invariant::{Expect, Invariant};
use verify_core::manifest::Content;
use verify_core::plan::Plan;
use verify_core::scan::floor;
use verify_core::sequence::{Sequence, SequenceValue};
use verify_core::table::{PartitionLevel, PartitionStrategy, TableKind, TableName};
use verify_core::verify::{compare_databases, verify};
use verify_core::{ErrorKind, Result};

use crate::memory::{Memory, MemoryTable, partitions_by_hash};

fn memory(tables: Vec<MemoryTable>) -> Memory {
    Memory { tables, ..Memory::default() }
}

fn small() -> Memory {
    memory(vec![MemoryTable::new("t", 0..10)])
}

/// Verdict, and findings as `code object: rows`.
fn summary(comparison: &Comparison) -> (Verdict, Vec<String>) {
    let line = |finding: &verify_core::finding::Finding| {
        let rows = finding.rows.as_ref().map_or(String::new(), |rows| format!(": {}", rows.named.join(", ")));
        format!("{} {}{rows}", finding.code(), finding.object)
    };
    (comparison.verdict(), comparison.findings().iter().map(line).collect())
}

fn verified(source: &Memory, restored: &Memory) -> (Verdict, Vec<String>) {
    let manifest = capture(source, &Plan::default(), &event::ignore).expect("a capture");
    summary(&verify(&manifest, restored, &Plan::default(), &event::ignore).expect("a comparison"))
}

#[test]
fn equal_tables_pass_in_whatever_order_and_size() {
    for rows in [0, 1, 2_047, 2_048, 2_049, 20_000] {
        let source = memory(vec![MemoryTable::new("t", 0..rows), MemoryTable::new("u", 5..9)]);
        let restored =
            memory(vec![MemoryTable::new("u", (5..9).rev()), MemoryTable::new("t", (0..rows).rev())]);
        assert_eq!(verified(&source, &restored), (Verdict::Pass, vec![]), "{rows}");
        let compared =
            compare_databases(&source, &restored, &Plan::default(), &event::ignore).expect("compared");
        assert_eq!(summary(&compared), (Verdict::Pass, vec![]), "{rows}");
    }
}

#[test]
fn what_was_read_is_reported_once_whatever_its_size() {
    let mut large = MemoryTable::new("large", 0..100);
    large.rows.iter_mut().for_each(|(_, value)| *value = Some(vec![b'x'; 150_000]));
    let source = memory(vec![large, MemoryTable::new("t", 0..10)]);
    let read = Mutex::new((0, 0, 0));
    let add = |event: Event| {
        if let Event::Read { rows, bytes, estimate_done } = event {
            let mut read = read.lock().unwrap();
            *read = (read.0 + rows, read.1 + bytes, read.2 + estimate_done);
        }
        ControlFlow::Continue(())
    };
    let manifest = capture(&source, &Plan::default(), &add).unwrap();
    let bytes = |content: &Content| match content {
        Content::Rows { bytes, .. } => *bytes,
        _ => 0,
    };
    let measured: u64 = manifest.tables.iter().map(|entry| bytes(&entry.content)).sum();
    assert!(measured > 15_000_000, "{measured}");
    // The table's estimate is 40 bytes a row.
    assert_eq!(read.into_inner().unwrap(), (110, measured, 4_400));
    let snapshot = source.snapshot(&Plan::default(), &event::ignore).unwrap();
    let (rows, bytes) = floor(&*snapshot, &Plan::default(), &event::ignore).unwrap();
    assert_eq!(rows, 110);
    assert!(bytes > 15_000_000, "{bytes}");
}

#[test]
fn rows_are_named_by_key_in_lists_and_in_sketches() {
    for rows in [100, 10_000] {
        let source = memory(vec![MemoryTable::new("t", 0..rows)]);
        let mut damaged = MemoryTable::new("t", (0..rows).filter(|id| *id != 5));
        damaged.rows[50].1 = None;
        damaged.rows[60].1 = Some(Vec::new());
        damaged.rows.push((rows + 1, None));
        let expected = vec![
            "row.missing public.t: id=5".to_owned(),
            format!("row.added public.t: id={}", rows + 1),
            "row.changed public.t: id=51, id=61".to_owned(),
        ];
        assert_eq!(verified(&source, &memory(vec![damaged])), (Verdict::Fail, expected));
    }
}

#[test]
fn differing_rows_are_read_by_key_and_the_whole_table_only_where_an_index_has_lost_one() {
    let source = memory(vec![MemoryTable::new("t", 0..10_000)]);
    let damaged = |not_found_by_key| {
        let mut table = MemoryTable::new("t", (0..10_000).filter(|id| *id != 5));
        table.rows[60].1 = Some(Vec::new());
        table.rows.push((10_001, None));
        Memory { not_found_by_key, ..memory(vec![table]) }
    };
    let expected: Vec<String> =
        ["row.missing public.t: id=5", "row.added public.t: id=10001", "row.changed public.t: id=61"]
            .map(str::to_owned)
            .into();
    for (lost, read) in [
        (None, vec![(false, 10_000), (true, 2)]),
        // Without the row that it alone has, this side does not confirm what the sketches say.
        (Some(61), vec![(false, 10_000), (true, 1), (false, 10_000)]),
    ] {
        let restored = damaged(lost);
        assert_eq!(verified(&source, &restored), (Verdict::Fail, expected.clone()));
        assert_eq!(*restored.slices_read.lock().unwrap(), read);
    }
}

#[test]
fn differences_that_no_sketch_of_the_first_reading_holds_are_counted_by_a_second_one() {
    const LARGE: u64 = 64 << 20;
    // On both sides, a large table has a sketch that holds them.
    for (bytes, readings) in
        [([LARGE, LARGE], 1), ([LARGE, 0], 2), ([0, LARGE], 2), ([LARGE - 1, LARGE - 1], 2)]
    {
        let table = |bytes_estimate, ids: &mut dyn Iterator<Item = i64>| {
            memory(vec![MemoryTable { bytes_estimate, ..MemoryTable::new("t", ids) }])
        };
        let source = table(bytes[0], &mut (0..40_000));
        let restored = table(bytes[1], &mut (0..40_000).filter(|id| id % 2 == 0));
        let compared = compare_databases(&source, &restored, &Plan::default(), &event::ignore).unwrap();
        let rows = compared.findings()[0].rows.as_ref().unwrap();
        assert_eq!((rows.at_least, rows.more, rows.named[0].as_str()), (20_000, false, "id=1"));
        assert_eq!(*source.slices_read.lock().unwrap(), vec![(false, 40_000); readings], "{bytes:?}");
    }
}

#[test]
fn partitions_with_sketches_of_different_sizes_are_added_up() {
    let source = Memory {
        tables: partitions_by_hash([(0..9_000).collect(), (9_000..20_000).collect()]),
        ..memory(Vec::new())
    };
    let mut restored = Memory {
        tables: partitions_by_hash([(0..9_001).collect(), (9_001..19_999).collect()]),
        ..memory(Vec::new())
    };
    restored.tables[1].bytes_estimate = 64 << 20;
    let compared = compare_databases(&source, &restored, &Plan::default(), &event::ignore).unwrap();
    let rows: Vec<_> = compared.findings().iter().filter_map(|finding| finding.rows.clone()).collect();
    assert_eq!((rows.len(), rows[0].at_least, rows[0].named[0].as_str()), (1, 1, "id=19999"));
}

#[test]
fn without_a_key_rows_are_named_by_content_and_counted() {
    let keyless = |ids: &[i64]| {
        memory(vec![MemoryTable { keyed: false, ..MemoryTable::new("t", ids.iter().copied()) }])
    };
    let (verdict, findings) = verified(&keyless(&[1, 1, 1, 2, 3]), &keyless(&[1, 2, 2, 3, 4]));
    assert_eq!(verdict, Verdict::Fail);
    assert_eq!(
        findings,
        [
            "row.missing public.t: id=1, v=value 1 (2 times)",
            "row.added public.t: id=2, v=value 2, id=4, v=value 4"
        ]
    );
}

#[test]
fn rows_in_pieces_equal_rows_in_one() {
    let large = |last: u8| {
        let mut table = MemoryTable::new("t", 0..3);
        table.rows[1].1 = Some([vec![b'x'; 5_000], vec![last]].concat());
        memory(vec![table])
    };
    assert_eq!(verified(&large(b'a'), &large(b'a')), (Verdict::Pass, vec![]));
    assert_eq!(
        verified(&large(b'a'), &large(b'b')),
        (Verdict::Fail, vec!["row.changed public.t: id=1".to_owned()])
    );
}

#[test]
fn tables_that_are_gone_or_were_never_there_fail() {
    let both = memory(vec![MemoryTable::new("t", 0..3), MemoryTable::new("u", 0..3)]);
    assert_eq!(verified(&both, &small()).0, Verdict::Fail);
    let one = memory(vec![MemoryTable::new("t", 0..3)]);
    assert_eq!(verified(&both, &one), (Verdict::Fail, vec!["table.missing public.u".to_owned()]));
    assert_eq!(verified(&one, &both), (Verdict::Fail, vec!["table.added public.u".to_owned()]));
}

#[test]
fn what_could_not_be_checked_never_passes() {
    let blocked = |obstacle| {
        memory(vec![
            MemoryTable::new("a", 0..3),
            MemoryTable { obstacle: Some(obstacle), ..MemoryTable::new("t", 0..3) },
        ])
    };
    let good = memory(vec![MemoryTable::new("a", 0..3), MemoryTable::new("t", 0..3)]);
    let unreadable = || blocked(Obstacle::Unreadable("locked".into()));
    let damaged = || blocked(Obstacle::Damaged("invalid page".into()));
    for (source, restored, expected) in [
        (&unreadable(), &good, (Verdict::Inconclusive, "table.unreadable public.t")),
        (&good, &unreadable(), (Verdict::Inconclusive, "table.unreadable public.t")),
        (&unreadable(), &unreadable(), (Verdict::Inconclusive, "table.unreadable public.t")),
        (&damaged(), &good, (Verdict::Inconclusive, "table.damaged public.t")),
        (&good, &damaged(), (Verdict::Fail, "table.damaged public.t")),
    ] {
        let (verdict, findings) = verified(source, restored);
        assert_eq!((verdict, findings[0].as_str()), expected);
    }
    assert_eq!(
        verified(&memory(vec![]), &memory(vec![])),
        (Verdict::Inconclusive, vec!["coverage.none tables".into()])
    );
    let less = |deviation| Memory { deviation: Some(deviation), ..memory(vec![MemoryTable::new("t", 0..9)]) };
    let (verdict, findings) = verified(&small(), &less(Deviation::Unproven("pruned".into())));
    assert_eq!(verdict, Verdict::Inconclusive, "{findings:?}");
    // What a copy lacks that is known to end before the snapshot is lost.
    let (verdict, findings) = verified(&small(), &less(Deviation::Older("it ends at 0/1".into())));
    assert_eq!((verdict, findings[0].as_str()), (Verdict::Fail, "copy.older copy"));
    assert_eq!(findings[1], "row.missing public.t: id=9");
    let same = Memory { deviation: Some(Deviation::Older("it ends at 0/1".into())), ..small() };
    assert_eq!(verified(&small(), &same), (Verdict::Fail, vec!["copy.older copy".to_owned()]));
    let disturbed =
        Memory { disturbed: vec![(TableName::new("public", "t"), "truncated".into())], ..small() };
    assert_eq!(verified(&disturbed, &small()).0, Verdict::Inconclusive);
    assert_eq!(verified(&small(), &disturbed).0, Verdict::Inconclusive);
}

#[test]
fn the_source_itself_is_no_copy() {
    let started = |second| Memory {
        server_started_at: Some(jiff::Timestamp::from_second(second).expect("a time")),
        ..small()
    };
    let same = (Verdict::Inconclusive, vec!["source.same-server source".to_owned()]);
    assert_eq!(verified(&started(1), &started(1)), same);
    let compared = |source, restored| {
        summary(&compare_databases(&source, &restored, &Plan::default(), &event::ignore).expect("compared"))
    };
    assert_eq!(compared(started(1), started(1)), same);
    let pass = (Verdict::Pass, vec![]);
    assert_eq!(verified(&started(1), &started(2)), pass);
    assert_eq!(compared(started(1), started(2)), pass);
    // What differs in it differs all the same.
    let less = Memory { tables: vec![MemoryTable::new("t", 0..9)], ..started(1) };
    assert_eq!(verified(&started(1), &less).0, Verdict::Fail);
}

#[test]
fn views_and_unlogged_tables_may_differ_as_restores_make_them() {
    let with = |table: MemoryTable| memory(vec![MemoryTable::new("a", 0..3), table]);
    let view = |ids| MemoryTable { kind: TableKind::MaterializedView, ..MemoryTable::new("m", ids) };
    let unlogged = |ids| MemoryTable { unlogged: true, ..MemoryTable::new("u", ids) };
    let unfilled =
        || MemoryTable { obstacle: Some(Obstacle::Unreadable(NOT_POPULATED.into())), ..view(0..0) };
    let (verdict, findings) = verified(&with(view(0..5)), &with(view(0..4)));
    assert_eq!((verdict, findings), (Verdict::Pass, vec!["matview.differs public.m: id=4".into()]));
    assert_eq!(verified(&with(unfilled()), &with(unfilled())), (Verdict::Pass, vec![]));
    let (verdict, findings) = verified(&with(unlogged(0..5)), &with(unlogged(0..0)));
    assert_eq!((verdict, findings), (Verdict::Inconclusive, vec!["unlogged.lost public.u".into()]));
    assert_eq!(verified(&with(unlogged(0..5)), &with(unlogged(0..4))).0, Verdict::Fail);

    let refreshed = |name: &str| Memory {
        disturbed: vec![(TableName::new("public", name), "it was rewritten meanwhile".into())],
        ..with(view(0..5))
    };
    let locked = || MemoryTable { obstacle: Some(Obstacle::Locked("lock timeout".into())), ..view(0..0) };
    let notice = (Verdict::Pass, vec!["matview.differs public.m".to_owned()]);
    assert_eq!(verified(&refreshed("m"), &with(view(0..5))), notice);
    assert_eq!(verified(&with(view(0..5)), &refreshed("m")), notice);
    assert_eq!(verified(&with(locked()), &with(view(0..5))), notice);
    let rewritten = (Verdict::Inconclusive, vec!["table.rewritten public.a".to_owned()]);
    assert_eq!(verified(&refreshed("a"), &with(view(0..5))), rewritten);
    assert_eq!(verified(&with(view(0..5)), &refreshed("a")), rewritten);
}

#[test]
fn a_stream_that_loses_rows_or_breaks_is_an_error_and_a_stop_is_one_too() {
    let kind =
        |result: Result<verify_core::manifest::Manifest>| result.err().map(|error| error.kind().clone());
    let lossy = Memory { loses_a_row: true, ..small() };
    assert_eq!(kind(capture(&lossy, &Plan::default(), &event::ignore)), Some(ErrorKind::Protocol));
    let broken = Memory { breaks: true, ..small() };
    assert_eq!(kind(capture(&broken, &Plan::default(), &event::ignore)), Some(ErrorKind::Connection));
    let stop = |event: Event| match event {
        Event::TableRead { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    assert_eq!(kind(capture(&small(), &Plan::default(), &stop)), Some(ErrorKind::Cancelled));
}

#[test]
fn manifests_of_different_keys_are_not_compared_row_by_row() {
    let manifest = |memory: &Memory, key: u8| {
        let mut manifest = capture(memory, &Plan::default(), &event::ignore).expect("a capture");
        manifest.header.key = verify_core::digest::HashKey([key; 32]);
        manifest
    };
    let less = memory(vec![MemoryTable::new("t", 0..9)]);
    let same = compare(&manifest(&small(), 1), &manifest(&small(), 1));
    assert_eq!(summary(&same), (Verdict::Pass, vec![]));
    let (verdict, codes) = summary(&compare(&manifest(&small(), 1), &manifest(&small(), 2)));
    assert_eq!((verdict, codes[0].as_str()), (Verdict::Inconclusive, "manifest.incomparable manifest"));
    let (verdict, codes) = summary(&compare(&manifest(&small(), 1), &manifest(&less, 2)));
    assert_eq!((verdict, codes[0].as_str()), (Verdict::Fail, "row.differs public.t"));
}

#[test]
fn sequences_and_invariants_are_judged() {
    let sequence = |last_value| {
        let value = Some(SequenceValue { last_value, is_called: true });
        let name = TableName::new("public", "s");
        Sequence {
            name,
            increment: 1,
            cycles: false,
            unlogged: false,
            owned_by: None,
            earliest: value,
            latest: value,
            unreadable: None,
        }
    };
    let at = |last_value| Memory { sequences: vec![sequence(last_value)], ..small() };
    assert_eq!(verified(&at(50), &at(50)), (Verdict::Pass, vec![]));
    assert_eq!(verified(&at(50), &at(49)), (Verdict::Fail, vec!["sequence.behind public.s".into()]));
    assert_eq!(verified(&at(50), &at(83)), (Verdict::Fail, vec!["sequence.ahead public.s".into()]));
    assert_eq!(verified(&at(50), &small()), (Verdict::Fail, vec!["sequence.missing public.s".into()]));
    assert_eq!(verified(&small(), &at(50)), (Verdict::Fail, vec!["sequence.added public.s".into()]));

    let rule = |name: &str, expect| Invariant { name: name.into(), sql: name.into(), expect };
    let plan = |invariants: Vec<_>| Plan::default().with_invariants(invariants);
    let rules = vec![rule("same", Expect::Same), rule("offended", Expect::NoRows)];
    let manifest = capture(&small(), &plan(rules), &event::ignore).expect("a capture");
    let later = plan(vec![rule("later", Expect::Same)]);
    let comparison = verify(&manifest, &small(), &later, &event::ignore).expect("a comparison");
    let findings: Vec<_> = comparison
        .findings()
        .iter()
        .map(|finding| (finding.code(), finding.severity(), finding.object.as_str()))
        .collect();
    assert_eq!(
        findings,
        [
            (Code::InvariantBrokenOnSource, Severity::Fail, "offended"),
            (Code::InvariantUnknown, Severity::Inconclusive, "later"),
        ]
    );
}

/// A table `t` of two partitions, each with these rows.
fn partitioned(strategy: PartitionStrategy, column: &str, rows: [Vec<i64>; 2]) -> Memory {
    let names = ["t_0", "t_1"];
    let partition = |(name, ids): (&'static str, Vec<i64>)| {
        let bound = format!("the bound of {name}");
        let level = PartitionLevel { strategy, columns: vec![Some(column.to_owned())], bound };
        MemoryTable { partition: Some(("t", level)), ..MemoryTable::new(name, ids) }
    };
    memory(names.into_iter().zip(rows).map(partition).collect())
}

#[test]
fn rows_that_moved_between_partitions_are_one_notice_and_lost_ones_are_named() {
    let hash = |rows| partitioned(PartitionStrategy::Hash, "id", rows);
    let notice = "partition.moved public.t".to_owned();
    let both = |source: &Memory, restored: &Memory| {
        let compared =
            compare_databases(source, restored, &Plan::default(), &event::ignore).expect("compared");
        let verified = verified(source, restored);
        assert_eq!(summary(&compared), verified);
        verified
    };
    for rows in [100, 20_000] {
        let half = rows / 2;
        let source = hash([(0..half).collect(), (half..rows).collect()]);
        let moved = || [(0..rows).step_by(2).collect(), (1..rows).step_by(2).collect::<Vec<i64>>()];
        assert_eq!(both(&source, &hash(moved())), (Verdict::Pass, vec![notice.clone()]), "{rows}");

        let mut damaged = hash(moved());
        damaged.tables[1].rows.retain(|(id, _)| *id != 7);
        damaged.tables[0].rows[20].1 = None;
        damaged.tables[0].rows.push((rows + 1, None));
        let expected = vec![
            "row.missing public.t: id=7".to_owned(),
            format!("row.added public.t: id={}", rows + 1),
            "row.changed public.t: id=40".to_owned(),
            notice.clone(),
        ];
        assert_eq!(both(&source, &damaged), (Verdict::Fail, expected), "{rows}");

        let unknown = Memory { placement: Placement::Unknown("locked".into()), ..hash(moved()) };
        assert_eq!(both(&source, &unknown), (Verdict::Inconclusive, vec![notice.clone()]));
    }
}

#[test]
fn rows_in_partitions_that_they_do_not_belong_to_fail() {
    let source = |strategy, column| partitioned(strategy, column, [vec![1, 2], vec![3, 4]]);
    let swapped = |strategy, column| partitioned(strategy, column, [vec![1, 3], vec![2, 4]]);
    let apart = vec![
        "row.missing public.t_0: id=2".to_owned(),
        "row.added public.t_0: id=3".to_owned(),
        "row.missing public.t_1: id=3".to_owned(),
        "row.added public.t_1: id=2".to_owned(),
    ];
    let fails = (Verdict::Fail, apart);
    let hash = PartitionStrategy::Hash;
    let misplaced = Memory { placement: Placement::Wrong, ..swapped(hash, "id") };
    assert_eq!(verified(&source(hash, "id"), &misplaced), fails);
    // Numbers have one order, text has many.
    let range = PartitionStrategy::Range;
    assert_eq!(verified(&source(range, "id"), &swapped(range, "id")), fails);
    assert_eq!(verified(&source(range, "v"), &swapped(range, "v")).0, Verdict::Pass);
    // Other bounds, or a manifest that has none.
    let mut other = swapped(hash, "id");
    if let Some((_, level)) = &mut other.tables[0].partition {
        level.bound.push('!');
    }
    assert_eq!(verified(&source(hash, "id"), &other), fails);
    let mut manifest = capture(&source(hash, "id"), &Plan::default(), &event::ignore).expect("a capture");
    manifest.tables.iter_mut().for_each(|entry| entry.table.partition_path.clear());
    let compared = verify(&manifest, &swapped(hash, "id"), &Plan::default(), &event::ignore);
    assert_eq!(summary(&compared.expect("a comparison")), fails);
    // A row that is lost where none has moved is named where it was.
    let lost = partitioned(hash, "id", [vec![1], vec![3, 4, 5]]);
    let expected = vec!["row.missing public.t_0: id=2".to_owned(), "row.added public.t_1: id=5".to_owned()];
    assert_eq!(verified(&source(hash, "id"), &lost), (Verdict::Fail, expected));
}

#[test]
fn contents_of_indexes_are_a_gap_until_they_are_checked() {
    let manifest = capture(&small(), &Plan::default(), &event::ignore).expect("a capture");
    let mut comparison = verify(&manifest, &small(), &Plan::default(), &event::ignore).expect("compared");
    let listed = |comparison: &Comparison| {
        comparison.coverage().not_covered.iter().any(|gap| gap.object == "contents of indexes")
    };
    assert!(listed(&comparison));
    comparison.indexes_were_checked();
    assert!(!listed(&comparison));
}
