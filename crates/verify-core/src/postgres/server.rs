//! A PostgreSQL server as a database that can be measured: taking a snapshot on a primary.

use std::collections::HashMap;
use std::sync::Mutex;

use jiff::Timestamp;
use tokio_postgres::types::Type;

use super::anchor::{AnchorSession, Instant};
use super::catalogue::{self, Reading, Relation};
use super::connection::Connection;
use super::heartbeat::timestamp;
use super::rows::first;
use super::savepoint::guarded;
use super::settings::Settings;
use super::snapshot::{PostgresSnapshot, open, unzip};
use super::snapshot_id::SnapshotId;
use super::{sequences, statements};
use crate::database::{Database, Snapshot};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{self, Event, OnEvent};
use crate::manifest::{Anchor, Consistency, Origin, Position, Replay, Source};
use crate::plan::{Limits, Mode, Plan};
use crate::sequence::Sequence;
use crate::table::{TableKind, TableName};

/// The oldest supported `server_version_num`.
const VERSION_MIN: u32 = 130_000;
/// Maximum number of attempts to lock the tables.
const LOCK_ATTEMPTS_MAX: usize = 10;
/// Maximum number of snapshots that are discarded because one of their transactions ended during the check.
const ANCHORED_ATTEMPTS_MAX: usize = 200;

/// A database on a server that accepts writes, or on a standby where that is allowed.
#[derive(Clone, Debug)]
pub struct Postgres {
    settings: Settings,
    /// True if the server may be a standby.
    standby: bool,
    /// The snapshot to read, if another session exported it.
    imported: Option<SnapshotId>,
}

/// Identity and settings that a server reports.
pub(super) struct Identity {
    pub server_version: u32,
    pub in_recovery: bool,
    pub database_oid: u32,
    pub role: String,
    pub wal_level: String,
    /// Number of locks that its shared memory is sized for.
    pub lock_slots: u64,
    pub source: Source,
}

impl Postgres {
    /// The database that the settings lead to.
    pub fn new(settings: Settings) -> Self {
        Self { settings, standby: false, imported: None }
    }

    /// The same as a source that may be a standby: what it shows is a state of its primary, and a restore that has not ended
    /// must not be taken for one.
    #[must_use]
    pub fn or_standby(self) -> Self {
        Self { standby: true, ..self }
    }

    /// The same under a snapshot that another session exported. That session must keep its transaction open until this one has begun.
    #[must_use]
    pub fn under(self, snapshot: SnapshotId) -> Self {
        Self { imported: Some(snapshot), ..self }
    }

    /// Fixes an instant, under locks that keep its tables from being truncated or rewritten.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, is older than PostgreSQL 13 or a standby that is not allowed, or, for
    /// [`Mode::TimeTravel`], if transactions older than the capture do not end in time.
    pub fn begin(&self, plan: &Plan, on_event: OnEvent<'_>) -> Result<PostgresSnapshot> {
        self.begin_beside(plan, &[], on_event)
    }

    /// The same while the transactions `anchors` are held in other databases of the same server, for one physical
    /// copy of them all: they are not waited for, since they end only after the copy.
    ///
    /// # Errors
    ///
    /// As for [`Self::begin`].
    pub fn begin_beside(
        &self,
        plan: &Plan,
        anchors: &[u64],
        on_event: OnEvent<'_>,
    ) -> Result<PostgresSnapshot> {
        let mut control = open(&self.settings, plan.limits)?;
        let identity = Identity::read(&mut control)?;
        if !self.standby {
            identity.check_primary(&self.settings)?;
        }
        // From here on every session meets the host that this one reached.
        let settings = control.settings().clone();
        let fixed = match (plan.mode, &self.imported) {
            (mode, Some(snapshot)) => {
                identity.check_import(&self.settings, mode)?;
                let watch = open(&settings, plan.limits)?;
                Fixed::imported(&mut control, watch, &identity, snapshot, on_event)?
            }
            (Mode::SharedSnapshot, None) if identity.in_recovery => {
                let watch = open(&settings, plan.limits)?;
                Fixed::of_standby(&mut control, watch, &identity, on_event)?
            }
            (Mode::SharedSnapshot, None) => Fixed::shared(&mut control, &identity)?,
            (Mode::PausedStandby, None) => {
                let watch = open(&settings, plan.limits)?;
                Fixed::paused(&mut control, watch, &identity)?
            }
            (Mode::TimeTravel, None) => {
                identity.check_anchor(&self.settings)?;
                identity.check_physical(&self.settings)?;
                let anchor = AnchorSession::begin(&settings, plan.limits, anchors, on_event)?;
                Fixed::anchored(&mut control, &identity, anchor)?
            }
        };
        // Sequences are under no snapshot: their range begins here.
        let sequences = sequences::read(&mut control, identity.in_recovery)?;
        fixed.into_snapshot(control, identity, sequences, plan.limits, on_event)
    }
}

/// An instant, and what keeps it.
pub(super) struct Fixed {
    pub instant: Instant,
    pub consistency: Consistency,
    pub locked: Locked,
    pub held: Option<Box<dyn Send + Sync>>,
}

impl Fixed {
    /// Reads the catalogue under the snapshot that `control` has fixed.
    pub(super) fn into_snapshot(
        self,
        mut control: Connection,
        identity: Identity,
        sequences: Vec<Sequence>,
        limits: Limits,
        on_event: OnEvent<'_>,
    ) -> Result<PostgresSnapshot> {
        let Self { instant, consistency, locked, held } = self;
        let mut relations = read_relations(&mut control, &identity)?;
        for relation in &mut relations {
            let reason = locked.refused.iter().find(|(name, _)| *name == relation.found.table.name);
            relation.found.unreadable =
                relation.found.unreadable.take().or_else(|| reason.map(|(_, reason)| reason.clone()));
        }
        catalogue::measure(&mut control, &mut relations, &locked.oids, identity.server_version)?;
        control.report_warnings(on_event)?;
        let (oids, tables) = unzip(relations);
        let Instant { exported, snapshot, lsn, captured_at } = instant;
        let source = identity.source;
        Ok(PostgresSnapshot {
            control: Mutex::new(control),
            exported,
            origin: Origin { source, snapshot, lsn, captured_at, consistency },
            oids,
            tables,
            sequences,
            limits,
            in_recovery: identity.in_recovery,
            deviation: None,
            _held: held,
        })
    }

    fn shared(control: &mut Connection, identity: &Identity) -> Result<Self> {
        let locked = lock(control, identity)?;
        let instant = Instant::fix(control)?;
        Ok(Self { instant, consistency: Consistency::SharedSnapshot, locked, held: None })
    }

    /// The snapshot of another session. The tables are locked after it was taken, so those that were altered between are left out; those
    /// that were truncated or rewritten are found by [`Snapshot::disturbed`].
    fn imported(
        control: &mut Connection,
        mut watch: Connection,
        identity: &Identity,
        snapshot: &SnapshotId,
        on_event: OnEvent<'_>,
    ) -> Result<Self> {
        let mut locked = lock(control, identity)?;
        control
            .execute(&statements::import(&snapshot.to_string()))
            .map_err(|error| refused(snapshot, error))?;
        // Exported again, so that the readers do not depend on the other session.
        let instant = Instant::fix(control)?;
        let began = watch.query_with(statements::BEGAN, &[(&snapshot.virtual_transaction(), Type::TEXT)])?;
        let captured_at = match began.first() {
            Some(row) if row.get(0).is_some() => instant.captured_at.min(timestamp(row, 0)?),
            _ => {
                let message = format!(
                    "role {} may not see when the transaction began that exported the snapshot, or it has ended: the time of \
                     the capture is that of the import, which is later (grant pg_read_all_stats)",
                    identity.role
                );
                event::send(on_event, Event::Notice { message })?;
                instant.captured_at
            }
        };
        locked.refused.extend(altered(control, &mut watch)?);
        let consistency = Consistency::ImportedSnapshot;
        Ok(Self { instant: Instant { captured_at, ..instant }, consistency, locked, held: None })
    }

    /// The snapshot of a standby, between two positions of its replay that `watch` reads.
    fn of_standby(
        control: &mut Connection,
        mut watch: Connection,
        identity: &Identity,
        on_event: OnEvent<'_>,
    ) -> Result<Self> {
        let locked = lock(control, identity)?;
        let before = Replayed::read(&mut watch)?;
        let instant = Instant::fix(control)?;
        let after = Replayed::read(&mut watch)?;
        let message = format!(
            "the server is a standby, which had replayed to {}: it can keep no row versions for a copy of files, so this \
             manifest verifies a dump under its snapshot. A base backup of a standby (`backup --method physical`) pauses \
             its replay",
            before.lsn
        );
        event::send(on_event, Event::Notice { message })?;
        let captured_at = instant.captured_at.min(before.shows_all_until);
        let consistency = Consistency::StandbySnapshot(Replay { from: before.lsn, to: after.lsn });
        Ok(Self { instant: Instant { captured_at, ..instant }, consistency, locked, held: None })
    }

    /// The snapshot of a standby that replays nothing.
    fn paused(control: &mut Connection, mut watch: Connection, identity: &Identity) -> Result<Self> {
        let refuse =
            |what: String| Error::new(ErrorKind::Unsuitable, format!("capture a paused standby: {what}"));
        if !first(&watch.query(statements::PAUSE_REQUESTED)?)?.flag(0)? {
            return Err(refuse("the server is not a standby whose replay is paused".to_owned()));
        }
        let before = Replayed::read(&mut watch)?;
        let locked = lock(control, identity)?;
        let instant = Instant::fix(control)?;
        if instant.lsn != before.lsn {
            return Err(refuse(format!("it replayed from {} to {}", before.lsn, instant.lsn)));
        }
        let captured_at = instant.captured_at.min(before.shows_all_until);
        let consistency = Consistency::PausedStandby(Position { replay_lsn: before.lsn });
        Ok(Self { instant: Instant { captured_at, ..instant }, consistency, locked, held: None })
    }

    /// Tries until the sub-transactions of a snapshot can be determined.
    fn anchored(control: &mut Connection, identity: &Identity, mut anchor: AnchorSession) -> Result<Self> {
        for _ in 0..ANCHORED_ATTEMPTS_MAX {
            let locked = lock(control, identity)?;
            let instant = Instant::fix(control)?;
            if let Some(subtransactions) = anchor.accept(&instant)? {
                anchor.flush_wal()?;
                let xid = anchor.xid();
                let anchored = Anchor { xid, database_oid: identity.database_oid, subtransactions };
                let consistency = Consistency::TimeTravel(anchored);
                return Ok(Self { instant, consistency, locked, held: Some(Box::new(Mutex::new(anchor))) });
            }
            control.execute("ROLLBACK")?;
        }
        Err(Error::new(
            ErrorKind::Unsuitable,
            "capture for a physical copy: transactions end too fast to determine their sub-transactions; try again",
        ))
    }
}

/// Progress of a standby's replay.
pub(super) struct Replayed {
    pub lsn: String,
    /// By the clock of the primary, unless the standby has replayed nothing.
    pub shows_all_until: Timestamp,
}

impl Replayed {
    pub(super) fn read(watch: &mut Connection) -> Result<Self> {
        let rows = watch.query(statements::REPLAYED)?;
        let row = first(&rows)?;
        Ok(Self { lsn: row.text(0)?.to_owned(), shows_all_until: timestamp(row, 1)? })
    }
}

impl Database for Postgres {
    fn snapshot<'a>(&'a self, plan: &Plan, on_event: OnEvent<'_>) -> Result<Box<dyn Snapshot + 'a>> {
        Ok(Box::new(self.begin(plan, on_event)?))
    }
}

impl Identity {
    pub(super) fn read(control: &mut Connection) -> Result<Self> {
        let version = control.parameter("server_version").unwrap_or("unknown").to_owned();
        let major =
            version.split(['.', ' ', 'b', 'd', 'r']).next().and_then(|major| major.parse::<u32>().ok());
        if major.is_some_and(|major| major < VERSION_MIN / 10_000) {
            return Err(Error::new(
                ErrorKind::Version,
                format!("use the server: it is PostgreSQL {version}, and 13 is the oldest that is supported"),
            )
            .with_hint("upgrade the server: pg_upgrade, or pg_dump into a newer one"));
        }
        let rows = control.query(statements::IDENTITY)?;
        let row = first(&rows)?;
        let others = control.query(statements::OTHER_DATABASES)?;
        let foreign = control.query(statements::FOREIGN_TABLES)?;
        let prepared = control.query(statements::PREPARED_TRANSACTIONS)?;
        Ok(Self {
            server_version: row.number(0)?,
            in_recovery: row.flag(1)?,
            database_oid: row.number(2)?,
            role: row.text(6)?.to_owned(),
            wal_level: row.text(7)?.to_owned(),
            lock_slots: row.number(8)?,
            source: Source {
                server_version: row.number(0)?,
                system_identifier: row.get(5).unwrap_or_default().to_owned(),
                database: row.text(3)?.to_owned(),
                database_oid: Some(row.number(2)?),
                postmaster_started_at: Some(timestamp(row, 9)?),
                statistics_since: row.get(10).map(|_| timestamp(row, 10)).transpose()?,
                encoding: row.text(4)?.to_owned(),
                foreign_tables: foreign
                    .iter()
                    .map(|row| Ok(TableName::new(row.text(0)?, row.text(1)?)))
                    .collect::<Result<_>>()?,
                prepared_transactions: Some(first(&prepared)?.number(0)?),
                other_databases: others
                    .iter()
                    .map(|row| row.text(0).map(str::to_owned))
                    .collect::<Result<_>>()?,
            },
        })
    }

    pub(super) fn check_primary(&self, settings: &Settings) -> Result<()> {
        if self.in_recovery {
            return Err(Error::new(
                ErrorKind::Unsuitable,
                format!(
                    "measure {}: the server is in recovery (a standby, or a restore that has not ended), where what \
                     is read need not be what will be there",
                    settings.describe()
                ),
            )
            .with_hint("name the primary; after a restore, wait until pg_is_in_recovery() is false"));
        }
        Ok(())
    }

    fn check_anchor(&self, settings: &Settings) -> Result<()> {
        if self.in_recovery {
            return Err(Error::new(
                ErrorKind::Unsuitable,
                format!(
                    "capture {} for a physical copy: the server is a standby, which assigns no transaction id that would \
                     keep row versions",
                    settings.describe()
                ),
            )
            .with_hint("name the primary, or have the standby's replay paused (Mode::PausedStandby)"));
        }
        Ok(())
    }

    fn check_import(&self, settings: &Settings, mode: Mode) -> Result<()> {
        let refuse = |why: &str, hint: &str| {
            let text = format!("import a snapshot on {}: {why}", settings.describe());
            Err(Error::new(ErrorKind::Unsuitable, text).with_hint(hint))
        };
        if self.in_recovery {
            return refuse(
                "the server is a standby, where an imported snapshot has no known position in the WAL",
                "name the primary, or capture the standby under a snapshot of its own",
            );
        }
        if mode != Mode::SharedSnapshot {
            return refuse(
                "row versions that it sees may have been removed before, so it verifies no copy of files",
                "use Mode::SharedSnapshot, and a dump under the same snapshot",
            );
        }
        Ok(())
    }

    pub(super) fn check_physical(&self, settings: &Settings) -> Result<()> {
        if self.wal_level == "minimal" {
            return Err(Error::new(
                ErrorKind::Unsuitable,
                format!(
                    "capture {} for a physical copy: wal_level is minimal, and must be replica",
                    settings.describe()
                ),
            )
            .with_hint("set wal_level = replica and restart the server, or dump with --method logical"));
        }
        Ok(())
    }
}

pub(super) fn read_relations(control: &mut Connection, identity: &Identity) -> Result<Vec<Relation>> {
    let reading = Reading {
        server_version: identity.server_version,
        role: &identity.role,
        in_recovery: identity.in_recovery,
    };
    catalogue::relations(control, &reading).map_err(|error| error.while_doing("read the catalogue"))
}

/// Result of locking the tables.
pub(super) struct Locked {
    /// The tables that are locked now.
    pub oids: Vec<u32>,
    /// Tables that are left out, with the reason.
    pub refused: Vec<(TableName, String)>,
}

/// Begins the transaction, and locks the tables before its snapshot is fixed.
///
/// As many as a quarter of the server's lock slots allow; what happens to the others is seen by
/// [`Snapshot::disturbed`].
pub(super) fn lock(control: &mut Connection, identity: &Identity) -> Result<Locked> {
    let mut refused = Vec::<(TableName, String)>::new();
    for _ in 0..LOCK_ATTEMPTS_MAX {
        let mut relations = read_relations(control, identity)?;
        relations.retain(|Relation { found, .. }| {
            found.table.kind == TableKind::Table
                && found.unreadable.is_none()
                && !refused.iter().any(|(name, _)| *name == found.table.name)
        });
        relations.truncate(usize::try_from(identity.lock_slots / 4).unwrap_or(usize::MAX));
        control.begin_transaction(statements::BEGIN)?;
        let mut oids = Vec::with_capacity(relations.len());
        match lock_those_there(control, &relations, &mut oids) {
            Ok(()) => return Ok(Locked { oids, refused }),
            Err(error) => {
                control.execute("ROLLBACK")?;
                match error.sqlstate() {
                    Some("55P03") => refused.extend(holders(control)?),
                    // A deadlock: somebody drops what we lock in another order.
                    Some("40P01") => {}
                    _ => return Err(error.while_doing("lock the tables against being truncated")),
                }
            }
        }
    }
    Err(Error::new(ErrorKind::Unsuitable, "lock the tables: they keep being locked by others")
        .with_hint("try again when no migration runs"))
}

/// Locks the tables that were not dropped since they were listed: all at once, and if one was dropped, each half.
fn lock_those_there(control: &mut Connection, relations: &[Relation], oids: &mut Vec<u32>) -> Result<()> {
    if relations.is_empty() {
        return Ok(());
    }
    let names = relations.iter().map(|relation| &relation.found.table.name);
    let sql = statements::lock(names, "ACCESS SHARE");
    match guarded(control, |control| control.execute(&sql))? {
        Ok(()) => oids.extend(relations.iter().map(|relation| relation.oid)),
        // Dropped with its schema, or replaced by a view, too.
        Err(error) if matches!(error.sqlstate(), Some("42P01" | "3F000" | "42809")) => {
            if relations.len() > 1 {
                let (left, right) = relations.split_at(relations.len() / 2);
                lock_those_there(control, left, oids)?;
                lock_those_there(control, right, oids)?;
            }
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The error of importing a snapshot.
fn refused(snapshot: &SnapshotId, error: Error) -> Error {
    let doing = format!("import the snapshot {snapshot}");
    if error.sqlstate().is_none() {
        return error.while_doing(doing);
    }
    Error::with_source(ErrorKind::Unsuitable, doing, error).with_hint(
        "keep the session open that ran SELECT pg_export_snapshot(), within its transaction (BEGIN ISOLATION LEVEL REPEATABLE \
         READ), and give the name that it printed; it must be a session of the same server and database",
    )
}

/// The tables that were renamed or altered since the snapshot of `control` was taken: read by name and column, they may be others.
fn altered(control: &mut Connection, watch: &mut Connection) -> Result<Vec<(TableName, String)>> {
    type Shapes = HashMap<u32, (TableName, String)>;
    let shapes = |connection: &mut Connection| -> Result<Shapes> {
        let rows = connection.query(statements::SHAPES)?;
        let shape = |row: &super::Row| {
            let name = TableName::new(row.text(1)?, row.text(2)?);
            Ok((row.number(0)?, (name, row.get(3).unwrap_or_default().to_owned())))
        };
        rows.iter().map(shape).collect()
    };
    let (then, now) = (shapes(control)?, shapes(watch)?);
    let is_altered = |(oid, shape): &(u32, (TableName, String))| now.get(oid).is_some_and(|now| now != shape);
    let reason = "it was altered between the export of the snapshot and its import";
    Ok(then.into_iter().filter(is_altered).map(|(_, (name, _))| (name, reason.to_owned())).collect())
}

/// Sessions that block access to tables.
fn holders(control: &mut Connection) -> Result<Vec<(TableName, String)>> {
    let holder = |row: &super::Row| {
        let who = if row.flag(3)? { "a prepared transaction" } else { row.text(2)? };
        let reason =
            format!("{who} holds an ACCESS EXCLUSIVE lock on it, and did not release it within lock_timeout");
        Ok((TableName::new(row.text(0)?, row.text(1)?), reason))
    };
    control.query(statements::LOCK_HOLDERS)?.iter().map(holder).collect()
}

impl Instant {
    /// Takes the snapshot of the open transaction.
    pub(super) fn fix(control: &mut Connection) -> Result<Self> {
        let rows = control.query(statements::EXPORT)?;
        let row = first(&rows)?;
        Ok(Self {
            exported: row.text(0)?.to_owned(),
            snapshot: row.text(1)?.to_owned(),
            lsn: row.text(2)?.to_owned(),
            captured_at: timestamp(row, 3)?,
        })
    }
}
