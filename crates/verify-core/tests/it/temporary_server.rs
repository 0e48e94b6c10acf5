//! One PostgreSQL server and a standby for all tests of this binary, with TLS and a role for each way to log in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use verify_core::postgres::{Connection, Environment, SessionOptions, Settings};
use verify_local::scratch::Scratch;
use verify_local::server::{self, InitOptions, Installation, Listen, Server, StartOptions, Wait};

const MAJOR: u32 = 15;

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

/// Makes certificates in the current directory: an authority, a server's and a client's, and an untrusted one.
const CERTIFICATES: &str = r#"
set -e
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=ca
sign() {
    openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$2"
    printf '%s\n' "$3" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 "$4" -extfile "$1.ext" -out "$1.crt"
}
sign server localhost subjectAltName=DNS:localhost -sha384
sign client certificate extendedKeyUsage=clientAuth -sha256
openssl req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.crt -days 2 -subj /CN=other
"#;

/// Ends servers and removes a directory once standard input ends, which it does when this process does, however it ends.
const REAPER: &str = r#"
cat >/dev/null
directory=$1
shift
kill -QUIT "$@"
for pid; do while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done; done
rm -rf "$directory"
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

/// The servers are never dropped, for they are static: the reaper ends them.
pub(crate) struct TemporaryServer {
    directory: PathBuf,
    pub(crate) port: u16,
    _primary: Server,
    _standby: Server,
    _scratch: Scratch,
    _reaper: Child,
}

/// The server, started by the first test that asks.
pub(crate) fn server() -> &'static TemporaryServer {
    static SERVER: OnceLock<TemporaryServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = TemporaryServer::start().unwrap_or_else(|error| panic!("{error:#}"));
        server.connect("").execute(ROLES).unwrap();
        server
    })
}

impl TemporaryServer {
    fn start() -> Result<Self> {
        let installation = fixtures::majors::installation(MAJOR)?;
        let scratch = Scratch::create("connect")?;
        let directory = scratch.path().join("files");
        server::create_server_dir(&directory)?;
        let certificates = as_server(Command::new("sh").args(["-c", CERTIFICATES]), &directory)?;
        ensure!(certificates.status.success(), "openssl: {}", String::from_utf8_lossy(&certificates.stderr));
        let data = directory.join("data");
        Server::init(&installation, &data, &InitOptions::default())?;
        fs::write(data.join("pg_hba.conf"), HBA)?;
        // A copy of a server that was never started, and that waits for a primary: the smallest standby there is.
        let copied = as_server(Command::new("cp").args(["-R", "data", "standby"]), &directory)?;
        ensure!(copied.status.success(), "cp: {}", String::from_utf8_lossy(&copied.stderr));
        fs::write(directory.join("standby/standby.signal"), "")?;
        let primary = run(&installation, &data, &directory, Listen::Tcp(0), None)?;
        let port = primary.port();
        let standby_socket = directory.join("standby-socket");
        let standby =
            run(&installation, &directory.join("standby"), &standby_socket, Listen::SocketOnly, Some(port))?;
        let reaper = Command::new("sh")
            .args(["-c", REAPER, "sh"])
            .arg(scratch.path())
            .args([primary.pid().to_string(), standby.pid().to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .context("failed to start the reaper")?;
        Ok(Self { directory, port, _primary: primary, _standby: standby, _scratch: scratch, _reaper: reaper })
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
        Settings::parse(&text, &env).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    pub(crate) fn open(&self, more: &str) -> verify_core::Result<Connection> {
        Connection::open(&self.settings(more), &SessionOptions::verification(1_000, 60_000))
    }

    pub(crate) fn connect(&self, more: &str) -> Connection {
        self.open(more).unwrap_or_else(|error| panic!("{more}: {error}"))
    }
}

/// Runs a program in a directory of the server's user, as that user.
fn as_server(command: &mut Command, directory: &Path) -> Result<std::process::Output> {
    server::run_as_server_user(command)?;
    Ok(command.current_dir(directory).output()?)
}

fn run(
    installation: &Installation,
    data: &Path,
    socket_dir: &Path,
    listen: Listen,
    port: Option<u16>,
) -> Result<Server> {
    let file = |name: &str| data.with_file_name(name).display().to_string();
    let mut options = StartOptions::in_directory(&data.with_file_name("log"))
        .set("fsync", "off")
        .set("ssl", "on")
        .set("ssl_cert_file", &file("server.crt"))
        .set("ssl_key_file", &file("server.key"))
        .set("ssl_ca_file", &file("ca.crt"));
    if let Some(port) = port {
        // Tests name both servers in one list of hosts, with one port.
        options = options.set("port", &port.to_string());
    }
    let log_file = data.with_extension("log");
    let wait = Wait::ReadyOrStandby;
    let options = StartOptions { listen, wait, log_file, socket_dir: socket_dir.to_owned(), ..options };
    Server::start(installation, data, &options)
}
