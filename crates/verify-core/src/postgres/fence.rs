//! A fence: no session writes to the tables of some databases while a copy is cut, so that the copy holds exactly the rows of a snapshot.
//!
//! For each database one session locks every table and another one fixes the snapshot. The first commits when the copy is cut. Its
//! transaction is in the WAL before the cut, so a copy shows whether it was cut before or after: in recovery from a crash what had
//! not committed has not happened.

use std::fmt;
use std::thread;
use std::time::Duration;

use tokio_postgres::types::Type;

use super::anchor::{Instant, transaction_status};
use super::connection::Connection;
use super::rows::first;
use super::sequences;
use super::server::{Fixed, Identity, Locked, lock};
use super::settings::Settings;
use super::snapshot::{PostgresSnapshot, open};
use super::statements;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{self, Event, OnEvent};
use crate::manifest::{Consistency, FenceTransaction};
use crate::plan::{Limits, Plan};
use crate::sequence::Sequence;
use crate::table::{TableName, shown_identifier};

/// Time for which writers wait at most while the tables are locked. What does not succeed is tried again after a pause.
const ATTEMPT_MS: u32 = 200;
/// Pause between two attempts, in which writers go on.
const PAUSE: Duration = Duration::from_millis(200);
/// Time without a statement after which the server ends the fence by itself, whatever became of the client.
const STANDS_MS: u32 = 30_000;
/// Number of tables that a message names.
const NAMED_MAX: usize = 3;
/// The hint where the fence fell before it was ended.
const LOST: &str = "the session that kept writers out was ended, which the server does after 30 s: cut another copy, in less time";
/// SQLSTATEs that say that another attempt may succeed: a lock that was not released in time (by either limit), a deadlock, and a
/// table, schema or type of relation that changed since the tables were listed.
const AGAIN: [&str; 6] = ["55P03", "57014", "40P01", "42P01", "3F000", "42809"];

/// Databases of one server to whose tables no session writes. Dropping it lets writers go on.
pub struct Fence {
    watch: Connection,
    databases: Vec<Fenced>,
    limits: Limits,
}

/// A database behind the fence.
struct Fenced {
    /// Fixes the snapshot.
    control: Connection,
    /// Keeps writers out.
    holder: Connection,
    identity: Identity,
    tables: Vec<FencedTable>,
    sequences: Vec<Sequence>,
    locked: Locked,
    instant: Option<(Instant, FenceTransaction)>,
}

/// A table that the role can read.
#[derive(PartialEq, Eq)]
struct FencedTable {
    oid: u32,
    name: TableName,
    lockable: bool,
}

/// Result of an attempt: the reason why it did not succeed is inner.
type Attempt = std::result::Result<(), String>;

impl Fence {
    /// Keeps writers out of all tables of the databases, which are of one server, and fixes a snapshot of each.
    ///
    /// An attempt makes writers wait for at most 0.2 s; there are pauses between attempts. Readers never wait. The server ends
    /// the fence by itself when this client is gone, and after 30 s.
    ///
    /// # Errors
    ///
    /// If the server is a standby, the role lacks a privilege, the server's locks do not suffice, or transactions that write do not end
    /// within [`Limits::anchor_timeout_ms`].
    pub fn begin(databases: &[Settings], plan: &Plan, on_event: OnEvent<'_>) -> Result<Self> {
        let describe = databases.first().map_or_else(String::new, Settings::describe);
        Self::raise(databases, plan.limits, on_event)
            .map_err(|error| error.while_doing(format!("keep writers out of the tables of {describe}")))
    }

    fn raise(databases: &[Settings], limits: Limits, on_event: OnEvent<'_>) -> Result<Self> {
        let Some(first) = databases.first() else {
            return Err(Error::new(ErrorKind::Settings, "no database was named"));
        };
        let watch = open(first, limits)?;
        let databases =
            databases.iter().map(|database| Fenced::open(database, limits)).collect::<Result<_>>()?;
        let mut fence = Self { watch, databases, limits };
        let tables = fence.databases.iter().map(|fenced| fenced.tables.len()).sum();
        for fenced in &fence.databases {
            fenced.check_privileges()?;
            fenced.check_lock_slots(tables)?;
        }
        let mut waited_ms = 0;
        loop {
            let Err(reason) = fence.attempt()? else { return Ok(fence) };
            fence.databases.iter_mut().try_for_each(Fenced::lower)?;
            if waited_ms >= limits.anchor_timeout_ms {
                let seconds = limits.anchor_timeout_ms.div_ceil(1_000);
                return Err(Error::new(ErrorKind::Blocked, format!("{reason}; tried for {seconds} s")));
            }
            event::send(on_event, Event::Waiting { reason })?;
            thread::sleep(PAUSE);
            waited_ms += ATTEMPT_MS + PAUSE.as_millis() as u32;
        }
    }

    /// Locks the tables, and fixes the snapshots.
    fn attempt(&mut self) -> Result<Attempt> {
        for fenced in &mut self.databases {
            if let Err(reason) = fenced.prepare()? {
                return Ok(Err(reason));
            }
        }
        for fenced in &mut self.databases {
            if let Err(reason) = fenced.keep_out()? {
                return Ok(Err(reason));
            }
        }
        self.databases.iter_mut().try_for_each(Fenced::fix)?;
        // All that the snapshots see, and the transactions of the fence, are in every copy that is cut from now on.
        self.watch
            .execute(statements::FLUSH_WAL)
            .map_err(|error| error.while_doing("flush the write-ahead log"))?;
        for fenced in &mut self.databases {
            if let Some(change) = fenced.change()? {
                return Ok(Err(change));
            }
        }
        Ok(Ok(()))
    }

    /// Lets writers go on, since the copy is cut. The snapshots remain.
    ///
    /// # Errors
    ///
    /// If the fence is not known to have stood until now, or a table was created meanwhile: then the copy cannot be verified.
    pub fn end(mut self, on_event: OnEvent<'_>) -> Result<Vec<PostgresSnapshot>> {
        let released: Vec<Result<()>> = self.databases.iter_mut().map(Fenced::release).collect();
        let doing = "cut a copy while writers are kept out";
        released.into_iter().collect::<Result<()>>().map_err(|error| {
            let lost = error.kind().is_lost();
            let error = error.while_doing(doing);
            if lost { error.with_hint(LOST) } else { error }
        })?;
        let mut snapshots = Vec::new();
        for fenced in self.databases {
            let Fenced { control, identity, sequences, locked, instant, .. } = fenced;
            let Some((instant, transaction)) = instant else {
                return Err(Error::new(ErrorKind::Protocol, format!("{doing}: it has no snapshot")));
            };
            let status = transaction_status(&mut self.watch, transaction.xid)?;
            let status = status.as_deref().unwrap_or("unknown");
            if status != "committed" {
                let text = format!("{doing}: the transaction that kept them out is {status}");
                return Err(Error::new(ErrorKind::Unsuitable, text).with_hint("cut another copy"));
            }
            let consistency = Consistency::Fence(transaction);
            let fixed = Fixed { instant, consistency, locked, held: None };
            snapshots.push(fixed.into_snapshot(control, identity, sequences, self.limits, on_event)?);
        }
        Ok(snapshots)
    }
}

impl Fenced {
    fn open(settings: &Settings, limits: Limits) -> Result<Self> {
        let mut control = open(settings, limits)?;
        if control.is_pooled() {
            return Err(Error::new(
                ErrorKind::Unsuitable,
                "that is a connection pooler, whose sessions outlive their clients; connect to the server itself",
            ));
        }
        let identity = Identity::read(&mut control)?;
        identity.check_primary(settings)?;
        identity.check_physical(settings)?;
        let mut holder = open(&control.settings().clone(), limits)?;
        let tables = list(&mut holder, &identity)?;
        let locked = Locked { oids: Vec::new(), refused: Vec::new() };
        Ok(Self { control, holder, identity, tables, sequences: Vec::new(), locked, instant: None })
    }

    /// Checks that the role may lock all tables.
    fn check_privileges(&self) -> Result<()> {
        let denied: Vec<&TableName> =
            self.tables.iter().filter(|table| !table.lockable).map(|table| &table.name).collect();
        if denied.is_empty() {
            return Ok(());
        }
        let role = shown_identifier(&self.identity.role);
        let named: Vec<String> = denied.iter().take(NAMED_MAX).map(ToString::to_string).collect();
        let named = named.join(", ");
        let more = match denied.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more tables"),
        };
        let text = format!("role {role} may not lock {named}{more} in SHARE mode");
        let hint = if self.identity.server_version >= 170_000 {
            format!("GRANT pg_maintain TO {role}, or GRANT MAINTAIN ON {named} TO {role}")
        } else {
            format!(
                "GRANT UPDATE, DELETE or TRUNCATE on each of them, for example GRANT TRUNCATE ON {named} TO {role}"
            )
        };
        Err(Error::new(ErrorKind::Privilege, text).with_hint(hint))
    }

    /// Checks that the server has locks enough for the tables of all databases.
    fn check_lock_slots(&self, tables_of_all: usize) -> Result<()> {
        let slots = self.identity.lock_slots;
        if tables_of_all as u64 > slots / 2 {
            let text = format!(
                "{tables_of_all} tables are more than half of the {slots} locks that the server has memory for, and others would \
                 lack locks"
            );
            let hint = "raise max_locks_per_transaction and restart the server, or use time travel (`backup --method physical`)";
            return Err(Error::new(ErrorKind::Unsuitable, text).with_hint(hint));
        }
        Ok(())
    }

    /// Takes all locks for which no writer waits.
    fn prepare(&mut self) -> Result<Attempt> {
        self.tables = list(&mut self.holder, &self.identity)?;
        self.check_privileges()?;
        // Writers would wait behind us for a transaction that is not about to end.
        if let Some(writer) = self.writer(ATTEMPT_MS)? {
            return Ok(Err(writer));
        }
        self.locked = lock(&mut self.control, &self.identity)?;
        if let Some((name, reason)) = self.locked.refused.first() {
            return Ok(Err(format!("{name} cannot be locked: {reason}")));
        }
        self.holder.execute(&statements::fence(STANDS_MS))?;
        // Sequences are under no snapshot and behind no fence: their range begins here.
        self.sequences = sequences::read(&mut self.holder, false)?;
        // This mode waits for VACUUM and for changes of definitions, and has autovacuum give way, while writers go on.
        self.lock_all("SHARE UPDATE EXCLUSIVE")
    }

    /// Waits for the writers of this moment, and keeps all others waiting.
    fn keep_out(&mut self) -> Result<Attempt> {
        self.holder.execute(&statements::set_local("statement_timeout", &ATTEMPT_MS.to_string()))?;
        let attempt = self.lock_all("SHARE")?;
        if attempt.is_ok() {
            self.holder.execute(&statements::set_local("statement_timeout", "0"))?;
        }
        Ok(attempt)
    }

    fn lock_all(&mut self, mode: &str) -> Result<Attempt> {
        if self.tables.is_empty() {
            return Ok(Ok(()));
        }
        let sql = statements::lock(self.tables.iter().map(|table| &table.name), mode);
        let Err(error) = self.holder.execute(&sql) else { return Ok(Ok(())) };
        if !error.sqlstate().is_some_and(|sqlstate| AGAIN.contains(&sqlstate)) {
            return Err(error);
        }
        self.holder.settings().stop.check()?;
        // Writers go on while we ask who was in the way.
        self.lower()?;
        let writer = self.writer(0)?;
        Ok(Err(writer.unwrap_or_else(|| format!("the tables could not be locked in {mode} mode in time"))))
    }

    /// Somebody whose lock on a table is in the way, of a transaction that is older than this.
    fn writer(&mut self, older_than_ms: u32) -> Result<Option<String>> {
        let oids: Vec<u32> = self.tables.iter().map(|table| table.oid).collect();
        let age = i32::try_from(older_than_ms).unwrap_or(i32::MAX);
        let parameters = [(&oids as _, Type::OID_ARRAY), (&age as _, Type::INT4)];
        let rows = self.holder.query_with(statements::WRITERS, &parameters)?;
        let Some(row) = rows.first() else { return Ok(None) };
        let counts = older_than_ms == 0 || row.flag(1)?;
        Ok(if counts { row.get(0).map(str::to_owned) } else { None })
    }

    /// Fixes the snapshot, which sees whatever a writer did before it was kept out.
    fn fix(&mut self) -> Result<()> {
        let xid = first(&self.holder.query(statements::MARK_FENCE)?)?.number(0)?;
        self.instant = Some((Instant::fix(&mut self.control)?, FenceTransaction { xid }));
        Ok(())
    }

    /// How the tables differ from those that are locked, if they do: creating one takes no lock on another.
    fn change(&mut self) -> Result<Option<String>> {
        let now = list(&mut self.holder, &self.identity)?;
        let of = |table: &FencedTable| table.name.to_string();
        let changed = now
            .iter()
            .find(|table| !self.tables.contains(table))
            .or_else(|| self.tables.iter().find(|table| !now.contains(table)));
        Ok(changed.map(|table| format!("the table {} was created or renamed meanwhile", of(table))))
    }

    /// Lets writers go on.
    fn release(&mut self) -> Result<()> {
        let change = self.change();
        self.holder.execute("COMMIT")?;
        match change? {
            None => Ok(()),
            Some(change) => Err(Error::new(ErrorKind::Unsuitable, change)
                .with_hint("cut another copy while no table is created")),
        }
    }

    /// Rolls back both sessions before another attempt.
    fn lower(&mut self) -> Result<()> {
        self.instant = None;
        for session in [&mut self.holder, &mut self.control] {
            if session.transaction_status() != b'I' {
                session.execute("ROLLBACK")?;
            }
        }
        Ok(())
    }
}

/// The tables to keep writers out of.
fn list(session: &mut Connection, identity: &Identity) -> Result<Vec<FencedTable>> {
    let table = |row: &super::Row| {
        let name = TableName::new(row.text(1)?, row.text(2)?);
        Ok(FencedTable { oid: row.number(0)?, name, lockable: row.flag(3)? })
    };
    session.query(&statements::fenced_tables(identity.server_version))?.iter().map(table).collect()
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence").field("databases", &self.databases.len()).finish_non_exhaustive()
    }
}
