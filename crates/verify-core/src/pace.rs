//! The pace of a scan: at most so many bytes a second, and nearly none while the server is busy.
//!
//! No clock is read. A thread sleeps for equal ticks and allows a share of the rate after each, so that the time in which
//! this process was stopped does not count, and a tick that takes longer makes the scan slower, never faster.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::database::{Activity, Obstacle, Reader, Sink, Slice, Snapshot};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{self, Event, OnEvent};
use crate::plan::Limits;

/// Short, since the bytes that a tick allows are read at once, and delay other sessions meanwhile.
const TICK: Duration = Duration::from_millis(10);
const TICKS_A_SECOND: u64 = 100;
/// Bytes of rows after which a reader asks whether it may continue.
const GRAIN: u64 = 64 << 10;
/// Bytes a second that a held scan reads. A connection whose receiver takes nothing for `tcp_user_timeout` is closed, and the receiver's
/// window opens again only when a part of its buffer (up to 6 MiB) is free.
const HELD_RATE: u64 = 32 << 10;

/// The pace of all readers of one snapshot.
struct Pace<'a> {
    snapshot: &'a dyn Snapshot,
    limits: Limits,
    on_event: OnEvent<'a>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Bytes a second; `None` for any number.
    rate: Option<u64>,
    /// Bytes that may still be read; negative after a reader took more than was left.
    allowance: i64,
    /// True if a reader has waited since the last report.
    waited: bool,
    /// True once the scan is complete, or is to fail: no reader waits any longer.
    ended: bool,
}

/// Runs `scan` with readers of the snapshot that keep to the limits together.
///
/// # Errors
///
/// That of the pace, which may be the cause of that of `scan`; else that of `scan`.
pub(crate) fn with_readers<T>(
    snapshot: &dyn Snapshot,
    limits: Limits,
    on_event: OnEvent<'_>,
    scan: impl FnOnce(&Readers<'_>) -> Result<T>,
) -> Result<T> {
    match Pace::new(snapshot, limits, on_event) {
        None => scan(&Readers { snapshot, pace: None }),
        Some(pace) => pace.set_while(|| scan(&Readers { snapshot, pace: Some(&pace) })),
    }
}

/// Opens connections that read a snapshot.
pub(crate) struct Readers<'a> {
    snapshot: &'a dyn Snapshot,
    pace: Option<&'a Pace<'a>>,
}

impl Readers<'_> {
    /// One more connection.
    ///
    /// # Errors
    ///
    /// If there can be none.
    pub(crate) fn open(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(self.keep(self.snapshot.reader()?))
    }

    /// The same for a reader that is open already.
    pub(crate) fn keep<'r>(&'r self, reader: Box<dyn Reader + 'r>) -> Box<dyn Reader + 'r> {
        match self.pace {
            None => reader,
            Some(pace) => Box::new(PacedReader { reader, pace }),
        }
    }
}

impl<'a> Pace<'a> {
    fn new(snapshot: &'a dyn Snapshot, limits: Limits, on_event: OnEvent<'a>) -> Option<Self> {
        let paced = limits.max_rate.is_some() || limits.depend_on_activity();
        let state = State { rate: limits.max_rate, allowance: 0, waited: false, ended: false };
        let state = Mutex::new(state);
        paced.then(|| Self { snapshot, limits, on_event, state, changed: Condvar::new() })
    }

    /// Runs `scan` while another thread sets the pace.
    fn set_while<T>(&self, scan: impl FnOnce() -> Result<T>) -> Result<T> {
        std::thread::scope(|scope| {
            let setter = scope.spawn(|| {
                let _end = EndOnDrop(self);
                self.set()
            });
            let scanned = {
                let _end = EndOnDrop(self);
                scan()
            };
            let set = setter.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            set.and(scanned)
        })
    }

    /// Sets the pace until the scan ends.
    fn set(&self) -> Result<()> {
        loop {
            self.adapt()?;
            for _ in 0..TICKS_A_SECOND {
                let (mut state, _) = self
                    .changed
                    .wait_timeout_while(self.lock(), TICK, |state| !state.ended)
                    .unwrap_or_else(PoisonError::into_inner);
                if state.ended {
                    return Ok(());
                }
                state.tick();
                drop(state);
                self.changed.notify_all();
            }
        }
    }

    /// Holds the scan while the server is busy, and reports what limits it.
    fn adapt(&self) -> Result<()> {
        let busy = match self.limits.depend_on_activity() {
            true => busy(&self.snapshot.activity()?, &self.limits)?,
            false => None,
        };
        let mut state = self.lock();
        state.rate = if busy.is_some() { Some(HELD_RATE) } else { self.limits.max_rate };
        let waited = std::mem::take(&mut state.waited);
        drop(state);
        let rate = || Some(format!("the rate is limited to {}/s", bytes_text(self.limits.max_rate?)));
        let by = busy.or_else(|| rate().filter(|_| waited));
        event::send(self.on_event, Event::Limited { by })
    }

    /// Counts bytes that were read, and waits until more may be.
    fn take(&self, bytes: u64) -> Result<()> {
        let mut state = self.lock();
        state.allowance -= bytes.cast_signed();
        while !state.ended && state.rate.is_some() && state.allowance < 0 {
            state.waited = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match state.ended {
            true => Err(Error::new(ErrorKind::Cancelled, "finish: the scan was ended")),
            false => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Allows a tick's share. What was not read in a tick may be read in the next one, and not later.
    fn tick(&mut self) {
        let share = self.rate.map_or(0, |rate| (rate / TICKS_A_SECOND).cast_signed());
        self.allowance = (self.allowance + share).min(share);
    }
}

/// Ends the pace, whether the work succeeds, fails or panics.
struct EndOnDrop<'p>(&'p Pace<'p>);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

/// Returns why the server is too busy to be read, if it is.
///
/// # Errors
///
/// If the snapshot has reached its maximal age, or the activity cannot be seen.
fn busy(activity: &Activity, limits: &Limits) -> Result<Option<String>> {
    let Activity { snapshot_age_ms, sessions, replication_lag } = *activity;
    if let Some(max) = limits.max_snapshot_age_ms
        && snapshot_age_ms >= max
    {
        let text = format!(
            "finish: the snapshot is {} s old, and the limit is {} s",
            snapshot_age_ms / 1_000,
            max.div_ceil(1_000)
        );
        return Err(Error::new(ErrorKind::LimitReached, text));
    }
    let unseen = || {
        Error::new(ErrorKind::Privilege, "read the activity of other sessions: the role may not see it")
            .with_hint(
                "grant pg_monitor to the role, or leave out the limits of sessions and of replication lag",
            )
    };
    if let Some(max) = limits.max_active_sessions {
        let sessions = sessions.ok_or_else(unseen)?;
        if sessions > u64::from(max) {
            return Ok(Some(format!("active sessions of others: {sessions}, the limit is {max}")));
        }
    }
    if let Some(max) = limits.max_replication_lag {
        let lag = replication_lag.ok_or_else(unseen)?;
        if lag > max {
            let (lag, max) = (bytes_text(lag), bytes_text(max));
            return Ok(Some(format!("a standby is {lag} of WAL behind, the limit is {max}")));
        }
    }
    Ok(None)
}

fn bytes_text(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        _ => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}

/// A reader whose rows come at the pace.
struct PacedReader<'r> {
    reader: Box<dyn Reader + 'r>,
    pace: &'r Pace<'r>,
}

impl Reader for PacedReader<'_> {
    fn read(&mut self, slices: &[Slice<'_>], sink: &mut dyn Sink) -> Result<()> {
        self.reader.read(slices, &mut PacedSink { sink, pace: self.pace, untaken: 0 })
    }
}

struct PacedSink<'s> {
    sink: &'s mut dyn Sink,
    pace: &'s Pace<'s>,
    /// Bytes that were read since the pace was asked.
    untaken: u64,
}

impl PacedSink<'_> {
    fn take(&mut self, bytes: usize) -> Result<()> {
        self.untaken += bytes as u64;
        match self.untaken {
            0..GRAIN => Ok(()),
            _ => self.pace.take(std::mem::take(&mut self.untaken)),
        }
    }
}

impl Sink for PacedSink<'_> {
    fn begin(&mut self, slice: usize) -> Result<()> {
        self.sink.begin(slice)
    }

    fn row(&mut self, tuple: &mut [u8]) -> Result<()> {
        self.sink.row(tuple)?;
        self.take(tuple.len())
    }

    fn piece(&mut self, piece: &[u8], last: bool) -> Result<()> {
        self.sink.piece(piece, last)?;
        self.take(piece.len())
    }

    fn end(&mut self, rows: u64) -> Result<()> {
        self.sink.end(rows)
    }

    fn unreadable(&mut self, slice: usize, obstacle: Obstacle) -> Result<()> {
        self.sink.unreadable(slice, obstacle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity() -> Activity {
        Activity { snapshot_age_ms: 0, sessions: Some(3), replication_lag: Some(5 << 20) }
    }

    fn limits(set: impl FnOnce(&mut Limits)) -> Limits {
        let mut limits = Limits::default();
        set(&mut limits);
        limits
    }

    #[test]
    fn a_server_is_busy_beyond_a_limit_and_not_at_it() {
        let busy = |limits: Limits| busy(&activity(), &limits).unwrap();
        assert_eq!(busy(Limits::default()), None);
        assert_eq!(busy(limits(|limits| limits.max_active_sessions = Some(3))), None);
        assert_eq!(
            busy(limits(|limits| limits.max_active_sessions = Some(2))).as_deref(),
            Some("active sessions of others: 3, the limit is 2")
        );
        assert_eq!(busy(limits(|limits| limits.max_replication_lag = Some(5 << 20))), None);
        assert_eq!(
            busy(limits(|limits| limits.max_replication_lag = Some(1 << 20))).as_deref(),
            Some("a standby is 5 MiB of WAL behind, the limit is 1 MiB")
        );
    }

    #[test]
    fn what_may_not_be_seen_is_an_error_only_where_it_is_needed() {
        let hidden = Activity { sessions: None, replication_lag: None, ..activity() };
        assert_eq!(busy(&hidden, &limits(|limits| limits.max_snapshot_age_ms = Some(1))).unwrap(), None);
        for limits in [
            limits(|limits| limits.max_active_sessions = Some(1_000)),
            limits(|limits| limits.max_replication_lag = Some(u64::MAX)),
        ] {
            assert_eq!(*busy(&hidden, &limits).unwrap_err().kind(), ErrorKind::Privilege);
        }
    }

    #[test]
    fn a_snapshot_of_the_maximal_age_ends_the_scan() {
        let limits = limits(|limits| limits.max_snapshot_age_ms = Some(60_000));
        let old = Activity { snapshot_age_ms: 60_000, ..activity() };
        let error = busy(&old, &limits).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::LimitReached);
        assert_eq!(error.to_string(), "finish: the snapshot is 60 s old, and the limit is 60 s");
        assert_eq!(busy(&Activity { snapshot_age_ms: 59_999, ..old }, &limits).unwrap(), None);
    }

    #[test]
    fn an_allowance_grows_by_the_rate_and_does_not_pile_up() {
        let mut state = State { rate: Some(1 << 20), allowance: 0, waited: false, ended: false };
        let share = (1 << 20) / 100;
        state.allowance = -share;
        state.tick();
        assert_eq!(state.allowance, 0);
        for _ in 0..10 {
            state.tick();
        }
        assert_eq!(state.allowance, share);
    }
}
