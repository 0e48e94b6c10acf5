//! Waiting for a server: in slices, up to a limit, and only until the work is to stop.
//!
//! Time is counted in slices that passed without a byte, not read from a clock, so that the time in which this process
//! itself was stopped or the machine slept does not count.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// Duration of one wait on a socket; a request to stop is noticed within it.
pub(super) const SLICE: Duration = Duration::from_millis(200);
/// Time that an answer counts against a limited total: a server that sends a byte now and then counts as a
/// silent one.
const ANSWER: Duration = Duration::from_millis(20);

/// Returns whether the work is to stop. Called a few times a second by every session that waits.
#[derive(Clone)]
pub(super) struct Stop(Arc<dyn Fn() -> bool + Send + Sync>);

impl Stop {
    pub(super) fn new(asked: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(asked))
    }

    pub(super) fn asked(&self) -> bool {
        (self.0)()
    }

    /// An error if the work is to stop.
    pub(super) fn check(&self) -> Result<()> {
        if self.asked() { Err(interrupted()) } else { Ok(()) }
    }
}

impl Default for Stop {
    /// Never.
    fn default() -> Self {
        Self::new(|| false)
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stop(…)")
    }
}

/// Scope of a limit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// All waits together.
    Total,
    /// Each silence.
    Silence,
}

/// Reason for the end of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Stopped,
    TimedOut,
}

/// The wait for one server.
pub(super) struct Wait {
    stop: Stop,
    limit: Option<Duration>,
    scope: Scope,
    waited: Duration,
    /// Number of consecutive checks that found the server idle.
    pub(super) doubts: u8,
}

impl Wait {
    /// All waits together last no longer than `limit`.
    pub(super) fn total(limit: Option<Duration>, stop: Stop) -> Self {
        Self { stop, limit, scope: Scope::Total, waited: Duration::ZERO, doubts: 0 }
    }

    /// No silence lasts longer than `limit`.
    pub(super) fn silence(limit: Option<Duration>, stop: Stop) -> Self {
        Self { scope: Scope::Silence, ..Self::total(limit, stop) }
    }

    /// Returns whether each silence is limited by itself.
    pub(super) fn is_of_silence(&self) -> bool {
        self.scope == Scope::Silence
    }

    /// Returns whether the limit is reached.
    pub(super) fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.waited >= limit)
    }

    /// Returns whether a limit of all waits together is reached.
    #[inline]
    pub(super) fn total_is_over(&self) -> bool {
        self.scope == Scope::Total && self.is_over()
    }

    /// The limit in words.
    pub(super) fn limit_text(&self) -> String {
        self.limit.map_or_else(|| "any time".to_owned(), |limit| format!("{} s", seconds(limit)))
    }

    /// Counts an answer.
    #[inline]
    pub(super) fn answered(&mut self) {
        match self.scope {
            Scope::Total => self.waited += ANSWER,
            Scope::Silence => (self.waited, self.doubts) = (Duration::ZERO, 0),
        }
    }

    /// Counts a slice that passed without an answer.
    pub(super) fn idle(&mut self) -> Option<Ended> {
        self.waited += SLICE;
        if self.stop.asked() {
            return Some(Ended::Stopped);
        }
        self.is_over().then_some(Ended::TimedOut)
    }

    /// The same as an error of `doing`.
    fn pass(&mut self, doing: &str) -> Result<()> {
        match self.idle() {
            None => Ok(()),
            Some(ended) => Err(self.error(ended, doing)),
        }
    }

    /// The error that an ended wait is.
    pub(super) fn error(&self, ended: Ended, doing: &str) -> Error {
        match ended {
            Ended::Stopped => interrupted(),
            Ended::TimedOut => {
                let text = format!("{doing}: no answer within {}", self.limit_text());
                Error::new(ErrorKind::Timeout, text).with_hint(
                    "check that the port is PostgreSQL's, and that the server is neither stopped nor overloaded",
                )
            }
        }
    }

    /// Repeats a step on a socket that waits for a slice at a time.
    pub(super) fn repeat<T>(&mut self, doing: &str, mut step: impl FnMut() -> io::Result<T>) -> Result<T> {
        loop {
            if self.total_is_over() {
                return Err(self.error(Ended::TimedOut, doing));
            }
            match step() {
                Ok(done) => {
                    self.answered();
                    return Ok(done);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.pass(doing)?,
                Err(error) => return Err(Error::with_source(ErrorKind::Connection, doing, error)),
            }
        }
    }

    /// Runs a call that cannot be interrupted on a thread of its own, which is abandoned where the wait ends first.
    pub(super) fn in_background<T: Send + 'static>(
        &mut self,
        doing: &str,
        call: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let failed = |error| Error::with_source(ErrorKind::Connection, doing, error);
        let (sender, receiver) = mpsc::channel();
        let run = move || drop(sender.send(call()));
        thread::Builder::new().name("connect".to_owned()).spawn(run).map_err(failed)?;
        loop {
            match receiver.recv_timeout(SLICE) {
                Ok(result) => return result.map_err(failed),
                Err(RecvTimeoutError::Timeout) => self.pass(doing)?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(failed(io::Error::other("the thread that did it panicked")));
                }
            }
        }
    }
}

fn seconds(limit: Duration) -> String {
    match limit.subsec_millis() {
        0 => limit.as_secs().to_string(),
        _ => format!("{:.1}", limit.as_secs_f64()),
    }
}

/// The error of work that is to stop.
pub(super) fn interrupted() -> Error {
    Error::new(ErrorKind::Cancelled, "finish: interrupted")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Option<Duration> = Some(Duration::from_secs(1));

    #[test]
    fn a_silence_begins_anew_with_each_answer_and_a_total_does_not() {
        let mut silence = Wait::silence(SECOND, Stop::default());
        let mut total = Wait::total(SECOND, Stop::default());
        for _ in 0..4 {
            assert_eq!((silence.idle(), total.idle()), (None, None));
        }
        silence.answered();
        total.answered();
        assert_eq!((silence.idle(), total.idle()), (None, Some(Ended::TimedOut)));
        let mut unlimited = Wait::silence(None, Stop::default());
        assert!((0..10_000).all(|_| unlimited.idle().is_none()));
    }

    #[test]
    fn a_trickle_does_not_outlast_a_total() {
        let mut total = Wait::total(SECOND, Stop::default());
        let steps = (0..1_000).take_while(|_| total.repeat("log in", || Ok(())).is_ok()).count();
        assert_eq!(steps, 50);
        assert_eq!(
            total.repeat("log in", || Ok(())).unwrap_err().to_string(),
            "log in: no answer within 1 s"
        );
    }

    #[test]
    fn a_request_to_stop_ends_any_wait() {
        for mut wait in [Wait::total(None, Stop::new(|| true)), Wait::silence(SECOND, Stop::new(|| true))] {
            assert_eq!(wait.idle(), Some(Ended::Stopped));
            let blocked = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            assert_eq!(wait.repeat("read", blocked).unwrap_err().kind(), &ErrorKind::Cancelled);
            let hung = wait.in_background("resolve", || {
                thread::sleep(Duration::from_secs(60));
                Ok(())
            });
            assert_eq!(hung.unwrap_err().kind(), &ErrorKind::Cancelled);
        }
    }

    #[test]
    fn what_fails_is_not_waited_for() {
        let mut wait = Wait::total(SECOND, Stop::default());
        let error = wait.repeat("read", || Err::<(), _>(io::ErrorKind::TimedOut.into())).unwrap_err();
        assert_eq!(error.to_string(), "read: timed out");
        let error = wait.in_background("connect", || Err::<(), _>(io::ErrorKind::ConnectionRefused.into()));
        assert_eq!(error.unwrap_err().to_string(), "connect: connection refused");
    }
}
