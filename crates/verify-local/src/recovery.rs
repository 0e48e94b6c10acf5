//! The clock of a restore, and what the restored server knows of the time that was lost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use verify_core::heartbeat::{ClockOffset, Pulse, Rpo};
use verify_core::postgres::{Connection, SessionOptions, Settings, heartbeat};
use verify_core::timeline::{Milestone, Timeline};

use super::survey::{connect, first};
use verify_drill::interrupt::interrupted;
use verify_drill::until::{Check, Pace, Waited, until};

/// Time limit of a promotion.
const PROMOTE_TIMEOUT: Duration = Duration::from_secs(120);

/// A timeline with the monotonic clock that it is kept by.
pub(super) struct Stopwatch {
    clock: Instant,
    pub(super) timeline: Timeline,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self { clock: Instant::now(), timeline: Timeline::new(Timestamp::now()) }
    }

    pub(super) fn reach(&mut self, milestone: Milestone) {
        self.timeline.reach(milestone, self.clock.elapsed());
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Ends the recovery of a standby, and waits until it takes writes.
pub(super) fn promote(standby: &Settings, asked: fn() -> bool) -> Result<()> {
    let timeout_ms = u32::try_from(PROMOTE_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    let mut session = Connection::open(standby, &SessionOptions::verification(timeout_ms, timeout_ms))?;
    session
        .query("SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_promote(true, 60) END")
        .context("failed to promote the restored server")?;
    let promoted = until(PROMOTE_TIMEOUT, Pace::LOCAL, asked, || {
        let rows = session.query("SELECT pg_catalog.pg_is_in_recovery()")?;
        let over = first(&rows)?.text(0)? == "f";
        anyhow::Ok(if over { Check::Done(()) } else { Check::Waiting(()) })
    })?;
    match promoted {
        Waited::Done(()) => Ok(()),
        Waited::Stopped => Err(interrupted().into()),
        Waited::TimedOut(()) => bail!(
            "failed to promote the restored server: it is in recovery after {} s",
            PROMOTE_TIMEOUT.as_secs()
        ),
    }
}

/// The position up to which a server has replayed WAL.
pub(super) fn position(database: &Settings) -> Result<String> {
    let rows = connect(database)?.query(
        "SELECT COALESCE(pg_catalog.pg_last_wal_replay_lsn(), '0/0'::pg_catalog.pg_lsn)::pg_catalog.text",
    )?;
    Ok(first(&rows)?.text(0)?.to_owned())
}

/// The signs of life of each database.
pub(super) fn pulses(databases: &[Settings]) -> Result<Vec<Pulse>> {
    let pulse = |database: &Settings| Ok(heartbeat::pulse(&mut connect(database)?)?);
    databases.iter().map(pulse).collect()
}

/// The bound of one dump: its own heartbeat's, or the capture's where its rows were verified.
///
/// When the last transaction committed says nothing here: it was one of the restore's own.
pub(super) fn rpo_of_dump(
    pulse: &Pulse,
    verified_capture: Option<Timestamp>,
    incident: Timestamp,
    offset: ClockOffset,
) -> Option<Rpo> {
    Rpo::derive(&[Pulse { last_commit: None, ..pulse.clone() }], verified_capture, incident, offset)
}
