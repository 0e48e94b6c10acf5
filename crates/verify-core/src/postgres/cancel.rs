//! Ending a statement of a session from outside of it.

use std::fmt;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::settings::Settings;
use super::socket::{self, Protection};
use super::wait::{Stop, Wait};
use crate::error::{Error, ErrorKind, Result};

/// Ends the statement that a session runs. It may be sent to another thread, and used often.
#[derive(Clone)]
pub struct CancelHandle {
    settings: Settings,
    address: Option<SocketAddr>,
    tls: bool,
    /// Whoever knows the key may cancel, so it is shown nowhere.
    process_and_key: (i32, i32),
}

impl CancelHandle {
    pub(super) fn new(
        settings: Settings,
        address: Option<SocketAddr>,
        tls: bool,
        process_and_key: (i32, i32),
    ) -> Self {
        Self { settings, address, tls, process_and_key }
    }

    /// Asks the server to end the statement. Whether it was in time, the statement's own answer says.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Connection`] where the server cannot be reached.
    pub fn cancel(&self) -> Result<()> {
        let doing = || format!("cancel a statement at {}", self.settings.describe());
        self.send(&mut self.settings.connecting()).map_err(|error| error.while_doing(doing()))
    }

    /// The same in a limited time, also while the work is to stop.
    pub(super) fn send_within(&self, limit: Duration) -> Result<()> {
        self.send(&mut Wait::total(Some(limit), Stop::default()))
    }

    fn send(&self, wait: &mut Wait) -> Result<()> {
        // A session is made with the settings of one host.
        let Some(host) = self.settings.hosts.first() else { return Ok(()) };
        let opened = match (self.address, host.socket()) {
            (Some(address), _) => {
                let protection = if self.tls { Protection::Tls } else { Protection::Plain };
                let socket = socket::connect(&self.settings, address, wait)?;
                socket::protect(&self.settings, host, socket, protection, wait)?
            }
            (None, Some(path)) => socket::open_unix(&path, wait)?,
            (None, None) => return Err(Error::new(ErrorKind::Connection, "find the address of the session")),
        };
        let mut stream = opened.stream;
        let mut message = BytesMut::new();
        frontend::cancel_request(self.process_and_key.0, self.process_and_key.1, &mut message);
        wait.repeat("send the request", || stream.write_all(&message).and_then(|()| stream.flush()))?;
        // The server closes the connection once it has passed the signal on; over TLS without a farewell, which
        // is an error that means the same.
        let _ = wait.repeat("wait for the end of the request", || stream.read(&mut [0]));
        Ok(())
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelHandle({} at {})", self.process_and_key.0, self.settings.describe())
    }
}
