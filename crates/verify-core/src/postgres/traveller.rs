//! Time travel at restore: a physical copy that runs as a standby is read as of the manifest's snapshot.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use tokio_postgres::types::Type;

use super::anchor::{Instant, TransactionSnapshot, transaction_status};
use super::connection::Connection;
use super::rows::first;
use super::server::{Identity, read_relations};
use super::settings::Settings;
use super::snapshot::{PostgresSnapshot, open, unzip};
use super::snapshot_file::{self, Flags, Offerer};
use super::{catalogue, sequences, statements};
use crate::database::{Database, Deviation, Snapshot};
use crate::error::{Error, Result};
use crate::event::{self, Event, OnEvent};
use crate::manifest::{Anchor, Consistency, FenceTransaction, Header, Manifest, Origin, Position, Source};
use crate::plan::Plan;

/// A physical copy of the source, started as a standby without a primary, and the snapshot to read.
///
/// Needs a superuser of the copy, for it writes a file into `pg_snapshots/`.
#[derive(Clone, Debug)]
pub struct TimeTraveller {
    settings: Settings,
    header: Header,
}

/// Number of times that a copy that seems to be older is asked whether it has replayed all of its WAL, and the pause between.
const REPLAY_POLLS_MAX: u32 = 200;
const REPLAY_POLL: Duration = Duration::from_millis(50);
/// The wait is reported once in so many polls; that is also when it can be stopped.
const REPLAY_POLLS_BEFORE_EVENT: u32 = 10;
/// `invalid_parameter_value`: the status of a transaction id that was not assigned yet was asked for.
const FUTURE_TRANSACTION: &str = "22023";

/// Reason why the snapshot cannot be read, as opposed to an error that prevents the check.
enum Refusal {
    Deviation(Deviation),
    Error(Error),
}

impl Refusal {
    fn unproven(reason: impl Into<String>) -> Self {
        Self::Deviation(Deviation::Unproven(reason.into()))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        // What the server refuses is an answer; a broken connection is not.
        if error.sqlstate().is_some() { Self::unproven(error.to_string()) } else { Self::Error(error) }
    }
}

impl TimeTraveller {
    /// The copy that the settings lead to, at the snapshot of `manifest`.
    pub fn new(settings: Settings, manifest: &Manifest) -> Self {
        Self { settings, header: manifest.header.clone() }
    }

    /// Holds the manifest's snapshot, under which other sessions can read the copy even after it has left recovery.
    ///
    /// # Errors
    ///
    /// As for [`Database::snapshot`].
    pub fn hold(&self, plan: &Plan, on_event: OnEvent<'_>) -> Result<PostgresSnapshot> {
        self.begin(plan, on_event)
    }

    /// Reads the manifest's instant; where the copy cannot show it, the copy as it is, with the reason.
    fn begin(&self, plan: &Plan, on_event: OnEvent<'_>) -> Result<PostgresSnapshot> {
        let mut control = open(&self.settings, plan.limits)?;
        let identity = Identity::read(&mut control)?;
        let settings = control.settings().clone();
        let mut holder = open(&settings, plan.limits)?;
        let mut deviation = None;
        let found = match &self.header.consistency {
            Consistency::PausedStandby(position) => {
                self.stand(&mut control, &identity, position, on_event).map(|()| None)
            }
            Consistency::Fence(transaction) => {
                self.stood(&mut control, &identity, transaction, on_event).map(|()| None)
            }
            _ => self.travel(&mut control, &mut holder, &identity, on_event).map(Some),
        };
        let exported = match found {
            Ok(exported) => exported,
            Err(Refusal::Deviation(found)) => {
                control = open(&settings, plan.limits)?;
                control.execute(statements::BEGIN)?;
                deviation = Some(found);
                None
            }
            Err(Refusal::Error(error)) => return Err(error),
        };
        let mut instant = Instant::fix(&mut control)?;
        if let Some(exported) = exported {
            instant.exported = exported;
        }
        let travelled = matches!(self.header.consistency, Consistency::TimeTravel(_));
        if deviation.is_none() && travelled && instant.snapshot != self.header.snapshot {
            deviation = Some(Deviation::Unproven(format!(
                "the copy shows snapshot {}, not the manifest's {}",
                instant.snapshot, self.header.snapshot
            )));
        }
        let mut snapshot = snapshot_of_copy(control, identity, instant, plan, on_event)?;
        if deviation.is_none() && matches!(self.header.consistency, Consistency::Fence(_)) {
            snapshot.origin.consistency = self.header.consistency.clone();
        }
        Ok(PostgresSnapshot { deviation, _held: Some(Box::new(Mutex::new(holder))), ..snapshot })
    }

    /// Begins a transaction on a copy that was cut while the fence stood.
    ///
    /// Before the cut the transaction of the fence was in the WAL, and after it that transaction committed.
    fn stood(
        &self,
        control: &mut Connection,
        identity: &Identity,
        transaction: &FenceTransaction,
        on_event: OnEvent<'_>,
    ) -> std::result::Result<(), Refusal> {
        self.check_cluster(identity)?;
        if self.header.source.database_oid != identity.source.database_oid {
            return Err(Refusal::unproven(format!(
                "the manifest is of another database than {}",
                identity.source.database
            )));
        }
        if identity.in_recovery && !has_replayed_all(control, on_event)? {
            return Err(Refusal::unproven("the copy is still replaying its WAL"));
        }
        if let Some(reason) = self.shortfall(control, transaction.xid)? {
            return Err(Refusal::Deviation(Deviation::Older(reason)));
        }
        match transaction_status(control, transaction.xid)?.as_deref() {
            Some("aborted" | "in progress") => Ok(control.execute(statements::BEGIN)?),
            Some(_) => Err(Refusal::unproven(
                "the fence ended before the copy was cut, so writers went on in between",
            )),
            None => Err(Refusal::unproven(
                "whether the fence ended before the copy was cut is unknown: the copy has discarded the status of its \
                 transaction since",
            )),
        }
    }

    /// Begins a transaction on a copy that has been recovered to exactly the position at which the standby was paused.
    fn stand(
        &self,
        control: &mut Connection,
        identity: &Identity,
        position: &Position,
        on_event: OnEvent<'_>,
    ) -> std::result::Result<(), Refusal> {
        self.check_cluster(identity)?;
        let wanted = &position.replay_lsn;
        if !identity.in_recovery {
            return Err(Refusal::unproven(format!(
                "the copy has left recovery, so it is not known to end at the WAL position {wanted}"
            )));
        }
        for poll in 0..REPLAY_POLLS_MAX {
            let rows = control.query_with(statements::STANDS_AT, &[(wanted, Type::TEXT)])?;
            let row = first(&rows)?;
            let (before, beyond, lsn, rests) = (row.flag(0)?, row.flag(1)?, row.text(2)?, row.flag(3)?);
            if beyond {
                return Err(Refusal::unproven(format!(
                    "the copy has replayed to the WAL position {lsn}, beyond {wanted}, at which the standby was paused; start it with \
                     recovery_target_lsn = '{wanted}', recovery_target_inclusive = off and recovery_target_action = pause"
                )));
            }
            if rests && before {
                return Err(Refusal::Deviation(Deviation::Older(format!(
                    "it ends at the WAL position {lsn}, and the standby was paused at {wanted}"
                ))));
            }
            if rests {
                return Ok(control.execute(statements::BEGIN)?);
            }
            if poll % REPLAY_POLLS_BEFORE_EVENT == REPLAY_POLLS_BEFORE_EVENT - 1 {
                let reason = format!("the copy has replayed to {lsn} of {wanted}");
                event::send(on_event, Event::Waiting { reason })?;
            }
            std::thread::sleep(REPLAY_POLL);
        }
        Err(Refusal::unproven("the copy is still replaying its WAL".to_owned()))
    }

    /// Checks that the copy is of the manifest's cluster.
    fn check_cluster(&self, identity: &Identity) -> std::result::Result<(), Refusal> {
        other_cluster(&self.header.source, &identity.source)
            .map_or(Ok(()), |reason| Err(Refusal::unproven(reason)))
    }

    /// Offers the manifest's snapshot from `holder`, imports it into `control`, and gives its name.
    fn travel(
        &self,
        control: &mut Connection,
        holder: &mut Connection,
        identity: &Identity,
        on_event: OnEvent<'_>,
    ) -> std::result::Result<String, Refusal> {
        let anchor = self.check(control, identity, on_event)?;
        holder.execute(statements::BEGIN)?;
        holder.query(statements::CURRENT_SNAPSHOT)?;
        let offerer = offerer(holder, identity.database_oid)?;
        self_test(control, &identity.source, identity.database_oid)?;
        let name = offerer.file_name(1).ok_or_else(|| {
            Refusal::unproven(format!("the virtual transaction {} is not understood", offerer.vxid))
        })?;
        let snapshot = TransactionSnapshot::parse(&self.header.snapshot)?;
        let subtransactions: BTreeSet<u64> = anchor.subtransactions.iter().copied().collect();
        let flags = Flags { read_only: false, recovery: false };
        let lines = snapshot_file::lines(&offerer, &snapshot, &subtransactions, flags);
        let directory = data_directory(control)?;
        control.execute(&statements::write_file(&lines, &format!("{directory}/pg_snapshots/{name}")))?;
        control.execute(statements::BEGIN)?;
        control.execute(&statements::import(&name))?;
        Ok(name)
    }

    /// Checks that this is a copy that can still be read as of the manifest's snapshot.
    fn check(
        &self,
        control: &mut Connection,
        identity: &Identity,
        on_event: OnEvent<'_>,
    ) -> std::result::Result<&Anchor, Refusal> {
        let unproven = |reason: String| Err(Refusal::unproven(reason));
        let Consistency::TimeTravel(anchor) = &self.header.consistency else {
            return unproven("the manifest was not captured for a physical copy".to_owned());
        };
        let theirs = &identity.source;
        self.check_cluster(identity)?;
        if let Some(reason) = self.older(control, anchor, identity.in_recovery, on_event)? {
            return Err(Refusal::Deviation(Deviation::Older(reason)));
        }
        if anchor.database_oid != identity.database_oid {
            return unproven(format!(
                "no transaction kept the row versions of this database ({}): the one of the manifest was open in another",
                theirs.database
            ));
        }
        if !identity.in_recovery {
            return unproven(
                "the copy has left recovery, so old row versions may have been removed".to_owned(),
            );
        }
        match transaction_status(control, anchor.xid)?.as_deref() {
            Some("in progress") => Ok(anchor),
            status => unproven(format!(
                "the transaction that kept old row versions ended before the copy was cut (it is {})",
                status.unwrap_or("unknown to the copy")
            )),
        }
    }

    /// Reason why a copy of the manifest's cluster is known to end before the manifest's snapshot, if it does.
    ///
    /// All WAL up to the snapshot was flushed before the copy was cut, with a transaction that is newer than the
    /// anchor's, so that a copy which was cut later has both once it has replayed its own WAL.
    fn older(
        &self,
        control: &mut Connection,
        anchor: &Anchor,
        in_recovery: bool,
        on_event: OnEvent<'_>,
    ) -> std::result::Result<Option<String>, Refusal> {
        let shortfall = self.shortfall(control, anchor.xid)?;
        if shortfall.is_none() || !in_recovery {
            return Ok(shortfall);
        }
        if !has_replayed_all(control, on_event)? {
            return Err(Refusal::unproven(
                "the copy has not reached the manifest's snapshot, and is still replaying its WAL".to_owned(),
            ));
        }
        Ok(self.shortfall(control, anchor.xid)?)
    }

    /// Part of the manifest's snapshot that the copy has not reached at this moment.
    fn shortfall(&self, control: &mut Connection, xid: u64) -> Result<Option<String>> {
        let rows = control.query_with(statements::ENDS_BEFORE, &[(&self.header.lsn, Type::TEXT)])?;
        let row = first(&rows)?;
        if row.get(0) == Some("t") {
            return Ok(Some(format!(
                "it ends at the WAL position {}, and the capture was at {}",
                row.text(1)?,
                self.header.lsn
            )));
        }
        match transaction_status(control, xid) {
            Err(error) if error.sqlstate() == Some(FUTURE_TRANSACTION) => Ok(Some(format!(
                "it has not assigned the transaction id {xid}, which was in progress at the capture"
            ))),
            Err(error) => Err(error),
            Ok(_) => Ok(None),
        }
    }
}

/// What a copy holds that no other client uses, read by a session that has fixed its snapshot.
pub(super) fn snapshot_of_copy(
    mut control: Connection,
    identity: Identity,
    instant: Instant,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<PostgresSnapshot> {
    let sequences = sequences::read(&mut control, identity.in_recovery)?;
    let mut relations = read_relations(&mut control, &identity)?;
    // No other client is on the copy, so nothing is locked.
    let readable = |relation: &&catalogue::Relation| relation.oid != 0 && relation.found.unreadable.is_none();
    let oids: Vec<u32> = relations.iter().filter(readable).map(|relation| relation.oid).collect();
    catalogue::measure(&mut control, &mut relations, &oids, identity.server_version)?;
    control.report_warnings(on_event)?;
    let (oids, tables) = unzip(relations);
    let Instant { exported, snapshot, lsn, captured_at } = instant;
    let consistency = Consistency::SharedSnapshot;
    Ok(PostgresSnapshot {
        control: Mutex::new(control),
        exported,
        origin: Origin { source: identity.source, snapshot, lsn, captured_at, consistency },
        oids,
        tables,
        sequences,
        limits: plan.limits,
        in_recovery: identity.in_recovery,
        deviation: None,
        _held: None,
    })
}

/// Reason why a copy is not of the manifest's cluster, if it is of another one.
pub(super) fn other_cluster(manifest: &Source, copy: &Source) -> Option<String> {
    let (ours, theirs) = (&manifest.system_identifier, &copy.system_identifier);
    (ours != theirs).then(|| {
        format!("the copy is of another cluster: system identifier {theirs}, the manifest's is {ours}")
    })
}

/// Waits until the standby has replayed all WAL that it has; `false` if that cannot be seen in time.
fn has_replayed_all(control: &mut Connection, on_event: OnEvent<'_>) -> Result<bool> {
    for poll in 0..REPLAY_POLLS_MAX {
        if first(&control.query(statements::WAITS_FOR_WAL)?)?.flag(0)? {
            return Ok(true);
        }
        if poll % REPLAY_POLLS_BEFORE_EVENT == REPLAY_POLLS_BEFORE_EVENT - 1 {
            let reason = "the copy has not replayed all of its WAL".to_owned();
            event::send(on_event, Event::Waiting { reason })?;
        }
        std::thread::sleep(REPLAY_POLL);
    }
    Ok(false)
}

/// Identity of the transaction of `holder`.
fn offerer(holder: &mut Connection, database_oid: u32) -> Result<Offerer> {
    let rows = holder.query(statements::VIRTUAL_TRANSACTION)?;
    let row = first(&rows)?;
    Ok(Offerer { pid: row.number(0)?, vxid: row.text(1)?.to_owned(), database_oid })
}

/// Has the server write a snapshot file of its own, and checks that the format is the one that we write.
fn self_test(
    control: &mut Connection,
    source: &Source,
    database_oid: u32,
) -> std::result::Result<(), Refusal> {
    control.execute(statements::BEGIN)?;
    let exported = first(&control.query(statements::EXPORT)?)?.text(0)?.to_owned();
    let own = offerer(control, database_oid)?;
    let file =
        control.query_with(statements::READ_FILE, &[(&format!("pg_snapshots/{exported}"), Type::TEXT)])?;
    let file = first(&file)?.text(0)?.to_owned();
    control.execute("ROLLBACK")?;
    if snapshot_file::understood(&file, &own) {
        return Ok(());
    }
    Err(Refusal::unproven(format!(
        "the snapshot files of server version {} have a format that this state-lab does not know",
        source.server_version
    )))
}

fn data_directory(control: &mut Connection) -> Result<String> {
    Ok(first(&control.query(statements::DATA_DIRECTORY)?)?.text(0)?.to_owned())
}

impl Database for TimeTraveller {
    fn snapshot<'a>(&'a self, plan: &Plan, on_event: OnEvent<'_>) -> Result<Box<dyn Snapshot + 'a>> {
        Ok(Box::new(self.begin(plan, on_event)?))
    }
}
