//! Hints fit their cause: each run fails for one reason, and its hint is the remedy for that one. Causes that no test
//! server brings about are in the unit tests of `failure` and `cluster`, and of verify-core's `server_hint`, `tls` and `socket`.

use std::cell::RefCell;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use verify_local::scratch::Scratch;
use verify_local::server::{self, InitOptions, Listen, Server, StartOptions};

use crate::program::{RunResult, outcome, state_lab};

const HBA: &str = "\
local all postgres trust
local all peered peer
hostssl all certificate 127.0.0.1/32 cert
host all scram,wrong 127.0.0.1/32 scram-sha-256
host all plain 127.0.0.1/32 password
host all nologin,limited,poor,nobody,readonly,postgres 127.0.0.1/32 trust
";

const ROLES: &str = "
    SET password_encryption = 'scram-sha-256';
    CREATE ROLE scram LOGIN PASSWORD 'right horse';
    CREATE ROLE plain LOGIN PASSWORD 'right horse';
    CREATE ROLE nologin NOLOGIN;
    CREATE ROLE limited LOGIN CONNECTION LIMIT 0;
    CREATE ROLE poor LOGIN;
    CREATE ROLE peered LOGIN;
    CREATE ROLE certificate LOGIN;
    CREATE ROLE readonly LOGIN SUPERUSER;
    ALTER ROLE readonly SET default_transaction_read_only = on;
    CREATE DATABASE narrow CONNECTION LIMIT 0;
    CREATE DATABASE closed;
    REVOKE CONNECT ON DATABASE closed FROM PUBLIC;";

/// Makes certificates in the current directory: an authority, a server's and a client's, and an untrusted one.
const CERTIFICATES: &str = r#"
set -e
new() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "$@"; }
new -keyout ca.key -out ca.crt -subj /CN=ca
new -keyout other.key -out other.crt -subj /CN=other
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj /CN=localhost
printf subjectAltName=DNS:localhost >server.ext
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.crt
chmod 0644 other.key
echo nothing >empty.crt
"#;

/// A server that listens by TCP, whose TLS is switched off until it is switched on.
struct Lab {
    files: PathBuf,
    server: Server,
    home: tempfile::TempDir,
    /// Deviations, collected so that one run shows all of them.
    wrong: RefCell<Vec<String>>,
    _scratch: Scratch,
}

impl Lab {
    fn start() -> Self {
        let installation = fixtures::majors::installation(15).unwrap();
        let scratch = Scratch::create("hints").unwrap();
        let files = scratch.path().join("files");
        server::create_server_dir(&files).unwrap();
        let mut make = Command::new("sh");
        make.args(["-c", CERTIFICATES]);
        server::run_as_server_user(&mut make).unwrap();
        let made = make.current_dir(&files).output().unwrap();
        assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
        let data = files.join("data");
        Server::init(&installation, &data, &InitOptions::default()).unwrap();
        fs::write(data.join("pg_hba.conf"), HBA).unwrap();
        let file = |name: &str| files.join(name).display().to_string();
        let mut options = StartOptions::in_directory(&files).set("fsync", "off");
        for (setting, name) in
            [("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key"), ("ssl_ca_file", "ca.crt")]
        {
            options = options.set(setting, &file(name));
        }
        let options = StartOptions { listen: Listen::Tcp(0), ..options };
        let server = Server::start(&installation, &data, &options).unwrap();
        let home = tempfile::tempdir().unwrap();
        let lab = Self { files, server, home, wrong: RefCell::default(), _scratch: scratch };
        lab.psql(ROLES);
        lab
    }

    fn psql(&self, script: &str) {
        let program = server::client_program("psql", 0).unwrap();
        for statement in script.split(';').filter(|statement| !statement.trim().is_empty()) {
            let mut psql = Command::new(&program);
            psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.server.conninfo("postgres")]);
            let ran = psql.args(["-c", statement]).output().unwrap();
            assert!(ran.status.success(), "{statement}: {}", String::from_utf8_lossy(&ran.stderr));
        }
    }

    fn file(&self, name: &str) -> String {
        self.files.join(name).display().to_string()
    }

    /// A connection string by TCP.
    fn tcp(&self, more: &str) -> String {
        format!("host=127.0.0.1 port={} dbname=postgres {more}", self.server.port())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = state_lab(self.home.path());
        command.args(arguments).args(["-q", "--output", "json"]);
        command
    }

    fn capture(&self, conninfo: &str, hint: &str) {
        self.run(&["capture", conninfo, "-o", "m"], hint);
    }

    fn run(&self, arguments: &[&str], hint: &str) {
        let outcome = outcome(&self.command(arguments).output().unwrap());
        if let Err(wrong) = expect(&outcome, hint) {
            self.wrong.borrow_mut().push(format!("{arguments:?}: {wrong}"));
        }
    }

    fn write(&self, name: &str, mode: u32, text: &str) -> String {
        let path = self.home.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    }
}

/// Checks that the run could not be made, that its one hint is this one ("none" for no hint), and that no password is shown.
fn expect(outcome: &RunResult, hint: &str) -> Result<(), String> {
    let json = outcome.out.lines().skip_while(|line| *line != "{").collect::<String>();
    let document: serde_json::Value =
        serde_json::from_str(&json).map_err(|error| format!("{error}: {outcome:?}"))?;
    let error = &document["error"];
    let found = error["hint"].as_str();
    let printed = outcome.err.lines().filter(|line| line.starts_with("hint: ")).count();
    let fits = outcome.status == Some(2)
        && found.unwrap_or("none").contains(hint)
        && printed == usize::from(found.is_some())
        && !format!("{outcome:?}").contains("horse");
    if fits { Ok(()) } else { Err(format!("expected {hint:?}, found {found:?}: {error:#} {}", outcome.err)) }
}

/// A program that is not PostgreSQL, and answers whatever is said to it with `answer`.
fn stranger(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let _ = socket.read(&mut [0; 1024]);
            let _ = socket.write_all(answer);
        }
    });
    port
}

#[test]
fn every_cause_has_its_hint() {
    let lab = Lab::start();
    addresses(&lab);
    logins(&lab);
    limits(&lab);
    settings(&lab);
    lab.capture(&lab.tcp("user=postgres sslmode=require"), "switch TLS on at the server (ssl = on)");
    lab.psql("ALTER SYSTEM SET ssl = on; SELECT pg_catalog.pg_reload_conf()");
    tls(&lab);
    files_and_names(&lab);
    heartbeats(&lab);
    clusters(&lab);
    let wrong = lab.wrong.take();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn addresses(lab: &Lab) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    lab.capture(&format!("host=127.0.0.1 port={free} user=u"), "no server listens on this address and port");
    lab.capture("host=no-such-host.invalid user=u", "check the spelling of the host");
    lab.capture("host=/nonexistent user=u", "no server has a socket of this port in /nonexistent");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for mode in ["disable", "require"] {
        let conninfo = format!("host=127.0.0.1 port={port} user=u connect_timeout=2 sslmode={mode}");
        lab.capture(&conninfo, "check that the port is PostgreSQL's");
    }
    let http = stranger(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    for mode in ["disable", "require"] {
        let conninfo = format!("host=127.0.0.1 port={http} user=u sslmode={mode}");
        lab.capture(&conninfo, "another program answers there");
    }
    let starting = stranger(b"E\0\0\0\x29SFATAL\0VFATAL\0C57P03\0Mstarting up\0\0\0\0\0");
    lab.capture(
        &format!("host=127.0.0.1 port={starting} user=u sslmode=disable"),
        "the server is starting up",
    );
}

fn logins(lab: &Lab) {
    let wrong = lab.write("wrong", 0o600, "*:*:*:*:wrong horse\n");
    let open = lab.write("open", 0o644, "*:*:*:*:right horse\n");
    lab.capture(&lab.tcp("user=scram"), "put the password into ~/.pgpass");
    lab.capture(
        &lab.tcp("user=scram password='wrong horse'"),
        "the password from the connection string, service file or PGPASSWORD was sent and refused",
    );
    lab.capture(&lab.tcp("user=plain password='wrong horse'"), "was sent and refused");
    lab.capture(&lab.tcp("user=wrong password='right horse'"), "where the role does not exist");
    lab.capture(
        &lab.tcp(&format!("user=scram passfile={wrong}")),
        &format!("the password from the password file {wrong} was sent and refused"),
    );
    lab.capture(&lab.tcp(&format!("user=scram passfile={open}")), &format!("run `chmod 0600 {open}`"));
    lab.capture(&lab.tcp("user=nologin"), "ALTER ROLE … LOGIN");
    lab.capture(&lab.tcp("user=nobody"), "the server has no such role");
    lab.capture(&lab.tcp("user=stranger"), "let a line of the server's pg_hba.conf admit this user");
    lab.capture(
        &lab.server.conninfo_as("peered", "postgres"),
        "run as the operating system's user of the role's name",
    );
    lab.capture(
        &lab.tcp("user=plain password='right horse' require_auth=scram-sha-256"),
        "pg_hba.conf ask for a method of require_auth (scram-sha-256), or add password to it",
    );
    lab.capture(&lab.tcp("user=postgres require_auth=!none"), "or add none to it");
    lab.capture(
        &lab.tcp("user=scram password='right horse' channel_binding=require"),
        "set channel_binding=prefer",
    );
}

fn limits(lab: &Lab) {
    lab.capture(&lab.tcp("user=limited"), "raise the role's own limit");
    lab.capture(&lab.tcp("user=poor dbname=narrow"), "raise the database's own limit");
    lab.capture(&lab.tcp("user=poor dbname=closed"), "GRANT CONNECT ON DATABASE");
    lab.capture(&lab.tcp("user=poor dbname=template0"), "ALLOW_CONNECTIONS");
    lab.capture(&lab.tcp("user=poor dbname=missing"), "correct dbname");
    lab.capture(&lab.tcp("user=postgres target_session_attrs=standby"), "change target_session_attrs");
}

fn settings(lab: &Lab) {
    lab.capture("hots=127.0.0.1", "check its spelling");
    lab.capture("host=127.0.0.1 password='right horse", "a connection string looks like postgresql://");
    lab.capture("postgresql://u:right/horse@h/d", "a connection string looks like postgresql://");
    lab.capture(&lab.tcp("user=postgres sslmode=verify-full"), "name the authority's file in sslrootcert");
    lab.capture(&lab.tcp("user=postgres sslcert=/nonexistent/crt"), "correct sslcert");
    lab.capture("service=nightly", "none");
}

fn tls(lab: &Lab) {
    let verified = |host: &str, root: &str| {
        let port = lab.server.port();
        let root = lab.file(root);
        format!(
            "host={host} hostaddr=127.0.0.1 port={port} user=postgres sslmode=verify-full sslrootcert={root}"
        )
    };
    lab.capture(
        &verified("db.example.org", "ca.crt"),
        "connect by a name that is in the server's certificate",
    );
    lab.capture(&verified("localhost", "other.crt"), "name the file of the authority that signed");
    lab.capture(&verified("localhost", "empty.crt"), "a file of certificates in PEM");
    lab.capture(&lab.tcp("user=certificate sslmode=require"), "the server asks for a client certificate");
    let (certificate, key) = (lab.file("other.crt"), lab.file("other.key"));
    lab.capture(
        &lab.tcp(&format!("user=postgres sslmode=require sslcert={certificate} sslkey={key}")),
        &format!("run `chmod 0600 {key}`"),
    );
    lab.capture(
        &lab.tcp("user=postgres sslmode=require sslnegotiation=direct"),
        "leave sslnegotiation=direct out",
    );
    lab.capture(
        &lab.tcp("user=plain password='right horse' sslmode=require channel_binding=require"),
        "set channel_binding=prefer",
    );
}

fn files_and_names(lab: &Lab) {
    let conninfo = lab.tcp("user=postgres");
    lab.write("taken", 0o600, "evidence");
    lab.write("cut", 0o600, "\u{28}");
    fs::write(lab.home.path().join("cut"), [0x28, 0xb5, 0x2f, 0xfd]).unwrap();
    lab.write("newer.json", 0o600, r#"{ "format": "state-lab-report", "version": 2 }"#);
    let store = lab.home.path().join("store");
    fs::create_dir_all(store.join("taken")).unwrap();
    let store = store.display().to_string();
    for (arguments, hint) in [
        (&["capture", &conninfo, "-o", "taken"][..], "replace it with --force"),
        (&["capture", &conninfo, "-o", "none/m"], "create the directory first: `mkdir -p none`"),
        (&["verify", "cut", &conninfo], "use another copy of it, or capture again"),
        (&["show", "newer.json"], "use the state-lab that wrote it"),
        (&["capture", "shpo", "-o", "m"], "add a table [databases.shpo] to the configuration"),
        (&["capture", "u:right horse@h", "-o", "m"], "give a name, or a connection string"),
        (&["--config", "none.toml", "cleanup"], "correct --config"),
        (&["restore", "--snapshot", "none", "--store", &store], "correct --snapshot or --store"),
        (&["show", "s3://bucket/key"], "AWS_"),
    ] {
        lab.run(arguments, hint);
    }
    let named = ["backup", "--name", "taken", "--method", "logical", "--store", &store, &conninfo];
    lab.run(&named, "choose another name");
    usage(lab);
}

/// A command line that is wrong says what is right.
fn usage(lab: &Lab) {
    for (arguments, expected) in [
        (&["capture", "host=h", "-o", "m", "--jobs", "0"][..], "expected a whole number of at least 1"),
        (&["capture", "host=h", "-o", "m", "--jobs", "-1"], "expected a whole number of at least 1"),
        (&["restore", "--snapshot", "b", "--jobs", "none"], "expected a whole number of at least 1"),
        (&["backup", "--name", "b", "--method", "tape"], "[possible values: physical, logical"),
        (&["restore", "--snapshot", "b", "--provider", "tape"], "[possible values: local, velero]"),
        (&["backup", "--name", "a/b"], "a name consists of letters"),
        (&["capture", "host=h", "-o", "m", "--lock-timeout", "5"], "expected a number with a unit"),
        (&["restore"], "--snapshot <NAME>"),
    ] {
        let outcome = outcome(&lab.command(arguments).output().unwrap());
        assert_eq!(outcome.status, Some(2), "{arguments:?}: {outcome:?}");
        assert!(
            outcome.err.contains(expected) && outcome.out.contains("\"usage\""),
            "{arguments:?}: {outcome:?}"
        );
    }
    let outcome = outcome(&lab.command(&["capture", "host=h", "--ouy", "m"]).output().unwrap());
    assert!(outcome.out.contains("similar argument exists: '--out'"), "{outcome:?}");
}

fn heartbeats(lab: &Lab) {
    lab.run(&["heartbeat", "run", &lab.tcp("user=postgres")], "run `state-lab heartbeat install` first");
    lab.run(&["heartbeat", "install", &lab.tcp("user=poor")], "grant the role CREATE on the database");
    lab.run(&["heartbeat", "install", &lab.tcp("user=readonly")], "use a server that accepts writes");
    lab.run(&["heartbeat", "install", &lab.tcp("user=postgres dbname=missing")], "correct dbname");
}

fn clusters(lab: &Lab) {
    let restore = ["restore", "--snapshot", "b", "--provider", "velero", "--image", "i"];
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fs::create_dir(lab.home.path().join(".kube")).unwrap();
    for (port, hint) in [
        (free, "correct KUBECONFIG or --context"),
        (api_server(401, "Unauthorized"), "log in again"),
        (api_server(403, "pods is forbidden: User \\\"u\\\" cannot list resource \\\"pods\\\""), "grant it"),
        (
            api_server(403, "pods \\\"p\\\" is forbidden: failed quota: q: must specify limits.cpu"),
            "set `limits`",
        ),
        (api_server(404, "the server could not find the requested resource"), "install the operator"),
    ] {
        let config = format!(
            "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: c, user: u}}}}], \
             clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}], users: [{{name: u, user: {{}}}}]}}"
        );
        lab.write(".kube/config", 0o600, &config);
        lab.run(&restore, hint);
    }
}

/// An API server that refuses every request for this reason.
fn api_server(code: u16, message: &str) -> u16 {
    let status = format!(
        r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"{message}","reason":"r","code":{code}}}"#
    );
    let head = format!("HTTP/1.1 {code} No\r\ncontent-type: application/json\r\nconnection: close\r\n");
    let answer = format!("{head}content-length: {}\r\n\r\n{status}", status.len());
    stranger(answer.leak().as_bytes())
}
