//! A silent session, seen from outside: a second connection cancels its statement, or checks whether it is still active.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::buffer::Found;
use super::cancel::CancelHandle;
use super::connection::Connection;
use super::session::SessionOptions;
use super::settings::{CONNECT_TIMEOUT, Settings};
use super::statements;
use super::wait::Ended;
use crate::error::{Error, ErrorKind, Result};

/// A cancel request that takes longer is abandoned: a caller that wants to stop does not wait for a server that does not answer.
const CANCEL_TIMEOUT: Duration = Duration::from_millis(600);
/// A look that takes longer says nothing.
const LOOK_TIMEOUT_MS: u32 = 10_000;

/// Actions of a second connection on a session.
pub(super) struct Outside {
    cancel: CancelHandle,
    settings: Settings,
    /// The process that serves the session; behind a pooler it is not known.
    process_id: Option<i32>,
}

impl Outside {
    pub(super) fn new(cancel: CancelHandle, settings: Settings, process_id: Option<i32>) -> Self {
        Self { cancel, settings, process_id }
    }

    /// Does what helps when a wait ends.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Cancelled`], and where a statement cannot be cancelled.
    pub(super) fn help(&self, ended: Ended) -> Result<Found> {
        match ended {
            Ended::TimedOut => self.look(),
            Ended::Stopped => self.cancel.send_within(CANCEL_TIMEOUT).map(|()| Found::Working),
        }
    }

    /// Checks the session over a second connection.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Cancelled`] alone.
    fn look(&self) -> Result<Found> {
        match self.state() {
            Ok(found) => Ok(found),
            Err(error) => match error.kind() {
                ErrorKind::Cancelled => Err(error),
                kind if kind.is_lost() => {
                    Ok(Found::Dead(error.while_doing("it did not answer a second connection either")))
                }
                // Starting up, shutting down or recovering after a crash: no session survives that.
                ErrorKind::Server { sqlstate } if sqlstate.starts_with("57P") => {
                    Ok(Found::Dead(error.while_doing("it ended its sessions")))
                }
                // Whatever else is said, somebody said it: no connection to spare, or no free one in a pool.
                _ => Ok(Found::Working),
            },
        }
    }

    fn state(&self) -> Result<Found> {
        let limit = self.settings.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        let settings = self.settings.with_connect_timeout(limit);
        let session = SessionOptions::verification(LOOK_TIMEOUT_MS, LOOK_TIMEOUT_MS);
        let mut connection = Connection::open(&settings, &session)?;
        let Some(process_id) = self.process_id else { return Ok(Found::Working) };
        connection.limit_total();
        let rows = connection.query_with(statements::ACTIVITY, &[(&process_id, Type::INT4)])?;
        let Some(row) = rows.first() else {
            let message = format!("its process {process_id} does not exist any more");
            return Ok(Found::Dead(Error::new(ErrorKind::Connection, message)));
        };
        Ok(judge(row.get(0), row.get(1)))
    }
}

/// Meaning of the columns `state` and `wait_event_type` of pg_stat_activity for a client that waits for an answer.
fn judge(state: Option<&str>, wait_event_type: Option<&str>) -> Found {
    match (state, wait_event_type) {
        // It waits until we take what it sends, while nothing reaches us.
        (Some("active"), Some("Client")) => Found::Finished("its process waits for this client".to_owned()),
        (Some(state), _) if state.starts_with("idle") => {
            Found::Finished(format!("its process is {state}, so the answer is lost"))
        }
        // Active, or not tracked.
        _ => Found::Working,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_without_work_ends_the_wait() {
        for (state, event, working) in [
            (Some("active"), None, true),
            (Some("active"), Some("IO"), true),
            (Some("active"), Some("Lock"), true),
            (Some("active"), Some("Timeout"), true),
            (Some("active"), Some("Client"), false),
            (Some("idle"), Some("Client"), false),
            (Some("idle in transaction"), Some("Client"), false),
            (Some("idle in transaction (aborted)"), None, false),
            (Some("disabled"), None, true),
            (None, None, true),
        ] {
            assert_eq!(matches!(judge(state, event), Found::Working), working, "{state:?} {event:?}");
        }
    }
}
