//! One PostgreSQL server for all tests of this binary, with TLS and a role for each way to log in.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use verify_core::postgres::{Connection, Environment, SessionOptions, Settings};

const BINARIES: &str = "/usr/lib/postgresql/15/bin";
/// The server does not run as root; it runs as the owner of this directory.
const OWNED_BY_POSTGRES: &str = "/var/lib/postgresql";

const HBA: &str = "\
local all postgres trust
local all scram scram-sha-256
hostssl all certificate 127.0.0.1/32 cert
hostssl all onlytls 127.0.0.1/32 trust
hostnossl all onlyplain 127.0.0.1/32 trust
host all plain 127.0.0.1/32 password
host all md5 127.0.0.1/32 md5
host all scram 127.0.0.1/32 scram-sha-256
host all postgres 127.0.0.1/32 trust
";

/// Runs the server until standard input ends, which it does when this process does, however it ends.
const SCRIPT: &str = r#"
set -e
cd "$1"
"$2/initdb" -D data -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >log 2>&1
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=ca >>log 2>&1
sign() {
    openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$2" >>log 2>&1
    printf '%s\n' "$3" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 "$4" -extfile "$1.ext" -out "$1.crt" >>log 2>&1
}
sign server localhost subjectAltName=DNS:localhost -sha384
sign client certificate extendedKeyUsage=clientAuth -sha256
openssl req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.crt -days 2 -subj /CN=other >>log 2>&1
printf '%s' "$4" >data/pg_hba.conf
cat >>data/postgresql.conf <<END
listen_addresses = '127.0.0.1'
port = $3
unix_socket_directories = '$1'
fsync = off
ssl = on
ssl_cert_file = '$1/server.crt'
ssl_key_file = '$1/server.key'
ssl_ca_file = '$1/ca.crt'
END
# A copy of a server that was never started, and that waits for a primary: the smallest standby there is.
cp -R data standby
mkdir standby-socket
touch standby/standby.signal
"$2/pg_ctl" -D data -l server.log -w start >>log 2>&1
"$2/pg_ctl" -D standby -l standby.log -o "-c listen_addresses='' -k $1/standby-socket" -w start >>log 2>&1
echo ready
read -r _ || true
"$2/pg_ctl" -D standby -m immediate stop >>log 2>&1 || true
"$2/pg_ctl" -D data -m immediate stop >>log 2>&1
cd /
rm -rf "$1"
"#;

const ROLES: &str = "
    SET password_encryption = 'scram-sha-256';
    CREATE ROLE scram LOGIN PASSWORD 'right horse';
    CREATE ROLE plain LOGIN PASSWORD 'right horse';
    SET password_encryption = 'md5';
    CREATE ROLE md5 LOGIN PASSWORD 'right horse';
    CREATE ROLE certificate LOGIN;
    CREATE ROLE onlytls LOGIN;
    CREATE ROLE onlyplain LOGIN;
    CREATE TABLE public.visible (id int);
    ALTER ROLE postgres SET search_path = public;
";

pub(crate) struct TemporaryServer {
    pub(crate) directory: PathBuf,
    pub(crate) port: u16,
    /// Held open: when it is dropped, the server stops.
    _child: Child,
}

/// The server, started by the first test that asks.
pub(crate) fn server() -> &'static TemporaryServer {
    static SERVER: OnceLock<TemporaryServer> = OnceLock::new();
    SERVER.get_or_init(TemporaryServer::start)
}

impl TemporaryServer {
    fn start() -> Self {
        // The script removes it, after this process is gone.
        let directory = tempfile::Builder::new().prefix("conn").tempdir_in("/tmp").unwrap().keep();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh"]).arg(&directory).args([BINARIES, &port.to_string(), HBA]);
        if fs::metadata(&directory).unwrap().uid() == 0 {
            let owner = fs::metadata(OWNED_BY_POSTGRES).unwrap();
            chown(&directory, Some(owner.uid()), Some(owner.gid())).unwrap();
            command.uid(owner.uid()).gid(owner.gid());
        }
        // A process group of its own, so that Ctrl-C leaves the script alive to clean up.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{}", fs::read_to_string(directory.join("log")).unwrap_or_default());
        let server = Self { directory, port, _child: child };
        server.connect("").execute(ROLES).unwrap();
        server
    }

    /// A file of the server, or `standby-socket`, where a standby of it listens.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.directory).join(name)
    }

    /// Settings for the socket and the superuser, unless `more` says otherwise.
    pub(crate) fn settings(&self, more: &str) -> Settings {
        self.settings_at_home(more, None)
    }

    pub(crate) fn settings_at_home(&self, more: &str, home: Option<PathBuf>) -> Settings {
        let text = format!(
            "host={} port={} user=postgres dbname=postgres {more}",
            self.directory.display(),
            self.port
        );
        let env = Environment { home, ..Environment::default() };
        Settings::parse(&text, &env).unwrap_or_else(|error| panic!("{text}: {}", error.chain()))
    }

    pub(crate) fn open(&self, more: &str) -> verify_core::Result<Connection> {
        Connection::open(&self.settings(more), &SessionOptions::verification(1_000, 60_000))
    }

    pub(crate) fn connect(&self, more: &str) -> Connection {
        self.open(more).unwrap_or_else(|error| panic!("{more}: {}", error.chain()))
    }
}
