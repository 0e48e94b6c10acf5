//! tokio-postgres driven on the caller's thread: its futures block where the wire does.

use std::future::Future;
use std::pin::pin;
use std::sync::MutexGuard;
use std::task::{Context, Poll, Waker};

use tokio_postgres::AsyncMessage;
use tokio_postgres::error::Severity;

use super::wire::{Handle, Wire};
use crate::error::{Error, ErrorKind, Result};
use crate::table::shown_text;

/// A hostile server may send warnings without end.
const WARNINGS_MAX: usize = 8;
const WARNING_CHARS_MAX: usize = 500;

/// Reason why work with tokio-postgres failed.
pub(super) enum Failure {
    Theirs(tokio_postgres::Error),
    Ours(Error),
    /// The answer takes more memory than it may.
    TooLarge,
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Theirs(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

/// The half of tokio-postgres that moves bytes, driven on the caller's thread.
pub(super) struct Link {
    handle: Handle,
    /// Until it failed.
    connection: Option<tokio_postgres::Connection<Handle, Handle>>,
    warnings: Vec<String>,
}

impl Link {
    pub(super) fn new(handle: Handle, connection: tokio_postgres::Connection<Handle, Handle>) -> Self {
        Self { handle, connection: Some(connection), warnings: Vec::new() }
    }

    pub(super) fn wire(&self) -> MutexGuard<'_, Wire> {
        self.handle.lock()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.wire().buffer.is_closed()
    }

    /// A parameter that the server reported.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.connection.as_ref()?.parameter(name)
    }

    /// Returns the server's warnings since the last call, the first few of them.
    pub(super) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// Runs `work` to its end, and reads what is left of its answer. After what was not understood the session is closed.
    pub(super) fn run<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<T> {
        // What was said before belongs to another answer.
        self.wire().take_cause();
        let done = drive(work, || self.turn());
        if !matches!(done, Ok(_) | Err(Failure::Theirs(_))) {
            self.wire().buffer.close();
        }
        while self.connection.is_some() && !self.wire().is_idle() {
            self.turn();
        }
        let mut wire = self.wire();
        let cause = wire.take_cause();
        done.map_err(|failure| match (failure, cause) {
            (Failure::Ours(error), _) => error,
            (Failure::TooLarge, _) => wire.too_large(),
            (Failure::Theirs(_), Some(cause)) => cause,
            (Failure::Theirs(error), None) if error.is_closed() => {
                Error::new(ErrorKind::Connection, "send to the server: the connection is closed")
            }
            (Failure::Theirs(error), None) => {
                wire.buffer.close();
                Error::with_source(ErrorKind::Protocol, "read an answer", error)
            }
        })
    }

    /// Moves bytes until the connection has nothing more to do. Of the server's messages, warnings are kept.
    fn turn(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        while let Some(connection) = &mut self.connection {
            match connection.poll_message(&mut context) {
                Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => {
                    let warning = notice.parsed_severity() == Some(Severity::Warning);
                    if warning && self.warnings.len() < WARNINGS_MAX {
                        let text = notice.message().chars().take(WARNING_CHARS_MAX).collect::<String>();
                        self.warnings.push(shown_text(&text));
                    }
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(None | Some(Err(_))) => {
                    self.connection = None;
                    self.wire().buffer.close();
                }
                Poll::Pending => return,
            }
        }
    }
}

impl Drop for Link {
    /// Sends Terminate, once the client is dropped. Without it the server notices the end all the same, and logs it.
    fn drop(&mut self) {
        if !self.is_closed() && self.wire().is_idle() {
            self.turn();
        }
    }
}

/// Runs `work` to its end on a wire that nothing else drives.
pub(super) fn run<T>(work: impl Future<Output = T>) -> T {
    drive(work, || {})
}

/// Polls `work` until it is done, and takes a turn of something else where it is not.
fn drive<T>(work: impl Future<Output = T>, mut turn: impl FnMut()) -> T {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
        turn();
    }
}
