//! Every message of a comparison, each in all of its forms, as snapshots; a code or check without a message fails.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use verify_core::capture::capture;
use verify_core::compare::{Comparison, Coverage, compare};
use verify_core::database::{Deviation, NOT_POPULATED, Placement};
use verify_core::databases::{ServerDatabase, compare_databases, missing};
use verify_core::definition::{Definition, Definitions};
use verify_core::digest::HashKey;
use verify_core::event;
use verify_core::finding::{Code, Finding, Severity};
use verify_core::heartbeat::{self, Beat, Evidence, Rpo};
use verify_core::invariant::{Evaluated, Expect, Invariant, Outcome, ResultCollector};
use verify_core::manifest::{Anchor, Consistency, Content, FenceTransaction, Manifest, RecoveryEnd};
use verify_core::not_covered::{Check, NotCovered};
use verify_core::plan::Plan;
use verify_core::report::{Circumstances, Objectives, Recovery, Report, Side};
use verify_core::screen::screen_databases;
use verify_core::sequence::{OwnedBy, Sequence, SequenceValue};
use verify_core::table::{Column, Encoding, TableKind, TableName};
use verify_core::timeline::Rto;
use verify_core::verify::verify;

use crate::memory::{Memory, MemoryTable, definition, partitions_by_hash};

/// Codes whose findings come from a server or from files; the tests of those have their texts.
const OUTSIDE: [&str; 12] = [
    "backup.damaged",
    "clone.acts",
    "clone.dormant",
    "clone.unknown",
    "constraint.unknown",
    "constraint.violated",
    "durability.failed",
    "durability.unknown",
    "integrity.damaged",
    "integrity.unknown",
    "self-test.missed",
    "self-test.unknown",
];
/// Checks whose gaps come from a server, files or a bucket, and the one of old files.
const OUTSIDE_CHECKS: [&str; 7] =
    ["unstated", "roles", "integrity", "constraints", "backup-files", "replica", "self-test"];

/// A comparison of two manifests of `t` with rows 0 to 9, after a change of both.
type Change = fn(&mut Manifest, &mut Manifest);

#[test]
fn every_finding_has_its_text() {
    let findings = comparisons().into_iter().flat_map(|comparison| comparison.findings().to_vec());
    let findings: Vec<Finding> = findings.chain(missed_objectives()).chain(of_servers()).collect();
    let covered: BTreeSet<String> = findings.iter().map(|finding| finding.code().to_string()).collect();
    let lines: BTreeSet<String> = findings.iter().map(line).collect();
    insta::assert_snapshot!(lines.into_iter().collect::<Vec<_>>().join("\n"));
    assert_eq!(with(covered, &OUTSIDE), values::<Code>());
}

#[test]
fn every_gap_has_its_reason() {
    let unreadable: Change = |_, restored| {
        restored.tables[0].content = Content::Unreadable("permission denied".into());
        restored.sequences = vec![Sequence { earliest: None, latest: None, ..sequence(1) }];
        restored.invariants = vec![evaluated(Expect::NoRows, &Err("no such table"))];
    };
    let mut restored = captured(&ten());
    unreadable(&mut captured(&ten()), &mut restored);
    let of_comparisons =
        comparisons().into_iter().flat_map(|comparison| comparison.coverage().not_covered.clone());
    let gaps: Vec<NotCovered> = of_comparisons.chain(restored.not_covered()).collect();
    let name = |check: &Check| serde_json::to_value(check).unwrap().as_str().unwrap().to_owned();
    let covered: BTreeSet<String> = gaps.iter().map(|gap| name(&gap.check)).collect();
    let lines: BTreeSet<String> =
        gaps.iter().map(|gap| format!("{}: {}: {}", name(&gap.check), gap.object, gap.reason)).collect();
    insta::assert_snapshot!(lines.into_iter().collect::<Vec<_>>().join("\n"));
    assert_eq!(with(covered, &OUTSIDE_CHECKS), values::<Check>());
}

fn line(finding: &Finding) -> String {
    let severity = match finding.severity() {
        Severity::Notice => "notice",
        Severity::Inconclusive => "inconclusive",
        Severity::Fail => "fail",
    };
    let hint = if finding.hint.is_empty() { String::new() } else { format!("\n    hint: {}", finding.hint) };
    format!("{} ({severity}): {}: {}{hint}", finding.code(), finding.object, finding.message)
}

fn with(mut covered: BTreeSet<String>, others: &[&str]) -> BTreeSet<String> {
    covered.extend(others.iter().map(ToString::to_string));
    covered
}

/// The values of an enum, from its JSON Schema.
fn values<T: JsonSchema>() -> BTreeSet<String> {
    let schema: serde_json::Value = schemars::schema_for!(T).into();
    let values = schema["oneOf"].as_array().expect("one value for each variant").iter();
    values.map(|value| value["const"].as_str().expect("a constant").to_owned()).collect()
}

fn table(name: &'static str, ids: impl IntoIterator<Item = i64>) -> Memory {
    Memory { tables: vec![MemoryTable::new(name, ids)], ..Memory::default() }
}

fn ten() -> Memory {
    table("t", 0..10)
}

fn captured(memory: &Memory) -> Manifest {
    capture(memory, &Plan::default(), &event::ignore).expect("a capture")
}

fn verified(source: &Memory, restored: &Memory) -> Comparison {
    verify(&captured(source), restored, &Plan::default(), &event::ignore).expect("a comparison")
}

/// Comparisons that together have every finding in every form.
fn comparisons() -> Vec<Comparison> {
    let changes: Vec<Change> =
        [&TABLES[..], &SEQUENCES, &DEFINITIONS, &CLUSTER, &INVARIANTS, &OTHERS].concat();
    let changed = changes.into_iter().map(|change| {
        let (mut source, mut restored) = (captured(&ten()), captured(&ten()));
        change(&mut source, &mut restored);
        compare(&source, &restored)
    });
    let nothing = Plan::default().without(Check::SELECTABLE.map(|(_, check)| check));
    let skipped = verify(&captured(&ten()), &ten(), &nothing, &event::ignore).expect("a comparison");
    changed.chain(of_rows()).chain(of_databases()).chain(of_screens()).chain([skipped]).collect()
}

fn of_rows() -> Vec<Comparison> {
    let changed = |ids: &[i64]| {
        let mut memory = ten();
        ids.iter().for_each(|id| memory.tables[0].rows[*id as usize].1 = None);
        memory
    };
    let view = |memory: Memory| {
        let tables = memory.tables.into_iter();
        let tables = tables.map(|table| MemoryTable { kind: TableKind::MaterializedView, ..table }).collect();
        Memory { tables, ..Memory::default() }
    };
    vec![
        verified(&ten(), &table("t", 1..10)),
        verified(&ten(), &table("t", 2..12)),
        verified(&ten(), &table("t", 0..11)),
        verified(&ten(), &changed(&[4])),
        verified(&ten(), &changed(&[4, 5])),
        verified(&view(ten()), &view(table("t", 2..11))),
        // More than a sketch resolves.
        compare(&captured(&table("t", 0..40_000)), &captured(&table("t", 20_000..50_000))),
    ]
}

fn of_databases() -> Vec<Comparison> {
    let partitioned = |rows: [Vec<i64>; 2], placement| Memory {
        tables: partitions_by_hash(rows),
        placement,
        ..Memory::default()
    };
    let source = || partitioned([vec![1, 2], vec![3, 4]], Placement::Right);
    let moved = |placement| partitioned([vec![1, 3], vec![2, 4]], placement);
    let disturbed = |name: &str, memory| Memory {
        disturbed: vec![(TableName::new("public", name), "it was truncated".into())],
        ..memory
    };
    let deviating = |deviation| Memory { deviation: Some(deviation), ..table("t", 0..9) };
    vec![
        verified(&source(), &moved(Placement::Right)),
        verified(&source(), &moved(Placement::Unknown("permission denied".into()))),
        verified(&source(), &partitioned([vec![1, 3], vec![2]], Placement::Right)),
        verified(&source(), &disturbed("t_0", moved(Placement::Right))),
        compare(&captured(&source()), &captured(&moved(Placement::Right))),
        verified(&ten(), &disturbed("t", ten())),
        verified(&defined("price BETWEEN 1 AND 9"), &defined("price >= 1")),
        verified(&defined("price >= 1"), &defined("price ?")),
        verified(&ten(), &deviating(Deviation::Unproven("rows were pruned".into()))),
        verified(&ten(), &deviating(Deviation::Older("it ends at 0/1".into()))),
    ]
}

fn of_screens() -> Vec<Comparison> {
    let rule = Invariant { name: "rule".into(), sql: "SELECT 1".into(), expect: Expect::Same };
    let plan = Plan::default().with_invariants([rule]);
    let screened = |source: &Memory, restored: &Memory| {
        screen_databases(source, restored, &plan, &event::ignore).expect("a screen")
    };
    let of_json = || {
        let json = MemoryTable { value_type: "json", ..MemoryTable::new("u", 0..10) };
        Memory { tables: vec![MemoryTable::new("t", 0..10), json], ..Memory::default() }
    };
    vec![
        screened(&ten(), &ten()),
        screened(&ten(), &table("t", 0..9)),
        screened(&of_json(), &of_json()),
        screened(&ten(), &table("u", 0..10)),
    ]
}

const TABLES: [Change; 24] = [
    |_, restored| restored.tables.clear(),
    |source, _| source.tables.clear(),
    |source, restored| {
        source.tables[0].content = Content::Unreadable("permission denied".into());
        restored.tables.clear();
    },
    |source, restored| {
        source.tables.clear();
        restored.tables[0].content = Content::Unreadable("permission denied".into());
    },
    |_, restored| restored.tables[0].table.kind = TableKind::LargeObjects,
    |source, restored| {
        source.tables[0].table.columns.push(Column::binary("lost", "int4"));
        restored.tables[0].table.columns[1].type_name = "varchar(10)".into();
        restored.tables[0].table.columns.push(Column::binary("new", "int4"));
    },
    |source, _| source.tables[0].table.parents = vec![name("whole"), name("other")],
    |_, restored| restored.tables[0].table.parents = vec![name("whole")],
    |source, restored| {
        travel(source, restored);
        restored.tables[0].filenode = 2;
    },
    |source, restored| {
        travel(source, restored);
        source.tables[0].table.kind = TableKind::MaterializedView;
        restored.tables[0].table.kind = TableKind::MaterializedView;
        restored.tables[0].filenode = 2;
    },
    |source, _| source.tables[0].content = Content::Unreadable("permission denied".into()),
    |_, restored| restored.tables[0].content = Content::Unreadable("permission denied".into()),
    |source, _| source.tables[0].content = Content::Damaged("invalid page".into()),
    |_, restored| restored.tables[0].content = Content::Damaged("invalid page".into()),
    |source, _| source.tables[0].content = Content::Rewritten("it was truncated".into()),
    |source, restored| {
        source.tables[0].table.kind = TableKind::MaterializedView;
        restored.tables[0].table.kind = TableKind::MaterializedView;
        restored.tables[0].content = Content::Unreadable(NOT_POPULATED.into());
    },
    |source, restored| {
        source.tables[0].table.columns[1].encoding = Encoding::Sha256;
        restored.tables[0].table.columns[1].encoding = Encoding::Sha256;
    },
    |source, restored| {
        *restored = captured(&table("t", 0..0));
        source.tables[0].table.unlogged = true;
        restored.tables[0].table.unlogged = true;
    },
    |source, restored| {
        travel(source, restored);
        source.tables[0].table.unlogged = true;
        restored.tables[0].content = Content::Unreadable("its file is missing".into());
    },
    |_, restored| change_sum(restored),
    |source, restored| {
        source.tables[0].table.kind = TableKind::MaterializedView;
        restored.tables[0].table.kind = TableKind::MaterializedView;
        change_sum(restored);
    },
    |source, restored| {
        fence(source, restored);
        source.tables[0].table.kind = TableKind::MaterializedView;
        *restored = Manifest { header: restored.header.clone(), ..captured(&table("t", 1..10)) };
        restored.tables[0].table.kind = TableKind::MaterializedView;
    },
    |source, restored| {
        fence(source, restored);
        source.tables[0].table.kind = TableKind::LargeObjects;
        *restored = Manifest { header: restored.header.clone(), ..captured(&table("t", 1..10)) };
        restored.tables[0].table.kind = TableKind::LargeObjects;
    },
    |source, restored| {
        fence(source, restored);
        restored.header.consistency = Consistency::SharedSnapshot;
    },
];

const DEFINITIONS: [Change; 8] = [
    |source, _| source.definitions = Definitions::Unread("permission denied".into()),
    |_, restored| restored.definitions = Definitions::Unread("permission denied".into()),
    |source, _| {
        source.definitions = Definitions::Read(vec![definition("index", "public.i", &[("unique", "yes")])]);
    },
    |source, _| {
        source.definitions = Definitions::Read(vec![definition("index", "public.i", &[("valid", "no")])]);
    },
    |_, restored| restored.definitions = Definitions::Read(vec![definition("policy", "p on public.t", &[])]),
    |source, restored| {
        let function = |attributes: &[(&str, &str)]| {
            Definitions::Read(vec![definition("function", "public.f()", attributes)])
        };
        source.definitions =
            function(&[("owner", "alice"), ("body", "BEGIN\n  RETURN 1;\nEND"), ("cost", "7")]);
        restored.definitions = function(&[("owner", "b\u{1b}ob"), ("body", "BEGIN\n  RETURN 2;\nEND")]);
    },
    |source, restored| {
        let extension =
            |version| Definitions::Read(vec![definition("extension", "hstore", &[("version", version)])]);
        source.definitions = extension("1.7");
        restored.definitions = extension("1.8");
    },
    |source, _| {
        let unread = Definition {
            of: Some(name("t")),
            unread: Some("another session locks it".into()),
            ..definition("table", "public.t", &[])
        };
        source.definitions = Definitions::Read(vec![unread]);
    },
];

/// In a copy of files, except where the restored side has another identifier.
const CLUSTER: [Change; 8] = [
    |source, _| source.cluster = Definitions::Unread("permission denied".into()),
    |source, restored| {
        source.cluster = roles(&[("reader", "yes"), ("writer", "yes")]);
        restored.cluster = roles(&[("reader", "no"), ("verifier", "yes")]);
    },
    |source, restored| {
        source.cluster = roles(&[("reader", "yes"), ("writer", "yes")]);
        restored.cluster = roles(&[("reader", "no")]);
        restored.header.source.system_identifier = "2".into();
    },
    |source, restored| {
        source.cluster =
            one("database", "shop", &[("encoding", "UTF8"), ("lc_ctype", "en_US.UTF-8"), ("owner", "a")]);
        restored.cluster =
            one("database", "copy", &[("encoding", "LATIN1"), ("lc_ctype", "en_US.utf8"), ("owner", "b")]);
        restored.header.source.system_identifier = "2".into();
    },
    |source, restored| {
        source.cluster = one("cluster", "", &[("data checksums", "on"), ("timeline", "3")]);
        restored.cluster = one("cluster", "", &[("data checksums", "off"), ("timeline", "2")]);
    },
    |source, restored| {
        source.cluster = one("database", "shop", &[("collation version", "2.36")]);
        restored.cluster = one("database", "shop", &[("collation version", "2.31")]);
    },
    |source, restored| {
        let versions = [("recorded", "2.31"), ("actual", "2.36")];
        source.cluster = one("collation version", "public.de", &versions);
        restored.cluster = one("collation version", "public.de", &versions);
    },
    |source, restored| {
        source.cluster = one("setting", "work_mem", &[("value", "4096 kB")]);
        restored.cluster = one("setting", "work_mem", &[("value", "8192 kB")]);
        restored.header.source.prepared_transactions = Some(2);
    },
];

fn one(object_type: &str, identity: &str, attributes: &[(&str, &str)]) -> Definitions {
    Definitions::Read(vec![definition(object_type, identity, attributes)])
}

fn roles(roles: &[(&str, &str)]) -> Definitions {
    Definitions::Read(
        roles.iter().map(|(name, login)| definition("role", name, &[("login", login)])).collect(),
    )
}

/// Ten rows with a constraint.
fn defined(check: &str) -> Memory {
    let constraint = Definition {
        of: Some(name("t")),
        ..definition("table constraint", "c on public.t", &[("check", check)])
    };
    Memory { definitions: vec![constraint], ..ten() }
}

const SEQUENCES: [Change; 12] = [
    |source, _| source.sequences = vec![sequence(1)],
    |_, restored| restored.sequences = vec![sequence(1)],
    |source, restored| {
        source.sequences = vec![sequence(1)];
        restored.sequences = vec![Sequence { increment: 5, cycles: true, ..sequence(1) }];
    },
    |source, restored| {
        source.sequences = vec![sequence(9)];
        restored.sequences = vec![sequence(1)];
    },
    |source, restored| {
        source.sequences = vec![sequence(1)];
        restored.sequences = vec![sequence(99)];
    },
    |source, restored| {
        source.sequences = vec![Sequence { unlogged: true, ..sequence(9) }];
        let value = Some(SequenceValue { last_value: 1, is_called: false });
        restored.sequences = vec![Sequence { unlogged: true, earliest: value, ..sequence(1) }];
    },
    |source, restored| {
        source.sequences = vec![Sequence { unlogged: true, ..sequence(9) }];
        restored.sequences = vec![Sequence {
            unlogged: true,
            ..unread(Some("unlogged, so it does not exist during recovery"))
        }];
        travel(source, restored);
    },
    |source, restored| {
        source.sequences = vec![sequence(3)];
        restored.sequences = vec![owning(3, 7)];
    },
    |source, restored| {
        source.sequences = vec![owning(3, 7)];
        restored.sequences = vec![owning(3, 7)];
    },
    |source, restored| {
        source.sequences = vec![unread(Some("permission denied"))];
        restored.sequences = vec![unread(Some("permission denied"))];
    },
    |source, restored| {
        source.sequences = vec![unread(Some("permission denied"))];
        restored.sequences = vec![sequence(1)];
    },
    |source, restored| {
        source.sequences = vec![unread(None)];
        restored.sequences = vec![sequence(1)];
    },
];

const INVARIANTS: [Change; 9] = [
    |_, restored| restored.invariants = vec![evaluated(Expect::NoRows, &Ok(&[&[Some("1")]]))],
    |source, restored| {
        source.invariants = vec![evaluated(Expect::NoRows, &Ok(&[&[Some("1")]]))];
        restored.invariants = source.invariants.clone();
    },
    |_, restored| restored.invariants = vec![evaluated(Expect::Value("1".into()), &Ok(&[&[Some("2")]]))],
    |_, restored| restored.invariants = vec![evaluated(Expect::Value("1".into()), &Ok(&[&[None]]))],
    |_, restored| restored.invariants = vec![evaluated(Expect::Value("1".into()), &Ok(&[]))],
    |_, restored| restored.invariants = vec![evaluated(Expect::NoRows, &Err("no such table"))],
    |_, restored| restored.invariants = vec![evaluated(Expect::Same, &Ok(&[]))],
    |source, restored| {
        source.invariants = vec![evaluated(Expect::Same, &Err("no such table"))];
        restored.invariants = vec![evaluated(Expect::Same, &Ok(&[]))];
    },
    |source, restored| {
        source.invariants = vec![evaluated(Expect::Same, &Ok(&[&[Some("1")]]))];
        restored.invariants = vec![evaluated(Expect::Same, &Ok(&[&[None], &[Some("2")]]))];
    },
];

const OTHERS: [Change; 8] = [
    |_, restored| {
        *restored = captured(&table("t", 0..9));
        restored.header.key = HashKey([8; 32]);
    },
    |source, restored| {
        travel(source, restored);
        restored.header.snapshot = "11:11:".into();
    },
    |source, restored| {
        let started_at = Some(source.header.captured_at);
        source.header.source.postmaster_started_at = started_at;
        restored.header.source.postmaster_started_at = started_at;
    },
    |source, _| source.pulse.beat = Some(beat(source)),
    |source, restored| {
        let mut silent = beat(source);
        silent.written_at -= jiff::SignedDuration::from_secs(90);
        source.pulse.beat = Some(silent);
        restored.pulse.beat.clone_from(&source.pulse.beat);
    },
    |source, restored| {
        *restored = captured(&table("t", 0..12));
        for manifest in [source, restored] {
            manifest.tables[0].table.name = TableName::new(heartbeat::SCHEMA, heartbeat::TABLE);
        }
    },
    |source, _| {
        source.header.source.foreign_tables = vec![name("remote")];
        source.header.source.other_databases = vec!["other".into()];
        source.header.source.prepared_transactions = Some(2);
    },
    |_, restored| restored.header.source.prepared_transactions = None,
];

fn name(name: &str) -> TableName {
    TableName::new("public", name)
}

/// Changes the sum of a table, but not the names of its rows.
fn change_sum(manifest: &mut Manifest) {
    let mut other = captured(&table("t", 1..11));
    let (Content::Rows { digest: ours, .. }, Content::Rows { digest, .. }) =
        (&mut manifest.tables[0].content, &mut other.tables[0].content)
    else {
        unreachable!("both were measured")
    };
    *ours = *digest;
}

/// Makes the two a manifest and a physical copy in which its snapshot was read again.
fn travel(source: &mut Manifest, restored: &mut Manifest) {
    let anchor = Anchor { xid: 9, database_oid: 16_384, subtransactions: Vec::new() };
    source.header.consistency = Consistency::TimeTravel(anchor.clone());
    restored.header.consistency = Consistency::TimeTravel(anchor);
}

/// Makes the two a manifest and a physical copy that was cut behind its fence.
fn fence(source: &mut Manifest, restored: &mut Manifest) {
    source.header.consistency = Consistency::Fence(FenceTransaction { xid: 9 });
    restored.header.consistency = source.header.consistency.clone();
}

fn sequence(last_value: i64) -> Sequence {
    let value = Some(SequenceValue { last_value, is_called: true });
    Sequence {
        name: name("s"),
        increment: 1,
        cycles: false,
        unlogged: false,
        owned_by: None,
        earliest: value,
        latest: value,
        unreadable: None,
    }
}

fn owning(last_value: i64, furthest: i64) -> Sequence {
    let owner = OwnedBy { table: name("t"), column: "id".into(), furthest: Some(furthest) };
    Sequence { owned_by: Some(owner), ..sequence(last_value) }
}

/// The findings of a sequence, and the number of its gaps.
fn judged(consistency: Consistency, ours: Sequence, theirs: Sequence) -> (Vec<(Code, Severity)>, usize) {
    let mut source = captured(&ten());
    let mut restored = source.clone();
    source.header.consistency = consistency;
    (source.sequences, restored.sequences) = (vec![ours], vec![theirs]);
    let comparison = compare(&source, &restored);
    let findings = comparison.findings().iter().filter(|finding| finding.object == "public.s");
    let findings: Vec<_> = findings.map(|finding| (finding.code(), finding.severity())).collect();
    let gaps = comparison.coverage().not_covered.iter();
    (findings, gaps.filter(|gap| gap.object == "public.s").count())
}

#[test]
fn a_sequence_that_was_read_after_the_end_of_recovery_is_compared_with_its_column() {
    let end = || Consistency::CommitOrder(RecoveryEnd { lsn: "0/3000028".into() });
    let judge = |ours: Sequence, theirs: Sequence| judged(end(), ours, theirs);
    assert_eq!(judge(owning(9, 5), owning(9, 5)), (vec![], 0));
    assert_eq!(judge(owning(9, 5), owning(7, 5)), (vec![], 1));
    assert_eq!(judge(owning(9, 5), owning(4, 5)), (vec![(Code::SequenceCollides, Severity::Fail)], 1));
    assert_eq!(judge(sequence(9), sequence(7)), (vec![(Code::SequenceBehind, Severity::Inconclusive)], 1));
    assert_eq!(judge(sequence(9), sequence(99)), (vec![(Code::SequenceAhead, Severity::Fail)], 0));
}

#[test]
fn a_sequence_of_an_imported_snapshot_may_have_been_dumped_earlier_or_later() {
    let judge = |ours: Sequence, theirs: Sequence| judged(Consistency::ImportedSnapshot, ours, theirs);
    assert_eq!(judge(owning(9, 5), owning(9, 5)), (vec![], 0));
    assert_eq!(judge(owning(9, 5), owning(7, 5)), (vec![], 1));
    assert_eq!(judge(owning(9, 5), owning(99, 5)), (vec![], 1));
    assert_eq!(judge(owning(9, 5), owning(4, 5)), (vec![(Code::SequenceCollides, Severity::Fail)], 1));
    assert_eq!(judge(sequence(9), sequence(7)), (vec![(Code::SequenceBehind, Severity::Inconclusive)], 1));
}

fn unread(reason: Option<&str>) -> Sequence {
    Sequence { earliest: None, latest: None, unreadable: reason.map(str::to_owned), ..sequence(1) }
}

fn evaluated(expect: Expect, outcome: &Result<&[&[Option<&str>]], &str>) -> Evaluated {
    let invariant = Invariant { name: "stock".into(), sql: "SELECT 1".into(), expect };
    let outcome = match outcome {
        Ok(rows) => {
            let mut result = ResultCollector::new(vec!["n".into()]);
            rows.iter().for_each(|row| result.push(row));
            Outcome::Result(result.finish())
        }
        Err(reason) => Outcome::Broken((*reason).to_owned()),
    };
    Evaluated { invariant, outcome }
}

fn beat(manifest: &Manifest) -> Beat {
    Beat {
        id: 1,
        written_at: manifest.pulse.read_at,
        lsn: "0/1".into(),
        writer: "w".into(),
        interval_ms: 1_000,
    }
}

/// Databases of a server whose manifests are of `shop`, which it lacks, and of another, and which also had three more.
fn of_servers() -> Vec<Finding> {
    let mut header = captured(&ten()).header;
    header.source.database = "shop".to_owned();
    header.source.other_databases = ["closed", "lost", "open"].map(str::to_owned).into();
    let copy = [("closed", false), ("new\nname", true), ("open", true)];
    let copy = copy.map(|(name, is_open)| ServerDatabase { name: name.to_owned(), is_open });
    let lost = missing(&header, false).findings().to_vec();
    let mut empty = verified(&Memory::default(), &Memory::default());
    empty.source_has_no_tables();
    [compare_databases([&header], &copy, false), lost, empty.findings().to_vec()].concat()
}

fn missed_objectives() -> Vec<Finding> {
    let report = |recovery| {
        let place = || Side { place: "p".into(), database: None };
        let circumstances = Circumstances {
            tool_version: "0".into(),
            started_at: jiff::Timestamp::UNIX_EPOCH,
            duration_ms: 1,
            source: place(),
            restored: Some(place()),
            manifest: None,
        };
        Report::new(circumstances, Comparison::new(Vec::new(), Coverage::default()), recovery)
    };
    let objectives = Objectives { rto_ms: Some(600_000), rpo_ms: Some(300_000) };
    let late = Recovery {
        rto: Some(Rto { total_ms: 4_200_001, parts: Vec::new() }),
        rpo: Some(Rpo {
            at_most_ms: 300_001,
            clock_error_ms: 0,
            evidence: Evidence::Heartbeat,
            recovered_until: jiff::Timestamp::UNIX_EPOCH,
            incident: jiff::Timestamp::UNIX_EPOCH,
        }),
        objectives,
    };
    let unmeasured = Recovery { objectives, ..Recovery::default() };
    [late, unmeasured].into_iter().flat_map(|recovery| report(recovery).missed().to_vec()).collect()
}
