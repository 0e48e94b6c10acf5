//! A snapshot of a PostgreSQL database: a coordinating session that exports its snapshot, and what it found.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_postgres::types::Type;

use super::catalogue::Relation;
use super::connection::Connection;
use super::reader::{CoordinatorReader, CopyReader, or_conflict};
use super::rows::first;
use super::savepoint::guarded;
use super::session::SessionOptions;
use super::settings::Settings;
use super::{definitions, heartbeat, invariants, placement, row_sums, sequences, statements, unchanged};
use crate::database::{Activity, Deviation, Found, Obstacle, Placement, Reader, Snapshot};
use crate::definition::{Definitions, Extent};
use crate::digest::{Digest, HashKey};
use crate::error::{Error, ErrorKind, Result};
use crate::event::OnEvent;
use crate::heartbeat::Pulse;
use crate::invariant::{Invariant, Outcome};
use crate::manifest::{Header, Origin};
use crate::plan::Limits;
use crate::reprint::{Printed, Reprint};
use crate::sequence::Sequence;
use crate::table::{TableKind, TableName};

/// Time that a reader waits for a lock that the coordinator holds already: what blocks it waits for the coordinator,
/// and others queue up behind both. The coordinator reads the table then.
const READER_LOCK_TIMEOUT_MS: u32 = 200;

/// A snapshot of a database. Dropping it releases its locks, its snapshot and its anchor.
pub struct PostgresSnapshot {
    pub(super) control: Mutex<Connection>,
    pub(super) exported: String,
    pub(super) origin: Origin,
    pub(super) oids: Vec<u32>,
    pub(super) tables: Vec<Found>,
    pub(super) sequences: Vec<Sequence>,
    pub(super) limits: Limits,
    pub(super) in_recovery: bool,
    pub(super) deviation: Option<Deviation>,
    /// Sessions that only have to stay open: an anchor on the source, or who offers the snapshot on a clone.
    pub(super) _held: Option<Box<dyn Send + Sync>>,
}

impl PostgresSnapshot {
    /// The name under which other sessions import the snapshot: `pg_dump --snapshot=…`.
    pub fn exported(&self) -> &str {
        &self.exported
    }

    fn read_definitions(&self, extent: Extent, exported: Option<&str>) -> Result<Definitions> {
        let settings = self.control().settings().clone();
        open(&settings, self.limits)
            .and_then(|mut connection| {
                definitions::read(&mut connection, self.origin.source.server_version, extent, exported)
            })
            .map_err(|error| if self.in_recovery { or_conflict(error) } else { error })
            .map_err(|error| error.while_doing("read the definitions"))
    }

    /// One more session that shares the snapshot.
    pub(super) fn copy_reader(&self) -> Result<CopyReader> {
        // The settings of the host that was reached: of several, another may be another server.
        let settings = self.control().settings().clone();
        let lock_timeout_ms = self.limits.lock_timeout_ms.min(READER_LOCK_TIMEOUT_MS);
        let limits = Limits { lock_timeout_ms, ..self.limits };
        CopyReader::new(open(&settings, limits)?, &self.exported, &self.origin.snapshot, self.in_recovery)
    }

    pub(super) fn control(&self) -> MutexGuard<'_, Connection> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Separates relations into the found tables and their object ids, in the same order.
pub(super) fn unzip(relations: Vec<Relation>) -> (Vec<u32>, Vec<Found>) {
    relations.into_iter().map(|relation| (relation.oid, relation.found)).unzip()
}

/// Opens a session with the settings under which values read the same everywhere.
pub(super) fn open(settings: &Settings, limits: Limits) -> Result<Connection> {
    // The plan's connections are all the parallelism that the server is to bear.
    let session = SessionOptions::verification(limits.lock_timeout_ms, 0);
    open_with(settings, limits, &session.with("max_parallel_workers_per_gather", "0"))
}

/// The same with options of the caller's, beyond those.
pub(super) fn open_with(settings: &Settings, limits: Limits, session: &SessionOptions) -> Result<Connection> {
    let mut connection = Connection::open(&settings.with_stall_timeout(limits.stall_timeout()), session)?;
    if connection.parameter("server_encoding") == Some("SQL_ASCII") {
        connection.set_raw_encoding()?;
    }
    Ok(connection)
}

impl Snapshot for PostgresSnapshot {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn draw_key(&self) -> Result<HashKey> {
        let mut key = HashKey([0; 32]);
        getrandom::fill(&mut key.0)
            .map_err(|error| Error::with_source(ErrorKind::File, "draw a random key", error))?;
        Ok(key)
    }

    fn tables(&self) -> &[Found] {
        &self.tables
    }

    fn sequences(&self) -> &[Sequence] {
        &self.sequences
    }

    fn definitions(&self, extent: Extent) -> Result<Definitions> {
        let mut definitions = self.read_definitions(extent, Some(&self.exported))?;
        let unread: BTreeSet<&TableName> =
            definitions.unread().filter_map(|unread| unread.of.as_ref()).collect();
        let tables = self
            .tables
            .iter()
            .zip(&self.oids)
            .filter(|(found, _)| found.filenode != 0 && found.table.kind == TableKind::Table);
        let locked: Vec<u32> =
            tables.filter(|(found, _)| unread.contains(&found.table.name)).map(|(_, oid)| *oid).collect();
        if !locked.is_empty() {
            let version = self.origin.source.server_version;
            definitions::read_locked(&mut self.control(), version, &locked, &mut definitions)
                .map_err(|error| error.while_doing("read the definitions of locked tables"))?;
        }
        Ok(definitions)
    }

    fn definitions_now(&self, extent: Extent) -> Result<Definitions> {
        self.read_definitions(extent, None)
    }

    fn reprint(&self, printed: &[Printed<'_>]) -> Result<Vec<Reprint>> {
        let settings = self.control().settings().clone();
        definitions::reprint(&settings, self.limits, printed)
            .map_err(|error| error.while_doing("compare the definitions"))
    }

    fn sequences_now(&self) -> Result<Vec<Sequence>> {
        sequences::read(&mut self.control(), self.in_recovery)
            .map_err(|error| error.while_doing("read the sequences"))
    }

    fn pulse(&self) -> Result<Pulse> {
        let read = guarded(&mut self.control(), heartbeat::pulse)
            .map_err(|error| error.while_doing("read the heartbeat"))?;
        // A heartbeat that is locked or damaged is listed as a table that could not be read.
        let none = |_| Pulse { beat: None, last_commit: None, read_at: self.origin.captured_at };
        let pulse = read.unwrap_or_else(none);
        // The beat is the snapshot's, so its age is the age that it had then.
        Ok(Pulse { read_at: self.origin.captured_at, ..pulse })
    }

    fn evaluate(&self, invariant: &Invariant) -> Result<Outcome> {
        invariants::evaluate(&mut self.control(), invariant, self.limits.invariant_timeout_ms)
            .map_err(|error| error.while_doing(format!("evaluate the invariant {}", invariant.name)))
    }

    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(self.copy_reader()?))
    }

    fn coordinator(&self) -> Box<dyn Reader + '_> {
        Box::new(CoordinatorReader::new(self.control()))
    }

    fn placement(&self, partition: &TableName) -> Result<Placement> {
        let found = self.tables.iter().zip(&self.oids).find(|(found, _)| found.table.name == *partition);
        let Some((_, oid)) = found else { return Ok(Placement::Unknown("it is not there".to_owned())) };
        placement::placement(&mut self.control(), *oid, partition)
            .map_err(|error| error.while_doing(format!("check the partition {partition}")))
    }

    fn disturbed(&self) -> Result<Vec<(TableName, String)>> {
        let mut disturbed = Vec::new();
        let oids = [(&self.oids as _, Type::OID_ARRAY)];
        let rows = self.control().query_with(statements::FILENODES, &oids)?;
        let now: std::collections::HashMap<u32, u32> =
            rows.iter().map(|row| Ok((row.number(0)?, row.number(1)?))).collect::<Result<_>>()?;
        for (oid, found) in self.oids.iter().zip(&self.tables).filter(|(_, found)| found.filenode != 0) {
            let reason = match now.get(oid) {
                Some(filenode) if *filenode == found.filenode => continue,
                Some(0) | None => "it was dropped meanwhile",
                Some(_) => "it was truncated or rewritten meanwhile",
            };
            disturbed.push((found.table.name.clone(), reason.to_owned()));
        }
        Ok(disturbed)
    }

    fn changed_since(&self, then: &Header) -> Result<Option<String>> {
        unchanged::changed_since(&mut self.control(), self.in_recovery, &self.origin.snapshot, then)
            .map_err(|error| error.while_doing("find out what was written since"))
    }

    fn sample_hash(&self, seed: i64) -> Result<i64> {
        let hashed =
            self.control().query(&statements::sample_hash(seed)).and_then(|rows| first(&rows)?.number(0));
        hashed.map_err(|error| error.while_doing("hash a sample"))
    }

    fn row_sums(
        &self,
        tables: &[Found],
        seed: i64,
        jobs: NonZeroUsize,
        on_event: OnEvent<'_>,
    ) -> Result<Vec<Result<Digest, Obstacle>>> {
        row_sums::add_up(self, tables, seed, jobs.get(), on_event)
    }

    fn activity(&self) -> Result<Activity> {
        let mut control = self.control();
        let mut read = || {
            control.query(statements::CLEAR_STATISTICS)?;
            let rows = control.query(statements::SERVER_ACTIVITY)?;
            let row = first(&rows)?;
            // A clock that was set back, and a standby that has replayed more than it received, give negative numbers.
            let number = |i| row.number::<i64>(i).map(|number| u64::try_from(number).unwrap_or(0));
            let seen = |i| row.get(i).is_some().then(|| number(i)).transpose();
            Ok(Activity { snapshot_age_ms: number(0)?, sessions: seen(1)?, replication_lag: seen(2)? })
        };
        read().map_err(|error: Error| error.while_doing("read the server's activity"))
    }

    fn deviation(&self) -> Option<Deviation> {
        self.deviation.clone()
    }
}
