//! A standby whose replay is paused while its files are copied. Whatever becomes of this process, the server resumes it.
//!
//! One session holds an advisory lock. Another one waits for it on the server, and then resumes the replay: when the first
//! session ends, however it ends, the server does so by itself. Locks on a standby write nothing.

use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use tokio_postgres::types::Type;

use super::connection::Connection;
use super::rows::first;
use super::settings::Settings;
use super::snapshot::open;
use super::statements;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{self, Event, OnEvent};
use crate::plan::Limits;

/// Interval at which the server is polled.
const POLL: Duration = Duration::from_millis(20);
/// Number of polls between two events of a wait.
const POLLS_BEFORE_EVENT: u32 = 25;
/// Number of polls for the session that resumes.
const GUARD_POLLS_MAX: u32 = 500;
/// Time in which the replay is resumed once nothing holds it.
const RESUME_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of attempts to resume it otherwise.
const RESUME_ATTEMPTS_MAX: u32 = 50;
/// Class of the advisory locks of this module.
const LOCK_CLASS: i32 = 0x57a7_e1ab;

/// The paused replay of a standby. Dropping it resumes the replay, unless it was paused already.
#[derive(Debug)]
pub struct PausedReplay {
    /// For sessions that stop for nothing.
    settings: Settings,
    limits: Limits,
    position: String,
    /// Absent where another client had paused the replay: then it stays paused.
    guard: Option<Guard>,
}

/// The session that holds the lock, and the end of the one that waits for it.
#[derive(Debug)]
struct Guard {
    holder: Connection,
    /// Process of the session that waits.
    waiter: i32,
    ended: Receiver<Result<()>>,
}

impl PausedReplay {
    /// Pauses the replay of a standby, and waits until no further record is applied.
    ///
    /// # Errors
    ///
    /// If the server is no standby, the role may not pause it, commits of the primary would wait for it, or it does not pause
    /// within [`Limits::anchor_timeout_ms`], since its recovery waits for a query.
    pub fn begin(settings: &Settings, limits: Limits, on_event: OnEvent<'_>) -> Result<Self> {
        Self::pause(settings, limits, on_event)
            .map_err(|error| error.while_doing(format!("pause the replay of {}", settings.describe())))
    }

    fn pause(asked: &Settings, limits: Limits, on_event: OnEvent<'_>) -> Result<Self> {
        let mut session = open(asked, limits)?;
        // An interruption must not keep the replay from being resumed.
        let settings = session.settings().clone().with_stop(|| false).with_stall_timeout(None);
        let rows = session.query(statements::PAUSABLE)?;
        let row = first(&rows)?;
        if !row.flag(0)? {
            return Err(Error::new(ErrorKind::Unsuitable, "it is not a standby"));
        }
        if row.flag(2)? {
            return Err(Error::new(
                ErrorKind::Unsuitable,
                "synchronous_commit = remote_apply is set: commits on the primary would wait until the replay is resumed",
            )
            .with_hint("back up another standby, which is not synchronous, or the primary"));
        }
        let paused_before = row.flag(1)?;
        let mut paused = Self { settings, limits, position: String::new(), guard: None };
        if !paused_before {
            paused.guard = Some(Guard::begin(&paused.settings, limits)?);
            session.execute(statements::PAUSE_REPLAY)?;
        }
        paused.wait(&mut session, on_event)?;
        // Until then recovery may have cancelled the statement that waits. Now nothing does.
        if let Some(guard) = &mut paused.guard
            && !guard.waits()?
        {
            *guard = Guard::begin(&paused.settings, limits)?;
        }
        first(&session.query(statements::REPLAYED)?)?.text(0)?.clone_into(&mut paused.position);
        let message = format!(
            "the standby's replay is paused at {} until the copy is complete{}; it lags meanwhile, and keeps the WAL that it receives",
            paused.position,
            if paused_before { " and after it, because it was paused before" } else { "" }
        );
        event::send(on_event, Event::Notice { message })?;
        Ok(paused)
    }

    /// Waits until the startup process is between two records: it looks at the request before it applies the next one.
    fn wait(&self, session: &mut Connection, on_event: OnEvent<'_>) -> Result<()> {
        let version = first(&session.query(statements::VERSION)?)?.number(0)?;
        let rests = statements::replay_rests(version);
        let polls = self.limits.anchor_timeout_ms / POLL.as_millis() as u32;
        for poll in 0..=polls {
            if first(&session.query(rests)?)?.flag(0)? {
                return Ok(());
            }
            if poll % POLLS_BEFORE_EVENT == POLLS_BEFORE_EVENT - 1 {
                let reason = "the standby's replay does not pause yet".to_owned();
                event::send(on_event, Event::Waiting { reason })?;
            }
            thread::sleep(POLL);
        }
        Err(Error::new(
            ErrorKind::Timeout,
            format!("it did not pause within {} s", self.limits.anchor_timeout_ms.div_ceil(1_000)),
        )
        .with_hint(
            "end the queries that its recovery waits for, or raise --wait; before PostgreSQL 14 the role needs pg_monitor to see that it \
             has paused",
        ))
    }

    /// Position up to which the standby has replayed.
    pub fn position(&self) -> &str {
        &self.position
    }

    /// Checks that nothing was replayed since, and resumes the replay.
    ///
    /// # Errors
    ///
    /// If another client resumed it, so that a copy is not of this position; or if it could not be resumed.
    pub fn end(mut self) -> Result<()> {
        let rested = self.check();
        let resumed = self.resume();
        rested.and(resumed)
    }

    fn check(&self) -> Result<()> {
        let mut session = open(&self.settings, self.limits)?;
        let rests = first(&session.query(statements::PAUSE_REQUESTED)?)?.flag(0)?;
        let position = first(&session.query(statements::REPLAYED)?)?.text(0)?.to_owned();
        if rests && position == self.position {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unsuitable,
            format!(
                "copy a paused standby: its replay was resumed meanwhile, from {} to {position}",
                self.position
            ),
        )
        .with_hint("take the backup again while no other client resumes the replay, restarts or promotes the standby"))
    }

    fn resume(&mut self) -> Result<()> {
        let Some(Guard { holder, ended, .. }) = self.guard.take() else { return Ok(()) };
        // The server releases its lock with the session.
        drop(holder);
        // Whatever it says: recovery may cancel the statement that has just resumed it.
        let _ = ended.recv_timeout(RESUME_TIMEOUT);
        let mut last = None;
        for _ in 0..RESUME_ATTEMPTS_MAX {
            match self.resume_once() {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => last = Some(error),
            }
            thread::sleep(POLL);
        }
        let error = last.unwrap_or_else(|| Error::new(ErrorKind::Timeout, "it stays paused"));
        Err(error
            .while_doing(format!("resume the replay of {}", self.settings.describe()))
            .with_hint("the standby may still be paused: run SELECT pg_wal_replay_resume() on it"))
    }

    /// Returns whether the replay goes on; where it does not, asks for it.
    fn resume_once(&self) -> Result<bool> {
        let mut session = open(&self.settings, self.limits)?;
        if !first(&session.query(statements::PAUSE_REQUESTED)?)?.flag(0)? {
            return Ok(true);
        }
        session.execute(statements::RESUME_REPLAY)?;
        Ok(false)
    }
}

impl Drop for PausedReplay {
    fn drop(&mut self) {
        // An error is on its way already; the server resumes by itself when it misses the session.
        let _ = self.resume();
    }
}

impl Guard {
    /// Has a session wait on the server for the end of another one.
    fn begin(settings: &Settings, limits: Limits) -> Result<Self> {
        let mut holder = open(settings, limits)?;
        if holder.is_pooled() {
            return Err(Error::new(
                ErrorKind::Unsuitable,
                "that is a connection pooler, whose sessions outlive their clients; connect to the server itself",
            ));
        }
        let key = holder.backend_pid();
        let lock = [(&LOCK_CLASS as _, Type::INT4), (&key as _, Type::INT4)];
        holder.execute(statements::NOTICE_LOST_CLIENT)?;
        holder.query_with(statements::ADVISORY_LOCK, &lock)?;
        let mut waiter = open(settings, limits)?;
        waiter.query(statements::OUTLIVE_CLIENT)?;
        let pid = waiter.backend_pid();
        let (send, ended) = mpsc::channel();
        thread::spawn(move || {
            let lock = [(&LOCK_CLASS as _, Type::INT4), (&key as _, Type::INT4)];
            let resumed = waiter.query_with(statements::RESUME_REPLAY_AFTER, &lock).map(drop);
            // The receiver may be dropped already.
            let _ = send.send(resumed);
        });
        let mut guard = Self { holder, waiter: pid, ended };
        for _ in 0..GUARD_POLLS_MAX {
            if guard.waits()? {
                return Ok(guard);
            }
            if let Ok(Err(error)) = guard.ended.try_recv() {
                return Err(error);
            }
            thread::sleep(POLL);
        }
        Err(Error::new(ErrorKind::Timeout, "arrange that it is resumed"))
    }

    /// Returns whether the server has a session that will resume the replay.
    fn waits(&mut self) -> Result<bool> {
        let waiter = [(&self.waiter as _, Type::INT4)];
        first(&self.holder.query_with(statements::WAITS_FOR_LOCK, &waiter)?)?.flag(0)
    }
}
