//! Time travel at restore: a physical copy that runs as a standby is read as of the manifest's snapshot.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::anchor::{Instant, TransactionSnapshot};
use super::connection::Connection;
use super::heartbeat::first;
use super::server::{Identity, read_relations};
use super::settings::Settings;
use super::snapshot::{PostgresSnapshot, open, unzip};
use super::snapshot_file::{self, Flags, Offerer};
use super::{catalogue, sequences, statements};
use crate::database::{Database, Snapshot};
use crate::error::{Error, Result};
use crate::event::OnEvent;
use crate::manifest::{Anchor, Consistency, Header, Manifest, Origin};
use crate::plan::Plan;

/// A physical copy of the source, started as a standby that follows nobody, and the instant at which to read it.
///
/// Needs a superuser of the copy, for it writes a file into `pg_snapshots/`.
#[derive(Clone, Debug)]
pub struct TimeTraveller {
    settings: Settings,
    header: Header,
}

/// Why the instant cannot be had, as opposed to an error that kept us from finding out.
enum Refusal {
    Unproven(String),
    Error(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        // What the server refuses is an answer; a broken connection is not.
        if error.sqlstate().is_some() { Self::Unproven(error.chain()) } else { Self::Error(error) }
    }
}

impl TimeTraveller {
    /// The copy that the settings lead to, at the instant of `manifest`.
    pub fn new(settings: Settings, manifest: &Manifest) -> Self {
        Self { settings, header: manifest.header.clone() }
    }

    /// Reads the manifest's instant; where it cannot be proven, the copy as it is, with the reason.
    fn begin(&self, plan: &Plan) -> Result<PostgresSnapshot> {
        let mut control = open(&self.settings, plan.limits)?;
        let identity = Identity::read(&mut control)?;
        let settings = control.settings().clone();
        let mut holder = open(&settings, plan.limits)?;
        let mut unproven = None;
        let exported = match self.travel(&mut control, &mut holder, &identity) {
            Ok(exported) => Some(exported),
            Err(Refusal::Unproven(reason)) => {
                control = open(&settings, plan.limits)?;
                control.execute(statements::BEGIN)?;
                unproven = Some(reason);
                None
            }
            Err(Refusal::Error(error)) => return Err(error),
        };
        let mut instant = Instant::fix(&mut control)?;
        if let Some(exported) = exported {
            instant.exported = exported;
        }
        if unproven.is_none() && instant.snapshot != self.header.snapshot {
            unproven = Some(format!(
                "the copy shows snapshot {}, not the manifest's {}",
                instant.snapshot, self.header.snapshot
            ));
        }
        let sequences = sequences::read(&mut control, identity.in_recovery)?;
        let mut relations = read_relations(&mut control, &identity)?;
        // Nobody but us is on the copy, so nothing is locked.
        let readable =
            |relation: &&catalogue::Relation| relation.oid != 0 && relation.found.unreadable.is_none();
        let oids: Vec<u32> = relations.iter().filter(readable).map(|relation| relation.oid).collect();
        catalogue::measure(&mut control, &mut relations, &oids, identity.server_version)?;
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
            unproven,
            _held: Some(Box::new(holder)),
        })
    }

    /// Offers the manifest's snapshot from `holder`, imports it into `control`, and gives its name.
    fn travel(
        &self,
        control: &mut Connection,
        holder: &mut Connection,
        identity: &Identity,
    ) -> std::result::Result<String, Refusal> {
        let anchor = self.check(control, identity)?;
        holder.execute(statements::BEGIN)?;
        holder.query(statements::CURRENT_SNAPSHOT)?;
        let offerer = offerer(holder, identity.database_oid)?;
        self_test(control, &identity.source, identity.database_oid)?;
        let name = offerer.file_name(1).ok_or_else(|| {
            Refusal::Unproven(format!("the virtual transaction {} is not understood", offerer.vxid))
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

    /// Whether this is a copy that can still be read as of the manifest's snapshot.
    fn check(&self, control: &mut Connection, identity: &Identity) -> std::result::Result<&Anchor, Refusal> {
        let unproven = |reason: String| Err(Refusal::Unproven(reason));
        let Consistency::TimeTravel(anchor) = &self.header.consistency else {
            return unproven("the manifest was not captured for a physical copy".to_owned());
        };
        let (ours, theirs) = (&self.header.source, &identity.source);
        if ours.system_identifier != theirs.system_identifier {
            return unproven(format!(
                "the copy is of another cluster: system identifier {}, the manifest's is {}",
                theirs.system_identifier, ours.system_identifier
            ));
        }
        if anchor.database_oid != identity.database_oid {
            return unproven(format!(
                "no transaction kept the row versions of this database ({}): the one of the manifest was open in another",
                theirs.database
            ));
        }
        if !identity.in_recovery {
            return unproven("the copy has left recovery, so old row versions may be gone".to_owned());
        }
        let status = control.query(&statements::xact_status(anchor.xid))?;
        match first(&status)?.get(0) {
            Some("in progress") => Ok(anchor),
            status => unproven(format!(
                "the transaction that kept old row versions ended before the copy was cut (it is {})",
                status.unwrap_or("unknown to the copy")
            )),
        }
    }
}

/// How the transaction of `holder` is named.
fn offerer(holder: &mut Connection, database_oid: u32) -> Result<Offerer> {
    let rows = holder.query(statements::VIRTUAL_TRANSACTION)?;
    let row = first(&rows)?;
    Ok(Offerer { pid: row.number(0)?, vxid: row.text(1)?.to_owned(), database_oid })
}

/// Has the server write a snapshot file of its own, and checks that the format is the one that we write.
fn self_test(
    control: &mut Connection,
    source: &crate::manifest::Source,
    database_oid: u32,
) -> std::result::Result<(), Refusal> {
    control.execute(statements::BEGIN)?;
    let exported = first(&control.query(statements::EXPORT)?)?.text(0)?.to_owned();
    let own = offerer(control, database_oid)?;
    let file = control.query(&statements::read_file(&format!("pg_snapshots/{exported}")))?;
    let file = first(&file)?.text(0)?.to_owned();
    control.execute("ROLLBACK")?;
    if snapshot_file::understood(&file, &own) {
        return Ok(());
    }
    Err(Refusal::Unproven(format!(
        "the snapshot files of server version {} have a format that this state-lab does not know",
        source.server_version
    )))
}

fn data_directory(control: &mut Connection) -> Result<String> {
    Ok(first(&control.query(statements::DATA_DIRECTORY)?)?.text(0)?.to_owned())
}

impl Database for TimeTraveller {
    fn snapshot<'a>(&'a self, plan: &Plan, _: OnEvent<'_>) -> Result<Box<dyn Snapshot + 'a>> {
        Ok(Box::new(self.begin(plan)?))
    }
}
