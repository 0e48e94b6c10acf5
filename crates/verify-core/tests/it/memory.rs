//! Tables in memory as a database: the twin of PostgreSQL under the engine's tests.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use verify_core::database::{
    Activity, Database, Deviation, Found, NOT_POPULATED, Obstacle, Placement, Reader, Sink, Slice, Snapshot,
};
use verify_core::definition::{Definition, Definitions, Extent};
use verify_core::digest::{Digest, HashKey, RowHash};
use verify_core::event::OnEvent;
use verify_core::heartbeat::Pulse;
use verify_core::invariant::{Invariant, Outcome, ResultCollector};
use verify_core::key::RowKey;
use verify_core::manifest::{Consistency, Header, Origin, Source};
use verify_core::plan::Plan;
use verify_core::reprint::{Printed, Reprint};
use verify_core::sequence::Sequence;
use verify_core::table::{
    Column, Key, KeySource, PartitionLevel, PartitionStrategy, Table, TableKind, TableName,
};
use verify_core::{Error, ErrorKind, Result};

/// A row of two columns: `id` and `v`.
pub(crate) type MemoryRow = (i64, Option<Vec<u8>>);

/// A table, or what keeps it from being read.
#[derive(Clone)]
pub(crate) struct MemoryTable {
    pub name: &'static str,
    pub keyed: bool,
    pub unlogged: bool,
    pub kind: TableKind,
    pub rows: Vec<MemoryRow>,
    pub obstacle: Option<Obstacle>,
    /// Type of the values.
    pub value_type: &'static str,
    /// The partitioned table that it belongs to, and how rows reach it.
    pub partition: Option<(&'static str, PartitionLevel)>,
    /// Estimated size on disk.
    pub bytes_estimate: u64,
}

/// Two partitions by hash of the table `t`, with these rows.
pub(crate) fn partitions_by_hash(rows: [Vec<i64>; 2]) -> Vec<MemoryTable> {
    let partition = |(name, ids): (&'static str, Vec<i64>)| {
        let level = PartitionLevel {
            strategy: PartitionStrategy::Hash,
            columns: vec![Some("id".to_owned())],
            bound: format!("the bound of {name}"),
        };
        MemoryTable { partition: Some(("t", level)), ..MemoryTable::new(name, ids) }
    };
    ["t_0", "t_1"].into_iter().zip(rows).map(partition).collect()
}

impl MemoryTable {
    pub(crate) fn new(name: &'static str, ids: impl IntoIterator<Item = i64>) -> Self {
        let rows: Vec<MemoryRow> =
            ids.into_iter().map(|id| (id, Some(format!("value {id}").into_bytes()))).collect();
        Self {
            bytes_estimate: rows.len() as u64 * 40,
            name,
            keyed: true,
            unlogged: false,
            kind: TableKind::Table,
            rows,
            obstacle: None,
            value_type: "text",
            partition: None,
        }
    }

    fn found(&self) -> Found {
        let key = if self.keyed {
            Key { source: KeySource::PrimaryKey, columns: vec![0] }
        } else {
            Key { source: KeySource::WholeRow, columns: vec![0, 1] }
        };
        let unreadable = match &self.obstacle {
            Some(Obstacle::Unreadable(reason)) if reason == NOT_POPULATED => Some(reason.clone()),
            _ => None,
        };
        Found {
            table: Table {
                name: TableName::new("public", self.name),
                kind: self.kind,
                columns: vec![Column::binary("id", "int8"), Column::binary("v", self.value_type)],
                key,
                unlogged: self.unlogged,
                partition_of: self.partition.as_ref().map(|(root, _)| TableName::new("public", *root)),
                partition_path: self.partition.iter().map(|(_, level)| level.clone()).collect(),
                parents: Vec::new(),
                extension: None,
            },
            bytes_estimate: self.bytes_estimate,
            pages: None,
            filenode: 1,
            unreadable,
            finds_keys: self.keyed,
        }
    }
}

/// A definition with these attributes.
pub(crate) fn definition(object_type: &str, identity: &str, attributes: &[(&str, &str)]) -> Definition {
    let attributes =
        attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Definition {
        object_type: object_type.to_owned(),
        identity: identity.to_owned(),
        attributes,
        ..Definition::default()
    }
}

/// A database, and what shall go wrong with it.
#[derive(Default)]
pub(crate) struct Memory {
    pub tables: Vec<MemoryTable>,
    pub sequences: Vec<Sequence>,
    pub definitions: Vec<Definition>,
    pub cluster: Vec<Definition>,
    pub disturbed: Vec<(TableName, String)>,
    pub deviation: Option<Deviation>,
    /// Two databases with the same time are one.
    pub server_started_at: Option<Timestamp>,
    /// Placement of the rows of its partitions.
    pub placement: Placement,
    /// The server sends one row less than it says.
    pub loses_a_row: bool,
    /// The connection breaks at the first row.
    pub breaks: bool,
    /// A row that no reader finds by its key: an index has lost it.
    pub not_found_by_key: Option<i64>,
    /// Numbers of rows that were read of each slice, by key (true) or without one.
    pub slices_read: Mutex<Vec<(bool, usize)>>,
    pub server_version: Option<u32>,
    /// The server hashes the same value as no other does.
    pub hashes_unlike_others: bool,
    /// The columns that the server was asked to hash, of each table.
    pub hashed: Mutex<Vec<usize>>,
    /// `pg_current_snapshot()`, if it is not that of a database in which nothing was ever written.
    pub snapshot: Option<&'static str>,
    /// What the server does besides, each time that it is asked; the last one for ever.
    pub activity: Mutex<Vec<Activity>>,
}

pub(crate) struct MemorySnapshot<'a> {
    memory: &'a Memory,
    origin: Origin,
    found: Vec<Found>,
    released: AtomicBool,
}

impl Database for Memory {
    fn snapshot<'a>(&'a self, _: &Plan, _: OnEvent<'_>) -> Result<Box<dyn Snapshot + 'a>> {
        let source = Source {
            server_version: self.server_version.unwrap_or(150_000),
            system_identifier: "1".into(),
            database: "memory".into(),
            database_oid: Some(16_384),
            postmaster_started_at: self.server_started_at,
            statistics_since: self.server_started_at,
            encoding: "UTF8".into(),
            other_databases: Vec::new(),
            foreign_tables: Vec::new(),
            prepared_transactions: Some(0),
        };
        let origin = Origin {
            source,
            snapshot: self.snapshot.unwrap_or("10:10:").into(),
            lsn: "0/1".into(),
            captured_at: "2026-01-01T00:00:00Z".parse().expect("a time"),
            consistency: Consistency::SharedSnapshot,
        };
        let mut found: Vec<Found> = self.tables.iter().map(MemoryTable::found).collect();
        found.sort_by(|a, b| a.table.name.cmp(&b.table.name));
        Ok(Box::new(MemorySnapshot { memory: self, origin, found, released: AtomicBool::new(false) }))
    }
}

impl Snapshot for MemorySnapshot<'_> {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn draw_key(&self) -> Result<HashKey> {
        Ok(HashKey([7; 32]))
    }

    fn tables(&self) -> &[Found] {
        &self.found
    }

    fn sequences(&self) -> &[Sequence] {
        &self.memory.sequences
    }

    fn definitions(&self, extent: Extent) -> Result<Definitions> {
        Ok(Definitions::Read(match extent {
            Extent::Database => self.memory.definitions.clone(),
            Extent::Cluster => self.memory.cluster.clone(),
        }))
    }

    fn definitions_now(&self, extent: Extent) -> Result<Definitions> {
        self.definitions(extent)
    }

    /// Prints without spaces, and refuses question marks.
    fn reprint(&self, printed: &[Printed<'_>]) -> Result<Vec<Reprint>> {
        let one = |printed: &Printed<'_>| match printed.text.contains('?') {
            true => Reprint::Refused("syntax error at or near \"?\"".to_owned()),
            false => Reprint::Text(printed.text.replace(' ', "")),
        };
        Ok(printed.iter().map(one).collect())
    }

    fn sequences_now(&self) -> Result<Vec<Sequence>> {
        Ok(self.memory.sequences.clone())
    }

    fn pulse(&self) -> Result<Pulse> {
        Ok(Pulse { beat: None, last_commit: None, read_at: self.origin.captured_at })
    }

    fn evaluate(&self, invariant: &Invariant) -> Result<Outcome> {
        let mut result = ResultCollector::new(vec!["sql".into()]);
        result.push(&[Some(&invariant.sql)]);
        Ok(Outcome::Result(result.finish()))
    }

    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        assert!(!self.released.load(Ordering::SeqCst));
        Ok(Box::new(MemoryReader { memory: self.memory }))
    }

    fn coordinator(&self) -> Box<dyn Reader + '_> {
        Box::new(MemoryReader { memory: self.memory })
    }

    fn placement(&self, _: &TableName) -> Result<Placement> {
        Ok(self.memory.placement.clone())
    }

    fn disturbed(&self) -> Result<Vec<(TableName, String)>> {
        Ok(self.memory.disturbed.clone())
    }

    fn changed_since(&self, then: &Header) -> Result<Option<String>> {
        let is_same = then.snapshot == self.origin.snapshot;
        Ok((!is_same).then(|| "1 transaction has written since".to_owned()))
    }

    fn sample_hash(&self, seed: i64) -> Result<i64> {
        Ok(seed ^ i64::from(self.memory.hashes_unlike_others))
    }

    fn row_sums(
        &self,
        tables: &[Found],
        seed: i64,
        _: NonZeroUsize,
        _: OnEvent<'_>,
    ) -> Result<Vec<Result<Digest, Obstacle>>> {
        let sum = |found: &Found| {
            let table = self.memory.tables.iter().find(|table| table.name == found.table.name.name);
            let table = table.expect("only tables that are there are hashed");
            let columns = found.table.columns.len();
            self.memory.hashed.lock().expect("no test panics with it").push(columns);
            if let Some(obstacle) = &table.obstacle {
                return Err(obstacle.clone());
            }
            let mut sum = Digest::default();
            for row in &table.rows {
                let mut hasher = DefaultHasher::new();
                seed.hash(&mut hasher);
                (columns > 0).then_some(row).hash(&mut hasher);
                let mut hash = RowHash([0; 32]);
                hash.0[..8].copy_from_slice(&hasher.finish().to_le_bytes());
                sum.add(&hash);
            }
            Ok(sum)
        };
        Ok(tables.iter().map(sum).collect())
    }

    fn activity(&self) -> Result<Activity> {
        let mut next = self.memory.activity.lock().expect("no test panics with it");
        Ok(if next.len() > 1 { next.remove(0) } else { next.first().copied().unwrap_or_default() })
    }

    fn deviation(&self) -> Option<Deviation> {
        self.memory.deviation.clone()
    }
}

struct MemoryReader<'a> {
    memory: &'a Memory,
}

impl Reader for MemoryReader<'_> {
    fn read(&mut self, slices: &[Slice<'_>], sink: &mut dyn Sink) -> Result<()> {
        for (i, slice) in slices.iter().enumerate() {
            let table = self.memory.tables.iter().find(|table| table.name == slice.table.name.name);
            let table = table.expect("only tables that are there are read");
            sink.begin(i)?;
            if self.memory.breaks {
                return Err(Error::new(ErrorKind::Connection, "read: the connection broke"));
            }
            if let Some(obstacle) = &table.obstacle {
                sink.unreadable(i, obstacle.clone())?;
                continue;
            }
            let ids: Option<HashSet<i64>> = slice.keys.map(|keys| keys.iter().filter_map(id_of).collect());
            let wanted = |id: i64| {
                ids.as_ref().is_none_or(|ids| self.memory.not_found_by_key != Some(id) && ids.contains(&id))
            };
            let rows: Vec<&MemoryRow> = table.rows.iter().filter(|(id, _)| wanted(*id)).collect();
            let sent = rows.len() - usize::from(self.memory.loses_a_row);
            for (id, value) in &rows[..sent] {
                row(*id, value.as_deref(), sink)?;
            }
            sink.end(rows.len() as u64)?;
            self.memory
                .slices_read
                .lock()
                .expect("no test panics with it")
                .push((slice.keys.is_some(), sent));
        }
        Ok(())
    }
}

fn id_of(key: &RowKey) -> Option<i64> {
    Some(i64::from_be_bytes((*key.fields()?.first()?)?.try_into().ok()?))
}

/// Sends a tuple; one of over a kilobyte in pieces, as one that is too large for a buffer.
fn row(id: i64, value: Option<&[u8]>, sink: &mut dyn Sink) -> Result<()> {
    let mut tuple = vec![0, 2, 0, 0, 0, 8];
    tuple.extend(id.to_be_bytes());
    match value {
        None => tuple.extend((-1_i32).to_be_bytes()),
        Some(value) => {
            tuple.extend((value.len() as i32).to_be_bytes());
            tuple.extend(value);
        }
    }
    if tuple.len() <= 1_024 {
        return sink.row(&mut tuple);
    }
    let pieces: Vec<&[u8]> = tuple.chunks(7).collect();
    for (i, piece) in pieces.iter().enumerate() {
        sink.piece(piece, i + 1 == pieces.len())?;
    }
    Ok(())
}
