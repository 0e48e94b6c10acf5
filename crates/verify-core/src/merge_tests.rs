//! Tests of the sum of parts, and of parts that do not belong together.

use proptest::prelude::*;

use super::*;
use crate::definition::Definitions;
use crate::digest::{HashAlgorithm, HashKey, RowHash};
use crate::heartbeat::Pulse;
use crate::key::RowKey;
use crate::manifest::{Consistency, Origin, Source};
use crate::measure::Measure;
use crate::partial::{PARTIAL_FORMAT, PartNumber};
use crate::sequence::Sequence;
use crate::table::{CellWidth, Column, Encoding, Key, KeySource};

fn origin() -> Origin {
    let source = Source {
        server_version: 150_000,
        system_identifier: "1".into(),
        database: "shop".into(),
        database_oid: Some(16_384),
        postmaster_started_at: Some(Timestamp::UNIX_EPOCH),
        statistics_since: None,
        encoding: "UTF8".into(),
        other_databases: Vec::new(),
        foreign_tables: Vec::new(),
        prepared_transactions: Some(0),
    };
    let consistency = Consistency::ImportedSnapshot;
    Origin {
        source,
        snapshot: "10:10:".into(),
        lsn: "0/9".into(),
        captured_at: Timestamp::UNIX_EPOCH,
        consistency,
    }
}

fn described(name: &str) -> crate::table::Table {
    crate::table::Table::new(
        TableName::new("public", name),
        vec![Column::binary("id", "int8")],
        Key { source: KeySource::PrimaryKey, columns: vec![0] },
    )
}

fn rows(seeds: impl IntoIterator<Item = u64>) -> Content {
    let mut measure = Measure::new(Names::new(CellWidth::Narrow));
    for seed in seeds {
        let mut key = RowKey::EMPTY;
        assert!(key.push(Some(&seed.to_be_bytes()), CellWidth::Narrow));
        measure.add(&RowHash(*blake3::hash(&seed.to_le_bytes()).as_bytes()), key);
        measure.bytes += 8;
    }
    let Measure { digest, mut names, bytes } = measure;
    names.sort();
    Content::Rows { digest, bytes, names }
}

fn entry(name: &str, content: Content) -> TableEntry {
    TableEntry { table: described(name), filenode: 1, columns_found: None, content }
}

fn manifest(tables: Vec<TableEntry>) -> Manifest {
    Manifest {
        header: Header::new(HashAlgorithm::Blake3, HashKey([7; 32]), origin()),
        tables,
        sequences: Vec::new(),
        definitions: Definitions::Read(Vec::new()),
        cluster: Definitions::Read(Vec::new()),
        invariants: Vec::new(),
        pulse: Pulse { beat: None, last_commit: None, read_at: Timestamp::UNIX_EPOCH },
    }
}

fn part(number: u32, of: u32, tables: Vec<TableEntry>) -> PartialManifest {
    let mut manifest = manifest(tables);
    manifest.header.format = PARTIAL_FORMAT.to_owned();
    PartialManifest {
        part: PartNumber::new(number, of).unwrap(),
        chunk_pages: 8,
        uncut: Vec::new(),
        manifest,
    }
}

/// Parts of one table, each with one row.
fn parts(of: u32) -> Vec<PartialManifest> {
    (1..=of).map(|number| part(number, of, vec![entry("t", rows([u64::from(number)]))])).collect()
}

/// Merges what was written to files and read from them.
fn merged(parts: impl IntoIterator<Item = PartialManifest>) -> Result<Manifest> {
    merge(parts.into_iter().map(|part| {
        let mut file = Vec::new();
        part.write(&mut file)?;
        let read = PartialManifest::read(&file[..])?;
        assert_eq!(read, part);
        Ok((format!("{}.part", part.part().number()), read))
    }))
}

fn written(manifest: &Manifest) -> Vec<u8> {
    let mut file = Vec::new();
    manifest.write(&mut file).unwrap();
    file
}

fn refusal(parts: Vec<PartialManifest>) -> String {
    let error = merged(parts).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Manifest);
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()));
    error.to_string()
}

/// Sizes around the one at which a list becomes a sketch.
fn sizes() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![0_u64..9, 2_040_u64..2_060, 4_000_u64..4_200], 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Rows may be there several times, and parts come in any order.
    #[test]
    fn the_sum_of_the_parts_is_the_whole_byte_for_byte(sizes in sizes(), of in 1_u32..6, seed in any::<u64>()) {
        let mut random = fastrand::Rng::with_seed(seed);
        let tables: Vec<(String, Vec<u64>)> = sizes
            .iter()
            .enumerate()
            .map(|(i, size)| (format!("t{i}"), (0..*size).map(|_| random.u64(0..*size * 2)).collect()))
            .collect();
        let whole = manifest(tables.iter().map(|(name, seeds)| entry(name, rows(seeds.iter().copied()))).collect());
        let mut shares: Vec<Vec<Vec<u64>>> = vec![vec![Vec::new(); tables.len()]; of as usize];
        for (i, (_, seeds)) in tables.iter().enumerate() {
            for seed in seeds {
                shares[random.usize(0..of as usize)][i].push(*seed);
            }
        }
        let share = |(number, share): (u32, &Vec<Vec<u64>>)| {
            let entries = tables.iter().zip(share).map(|((name, _), seeds)| entry(name, rows(seeds.iter().copied())));
            part(number, of, entries.collect())
        };
        let mut parts: Vec<PartialManifest> = (1..).zip(&shares).map(share).collect();
        random.shuffle(&mut parts);
        prop_assert_eq!(written(&merged(parts).unwrap()), written(&whole));
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    assert!(refusal(vec![]).contains("there is none"));
    let mut lacking = parts(4);
    lacking.remove(2);
    lacking.remove(0);
    assert_eq!(refusal(lacking), "merge the parts: missing: part 1/4, 3/4");
    let many = part(2, u32::MAX, vec![]);
    assert!(refusal(vec![many]).ends_with(
        "missing: part 1/4294967295, 3/4294967295, 4/4294967295, 5/4294967295, 6/4294967295 and more"
    ));
    let mut doubled = parts(3);
    doubled.push(doubled[1].clone());
    assert_eq!(refusal(doubled), "merge the parts: 2.part and 2.part are both part 2/3");

    type Change = fn(&mut PartialManifest);
    let foreign: [(Change, &str); 12] = [
        (|part| part.part = PartNumber::new(2, 4).unwrap(), "it is one of 4 parts, and 1.part is one of 3"),
        (
            |part| part.manifest.header.snapshot = "10:11:".into(),
            "it is of the snapshot 10:11:, and 1.part of 10:10:",
        ),
        (|part| part.manifest.header.key = HashKey([8; 32]), "it has another key of the hash than 1.part"),
        (
            |part| part.manifest.header.hash = HashAlgorithm::Sha256,
            "it has another hash function than 1.part",
        ),
        (
            |part| part.manifest.header.consistency = Consistency::SharedSnapshot,
            "it has another mode of the capture than 1.part",
        ),
        (
            |part| part.manifest.header.source.system_identifier = "2".into(),
            "it has another system identifier than 1.part",
        ),
        (|part| part.manifest.header.source.database_oid = Some(5), "it has another database than 1.part"),
        (
            |part| part.manifest.header.source.postmaster_started_at = None,
            "it has another start of the server than 1.part",
        ),
        (|part| part.chunk_pages = 9, "it has another size of chunks than 1.part"),
        (
            |part| part.manifest.tables[0] = entry("u", rows([])),
            "it has other tables than 1.part, from public.u on",
        ),
        (|part| part.manifest.tables.push(entry("u", rows([]))), "it has more or fewer tables than 1.part"),
        (|part| part.manifest.tables.clear(), "it has more or fewer tables than 1.part"),
    ];
    for (change, reason) in foreign {
        let mut parts = parts(3);
        change(&mut parts[1]);
        assert_eq!(refusal(parts), format!("merge the parts: 2.part is not of the same capture: {reason}"));
    }
    let error = merged(parts(2).into_iter().map(|mut part| {
        part.manifest.header.key = HashKey([part.part.number() as u8; 32]);
        part
    }));
    let shown = format!("{:?}", error.unwrap_err());
    assert!(!shown.contains("0101") && !shown.contains("0202"), "{shown}");
}

/// One of the parts is not as the others, in any order of them.
#[test]
fn a_table_that_one_part_could_not_read_or_found_different_has_no_rows() {
    type Change = fn(&mut PartialManifest);
    let content = |content: Content| {
        move |part: &mut PartialManifest| part.manifest.tables[0].content = content.clone()
    };
    let different = Content::Unreadable(DIFFERENT.to_owned());
    let (unreadable, damaged, rewritten) = (
        Content::Unreadable("denied".into()),
        Content::Damaged("broken".into()),
        Content::Rewritten("truncated".into()),
    );
    let changes: [(Change, &Content); 6] = [
        (|part| part.manifest.tables[0].filenode = 2, &different),
        (|part| part.manifest.tables[0].table.columns[0].encoding = Encoding::Sha256, &different),
        (|part| part.manifest.tables[0].table.columns.push(Column::binary("v", "text")), &different),
        (|part| part.manifest.tables[0].table.unlogged = true, &different),
        (|part| part.uncut.push(TableName::new("public", "t")), &different),
        (|part| part.manifest.tables[0].content = rows_of_other_width(), &different),
    ];
    let with = |change: &dyn Fn(&mut PartialManifest), expected: &Content| {
        for odd in 0..3 {
            for first in 0..3 {
                let mut parts = parts(3);
                change(&mut parts[odd]);
                parts.rotate_left(first);
                let manifest = merged(parts).unwrap();
                assert_eq!(manifest.tables[0].content, *expected, "{odd} {first}");
                assert_ne!(manifest.verdict(), crate::finding::Verdict::Pass);
            }
        }
    };
    for (change, expected) in changes {
        with(&change, expected);
    }
    for expected in [&unreadable, &damaged, &rewritten] {
        with(&content(expected.clone()), expected);
    }
    // The worst is kept, and the reason of the lowest part.
    let mut several = parts(3);
    content(Content::Unreadable("second".into()))(&mut several[2]);
    content(Content::Unreadable("first".into()))(&mut several[1]);
    several[0].manifest.tables[0].filenode = 2;
    assert_eq!(merged(several.clone()).unwrap().tables[0].content, Content::Unreadable("first".into()));
    content(damaged.clone())(&mut several[2]);
    content(rewritten)(&mut several[0]);
    several.reverse();
    assert_eq!(merged(several).unwrap().tables[0].content, damaged);
}

fn rows_of_other_width() -> Content {
    let names = Names::new(CellWidth::Wide);
    Content::Rows { digest: Digest::default(), bytes: 0, names }
}

#[test]
fn forged_numbers_of_rows_are_no_sum() {
    let mut parts = parts(2);
    for part in &mut parts {
        if let Content::Rows { digest, .. } = &mut part.manifest.tables[0].content {
            digest.rows = u64::MAX;
        }
    }
    assert_eq!(merged(parts).unwrap().tables[0].content, Content::Unreadable(DIFFERENT.to_owned()));
}

#[test]
fn what_is_not_rows_comes_from_the_first_part_and_the_earliest_time_counts() {
    let mut parts = parts(3);
    let at = |second| Timestamp::from_second(second).unwrap();
    for (part, (second, lsn)) in parts.iter_mut().zip([(30, "2/0"), (10, "10/0"), (20, "1/FFFFFFFF")]) {
        part.manifest.header.captured_at = at(second);
        part.manifest.header.lsn = lsn.to_owned();
        part.manifest.header.source.database = format!("found by {}", part.part);
        part.manifest.pulse.read_at = at(second);
    }
    parts[0].manifest.sequences.push(Sequence {
        name: TableName::new("public", "s"),
        increment: 1,
        cycles: false,
        unlogged: false,
        owned_by: None,
        earliest: None,
        latest: None,
        unreadable: None,
    });
    for first in 0..3 {
        parts.rotate_left(first);
        let manifest = merged(parts.clone()).unwrap();
        assert_eq!((manifest.header.captured_at, manifest.header.lsn.as_str()), (at(10), "1/FFFFFFFF"));
        assert_eq!(manifest.header.source.database, "found by 1/3");
        assert_eq!((manifest.sequences.len(), manifest.pulse.read_at), (1, at(30)));
    }
}

#[test]
fn a_part_is_no_manifest_and_a_manifest_no_part() {
    let mut file = Vec::new();
    part(2, 3, vec![]).write(&mut file).unwrap();
    let error = Manifest::read(&file[..]).unwrap_err();
    assert_eq!(error.to_string(), "read the manifest: it is part 2/3 of one");
    assert_eq!(error.hint(), Some("merge all parts first: state-lab merge PART... -o MANIFEST"));
    let error = PartialManifest::read(&written(&manifest(vec![]))[..]).unwrap_err();
    assert_eq!(error.to_string(), "read the manifest: it is a whole one, not a part");
    // The format of a whole manifest on a part, and the reverse.
    let mut disguised = part(2, 3, vec![]);
    disguised.manifest.header.format = FORMAT.to_owned();
    file.clear();
    disguised.write(&mut file).unwrap();
    let mut bare = manifest(vec![]);
    bare.header.format = PARTIAL_FORMAT.to_owned();
    for file in [file, written(&bare)] {
        let expected = "read the manifest: its format and its number of a part do not match";
        assert_eq!(Manifest::read(&file[..]).unwrap_err().to_string(), expected);
        assert_eq!(PartialManifest::read(&file[..]).unwrap_err().to_string(), expected);
    }
}
