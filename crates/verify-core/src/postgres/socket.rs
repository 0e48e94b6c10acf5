//! Opening the byte stream to one host: sockets, timeouts, and the step into TLS.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
#[cfg(feature = "tls")]
use rustls::{ClientConnection, pki_types::ServerName};

#[cfg(feature = "tls")]
use super::channel_binding::tls_server_end_point;
use super::host::Host;
use super::server_hint::NOT_POSTGRESQL;
use super::settings::{Keepalive, Settings};
use super::stream::Stream;
#[cfg(feature = "tls")]
use super::tls::{self, PROTOCOL};
#[cfg(feature = "tls")]
use super::tls_settings::{Roots, SslMode};
use super::wait::{SLICE, Wait};
use crate::error::{Error, ErrorKind, Result};

/// The remedy for a name without an address.
const UNKNOWN_HOST: &str =
    "check the spelling of the host, and that this machine resolves it (`getent hosts` with its name)";

/// The remedy for an address that does not answer at all.
const UNREACHED: &str = "correct host and port, or open the way to them: a firewall that drops packets looks like this, \
    and so does a machine that is down";

/// The remedy where TLS was begun without asking.
#[cfg(feature = "tls")]
const NO_DIRECT_TLS: &str = "leave sslnegotiation=direct out: it needs PostgreSQL 17 or later";

/// Use of TLS in an attempt, and its fallback if the server has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    Plain,
    /// TLS, or else plain on the same socket.
    TlsIfOffered,
    Tls,
}

/// A stream that is ready for the startup message.
pub(super) struct Opened {
    pub(super) stream: Stream,
    /// The channel binding data of the server's certificate, where there is TLS and it has any.
    pub(super) binding: Option<Vec<u8>>,
}

/// The addresses of a host. A socket needs none.
pub(super) fn resolve(host: &Host, wait: &mut Wait) -> Result<Vec<SocketAddr>> {
    if let Some(address) = host.address.or_else(|| host.name.parse::<IpAddr>().ok()) {
        return Ok(vec![SocketAddr::new(address, host.port)]);
    }
    let (name, port) = (host.name.clone(), host.port);
    let find = move || Ok((name.as_str(), port).to_socket_addrs()?.collect::<Vec<_>>());
    let found = wait
        .in_background("find its address", find)
        .map_err(|error| hinted(error, |_| Some(UNKNOWN_HOST.to_owned())))?;
    match found.is_empty() {
        true => {
            Err(Error::new(ErrorKind::Connection, "find its address: it has none").with_hint(UNKNOWN_HOST))
        }
        false => Ok(found),
    }
}

/// Connects to the host's socket.
pub(super) fn open_unix(path: &Path, wait: &mut Wait) -> Result<Opened> {
    let file = path.to_owned();
    // It blocks while the server's queue of connections is full.
    let opened = wait.in_background("connect to its socket", move || {
        let socket = UnixStream::connect(file)?;
        socket.set_read_timeout(Some(SLICE))?;
        socket.set_write_timeout(Some(SLICE))?;
        Ok(Stream::Unix(socket))
    });
    let stream = opened.map_err(|error| hinted(error, |cause| socket_hint(cause, path)))?;
    Ok(Opened { stream, binding: None })
}

/// Connects to one address of a host.
pub(super) fn connect(settings: &Settings, address: SocketAddr, wait: &mut Wait) -> Result<TcpStream> {
    let (keepalive, limit) = (settings.keepalive.clone(), settings.connect_timeout);
    let connected = wait.in_background(&format!("connect to the address {}", address.ip()), move || {
        let socket = match limit {
            Some(limit) => TcpStream::connect_timeout(&address, limit)?,
            None => TcpStream::connect(address)?,
        };
        socket.set_read_timeout(Some(SLICE))?;
        socket.set_write_timeout(Some(SLICE))?;
        socket.set_nodelay(true)?;
        keep_alive(&socket, &keepalive)?;
        Ok(socket)
    });
    connected.map_err(|error| match error.cause() {
        // The limit of this wait was reached.
        None if error.kind().is_lost() => error.with_hint(UNREACHED),
        _ => hinted(error, |cause| connect_hint(cause.kind()).map(str::to_owned)),
    })
}

/// The error with the remedy for the failure of the socket that it is of.
fn hinted(error: Error, hint: impl Fn(&io::Error) -> Option<String>) -> Error {
    let cause = error.cause().and_then(|cause| cause.downcast_ref::<io::Error>());
    let hint = cause.and_then(hint);
    hint.into_iter().fold(error, Error::with_hint)
}

/// The remedy for an address that could not be connected to.
fn connect_hint(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::ConnectionRefused => {
            "no server listens on this address and port: start it, correct host or port, or set its listen_addresses"
        }
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => UNREACHED,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "correct the host, or this machine's routes: no network leads to this address"
        }
        _ => return None,
    })
}

/// The remedy for a socket that could not be connected to.
fn socket_hint(error: &io::Error, path: &Path) -> Option<String> {
    let directory = path.parent().unwrap_or(path).display();
    Some(match error.kind() {
        io::ErrorKind::NotFound => format!(
            "no server has a socket of this port in {directory}: start it, correct host (its unix_socket_directories) or \
             port, or connect by TCP with host=localhost"
        ),
        io::ErrorKind::ConnectionRefused => {
            format!("start the server: the socket in {directory} is left from one that no longer runs")
        }
        io::ErrorKind::PermissionDenied => format!(
            "run as a user that may use the socket in {directory} (unix_socket_permissions), or connect by TCP with \
             host=localhost"
        ),
        _ => return None,
    })
}

/// Puts TLS on a connected socket, as far as is wanted and offered.
pub(super) fn protect(
    settings: &Settings,
    host: &Host,
    socket: TcpStream,
    protection: Protection,
    wait: &mut Wait,
) -> Result<Opened> {
    if protection == Protection::Plain || (!settings.tls.direct && !ask_for_tls(&socket, protection, wait)?) {
        return Ok(Opened { stream: Stream::Tcp(socket), binding: None });
    }
    start_tls(settings, host, socket, wait)
}

fn keep_alive(socket: &TcpStream, keepalive: &Keepalive) -> io::Result<()> {
    use rustix::net::sockopt;
    if let Some(timeout) = keepalive.user_timeout_ms {
        #[cfg(target_os = "linux")]
        sockopt::set_tcp_user_timeout(socket, timeout)?;
        #[cfg(not(target_os = "linux"))]
        let _ = timeout;
    }
    if !keepalive.enabled {
        return Ok(());
    }
    sockopt::set_socket_keepalive(socket, true)?;
    if let Some(idle) = keepalive.idle {
        sockopt::set_tcp_keepidle(socket, idle)?;
    }
    if let Some(interval) = keepalive.interval {
        sockopt::set_tcp_keepintvl(socket, interval)?;
    }
    if let Some(count) = keepalive.count {
        sockopt::set_tcp_keepcnt(socket, count)?;
    }
    Ok(())
}

/// Sends an SSLRequest; whether the server agrees.
fn ask_for_tls(mut socket: &TcpStream, protection: Protection, wait: &mut Wait) -> Result<bool> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    // Exactly one byte is read: anything behind it, before TLS, would come from a man in the middle.
    let mut answer = [0];
    let doing = "ask for TLS";
    // A new socket has room for so little.
    wait.repeat(doing, || socket.write_all(&request))?;
    wait.repeat(doing, || socket.read_exact(&mut answer))?;
    match answer[0] {
        b'S' => Ok(true),
        b'N' if protection == Protection::TlsIfOffered => Ok(false),
        b'N' => Err(Error::new(ErrorKind::Connection, "start TLS: the server has it switched off").with_hint(
            "switch TLS on at the server (ssl = on), or, on a network that you trust, connect with sslmode=prefer",
        )),
        // An error text at this point cannot be trusted, and is not shown.
        _ => Err(Error::new(ErrorKind::Protocol, "ask for TLS: the answer is not PostgreSQL's")
            .with_hint(NOT_POSTGRESQL)),
    }
}

#[cfg(not(feature = "tls"))]
fn start_tls(_: &Settings, _: &Host, _: TcpStream, _: &mut Wait) -> Result<Opened> {
    Err(Error::new(ErrorKind::Settings, "start TLS: this program was built without it")
        .with_hint("build verify-core with its feature `tls`"))
}

#[cfg(feature = "tls")]
fn start_tls(settings: &Settings, host: &Host, mut socket: TcpStream, wait: &mut Wait) -> Result<Opened> {
    let config = tls::client_config(&settings.tls)?;
    let name = host.verified_name();
    let name = match ServerName::try_from(name.clone()) {
        Ok(name) => name,
        // Without a name to verify, any will do; an address is not sent to the server.
        Err(_) if settings.tls.mode != SslMode::VerifyFull => {
            ServerName::IpAddress(std::net::IpAddr::from([0, 0, 0, 0]).into())
        }
        Err(error) => {
            return Err(Error::with_source(ErrorKind::Settings, "verify the host's name", error));
        }
    };
    let doing = match (&settings.tls.roots, settings.tls.mode) {
        (Roots::Any, _) => "start TLS",
        (_, SslMode::VerifyFull) => "start TLS and verify the server's certificate and name",
        _ => "start TLS and verify the server's certificate",
    };
    let mut client = ClientConnection::new(config, name)
        .map_err(|error| Error::with_source(ErrorKind::Connection, doing, error))?;
    while client.is_handshaking() {
        wait.repeat(doing, || client.complete_io(&mut socket).map(drop)).map_err(|error| {
            hinted(error, |cause| {
                let reason = cause.get_ref().and_then(|reason| reason.downcast_ref::<rustls::Error>());
                let direct = settings.tls.direct.then_some(NO_DIRECT_TLS);
                reason.and_then(tls::handshake_hint).or(direct).map(str::to_owned)
            })
        })?;
    }
    if settings.tls.direct && client.alpn_protocol() != Some(PROTOCOL) {
        return Err(Error::new(
            ErrorKind::Connection,
            format!("{doing}: the server did not agree to speak PostgreSQL"),
        )
        .with_hint(NO_DIRECT_TLS));
    }
    let leaf = client.peer_certificates().and_then(|chain| chain.first());
    let binding = leaf.and_then(|certificate| tls_server_end_point(certificate));
    Ok(Opened { stream: Stream::tls(client, socket), binding })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_server_has_the_hint_of_its_reason() {
        for (kind, hint) in [
            (io::ErrorKind::ConnectionRefused, "no server listens"),
            (io::ErrorKind::TimedOut, "firewall"),
            (io::ErrorKind::HostUnreachable, "routes"),
        ] {
            assert!(connect_hint(kind).unwrap().contains(hint), "{kind}");
        }
        for (kind, hint) in [
            (io::ErrorKind::NotFound, "no server has a socket of this port in /run/pg: "),
            (io::ErrorKind::ConnectionRefused, "no longer runs"),
            (io::ErrorKind::PermissionDenied, "unix_socket_permissions"),
        ] {
            let found = socket_hint(&kind.into(), Path::new("/run/pg/.s.PGSQL.1")).unwrap();
            assert!(found.contains(hint), "{kind}: {found}");
        }
    }
}
