//! The seam to the outside: a database that can be read under one snapshot by several readers.
//!
//! It has two implementations: PostgreSQL servers ([`crate::postgres`]) and, in the tests, tables in memory.

use std::num::NonZeroUsize;

use crate::definition::{Definitions, Extent};
use crate::digest::{Digest, HashKey};
use crate::error::Result;
use crate::event::OnEvent;
use crate::heartbeat::Pulse;
use crate::invariant::{Invariant, Outcome};
use crate::key::RowKey;
use crate::manifest::{Header, Origin};
use crate::plan::Plan;
use crate::reprint::{Printed, Reprint};
use crate::sequence::Sequence;
use crate::table::{Table, TableName};

/// A database that can be measured.
pub trait Database: Send + Sync {
    /// Takes a snapshot, which everything read through the result sees.
    ///
    /// # Errors
    ///
    /// If the database cannot be reached, or cannot be verified as it is.
    fn snapshot<'a>(&'a self, plan: &Plan, on_event: OnEvent<'_>) -> Result<Box<dyn Snapshot + 'a>>;
}

/// A snapshot of a database. Dropping it releases it.
pub trait Snapshot: Send + Sync {
    /// Origin of the snapshot.
    fn origin(&self) -> &Origin;

    /// A key for the rows' hash, drawn after the snapshot was taken.
    ///
    /// # Errors
    ///
    /// If the operating system has no randomness.
    fn draw_key(&self) -> Result<HashKey>;

    /// Every relation that holds rows, sorted by name.
    fn tables(&self) -> &[Found];

    /// Every sequence as it was right after the snapshot was taken, sorted by name.
    fn sequences(&self) -> &[Sequence];

    /// The definitions of the database's or the cluster's objects, as the snapshot sees them.
    ///
    /// # Errors
    ///
    /// If the connection breaks; definitions that the server refuses to show are [`Definitions::Unread`].
    fn definitions(&self, extent: Extent) -> Result<Definitions>;

    /// The definitions as they are now.
    ///
    /// # Errors
    ///
    /// As for [`Self::definitions`].
    fn definitions_now(&self, extent: Extent) -> Result<Definitions>;

    /// Prints expressions again, in their order. Only of a restored copy: it makes views, and rolls them back.
    ///
    /// # Errors
    ///
    /// If the connection breaks.
    fn reprint(&self, printed: &[Printed<'_>]) -> Result<Vec<Reprint>>;

    /// Every sequence as it is now.
    ///
    /// # Errors
    ///
    /// If the connection breaks.
    fn sequences_now(&self) -> Result<Vec<Sequence>>;

    /// The newest heartbeat or commit that the snapshot sees.
    ///
    /// # Errors
    ///
    /// If the connection breaks.
    fn pulse(&self) -> Result<Pulse>;

    /// Runs an invariant, which can neither write nor run for ever.
    ///
    /// # Errors
    ///
    /// If the connection breaks; an invariant that fails is an [`Outcome::Broken`].
    fn evaluate(&self, invariant: &Invariant) -> Result<Outcome>;

    /// One more connection to read rows with.
    ///
    /// # Errors
    ///
    /// If there can be none.
    fn reader(&self) -> Result<Box<dyn Reader + '_>>;

    /// The connection that took the snapshot, as a reader. It holds locks, so that it reads where others would have to
    /// wait behind a session that waits for those.
    fn coordinator(&self) -> Box<dyn Reader + '_>;

    /// Returns whether the rows of a partition satisfy its bound.
    ///
    /// # Errors
    ///
    /// If the connection breaks.
    fn placement(&self, partition: &TableName) -> Result<Placement>;

    /// The tables that were truncated, rewritten or dropped since the snapshot was taken, and how: what is read of
    /// them is not what was there.
    ///
    /// # Errors
    ///
    /// If the connection breaks.
    fn disturbed(&self) -> Result<Vec<(TableName, String)>>;

    /// Reason why rows may differ from those that an earlier snapshot of the same server process saw, if they may. Read before anything
    /// else is.
    ///
    /// # Errors
    ///
    /// If the connection breaks.
    fn changed_since(&self, then: &Header) -> Result<Option<String>>;

    /// A hash of sample values of all types that [`Self::row_sums`] hashes. Servers of which it differs do not hash alike.
    ///
    /// # Errors
    ///
    /// If the connection breaks.
    fn sample_hash(&self, seed: i64) -> Result<i64>;

    /// Counts the rows of tables, and adds up hashes of the columns that are given with them, which the server computes: no row
    /// leaves it. It uses `jobs` connections. One result for each table, in order.
    ///
    /// # Errors
    ///
    /// If the connection breaks, or the work is to stop. A table that cannot be read gives its obstacle.
    fn row_sums(
        &self,
        tables: &[Found],
        seed: i64,
        jobs: NonZeroUsize,
        on_event: OnEvent<'_>,
    ) -> Result<Vec<Result<Digest, Obstacle>>>;

    /// The server's activity now.
    ///
    /// # Errors
    ///
    /// If the connection breaks.
    fn activity(&self) -> Result<Activity>;

    /// Reason why this is not the requested snapshot, if it is not.
    fn deviation(&self) -> Option<Deviation> {
        None
    }
}

/// Callers take databases and snapshots to other threads.
const _: fn() = || {
    fn can_be_sent<T: ?Sized + Send>() {}
    can_be_sent::<dyn Database>();
    can_be_sent::<dyn Snapshot>();
};

/// Activity of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Time since the snapshot was taken, by the server's clock.
    pub snapshot_age_ms: u64,
    /// Number of client sessions that run a statement, without those of the same `application_name`; `None` if the role may not see them.
    pub sessions: Option<u64>,
    /// Bytes of WAL by which the furthest standby is behind, or this one is if it is a standby; 0 without standbys. `None` if the role may
    /// not see it.
    pub replication_lag: Option<u64>,
}

/// Reason why the rows are not those of the requested snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deviation {
    /// The snapshot could not be confirmed, for this reason.
    Unproven(String),
    /// The copy ends before that snapshot, as this shows.
    Older(String),
    /// Nothing is known of the point in time that the copy shows.
    Unknown,
}

/// A relation as the catalogue shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The table.
    pub table: Table,
    /// Its size on disk in bytes, as the server estimates it.
    pub bytes_estimate: u64,
    /// Its size in pages, where it is known and ranges of pages can be read by themselves.
    pub pages: Option<u32>,
    /// `relfilenode` when the snapshot was taken; 0 if it has none.
    pub filenode: u32,
    /// Reason why its rows cannot be read.
    pub unreadable: Option<String>,
    /// True if the server can be asked for rows by their keys: these have one text each, and to find them calls no function of the
    /// database's own.
    pub finds_keys: bool,
}

/// Rows to read: of one table, all of it or a range of its pages.
#[derive(Clone, Debug)]
pub struct Slice<'a> {
    /// Table, with its columns and their encoding.
    pub table: &'a Table,
    /// Pages from (inclusive) and to (exclusive, `None` for the end); `None` for all.
    pub pages: Option<(u32, Option<u32>)>,
    /// Keys of the rows that are wanted; `None` for all. A reader may give other rows as well.
    pub keys: Option<&'a [RowKey]>,
}

/// One connection that reads rows.
pub trait Reader {
    /// Streams the rows of the slices, in order, into `sink`.
    ///
    /// # Errors
    ///
    /// If the connection breaks, or the sink fails. A slice that cannot be read goes to [`Sink::unreadable`].
    fn read(&mut self, slices: &[Slice<'_>], sink: &mut dyn Sink) -> Result<()>;
}

/// Receiver of rows. Slices are counted from 0 as given to [`Reader::read`].
pub trait Sink {
    /// The rows of a slice follow. May come again for the same slice, whose earlier rows are then void.
    ///
    /// # Errors
    ///
    /// If the work is to stop.
    fn begin(&mut self, slice: usize) -> Result<()>;

    /// A whole tuple.
    ///
    /// # Errors
    ///
    /// If the bytes are not a tuple of the table, or the work is to stop.
    fn row(&mut self, tuple: &mut [u8]) -> Result<()>;

    /// A piece of a tuple that is larger than the reader's buffer; `last` ends the tuple.
    ///
    /// # Errors
    ///
    /// As for [`Sink::row`].
    fn piece(&mut self, piece: &[u8], last: bool) -> Result<()>;

    /// The slice is complete, with as many rows as the server says that it sent.
    ///
    /// # Errors
    ///
    /// If that is not the number that came.
    fn end(&mut self, rows: u64) -> Result<()>;

    /// The slice could not be read.
    ///
    /// # Errors
    ///
    /// If the work is to stop.
    fn unreadable(&mut self, slice: usize, obstacle: Obstacle) -> Result<()>;
}

/// Result of checking that the rows of a partition satisfy its bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// All rows satisfy the bound.
    #[default]
    Right,
    /// At least one is not: a query that looks for it elsewhere does not find it.
    Wrong,
    /// The check failed, for this reason.
    Unknown(String),
}

/// Reason why rows could not be read, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Something forbids it: a privilege, a lock, a limit.
    Unreadable(String),
    /// The server found its own data damaged.
    Damaged(String),
    /// The table was dropped or renamed after the catalogue was read.
    Dropped(String),
    /// Another session holds a lock on it, or waits for one ahead of this one.
    Locked(String),
    /// A row is too large for the server to send whole.
    TooLarge(String),
}

/// The obstacle of a materialised view that was never filled: there is nothing to read.
pub const NOT_POPULATED: &str = "not populated";

/// The obstacle of an unlogged table or sequence on a standby, which has none of its data.
pub const UNLOGGED_IN_RECOVERY: &str = "unlogged, so it does not exist during recovery";
