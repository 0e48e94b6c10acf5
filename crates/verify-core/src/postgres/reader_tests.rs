//! Tests of the bulk reader against servers that send damaged streams.

use proptest::prelude::*;

use super::super::buffer::message;
use super::super::scripted_server::{READY, connect};
use super::*;
use crate::table::{Column, Key, KeySource, Table, TableName};

/// Counts what a reader passes on.
#[derive(Default)]
struct Counts {
    rows: u64,
    bytes: usize,
    /// Rows of slices that were complete, as the server counted them.
    complete: Vec<u64>,
}

impl Sink for Counts {
    fn begin(&mut self, _: usize) -> Result<()> {
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    fn row(&mut self, tuple: &mut [u8]) -> Result<()> {
        self.rows += 1;
        self.bytes += tuple.len();
        Ok(())
    }

    fn piece(&mut self, piece: &[u8], last: bool) -> Result<()> {
        self.rows += u64::from(last);
        self.bytes += piece.len();
        Ok(())
    }

    fn end(&mut self, rows: u64) -> Result<()> {
        self.complete.push(rows);
        Ok(())
    }

    fn unreadable(&mut self, _: usize, _: Obstacle) -> Result<()> {
        Ok(())
    }
}

/// The answer to a COPY of these tuples.
fn copy_of(tuples: &[Vec<u8>]) -> Vec<u8> {
    let header = [&COPY_SIGNATURE[..], &[0; 8]].concat();
    let mut first = header;
    let mut stream = message(b'H', b"\x01\0\0");
    for tuple in tuples {
        stream.extend(message(b'd', &[&first[..], tuple].concat()));
        first.clear();
    }
    stream.extend(message(b'd', &[&first[..], &COPY_TRAILER].concat()));
    stream.extend(message(b'c', b""));
    stream.extend(message(b'C', format!("COPY {}\0", tuples.len()).as_bytes()));
    stream
}

/// Reads two tables from a server that sends `script`, whatever it is asked.
fn read(script: Vec<u8>) -> (Result<()>, Counts) {
    let (connection, theirs) = connect(script);
    let mut connection = connection.unwrap();
    let table = Table::new(
        TableName::new("public", "t"),
        vec![Column::binary("id", "int8")],
        Key { source: KeySource::PrimaryKey, columns: vec![0] },
    );
    let slice = || Slice { table: &table, pages: None, keys: None };
    let mut counts = Counts::default();
    let done = Stream::read(&mut connection, &[slice(), slice()], 0, &mut counts);
    drop(theirs);
    (done.map(|_| ()), counts)
}

fn tuples() -> impl Strategy<Value = Vec<Vec<u8>>> {
    // A tuple of two bytes could be the trailer, which no server sends as one.
    prop::collection::vec(prop::collection::vec(any::<u8>(), 3..200), 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_tuple_of_an_intact_stream_arrives(first in tuples(), mut second in tuples(), large in 0_usize..600_000) {
        second.push(vec![7; 3 + large]);
        let (done, counts) = read([copy_of(&first), copy_of(&second), READY.to_vec()].concat());
        prop_assert!(done.is_ok(), "{done:?}");
        prop_assert_eq!(&counts.complete, &[first.len() as u64, second.len() as u64]);
        prop_assert_eq!(counts.rows, second.len() as u64);
        prop_assert_eq!(counts.bytes, second.iter().map(Vec::len).sum::<usize>());
    }

    /// A reader of a damaged stream ends, and never passes a cut table on as complete.
    #[test]
    fn a_stream_that_is_cut_is_an_error(first in tuples(), second in tuples(), cut in 1_usize..2_000) {
        let whole = [copy_of(&first), copy_of(&second), READY.to_vec()].concat();
        let kept = whole.len().saturating_sub(cut);
        let (done, counts) = read(whole[..kept].to_vec());
        prop_assert!(done.is_err());
        // What was complete before the cut was.
        let expected = [first.len() as u64, second.len() as u64];
        prop_assert!(expected.starts_with(&counts.complete), "{:?}", counts.complete);
    }

    #[test]
    fn no_damage_panics_or_hangs(
        first in tuples(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        noise in prop::collection::vec(any::<u8>(), 0..30), at in any::<prop::sample::Index>(),
    ) {
        let mut script = [copy_of(&first), copy_of(&first), READY.to_vec()].concat();
        for (place, byte) in damage {
            let place = place.index(script.len());
            script[place] = byte;
        }
        let at = at.index(script.len());
        script.splice(at..at, noise);
        let _ = read(script);
    }
}
