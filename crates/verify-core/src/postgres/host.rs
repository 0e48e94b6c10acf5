//! The servers to try: names, addresses, sockets and ports, one for one.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::options::Options;
use super::printable::printable;
use crate::error::{Error, ErrorKind, Result};

/// Directories in which servers of Debian and of the PostgreSQL project create their sockets.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];
const PORT_DEFAULT: u16 = 5432;

/// One server to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// A host name, an address, or the directory of a socket. Empty only beside an address.
    pub(super) name: String,
    /// The address to connect to; the name is then only verified.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
}

impl Host {
    /// The hosts of `host`, `hostaddr` and `port`, which are lists of one length, or one port for all.
    pub(super) fn list(options: &Options) -> Result<Vec<Self>> {
        let split = |keyword| -> Vec<&str> {
            options.get(keyword).map(|list| list.split(',').map(str::trim).collect()).unwrap_or_default()
        };
        let (names, addresses, ports) = (split("host"), split("hostaddr"), split("port"));
        let count = names.len().max(addresses.len()).max(1);
        if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
            return Err(refuse(&format!("{} names do not match {} addresses", names.len(), addresses.len())));
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(refuse(&format!("{} ports do not match {count} hosts", ports.len())));
        }
        (0..count)
            .map(|index| {
                let port = ports.get(index).or(ports.first()).copied().unwrap_or_default();
                let name = names.get(index).copied().unwrap_or_default();
                let address = addresses.get(index).copied().unwrap_or_default();
                Self::new(name, address, port)
            })
            .collect()
    }

    fn new(name: &str, address: &str, port: &str) -> Result<Self> {
        let port = match port {
            "" => PORT_DEFAULT,
            // Not quoted: a slash in a URI's password makes the password's beginning a port.
            port => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| refuse("a port is not a number between 1 and 65535"))?,
        };
        if name.starts_with('@') {
            return Err(refuse("abstract sockets are not supported; use a socket directory or TCP"));
        }
        let address: Option<IpAddr> = match address {
            "" => None,
            address => Some(address.parse().map_err(|_| {
                refuse(&format!("hostaddr \"{}\" is not a numeric address", printable(address, 60)))
            })?),
        };
        let name = match (name, address) {
            ("", None) => default_name(port),
            (name, _) => name.to_owned(),
        };
        Ok(Self { name, address, port })
    }

    /// The socket's file, where this host is a socket.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        let local = self.address.is_none() && self.name.starts_with('/');
        local.then(|| socket_file(&self.name, self.port))
    }

    /// The name that certificates are checked against, without brackets.
    pub(super) fn verified_name(&self) -> String {
        match self.address {
            Some(address) if self.name.is_empty() => address.to_string(),
            _ => self.name.clone(),
        }
    }

    /// The name that a password file knows this host by.
    pub(super) fn passfile_name(&self) -> String {
        if self.socket().is_some() && SOCKET_DIRECTORIES.contains(&self.name.trim_end_matches('/')) {
            return "localhost".to_owned();
        }
        self.verified_name()
    }

    /// `host:port` as text.
    pub(super) fn describe(&self) -> String {
        let name = printable(&self.verified_name(), 200);
        match name.contains(':') {
            true => format!("[{name}]:{}", self.port),
            false => format!("{name}:{}", self.port),
        }
    }
}

fn default_name(port: u16) -> String {
    let found = SOCKET_DIRECTORIES.iter().find(|directory| socket_file(directory, port).exists());
    found.map_or("localhost", |directory| *directory).to_owned()
}

fn socket_file(directory: &str, port: u16) -> PathBuf {
    Path::new(directory).join(format!(".s.PGSQL.{port}"))
}

fn refuse(why: &str) -> Error {
    Error::new(ErrorKind::Settings, format!("use the list of hosts: {why}"))
}
