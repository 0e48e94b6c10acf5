//! Journals: what is read back of whole, torn and changed ones.

use super::*;
use crate::digest::Digest;
use crate::manifest::{Consistency, Content, Source};
use crate::names::Names;
use crate::table::{CellWidth, Column, Key, KeySource, Table};

fn header_at(snapshot: &str) -> Header {
    let source = Source {
        server_version: 150_000,
        system_identifier: "1".into(),
        database: "shop".into(),
        database_oid: Some(16_384),
        postmaster_started_at: Some(Timestamp::UNIX_EPOCH),
        statistics_since: Some(Timestamp::UNIX_EPOCH),
        encoding: "UTF8".into(),
        other_databases: Vec::new(),
        foreign_tables: Vec::new(),
        prepared_transactions: Some(0),
    };
    let origin = Origin {
        source,
        snapshot: snapshot.into(),
        lsn: "0/9".into(),
        captured_at: Timestamp::UNIX_EPOCH,
        consistency: Consistency::SharedSnapshot,
    };
    header(HashAlgorithm::Blake3, HashKey([7; 32]), &origin)
}

fn entry(name: &str, bytes: u64) -> TableEntry {
    let table = Table::new(
        TableName::new("public", name),
        vec![Column::binary("id", "int8")],
        Key { source: KeySource::PrimaryKey, columns: vec![0] },
    );
    let content = Content::Rows { digest: Digest::default(), bytes, names: Names::new(CellWidth::Narrow) };
    TableEntry { table, filenode: 1, columns_found: None, content }
}

fn table_at(snapshot: &str, name: &str, bytes: u64) -> Vec<u8> {
    table_line(Side::Restored, &header_at(snapshot), &entry(name, bytes)).unwrap()
}

fn begin(side: Side, snapshot: &str) -> Vec<u8> {
    header_line(side, &header_at(snapshot)).unwrap()
}

fn journal() -> Vec<u8> {
    [begin(Side::Restored, "10:10:"), table_at("10:10:", "a", 1), table_at("10:10:", "b", 2)].concat()
}

fn tables(text: &[u8]) -> Vec<String> {
    let restored = Journal::read(text).unwrap().restored.unwrap();
    restored.tables.values().map(|entry| format!("{} {:?}", entry.table.name.name, entry.rows())).collect()
}

#[test]
fn what_was_written_is_read_back() {
    let Journal { source, restored, void_lines } = Journal::read(&journal()[..]).unwrap();
    let expected = ["a", "b"].into_iter().zip([1, 2]).map(|(name, bytes)| entry(name, bytes));
    let expected = expected.map(|entry| (entry.name().clone(), entry)).collect();
    let expected = Measured { header: header_at("10:10:"), tables: expected };
    assert_eq!((source, restored, void_lines), (None, Some(expected), 0));
    assert_eq!(Journal::read(&[][..]).unwrap(), Journal::default());
}

#[test]
fn a_torn_last_line_is_void() {
    let whole = journal();
    let first = begin(Side::Restored, "10:10:").len();
    for length in 1..whole.len() {
        let read = Journal::read(&whole[..length]);
        if length < first {
            assert!(read.unwrap_err().to_string().contains("its first line is not that of a journal"));
            continue;
        }
        let Journal { restored, void_lines, .. } = read.unwrap();
        let lines = whole[..length].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(restored.unwrap().tables.len(), lines - 1, "{length}");
        assert_eq!(void_lines, u64::from(whole[length - 1] != b'\n'), "{length}");
        // The next run ends the torn line, and writes on.
        let again = [&whole[..length], b"\n", &table_at("10:10:", "c", 3)].concat();
        assert!(tables(&again).contains(&"c 0".to_owned()), "{length}");
    }
}

#[test]
fn a_changed_byte_makes_its_line_void_and_no_other() {
    let whole = journal();
    let first = begin(Side::Restored, "10:10:").len();
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        match Journal::read(&changed[..]) {
            Err(_) => assert!(place < first, "{place}"),
            Ok(Journal { restored, void_lines, .. }) => {
                assert!(place >= first && void_lines >= 1, "{place}");
                let restored = restored.unwrap();
                // Without the newline between them two lines are one.
                assert!(restored.tables.len() <= 1, "{place}");
                for entry in restored.tables.values() {
                    assert!([self::entry("a", 1), self::entry("b", 2)].contains(entry), "{place}");
                }
            }
        }
    }
}

#[test]
fn tables_belong_to_the_last_header_of_their_side() {
    let later = [journal(), begin(Side::Restored, "11:11:"), table_at("11:11:", "c", 3)].concat();
    assert_eq!(tables(&later), ["c 0"]);
    // A line of the earlier snapshot, and one of a header that was lost.
    let late = [later.clone(), table_at("10:10:", "d", 4), table_at("12:12:", "e", 5)].concat();
    assert_eq!((tables(&late), Journal::read(&late[..]).unwrap().void_lines), (vec!["c 0".to_owned()], 2));
    // The source has a key of its own.
    let of_both = [journal(), begin(Side::Source, "11:11:")].concat();
    let Journal { source, restored, .. } = Journal::read(&of_both[..]).unwrap();
    assert!(source.is_some() && restored.is_none());
}

#[test]
fn another_version_is_refused() {
    let newer = Header { version: FORMAT_VERSION + 1, ..header_at("10:10:") };
    let error = Journal::read(&header_line(Side::Restored, &newer).unwrap()[..]).unwrap_err();
    assert!(error.to_string().contains("another version"), "{error}");
    assert_eq!(error.hint(), Some(OTHER_FILE));
}
