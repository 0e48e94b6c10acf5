//! Connecting to a server: each host in turn, each with the protection that sslmode allows.

use std::net::SocketAddr;

use super::authentication::as_login_error;
use super::buffer::ReadBuffer;
use super::connection::Connection;
use super::host::Host;
use super::login::{Ready, Start};
use super::session::SessionOptions;
use super::settings::{Settings, Target};
use super::socket::{self, Opened, Protection};
use super::statements;
use super::tls_settings::SslMode;
use super::wait::Wait;
use crate::error::{Error, ErrorKind, Result};

/// The first host that answers and is of the wanted kind.
pub(super) fn open(settings: &Settings, session: &SessionOptions) -> Result<Connection> {
    let mut tried = Vec::new();
    // "prefer" means a second round, in which any server will do.
    let rounds: &[Target] = match settings.target {
        Target::PreferStandby => &[Target::Standby, Target::Any],
        ref one => std::slice::from_ref(one),
    };
    for target in rounds {
        for host in &settings.hosts {
            let opened = open_host(settings, session, host).map_err(as_login_error);
            let opened = opened.and_then(|mut connection| {
                check_target(&mut connection, *target)?;
                Ok(connection)
            });
            match opened {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    let over = !leads_to_next_host(&error);
                    tried.push((host, error));
                    if over {
                        return Err(summary(settings, tried));
                    }
                }
            }
        }
    }
    Err(summary(settings, tried))
}

/// As in libpq: a server that answers and refuses ends the search, unless it only cannot serve now.
fn leads_to_next_host(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Connection | ErrorKind::Timeout | ErrorKind::Unsuitable => true,
        ErrorKind::Server { sqlstate } => sqlstate == "57P03",
        _ => false,
    }
}

/// One error out of those of all hosts; with several hosts it names each.
fn summary(settings: &Settings, mut tried: Vec<(&Host, Error)>) -> Error {
    let doing = format!("connect to {}", settings.describe());
    if tried.len() == 1
        && let Some((_, error)) = tried.pop()
    {
        return error.while_doing(doing);
    }
    let kind = tried.last().map_or(ErrorKind::Connection, |(_, error)| error.kind().clone());
    let each: Vec<_> = tried.iter().map(|(host, error)| format!("{}: {}", host.describe(), error)).collect();
    // One remedy for all of them, or none.
    let hint = tried.first().and_then(|(_, error)| error.hint());
    let hint = hint.filter(|hint| tried.iter().all(|(_, error)| error.hint() == Some(hint)));
    let error = Error::new(kind, format!("{doing}: {}", each.join("; ")));
    hint.into_iter().fold(error, Error::with_hint)
}

fn open_host(settings: &Settings, session: &SessionOptions, host: &Host) -> Result<Connection> {
    if let Some(path) = host.socket() {
        let open = |start: Start| {
            let mut wait = settings.connecting();
            let opened = socket::open_unix(&path, &mut wait)?;
            begin(settings, session, host, opened, wait, start)
        };
        return or_as_client_of_pooler(open);
    }
    let mut failure = None;
    for address in socket::resolve(host, &mut settings.connecting())? {
        let open = |start| open_address(settings, session, host, address, start);
        match or_as_client_of_pooler(open) {
            Err(error) if error.kind().is_lost() => failure = Some(error),
            other => return other,
        }
    }
    Err(failure.unwrap_or_else(|| Error::new(ErrorKind::Connection, "find its address")))
}

/// Opens once more, with the parameters that every pooler takes, where the first try met one that takes no others.
fn or_as_client_of_pooler(open: impl Fn(Start) -> Result<Connection>) -> Result<Connection> {
    match open(Start::Full) {
        Err(error) if refuses_parameters(&error) => open(Start::Pooled),
        other => other,
    }
}

/// As PgBouncer says it of one parameter after the other, and RDS Proxy of all.
fn refuses_parameters(error: &Error) -> bool {
    let said = match error.sqlstate() {
        Some("08P01") => "startup parameter",
        Some("0A000") => "command-line options",
        _ => return false,
    };
    error.to_string().contains(said)
}

fn open_address(
    settings: &Settings,
    session: &SessionOptions,
    host: &Host,
    address: SocketAddr,
    start: Start,
) -> Result<Connection> {
    let attempt = |protection| {
        let mut wait = settings.connecting();
        let socket = socket::connect(settings, address, &mut wait)?;
        let opened = match socket::protect(settings, host, socket, protection, &mut wait) {
            // Who only prefers TLS goes on without it. Certificates that cannot be used are still an error.
            Err(error)
                if protection == Protection::TlsIfOffered && error.kind().is_lost() && !wait.is_over() =>
            {
                let socket = socket::connect(settings, address, &mut wait)?;
                socket::protect(settings, host, socket, Protection::Plain, &mut wait)?
            }
            other => other?,
        };
        begin(settings, session, host, opened, wait, start)
    };
    match settings.tls.mode {
        SslMode::Disable => attempt(Protection::Plain),
        SslMode::Allow => match attempt(Protection::Plain) {
            Err(error) if refused_by_rule(&error) => attempt(Protection::Tls).map_err(|_| error),
            other => other,
        },
        // As a libpq without TLS: who only prefers it goes without.
        SslMode::Prefer if cfg!(not(feature = "tls")) => attempt(Protection::Plain),
        SslMode::Prefer => match attempt(Protection::TlsIfOffered) {
            Err(error) if refused_by_rule(&error) => attempt(Protection::Plain).map_err(|_| error),
            other => other,
        },
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => attempt(Protection::Tls),
    }
}

/// Returns whether no line of pg_hba.conf admits the login, or one rejects it: with other protection another line may.
///
/// libpq tries again after any error. Here a login that was refused after an exchange is not tried again (see
/// [`login::log_in`]): a wrong password is no better without TLS, and a failed channel binding is a warning.
fn refused_by_rule(error: &Error) -> bool {
    error.sqlstate() == Some("28000")
}

fn begin(
    settings: &Settings,
    session: &SessionOptions,
    host: &Host,
    opened: Opened,
    wait: Wait,
    start: Start,
) -> Result<Connection> {
    let ready = Ready { buffer: ReadBuffer::new(opened.stream, wait), binding: opened.binding, host };
    let opened = Connection::begin(ready, settings.with_host(host), session, start);
    let mut connection = opened.map_err(|error| match error.kind() {
        kind if kind.is_lost() => error.while_doing("log in"),
        _ => error,
    })?;
    connection.settle(session, start)?;
    Ok(connection)
}

/// Refuses a server of another kind than the one asked for.
fn check_target(connection: &mut Connection, target: Target) -> Result<()> {
    let wanted = |fits: bool, not: &str| match fits {
        true => Ok(()),
        false => {
            Err(Error::new(ErrorKind::Unsuitable, format!("use it: it is {not} (target_session_attrs)"))
                .with_hint("name another host, or change target_session_attrs"))
        }
    };
    match target {
        Target::Any | Target::PreferStandby => Ok(()),
        Target::Primary => wanted(!in_recovery(connection)?, "a standby"),
        Target::Standby => wanted(in_recovery(connection)?, "a primary"),
        Target::ReadWrite => wanted(!read_only(connection)?, "read-only"),
        Target::ReadOnly => wanted(read_only(connection)?, "open for writing"),
    }
}

/// From 14 on the server reports it unasked.
fn in_recovery(connection: &mut Connection) -> Result<bool> {
    match connection.parameter("in_hot_standby") {
        Some(reported) => Ok(reported == "on"),
        None => one_flag(connection, statements::IN_RECOVERY),
    }
}

fn read_only(connection: &mut Connection) -> Result<bool> {
    let default = match connection.parameter("default_transaction_read_only") {
        Some(reported) => reported == "on",
        None => one_flag(connection, statements::DEFAULT_READ_ONLY)?,
    };
    Ok(default || in_recovery(connection)?)
}

fn one_flag(connection: &mut Connection, sql: &str) -> Result<bool> {
    let rows = connection.query(sql)?;
    rows.first()
        .ok_or_else(|| Error::new(ErrorKind::Protocol, "ask what kind of server it is: no answer"))?
        .flag(0)
}
