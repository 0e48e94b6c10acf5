//! Sessions that check objects of a server in parallel, and that the caller can stop while the server is busy.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::cancel::CancelHandle;
use super::connection::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{self, Event, OnEvent};
use crate::work::{self, Load, Part, Task};

/// Interval at which the caller is asked whether to stop while the server checks an object, which can take hours.
const POLL: Duration = Duration::from_millis(200);

/// Reasons why nothing of a server can be checked. In recovery that is no fault of the caller's.
pub(super) const IN_RECOVERY: &str =
    "not checked: the server is in recovery; promote the copy, and verify it again";
pub(super) const POOLED: &str = "not checked through a pooler: connect to the server itself";

/// Checks objects of `sizes` bytes with `jobs` sessions, the largest first; one result for each session. `check` gets the place
/// of an object in `sizes`.
pub(super) fn check_all<R: Default + Send>(
    sizes: &[u64],
    jobs: usize,
    open: impl Fn() -> Result<Connection>,
    on_event: OnEvent<'_>,
    check: impl Fn(&mut Connection, usize, &mut R) -> Result<()> + Sync,
) -> Result<Vec<R>> {
    let loads: Vec<Load> =
        sizes.iter().enumerate().map(|(index, &bytes)| Load { index, bytes, pages: 0, only: None }).collect();
    event::send(on_event, Event::Started { tables: 0, bytes_estimate: sizes.iter().sum() })?;
    let tasks = work::split(&loads, jobs);
    let connections = (0..jobs.min(tasks.len())).map(|_| open()).collect::<Result<Vec<_>>>()?;
    run(connections, tasks, on_event, |connection, part, found| check(connection, part.index, found))
}

/// A session whose statement can be cancelled.
pub(super) trait Session: Send {
    fn cancel_handle(&self) -> CancelHandle;
}

impl Session for Connection {
    fn cancel_handle(&self) -> CancelHandle {
        Connection::cancel_handle(self)
    }
}

/// Does the tasks by these sessions, part by part; one result for each session.
pub(super) fn run<S: Session, R: Default + Send>(
    sessions: Vec<S>,
    tasks: VecDeque<Task>,
    on_event: OnEvent<'_>,
    work: impl Fn(&mut S, Part, &mut R) -> Result<()> + Sync,
) -> Result<Vec<R>> {
    let watcher = Watcher {
        stop: AtomicBool::new(false),
        running: sessions.iter().map(Session::cancel_handle).collect(),
    };
    let jobs = sessions.len();
    let sessions = Mutex::new(sessions);
    std::thread::scope(|scope| {
        let (done, until) = mpsc::channel::<()>();
        scope.spawn(|| watcher.watch(on_event, until));
        let results = work::run(tasks, jobs, |next| {
            let mut result = R::default();
            let session = sessions.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut session) = session else { return Ok(result) };
            for part in std::iter::from_fn(next).flatten() {
                watcher.unless_stopped(work(&mut session, part, &mut result))?;
                event::send(on_event, Event::Read { rows: 0, bytes: 0, estimate_done: part.bytes })?;
            }
            Ok(result)
        });
        drop(done);
        results
    })
}

/// Asks whether to stop, and ends the statements that run.
struct Watcher {
    stop: AtomicBool,
    running: Vec<CancelHandle>,
}

impl Watcher {
    /// Watches until the other end of `until` is closed.
    #[expect(clippy::needless_pass_by_value, reason = "the channel ends with its receiver")]
    fn watch(&self, on_event: OnEvent<'_>, until: Receiver<()>) {
        while until.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
            let nothing_new = Event::Read { rows: 0, bytes: 0, estimate_done: 0 };
            if self.stop.load(Ordering::SeqCst) || on_event(nothing_new).is_break() {
                self.stop.store(true, Ordering::SeqCst);
                for session in &self.running {
                    // Tried again at the next poll: a session may have been between two statements.
                    let _ = session.cancel();
                }
            }
        }
    }

    fn unless_stopped<T>(&self, result: Result<T>) -> Result<T> {
        if self.stop.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Cancelled, "finish: interrupted"));
        }
        result
    }
}
