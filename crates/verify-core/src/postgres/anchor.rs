//! Time travel at capture: a transaction that is held open so that nothing visible is pruned until a copy is cut.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::types::Type;

use super::connection::Connection;
use super::rows::first;
use super::settings::Settings;
use super::snapshot::open;
use super::statements;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{self, Event, OnEvent};
use crate::plan::Limits;

/// Interval at which the server is polled for the end of older transactions.
const POLL: Duration = Duration::from_millis(20);
/// Number of polls between two events of the wait, at which it can also be stopped.
const POLLS_BEFORE_EVENT: u32 = 25;

/// The snapshot of a transaction, with its position and time.
pub(super) struct Instant {
    pub exported: String,
    pub snapshot: String,
    pub lsn: String,
    pub captured_at: Timestamp,
}

/// `pg_xact_status` of a transaction; `None` if the server has discarded it.
pub(super) fn transaction_status(session: &mut Connection, xid: u64) -> Result<Option<String>> {
    let rows = session.query_with(statements::XACT_STATUS, &[(&xid.to_string(), Type::TEXT)])?;
    Ok(first(&rows)?.get(0).map(str::to_owned))
}

/// `pg_current_snapshot()`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionSnapshot {
    /// The oldest transaction in progress.
    pub xmin: u64,
    /// One past the newest transaction that has ended.
    pub xmax: u64,
    /// Transactions between the two that were in progress, without subtransactions.
    pub xip: BTreeSet<u64>,
}

impl TransactionSnapshot {
    /// From `xmin:xmax:xip,xip,…`.
    ///
    /// # Errors
    ///
    /// If `text` is not a snapshot.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
        let (xmin, xmax) = (number(), number());
        let xip =
            parts.next().map(|list| list.split(',').filter(|xid| !xid.is_empty()).map(str::parse).collect());
        match (xmin, xmax, xip) {
            (Some(xmin), Some(xmax), Some(Ok(xip))) => Ok(Self { xmin, xmax, xip }),
            _ => Err(Error::new(ErrorKind::Protocol, format!("read the snapshot {text:?}"))),
        }
    }
}

impl TransactionSnapshot {
    /// Returns whether the snapshot sees a top-level transaction, if that committed.
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && !self.xip.contains(&xid))
    }

    /// The transactions older than `xid`, which was assigned before this snapshot, that were still running.
    ///
    /// The list names only those below xmax, which is one past the newest that has *ended*: whatever was assigned from
    /// there on runs too.
    fn running_before(&self, xid: u64) -> impl Iterator<Item = u64> {
        let listed = self.xip.iter().copied().filter(move |listed| *listed < xid.min(self.xmax));
        listed.chain(self.xmax..xid)
    }
}

/// A transaction id as the parameter of a statement.
pub(super) fn parameter(xid: u64) -> Result<i64> {
    i64::try_from(xid).map_err(|error| {
        Error::with_source(ErrorKind::Protocol, format!("use the transaction id {xid}"), error)
    })
}

/// The transaction, and a second session for the server's state.
pub(super) struct AnchorSession {
    transaction: Connection,
    watch: Connection,
    xid: u64,
}

impl AnchorSession {
    /// Opens the transaction, and waits until no older one is left but those of `others`, which write nothing.
    pub(super) fn begin(
        settings: &Settings,
        limits: Limits,
        others: &[u64],
        on_event: OnEvent<'_>,
    ) -> Result<Self> {
        let mut transaction = open(settings, limits)?;
        let xid = first(&transaction.begin_transaction(statements::ANCHOR)?)?.number(0)?;
        let watch = open(settings, limits)?;
        let mut session = Self { transaction, watch, xid };
        session.wait(limits, others, on_event)?;
        Ok(session)
    }

    pub(super) fn xid(&self) -> u64 {
        self.xid
    }

    fn wait(&mut self, limits: Limits, others: &[u64], on_event: OnEvent<'_>) -> Result<()> {
        let polls = limits.anchor_timeout_ms / POLL.as_millis() as u32;
        for poll in 0..=polls {
            self.watch.settings().stop.check()?;
            if self.now()?.running_before(self.xid).all(|xid| others.contains(&xid)) {
                return Ok(());
            }
            if poll % POLLS_BEFORE_EVENT == POLLS_BEFORE_EVENT - 1 {
                let reason = format!("{}, began before the capture", self.oldest()?);
                event::send(on_event, Event::Waiting { reason })?;
            }
            std::thread::sleep(POLL);
        }
        let oldest = self.oldest()?;
        Err(Error::new(
            ErrorKind::Blocked,
            format!(
                "capture for a physical copy: {oldest}, is older than the capture and did not end within {} s",
                limits.anchor_timeout_ms.div_ceil(1_000)
            ),
        ))
    }

    fn now(&mut self) -> Result<TransactionSnapshot> {
        TransactionSnapshot::parse(first(&self.watch.query(statements::CURRENT_SNAPSHOT)?)?.text(0)?)
    }

    fn oldest(&mut self) -> Result<String> {
        let own_pid = self.transaction.backend_pid();
        let rows = self.watch.query_with(statements::OLDEST_TRANSACTION, &[(&own_pid, Type::INT4)])?;
        Ok(rows.first().and_then(|row| row.get(0)).unwrap_or("a transaction that cannot be seen").to_owned())
    }

    /// The sub-transactions that the snapshot omits; `None` if one of its transactions ended meanwhile,
    /// so that they cannot be determined any more.
    pub(super) fn accept(&mut self, instant: &Instant) -> Result<Option<Vec<u64>>> {
        let snapshot = TransactionSnapshot::parse(&instant.snapshot)?;
        let (xmin, xmax) = (parameter(snapshot.xmin)?, parameter(snapshot.xmax)?);
        let range = [(&xmin as _, Type::INT8), (&xmax as _, Type::INT8)];
        let rows = self.watch.query_with(statements::SUBTRANSACTIONS, &range)?;
        let in_progress = rows.iter().map(|row| row.number(0)).collect::<Result<BTreeSet<u64>>>()?;
        let now = self.now()?;
        let all_run = snapshot.xip.is_subset(&now.xip);
        Ok(all_run.then(|| in_progress.difference(&snapshot.xip).copied().collect()))
    }

    /// Writes all WAL so far to disk.
    pub(super) fn flush_wal(&mut self) -> Result<()> {
        self.watch
            .execute(statements::FLUSH_WAL)
            .map_err(|error| error.while_doing("flush the write-ahead log"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_taken_apart() {
        let snapshot = TransactionSnapshot::parse("10:20:10,12").unwrap();
        assert_eq!(snapshot, TransactionSnapshot { xmin: 10, xmax: 20, xip: BTreeSet::from([10, 12]) });
        assert!(TransactionSnapshot::parse("10:20:").unwrap().xip.is_empty());
        let running = |text: &str, xid| -> Vec<u64> {
            TransactionSnapshot::parse(text).unwrap().running_before(xid).collect()
        };
        assert_eq!(running("10:20:10,12,15", 14), [10, 12]);
        assert_eq!(running("740:740:", 742), [740, 741]);
        assert_eq!(running("740:741:740", 742), [740, 741]);
        assert_eq!(running("742:742:", 742), [] as [u64; 0]);
        for bad in ["", "10", "10:20", "10:x:", "10:20:a"] {
            assert!(TransactionSnapshot::parse(bad).is_err(), "{bad}");
        }
    }
}
