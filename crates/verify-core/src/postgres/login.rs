//! The login: the start-up message.

use tokio_postgres::Config;
use tokio_postgres::config::{self, SslMode, SslNegotiation};

use super::authentication::Authentication;
use super::buffer::ReadBuffer;
use super::host::Host;
use super::link::{self, Link};
use super::session::SessionOptions;
use super::settings::{ChannelBinding, Settings};
use super::wire::{AlreadyProtected, Handle};
use crate::error::{Error, ErrorKind, Result};

/// The name that sessions carry where the settings give none.
const APPLICATION_NAME: &str = "state-lab";

/// Parameters with which a session starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// All of them.
    Full,
    /// Parameters that a pooler takes too; the others follow as statements in each transaction.
    Pooled,
}

/// A stream that is ready for the start-up message.
pub(super) struct Ready<'a> {
    pub(super) buffer: ReadBuffer,
    /// The channel binding data of the server's certificate.
    pub(super) binding: Option<Vec<u8>>,
    pub(super) host: &'a Host,
}

/// Opens a session.
///
/// # Errors
///
/// [`ErrorKind::Server`] of class 28 where the server refuses us before it asked for anything, and
/// [`ErrorKind::Authentication`] once it did.
pub(super) fn log_in(
    ready: Ready<'_>,
    settings: &Settings,
    session: &SessionOptions,
    start: Start,
) -> Result<(tokio_postgres::Client, Link)> {
    let Ready { buffer, binding, host } = ready;
    let authentication = Authentication::new(settings, host, binding.is_some());
    let mut config = Config::new();
    // The stream is encrypted already, as far as it is to be.
    config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    config.user(settings.user.as_str()).dbname(settings.database());
    let name = settings.application_name.as_deref().unwrap_or(APPLICATION_NAME);
    config.application_name(session.application_name().unwrap_or(name));
    let more = if start == Start::Full { session.options() } else { String::new() };
    let options = format!("{}{more}", settings.options.as_deref().unwrap_or_default());
    if !options.is_empty() {
        config.options(options);
    }
    config.channel_binding(match settings.channel_binding {
        ChannelBinding::Disable => config::ChannelBinding::Disable,
        ChannelBinding::Prefer => config::ChannelBinding::Prefer,
        ChannelBinding::Require => config::ChannelBinding::Require,
    });
    if let Ok(Some(password)) = &authentication.password {
        config.password(password.reveal());
    }
    let handle = Handle::new(buffer, binding, Some(authentication));
    match link::run(config.connect_raw(handle.clone(), AlreadyProtected)) {
        Ok((client, connection)) => Ok((client, Link::new(handle, connection))),
        Err(error) => {
            let mut wire = handle.lock();
            let cause = wire.take_cause();
            Err(match wire.authentication.take() {
                Some(authentication) => authentication.into_error(cause, error),
                None => Error::with_source(ErrorKind::Protocol, "log in", error),
            })
        }
    }
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
