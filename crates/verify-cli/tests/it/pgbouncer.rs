//! A real PgBouncer between us and the server.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fixtures::TestServer;
use verify_core::postgres::{Connection, Environment, SessionOptions, Settings, Type};
use verify_local::scratch::Scratch;
use verify_local::server::{create_server_dir, give_to_server_user, run_as_server_user};

use crate::program::run;

/// Every parameter that a session starts with.
const OURS: &str = "DateStyle,IntervalStyle,TimeZone,extra_float_digits,bytea_output,quote_all_identifiers,search_path,\
    row_security,lock_timeout,statement_timeout,idle_in_transaction_session_timeout,tcp_keepalives_idle,\
    tcp_keepalives_interval,tcp_keepalives_count,tcp_user_timeout,synchronize_seqscans";

/// A pooler in front of the database `shop`.
struct PgBouncer {
    child: Child,
    directory: PathBuf,
    _scratch: Scratch,
}

impl PgBouncer {
    fn start(server: &TestServer, settings: &str) -> Self {
        let scratch = Scratch::create("pgbouncer").unwrap();
        let directory = scratch.path().join("files");
        create_server_dir(&directory).unwrap();
        let here = directory.display();
        let (host, port) = (server.server().socket_dir().display(), server.server().port());
        let ini = format!(
            "[databases]\nshop = host={host} port={port} dbname=shop user=postgres\n[pgbouncer]\nlisten_addr =\n\
             unix_socket_dir = {here}\nauth_type = any\nlogfile = {here}/log\npidfile = {here}/pid\n{settings}\n"
        );
        let file = directory.join("pgbouncer.ini");
        fs::write(&file, ini).unwrap();
        give_to_server_user(&file).unwrap();
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
        let program = program.iter().find(|path| fs::exists(path).unwrap_or(false));
        let program = program.expect("pgbouncer is not installed; `./install.sh test` installs it");
        let mut command = Command::new(program);
        command.arg("-q").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        run_as_server_user(&mut command).unwrap();
        let child = command.spawn().unwrap();
        let pooler = Self { child, directory, _scratch: scratch };
        let began = Instant::now();
        while !pooler.directory.join(".s.PGSQL.6432").exists() {
            let log = || fs::read_to_string(pooler.directory.join("log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(10), "pgbouncer does not start: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
        pooler
    }

    fn conninfo(&self, more: &str) -> String {
        format!("host={} port=6432 user=postgres dbname=shop {more}", self.directory.display())
    }

    fn connect(&self, session: &SessionOptions) -> Connection {
        let settings = Settings::parse(&self.conninfo(""), &Environment::default()).unwrap();
        Connection::open(&settings, session).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shop() -> TestServer {
    let server = fixtures::server(15).unwrap();
    for database in ["shop", "copy"] {
        server.create_database(database).unwrap();
        let rows =
            "CREATE TABLE items AS SELECT i AS id, i * 0.1::float8 AS price FROM generate_series(1, 5000) i;
             CREATE TABLE names (id int PRIMARY KEY, born timestamptz); INSERT INTO names VALUES (1, now())";
        server.psql(database, rows).unwrap();
    }
    server.psql("copy", "UPDATE names SET born = '2026-01-01'").unwrap();
    server.psql("shop", "UPDATE names SET born = '2026-01-01'").unwrap();
    server
}

#[test]
fn a_database_is_captured_and_compared_through_a_pooler_as_without_it() {
    let server = shop();
    let ignoring = format!("pool_mode = transaction\nignore_startup_parameters = {OURS}");
    for settings in ["pool_mode = transaction", "pool_mode = session", &ignoring] {
        let directory = tempfile::tempdir().unwrap();
        let pooler = PgBouncer::start(&server, settings);
        let captured = run(directory.path(), &["capture", &pooler.conninfo(""), "-o", "m"]);
        assert_eq!((captured.status, captured.err.as_str()), (Some(0), ""), "{settings}: {captured:?}");
        let verified = run(directory.path(), &["verify", "m", &server.conninfo("copy")]);
        assert_eq!(verified.status, Some(0), "{settings}: {verified:?}");
        let compared = run(directory.path(), &["compare", &server.conninfo("copy"), &pooler.conninfo("")]);
        assert_eq!(compared.status, Some(0), "{settings}: {compared:?}");

        // The settings hold in each transaction, and no other client inherits them.
        let mut ours = pooler.connect(&SessionOptions::verification(1_000, 60_000));
        assert!(ours.is_pooled(), "{settings}");
        let mut show =
            |name: &str| ours.query(&format!("SHOW {name}")).unwrap()[0].text(0).unwrap().to_owned();
        let shown = ["row_security", "search_path", "DateStyle", "statement_timeout"].map(&mut show);
        assert_eq!(shown, ["off", "\"\"", "ISO, YMD", "1min"], "{settings}");
        // Also beside values, which need a message of their own.
        let setting = "SELECT pg_catalog.current_setting($1)";
        let mut ask = |name: &str| ours.query_with(setting, &[(&name, Type::TEXT)]);
        assert_eq!(ask("statement_timeout").unwrap()[0].get(0), Some("1min"), "{settings}");
        assert_eq!(ask("no such").unwrap_err().sqlstate(), Some("42704"), "{settings}");
        assert_eq!(ours.transaction_status(), b'I', "{settings}");
        drop(ours);
        let mut others = pooler.connect(&SessionOptions::new());
        let mut show =
            |name: &str| others.query(&format!("SHOW {name}")).unwrap()[0].text(0).unwrap().to_owned();
        let shown =
            ["row_security", "search_path", "statement_timeout", "idle_session_timeout"].map(&mut show);
        assert_eq!(shown, ["on", "\"$user\", public", "0", "0"], "{settings}");
    }
    let mut direct = Settings::parse(&server.conninfo("shop"), &Environment::default())
        .and_then(|settings| Connection::open(&settings, &SessionOptions::new()))
        .unwrap();
    assert!(!direct.is_pooled() && direct.query("SELECT 1").is_ok());
}

#[test]
fn a_pool_that_is_too_small_or_does_not_fit_is_named() {
    let server = shop();
    let directory = tempfile::tempdir().unwrap();
    let capture = |pooler: &PgBouncer| {
        run(directory.path(), &["capture", &pooler.conninfo("connect_timeout=2"), "-o", "m", "--force"])
    };
    for (size, passes) in [(1, false), (2, false), (3, true)] {
        let pooler =
            PgBouncer::start(&server, &format!("pool_mode = transaction\ndefault_pool_size = {size}"));
        let began = Instant::now();
        let captured = capture(&pooler);
        if passes {
            assert_eq!(captured.status, Some(0), "{captured:?}");
            let backup = ["backup", "--name", "b", "--store", "store", &pooler.conninfo("")];
            let refused = run(directory.path(), &backup);
            assert_eq!(refused.status, Some(2), "{refused:?}");
            assert!(refused.err.contains("that is a connection pooler"), "{}", refused.err);
            continue;
        }
        // One job may find the other's connection free again.
        if size == 2 && captured.status == Some(0) {
            continue;
        }
        assert_eq!(captured.status, Some(2), "{captured:?}");
        assert!(captured.err.contains("a pooler may have no free connection"), "{}", captured.err);
        assert!(captured.err.contains("hint: ") && captured.err.contains("--jobs"), "{}", captured.err);
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    }
    let pooler = PgBouncer::start(&server, "pool_mode = statement");
    let captured = capture(&pooler);
    assert_eq!(captured.status, Some(2), "{captured:?}");
    assert!(captured.err.contains("connection pooler (PgBouncer)"), "{}", captured.err);
}
