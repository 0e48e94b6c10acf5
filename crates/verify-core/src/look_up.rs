//! Looks differing rows up in the restored table, so that no wrong key is ever named.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::database::{Obstacle, Sink, Slice, Snapshot};
use crate::error::Result;
use crate::event::{self, Event, OnEvent};
use crate::journal::Side;
use crate::key::RowKey;
use crate::large_row::LargeRow;
use crate::layout::{Layout, next_field};
use crate::names::Difference;
use crate::pace;
use crate::plan::Limits;
use crate::row::RowHasher;
use crate::rows::Differing;
use crate::scan::Hash;
use crate::sketch::Entry;
use crate::table::Table;
use crate::value::RowName;

impl Side {
    /// Returns whether this side has an entry that the other lacks.
    fn holds(self, count: i64) -> bool {
        match self {
            Self::Source => count > 0,
            Self::Restored => count < 0,
        }
    }
}

/// The most keys that a server is asked for. To read that many one by one takes longer than to read a table whole.
const KEYS_MAX: usize = 100_000;

/// Reads the differing rows of one side once more, and keeps only those entries that it confirms: a row that it alone has must
/// be there, and the key of one that it lacks must not. What is there is named in full, however long its key.
///
/// The server is asked for the rows of these keys. If its answer does not confirm every entry, an index may be damaged, so the whole table is
/// read.
pub(crate) fn look_up(
    snapshot: &dyn Snapshot,
    side: Side,
    differing: &mut Differing<'_>,
    hash: Hash,
    limits: Limits,
    on_event: OnEvent<'_>,
) -> Result<()> {
    if differing.difference.entries.is_empty() {
        return Ok(());
    }
    event::send(on_event, Event::SecondPass { table: differing.table.name.clone() })?;
    // What was seen, and for each entry whether it is confirmed; `None` if a part cannot be read.
    let read = |keys: Option<&[RowKey]>| -> Result<Option<(Sightings, Vec<bool>)>> {
        let slices: Vec<Slice<'_>> =
            differing.parts.iter().map(|table| Slice { table, pages: None, keys }).collect();
        let mut sink = LookUpSink::new(&differing.table, &differing.difference, side, hash, on_event);
        pace::with_readers(snapshot, limits, on_event, |readers| readers.open()?.read(&slices, &mut sink))?;
        let confirmed = sink.whole.confirm(differing, side);
        Ok((sink.parts_read == slices.len()).then_some((sink.whole, confirmed)))
    };
    let keys: Vec<RowKey> = differing.difference.entries.iter().map(|(entry, _)| entry.key).collect();
    let by_key =
        keys.len() <= KEYS_MAX && !keys.iter().any(RowKey::is_hashed) && finds_keys(snapshot, differing);
    let mut found = if by_key { read(Some(&keys))? } else { None };
    if found.as_ref().is_none_or(|(_, confirmed)| confirmed.contains(&false)) {
        found = read(None)?;
    }
    let Some((sightings, confirmed)) = found else { return Ok(()) };
    differing.difference.complete &= !confirmed.contains(&false);
    let mut confirmed = confirmed.into_iter();
    differing.difference.entries.retain(|_| confirmed.next().unwrap_or(false));
    differing.seen.extend(sightings.seen);
    Ok(())
}

/// Returns whether the server finds the rows of a key in every part of the table, without code of the database's.
fn finds_keys(snapshot: &dyn Snapshot, differing: &Differing<'_>) -> bool {
    differing.parts.iter().all(|part| {
        let found = snapshot.tables().binary_search_by(|found| found.table.name.cmp(&part.name));
        found.is_ok_and(|i| snapshot.tables()[i].finds_keys) && part.key == differing.table.key
    })
}

/// Rows of interest that were found.
#[derive(Default)]
struct Sightings {
    /// Rows that this side alone has and that are there, with their names.
    seen: BTreeMap<Entry, RowName>,
    /// Keys of interest that are there.
    keys: HashSet<RowKey>,
}

impl Sightings {
    /// Returns for each entry of the difference whether this side confirms it.
    fn confirm(&self, differing: &Differing<'_>, side: Side) -> Vec<bool> {
        let entries = &differing.difference.entries;
        let held: HashSet<RowKey> =
            entries.iter().filter(|(_, count)| side.holds(*count)).map(|(entry, _)| entry.key).collect();
        let confirm = |(entry, count): &(Entry, i64)| {
            if side.holds(*count) {
                self.seen.contains_key(entry)
            } else {
                !differing.keyed || !self.keys.contains(&entry.key) || held.contains(&entry.key)
            }
        };
        entries.iter().map(confirm).collect()
    }
}

/// Watches the rows of a table for those that it alone is said to have, and for keys that it is said to lack.
struct LookUpSink<'a> {
    table: &'a Table,
    layout: Arc<Layout>,
    hasher: RowHasher,
    /// Keys of interest, of either kind.
    wanted: HashSet<RowKey>,
    held: HashSet<[u64; 2]>,
    large: Option<LargeRow>,
    /// Of the part that is being read, and of those that were read to their end.
    part: Sightings,
    whole: Sightings,
    parts_read: usize,
    unreported: (u64, u64),
    on_event: OnEvent<'a>,
}

impl<'a> LookUpSink<'a> {
    fn new(table: &'a Table, difference: &Difference, side: Side, hash: Hash, on_event: OnEvent<'a>) -> Self {
        let entries = &difference.entries;
        Self {
            table,
            layout: Arc::new(Layout::new(table)),
            hasher: RowHasher::new(hash.algorithm, hash.key),
            wanted: entries.iter().map(|(entry, _)| entry.key).collect(),
            held: entries
                .iter()
                .filter(|(_, count)| side.holds(*count))
                .map(|(entry, _)| entry.hash)
                .collect(),
            large: None,
            part: Sightings::default(),
            whole: Sightings::default(),
            parts_read: 0,
            unreported: (0, 0),
            on_event,
        }
    }

    fn watch(&mut self, entry: Entry, name: impl FnOnce() -> RowName) {
        self.part.keys.insert(entry.key);
        if self.held.contains(&entry.hash) && !self.part.seen.contains_key(&entry) {
            self.part.seen.insert(entry, name());
        }
    }

    fn report(&mut self, bytes: usize) -> Result<()> {
        self.unreported = (self.unreported.0 + 1, self.unreported.1 + bytes as u64);
        if self.unreported.1 < 4 << 20 {
            return Ok(());
        }
        let (rows, bytes) = std::mem::take(&mut self.unreported);
        event::send(self.on_event, Event::Read { rows, bytes, estimate_done: 0 })
    }
}

impl Sink for LookUpSink<'_> {
    fn begin(&mut self, _: usize) -> Result<()> {
        self.part = Sightings::default();
        self.large = None;
        Ok(())
    }

    fn row(&mut self, tuple: &mut [u8]) -> Result<()> {
        let key = self.layout.key(tuple, |bytes| self.hasher.hash_one(bytes))?;
        if self.wanted.contains(&key) {
            let entry = Entry::new(&self.hasher.hash_one(tuple), key);
            let table = self.table;
            self.watch(entry, || name_of(table, tuple));
        }
        self.report(tuple.len())
    }

    fn piece(&mut self, piece: &[u8], last: bool) -> Result<()> {
        if let Some((hash, key, _)) = self.hasher.piece(&mut self.large, &self.layout, piece, last)?
            && self.wanted.contains(&key)
        {
            let (table, entry) = (self.table, Entry::new(&hash, key));
            let name = || match key.fields() {
                Some(fields) => RowName::of_key(table, &fields),
                None => RowName::unkeyed(format!("(row {:016x}, too large to show)", entry.hash[0])),
            };
            self.watch(entry, name);
        }
        self.report(piece.len())
    }

    fn end(&mut self, _: u64) -> Result<()> {
        let Sightings { seen, keys } = std::mem::take(&mut self.part);
        self.whole.seen.extend(seen);
        self.whole.keys.extend(keys);
        self.parts_read += 1;
        Ok(())
    }

    fn unreadable(&mut self, _: usize, _: Obstacle) -> Result<()> {
        Ok(())
    }
}

/// A row's name from the row itself, however long its key is.
fn name_of(table: &Table, tuple: &[u8]) -> RowName {
    let mut fields = Vec::with_capacity(table.columns.len());
    let mut at = 2;
    while let Some((field, next)) = next_field(tuple, at) {
        fields.push(field.map(|range| &tuple[range]));
        at = next;
    }
    let key: Vec<Option<&[u8]>> =
        table.key.columns.iter().map(|&i| fields.get(i).copied().flatten()).collect();
    RowName::of_key(table, &key)
}
