//! The login: the startup message, the server's demand for proof, and the answers.

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::frontend;

use super::buffer::{CAPACITY, HEADER, ReadBuffer};
use super::host::Host;
use super::require_auth::Method;
use super::secret::Secret;
use super::server_error::server_error;
use super::server_hint::NOT_POSTGRESQL;
use super::session::SessionOptions;
use super::settings::{ChannelBinding, Settings};
use crate::error::{Error, ErrorKind, Result};

/// The name that sessions carry where the settings give none.
const APPLICATION_NAME: &str = "state-lab";

/// Which parameters a session starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// All of them.
    Full,
    /// Those that a pooler takes too; the others follow as statements in each transaction.
    Pooled,
}

/// Sends the startup message.
pub(super) fn start(
    buffer: &mut ReadBuffer,
    settings: &Settings,
    session: &SessionOptions,
    start: Start,
) -> Result<()> {
    let mut parameters = vec![
        ("user", settings.user.as_str()),
        ("database", settings.database()),
        ("application_name", settings.application_name.as_deref().unwrap_or(APPLICATION_NAME)),
    ];
    parameters.extend(settings.options.as_deref().map(|options| ("options", options)));
    parameters.extend(session.iter().filter(|(name, _)| start == Start::Full || *name == "application_name"));
    // Last, so that it wins: everything that we read is taken for UTF-8.
    parameters.push(("client_encoding", "UTF8"));
    let mut message = BytesMut::new();
    frontend::startup_message(parameters, &mut message)
        .map_err(|error| Error::with_source(ErrorKind::Settings, "write the startup message", error))?;
    buffer.send(&message)
}

/// An error of class 28 is about who we are, and becomes an error of its own kind.
pub(super) fn told_as_login(error: Error) -> Error {
    match error.sqlstate() {
        Some(code) if code.starts_with("28") => {
            Error::with_source(ErrorKind::Authentication, "log in", error)
        }
        _ => error,
    }
}

/// Answers the server's demands until it is content.
///
/// # Errors
///
/// [`ErrorKind::Server`] of class 28 where the server refuses us before it asked for anything, and
/// [`ErrorKind::Authentication`] once it did.
pub(super) fn log_in(
    buffer: &mut ReadBuffer,
    settings: &Settings,
    host: &Host,
    binding: Option<Vec<u8>>,
) -> Result<()> {
    let mut login = Login { settings, host, binding, method: Method::None, bound: false, scram: None };
    loop {
        let (tag, length) = buffer.header().map_err(|error| match error.kind() {
            ErrorKind::Protocol => error.with_hint(NOT_POSTGRESQL),
            _ => error,
        })?;
        if HEADER + length > CAPACITY {
            return Err(malformed("a message is too long").with_hint(NOT_POSTGRESQL));
        }
        let body = buffer.body(length)?;
        let answer = match tag {
            b'E' if login.method == Method::None => return Err(server_error(body)),
            b'E' => return Err(login.refused(server_error(body))),
            b'N' => continue,
            b'v' => return Err(malformed("the server does not speak protocol 3.0")),
            b'R' => login.answer(body)?,
            _ => return Err(malformed("the answer is not PostgreSQL's").with_hint(NOT_POSTGRESQL)),
        };
        match answer {
            Answer::Content => return Ok(()),
            Answer::Wait => {}
            Answer::Send(message) => buffer.send(&message)?,
        }
    }
}

enum Answer {
    Content,
    Wait,
    Send(BytesMut),
}

struct Login<'a> {
    settings: &'a Settings,
    host: &'a Host,
    binding: Option<Vec<u8>>,
    /// What the server asked for last.
    method: Method,
    /// Whether the login was tied to the TLS channel.
    bound: bool,
    /// A SCRAM exchange that the server has not yet finished by proving itself.
    scram: Option<ScramSha256>,
}

impl Login<'_> {
    fn answer(&mut self, body: &[u8]) -> Result<Answer> {
        let (code, data) = body.split_first_chunk::<4>().ok_or_else(|| malformed("a demand is cut"))?;
        let mut message = BytesMut::new();
        match u32::from_be_bytes(*code) {
            0 => return self.content(),
            3 => {
                let password = self.password(Method::Password)?;
                write(frontend::password_message(password.reveal().as_bytes(), &mut message))?;
            }
            5 => {
                let salt = data.try_into().map_err(|_| malformed("the salt is not of 4 bytes"))?;
                let password = self.password(Method::Md5)?;
                let hash = md5_hash(self.settings.user.as_bytes(), password.reveal().as_bytes(), salt);
                write(frontend::password_message(hash.as_bytes(), &mut message))?;
            }
            10 => return self.begin_scram(data),
            11 => {
                let scram = self.scram.as_mut().ok_or_else(|| malformed("SASL goes on before it began"))?;
                scram.update(data).map_err(|error| failed("go on with SCRAM", error))?;
                write(frontend::sasl_response(scram.message(), &mut message))?;
            }
            12 => {
                let mut scram = self.scram.take().ok_or_else(|| malformed("SASL ends before it began"))?;
                scram
                    .finish(data)
                    .map_err(|error| failed("verify that the server knows the password", error))?;
                return Ok(Answer::Wait);
            }
            2 | 6 | 7 | 8 | 9 => {
                return Err(Error::new(
                    ErrorKind::Authentication,
                    "log in: the server asks for Kerberos, GSSAPI or SSPI, which are not supported",
                )
                .with_hint("let the server's pg_hba.conf ask this role for scram-sha-256 or cert"));
            }
            _ => return Err(malformed("the server asks for an unknown method")),
        }
        Ok(Answer::Send(message))
    }

    /// The server is content. Are we?
    fn content(&self) -> Result<Answer> {
        if self.scram.is_some() {
            return Err(Error::new(
                ErrorKind::Authentication,
                "log in: the server ended SCRAM without proving that it knows the password",
            ));
        }
        self.settings.require_auth.check(self.method)?;
        if self.settings.channel_binding == ChannelBinding::Require && !self.bound {
            return Err(no_binding("the server let us in without it"));
        }
        Ok(Answer::Content)
    }

    /// The server's refusal, after an answer was sent.
    fn refused(&self, error: Error) -> Error {
        let source = self.settings.password_source();
        let wrong_password = error.sqlstate() == Some("28P01");
        let error = told_as_login(error);
        match source {
            Some(source) if wrong_password => error.with_hint(format!(
                "the password from {source} was sent and refused: correct it; the server answers alike where the role \
                 does not exist, has no password, or its password has expired"
            )),
            _ => error,
        }
    }

    fn begin_scram(&mut self, data: &[u8]) -> Result<Answer> {
        let offered = |name: &str| data.split(|byte| *byte == 0).any(|offer| offer == name.as_bytes());
        let wanted = self.settings.channel_binding;
        let binding = self.binding.take().filter(|_| wanted != ChannelBinding::Disable);
        let (mechanism, binding) = match binding {
            Some(data) if offered(SCRAM_SHA_256_PLUS) => {
                self.bound = true;
                (SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(data))
            }
            _ if wanted == ChannelBinding::Require => {
                return Err(no_binding("it needs TLS and a server that offers SCRAM-SHA-256-PLUS"));
            }
            // "We could have, but you did not offer": the server notices if somebody removed its offer.
            Some(_) => (SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
            None => (SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
        };
        if !offered(mechanism) {
            return Err(Error::new(
                ErrorKind::Authentication,
                "log in: the server offers no SASL mechanism but unsupported ones (not SCRAM-SHA-256)",
            ));
        }
        let password = self.password(Method::ScramSha256)?;
        let scram = ScramSha256::new(password.reveal().as_bytes(), binding);
        let mut message = BytesMut::new();
        write(frontend::sasl_initial_response(mechanism, scram.message(), &mut message))?;
        self.scram = Some(scram);
        Ok(Answer::Send(message))
    }

    /// The password, once it is clear that this method may have it.
    fn password(&mut self, method: Method) -> Result<Secret> {
        // A second demand could talk us out of the protection of the first.
        if self.method != Method::None {
            return Err(malformed("the server asks for a second proof"));
        }
        self.method = method;
        self.settings.require_auth.check(method)?;
        // Only SCRAM can be bound; a password must not leave when it was asked that it be.
        if self.settings.channel_binding == ChannelBinding::Require && !self.bound {
            return Err(no_binding("the server asks for a password by a method that cannot be bound"));
        }
        let found = self.settings.password_for(self.host);
        found.map_err(|error| error.while_doing("log in"))?.ok_or_else(|| {
            Error::new(
                ErrorKind::Authentication,
                "log in: the server asks for a password and none is known",
            )
            .with_hint(
                "put the password into ~/.pgpass (host:port:database:user:password, mode 0600) or PGPASSWORD",
            )
        })
    }
}

fn no_binding(why: &str) -> Error {
    Error::new(ErrorKind::Authentication, format!("log in with channel_binding=require: {why}")).with_hint(
        "connect over TLS (sslmode=require or stronger) to a server that asks for scram-sha-256, or set \
         channel_binding=prefer",
    )
}

fn malformed(why: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("log in: {why}"))
}

fn failed(doing: &str, error: std::io::Error) -> Error {
    Error::with_source(ErrorKind::Authentication, doing, error)
}

fn write(written: std::io::Result<()>) -> Result<()> {
    written.map_err(|error| Error::with_source(ErrorKind::Settings, "write the login message", error))
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
