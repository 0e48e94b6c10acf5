//! Checks of the demands of a server during the login, before tokio-postgres answers them.

use super::host::Host;
use super::require_auth::{AuthMethod, RequireAuth};
use super::secret::Secret;
use super::server_hint::NOT_POSTGRESQL;
use super::settings::{ChannelBinding, Settings};
use crate::error::{Error, ErrorKind, Result};

/// Bytes that a server may send before the session is open; tokio-postgres keeps its notices.
const BYTES_MAX: usize = 1 << 20;

/// State of a SCRAM exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scram {
    No,
    Begun,
    /// The server sent its proof, which tokio-postgres verifies.
    Verified,
}

/// Examines each message of the server before tokio-postgres does, and refuses what the settings do not allow.
pub(super) struct Authentication {
    require_auth: RequireAuth,
    channel_binding: ChannelBinding,
    /// True if the server has a certificate to which the login can be bound.
    can_bind: bool,
    /// An error in finding it counts once it is asked for.
    pub(super) password: Result<Option<Secret>>,
    password_source: Option<String>,
    /// The last demand of the server.
    method: AuthMethod,
    /// True if the login is bound to the TLS channel.
    bound: bool,
    scram: Scram,
    /// True once the server has accepted the login.
    content: bool,
    bytes: usize,
}

impl Authentication {
    pub(super) fn new(settings: &Settings, host: &Host, can_bind: bool) -> Self {
        Self {
            require_auth: settings.require_auth.clone(),
            channel_binding: settings.channel_binding,
            can_bind: can_bind && settings.channel_binding != ChannelBinding::Disable,
            password: settings.password_for(host),
            password_source: settings.password_source(),
            method: AuthMethod::None,
            bound: false,
            scram: Scram::No,
            content: false,
            bytes: 0,
        }
    }

    /// Returns whether tokio-postgres is to see a message, which it expects at this place.
    pub(super) fn allows(&mut self, tag: u8, body: &[u8]) -> Result<bool> {
        self.bytes += body.len();
        match tag {
            _ if self.bytes > BYTES_MAX => return Err(Self::too_long()),
            b'E' => {}
            b'v' => return Err(malformed("the server does not speak protocol 3.0")),
            b'N' if !self.content => return Ok(false),
            b'R' if !self.content => self.demanded(body)?,
            b'S' | b'K' | b'N' | b'Z' if self.content => {}
            _ => return Err(malformed("the answer is not PostgreSQL's").with_hint(NOT_POSTGRESQL)),
        }
        Ok(true)
    }

    fn demanded(&mut self, body: &[u8]) -> Result<()> {
        let (code, data) = body.split_first_chunk::<4>().ok_or_else(|| malformed("a demand is cut"))?;
        match u32::from_be_bytes(*code) {
            0 => self.satisfied(),
            3 => self.asked_password(AuthMethod::Password),
            5 if data.len() == 4 => self.asked_password(AuthMethod::Md5),
            5 => Err(malformed("the salt is not of 4 bytes")),
            10 => self.asked_scram(data),
            11 if self.scram == Scram::No => Err(malformed("SASL goes on before it began")),
            11 => Ok(()),
            12 if self.scram == Scram::No => Err(malformed("SASL ends before it began")),
            12 => {
                self.scram = Scram::Verified;
                Ok(())
            }
            2 | 6 | 7 | 8 | 9 => Err(Error::new(
                ErrorKind::Authentication,
                "log in: the server asks for Kerberos, GSSAPI or SSPI, which are not supported",
            )
            .with_hint("let the server's pg_hba.conf ask this role for scram-sha-256 or cert")),
            _ => Err(malformed("the server asks for an unknown method")),
        }
    }

    /// The server is content. Are we?
    fn satisfied(&mut self) -> Result<()> {
        if self.scram == Scram::Begun {
            return Err(Error::new(
                ErrorKind::Authentication,
                "log in: the server ended SCRAM without a signature that shows that it knows the password",
            ));
        }
        self.require_auth.check(self.method)?;
        if self.channel_binding == ChannelBinding::Require && !self.bound {
            return Err(no_binding("the server let us in without it"));
        }
        self.content = true;
        Ok(())
    }

    /// Error of a session that could not be opened: the cause where it is known, or else the error of tokio-postgres.
    pub(super) fn into_error(self, cause: Option<Error>, error: tokio_postgres::Error) -> Error {
        let asked = self.method != AuthMethod::None && !self.content;
        match cause {
            Some(cause) if asked => self.refused(cause),
            Some(cause) => cause,
            None if asked && self.method == AuthMethod::ScramSha256 => {
                Error::with_source(ErrorKind::Authentication, "log in: exchange SCRAM proofs", error)
            }
            None => Error::with_source(ErrorKind::Protocol, "log in", error).with_hint(NOT_POSTGRESQL),
        }
    }

    /// The server's refusal, after an answer was sent.
    fn refused(self, error: Error) -> Error {
        let wrong_password = error.sqlstate() == Some("28P01");
        let error = as_login_error(error);
        match self.password_source {
            Some(source) if wrong_password => error.with_hint(format!(
                "the password from {source} was sent and refused: correct it; the server answers alike where the role \
                 does not exist, has no password, or its password has expired"
            )),
            _ => error,
        }
    }

    fn asked_scram(&mut self, data: &[u8]) -> Result<()> {
        let offered = |name: &[u8]| data.split(|byte| *byte == 0).any(|offer| offer == name);
        self.bound = self.can_bind && offered(b"SCRAM-SHA-256-PLUS");
        if !self.bound && self.channel_binding == ChannelBinding::Require {
            return Err(no_binding("it needs TLS and a server that offers SCRAM-SHA-256-PLUS"));
        }
        if !self.bound && !offered(b"SCRAM-SHA-256") {
            return Err(Error::new(
                ErrorKind::Authentication,
                "log in: the server offers no SASL mechanism but unsupported ones (not SCRAM-SHA-256)",
            ));
        }
        self.asked_password(AuthMethod::ScramSha256)?;
        self.scram = Scram::Begun;
        Ok(())
    }

    /// Checks that this method may have the password, and that there is one.
    fn asked_password(&mut self, method: AuthMethod) -> Result<()> {
        // A second demand could talk us out of the protection of the first.
        if self.method != AuthMethod::None {
            return Err(malformed("the server asks for a second proof"));
        }
        self.method = method;
        self.require_auth.check(method)?;
        // Only SCRAM can be bound; a password must not leave when it was asked that it be.
        if self.channel_binding == ChannelBinding::Require && !self.bound {
            return Err(no_binding("the server asks for a password by a method that cannot be bound"));
        }
        match std::mem::replace(&mut self.password, Ok(None)) {
            Ok(Some(_)) => Ok(()),
            Err(error) => Err(error.while_doing("log in")),
            Ok(None) => Err(Error::new(
                ErrorKind::Authentication,
                "log in: the server asks for a password and none is known",
            )
            .with_hint(
                "put the password into ~/.pgpass (host:port:database:user:password, mode 0600) or PGPASSWORD",
            )),
        }
    }

    /// The error of a message that could not be read.
    pub(super) fn not_postgresql(error: Error) -> Error {
        match error.kind() {
            ErrorKind::Protocol => error.with_hint(NOT_POSTGRESQL),
            _ => error,
        }
    }

    pub(super) fn too_long() -> Error {
        malformed("a message is too long").with_hint(NOT_POSTGRESQL)
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

/// An error of class 28 is about who we are, and becomes an error of its own kind.
pub(super) fn as_login_error(error: Error) -> Error {
    match error.sqlstate() {
        Some(code) if code.starts_with("28") => {
            Error::with_source(ErrorKind::Authentication, "log in", error)
        }
        _ => error,
    }
}
