//! Ending a statement of a session from outside of it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio_postgres::CancelToken;

use super::buffer::ReadBuffer;
use super::link;
use super::settings::Settings;
use super::socket::{self, Protection};
use super::wait::{Stop, Wait};
use super::wire::{AlreadyProtected, Handle};
use crate::error::{Error, ErrorKind, Result};

/// Ends the statement that a session runs. It may be sent to another thread, and used often.
#[derive(Clone)]
pub struct CancelHandle {
    settings: Settings,
    address: Option<SocketAddr>,
    tls: bool,
    /// Its key permits cancelling, so it is never displayed.
    token: CancelToken,
    process_id: i32,
}

impl CancelHandle {
    pub(super) fn new(
        settings: Settings,
        address: Option<SocketAddr>,
        tls: bool,
        token: CancelToken,
        process_id: i32,
    ) -> Self {
        Self { settings, address, tls, token, process_id }
    }

    /// Asks the server to end the statement. Whether it was in time, the statement's own answer says.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Connection`] where the server cannot be reached.
    pub fn cancel(&self) -> Result<()> {
        let doing = || format!("cancel a statement at {}", self.settings.describe());
        self.send(self.settings.connecting()).map_err(|error| error.while_doing(doing()))
    }

    /// The same in a limited time, also while the work is to stop.
    pub(super) fn send_within(&self, limit: Duration) -> Result<()> {
        self.send(Wait::total(Some(limit), Stop::default()))
    }

    fn send(&self, mut wait: Wait) -> Result<()> {
        // A session is made with the settings of one host.
        let Some(host) = self.settings.hosts.first() else { return Ok(()) };
        let opened = match (self.address, host.socket()) {
            (Some(address), _) => {
                let protection = if self.tls { Protection::Tls } else { Protection::Plain };
                let socket = socket::connect(&self.settings, address, &mut wait)?;
                socket::protect(&self.settings, host, socket, protection, &mut wait)?
            }
            (None, Some(path)) => socket::open_unix(&path, &mut wait)?,
            (None, None) => return Err(Error::new(ErrorKind::Connection, "find the address of the session")),
        };
        let handle = Handle::new(ReadBuffer::new(opened.stream, wait), None, None);
        let sent = link::run(self.token.cancel_query_raw(handle.clone(), AlreadyProtected));
        let mut wire = handle.lock();
        sent.map_err(|error| {
            let cause = wire.take_cause();
            cause.unwrap_or_else(|| Error::with_source(ErrorKind::Connection, "send the request", error))
        })?;
        // The server closes the connection once it has passed the signal on; over TLS without a farewell, which
        // is an error that means the same.
        let _ = wire.buffer.fill();
        Ok(())
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelHandle({} at {})", self.process_id, self.settings.describe())
    }
}
