//! Opening the byte stream to one host: sockets, timeouts, and the step into TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::channel_binding::tls_server_end_point;
use super::host::Host;
use super::server_hint::NOT_POSTGRESQL;
use super::settings::{Keepalive, Settings};
use super::stream::{Stream, io_error, set_tcp_timeout};
use super::tls::{self, PROTOCOL};
use super::tls_settings::{Roots, SslMode};
use crate::error::{Error, ErrorKind, Result};

/// The remedy for a name without an address.
const UNKNOWN_HOST: &str =
    "check the spelling of the host, and that this machine resolves it (`getent hosts` with its name)";

/// The remedy where TLS was begun without asking.
const NO_DIRECT_TLS: &str = "leave sslnegotiation=direct out: it needs PostgreSQL 17 or later";

/// Whether an attempt asks for TLS, and what it does when the server has none.
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
pub(super) fn resolve(host: &Host) -> Result<Vec<SocketAddr>> {
    if let Some(address) = host.address {
        return Ok(vec![SocketAddr::new(address, host.port)]);
    }
    let found: Vec<_> = (host.name.as_str(), host.port)
        .to_socket_addrs()
        .map_err(|error| {
            Error::with_source(ErrorKind::Connection, "find its address", error).with_hint(UNKNOWN_HOST)
        })?
        .collect();
    match found.is_empty() {
        true => {
            Err(Error::new(ErrorKind::Connection, "find its address: it has none").with_hint(UNKNOWN_HOST))
        }
        false => Ok(found),
    }
}

/// Connects to the host's socket.
pub(super) fn open_unix(settings: &Settings, path: &Path) -> Result<Opened> {
    let opened = UnixStream::connect(path).map(Stream::Unix).and_then(|stream| {
        stream.set_timeout(settings.connect_timeout)?;
        Ok(stream)
    });
    let stream = opened.map_err(|error| {
        let hint = socket_hint(&error, path);
        let error = Error::with_source(ErrorKind::Connection, "connect to its socket", error);
        hint.into_iter().fold(error, Error::with_hint)
    })?;
    Ok(Opened { stream, binding: None })
}

/// Connects to one address of a host. The connect timeout limits each wait from here to the end of the login.
pub(super) fn connect(settings: &Settings, address: SocketAddr) -> Result<TcpStream> {
    let connected = match settings.connect_timeout {
        Some(timeout) => TcpStream::connect_timeout(&address, timeout),
        None => TcpStream::connect(address),
    };
    let socket = connected.and_then(|socket| {
        set_tcp_timeout(&socket, settings.connect_timeout)?;
        socket.set_nodelay(true)?;
        keep_alive(&socket, &settings.keepalive)?;
        Ok(socket)
    });
    socket.map_err(|error| {
        let hint = connect_hint(error.kind());
        let doing = format!("connect to the address {}", address.ip());
        let error = Error::with_source(ErrorKind::Connection, doing, error);
        hint.into_iter().fold(error, Error::with_hint)
    })
}

/// The remedy for an address that could not be connected to.
fn connect_hint(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::ConnectionRefused => {
            "no server listens on this address and port: start it, correct host or port, or set its listen_addresses"
        }
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            "correct host and port, or open the way to them: a firewall that drops packets looks like this, and so \
             does a machine that is down"
        }
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
) -> Result<Opened> {
    if protection == Protection::Plain || (!settings.tls.direct && !ask_for_tls(&socket, protection)?) {
        return Ok(Opened { stream: Stream::Tcp(socket), binding: None });
    }
    start_tls(settings, host, socket)
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
fn ask_for_tls(mut socket: &TcpStream, protection: Protection) -> Result<bool> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    // Exactly one byte is read: anything behind it, before TLS, would come from a man in the middle.
    let mut answer = [0];
    socket
        .write_all(&request)
        .and_then(|()| socket.read_exact(&mut answer))
        .map_err(|error| io_error("ask for TLS", error))?;
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

fn start_tls(settings: &Settings, host: &Host, mut socket: TcpStream) -> Result<Opened> {
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
        (Roots::Nobody, _) => "start TLS",
        (_, SslMode::VerifyFull) => "start TLS and verify the server's certificate and name",
        _ => "start TLS and verify the server's certificate",
    };
    let mut client = ClientConnection::new(config, name)
        .map_err(|error| Error::with_source(ErrorKind::Connection, doing, error))?;
    while client.is_handshaking() {
        match client.complete_io(&mut socket) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => drop(other.map_err(|error| {
                let reason = error.get_ref().and_then(|reason| reason.downcast_ref::<rustls::Error>());
                let direct = settings.tls.direct.then_some(NO_DIRECT_TLS);
                let hint = reason.and_then(tls::handshake_hint).or(direct);
                hint.into_iter().fold(io_error(doing, error), Error::with_hint)
            })?),
        }
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
            let told = socket_hint(&kind.into(), Path::new("/run/pg/.s.PGSQL.1")).unwrap();
            assert!(told.contains(hint), "{kind}: {told}");
        }
    }
}
