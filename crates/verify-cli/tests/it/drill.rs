//! A source under load, a store, and runs of `state-lab` on them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fixtures::{TestServer, majors};
use rustix::process::{Pid, Signal, kill_process};
use verify_core::postgres::{Connection, Environment, SessionOptions, Settings, heartbeat};

use crate::program::{RunResult, outcome, state_lab};

const SCHEMA: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL, note text);
    INSERT INTO accounts SELECT i, 1000, repeat('x', i % 50) FROM generate_series(1, 20000) i;
    CREATE TABLE ledger (id bigserial PRIMARY KEY, account int, amount int);
    CREATE ROLE app NOLOGIN; ALTER TABLE ledger OWNER TO app;
    VACUUM ANALYZE;";

/// Updates, inserts and deletes, with some transactions rolled back in part.
const LOAD: &str = "
    DO $$ BEGIN
        UPDATE accounts SET balance = balance + 1 WHERE id % 997 = (random() * 996)::int;
        INSERT INTO ledger (account, amount) SELECT i, 1 FROM generate_series(1, 20) i;
        DELETE FROM ledger WHERE id % 50 = (random() * 49)::int;
        BEGIN
            INSERT INTO ledger (account, amount) VALUES (1, -1);
            RAISE division_by_zero;
        EXCEPTION WHEN division_by_zero THEN NULL; END;
    END $$;";

/// A source with the database `shop`, and a directory with its store.
pub(crate) struct Drill {
    pub(crate) source: TestServer,
    directory: tempfile::TempDir,
    /// PATH with programs of versions that are not installed on this machine.
    path: String,
}

impl Drill {
    pub(crate) fn new(major: u32) -> Self {
        Self::with_settings(major, &[("autovacuum_naptime", "1s")])
    }

    pub(crate) fn with_settings(major: u32, settings: &[(&str, &str)]) -> Self {
        let installation = majors::installation(major).unwrap();
        let source = TestServer::start(&installation, settings).unwrap();
        source.create_database("shop").unwrap();
        source.psql("shop", SCHEMA).unwrap();
        let directory = tempfile::tempdir().unwrap();
        // The user that servers run as has to get through.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut dirs = vec![installation.bin.clone()];
        if installation.program("pg_basebackup").is_err() {
            dirs.push(majors::client_programs(18).unwrap());
        } else if let Ok(program) = installation.program("pg_dump") {
            dirs.extend(program.parent().map(Path::to_owned));
        }
        let dirs: Vec<String> = dirs.iter().map(|dir| dir.to_string_lossy().into_owned()).collect();
        Self { source, directory, path: dirs.join(":") }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.directory().join("store")
    }

    /// A run of the program, with a temporary directory of its own.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = state_lab(self.directory());
        command.env("TMPDIR", self.directory()).env("PATH", &self.path).args(arguments);
        command.arg("--store").arg(self.store());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> RunResult {
        outcome(&self.command(arguments).output().unwrap())
    }

    /// Backs up `shop`, which must succeed.
    pub(crate) fn back_up(&self, name: &str, method: &str) -> RunResult {
        let shop = self.source.conninfo("shop");
        let outcome = self.run(&["backup", "--name", name, "--method", method, &shop]);
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        assert!(outcome.out.starts_with("backup_status: success\n"), "{}", outcome.out);
        outcome
    }

    /// Starts a run, and waits until `begun` holds.
    pub(crate) fn start(&self, arguments: &[&str], begun: impl Fn() -> bool) -> Child {
        let mut child = self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !begun() {
            assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "it did not begin");
            thread::sleep(Duration::from_millis(1));
        }
        child
    }

    /// Returns leftovers of runs: incomplete backups in the store, and entries of the temporary directory.
    pub(crate) fn left(&self) -> Vec<PathBuf> {
        let hidden = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with('.');
        let scratch = self.directory().join(format!("state-lab-{}", rustix::process::geteuid().as_raw()));
        let mut left: Vec<PathBuf> = list(&self.store()).into_iter().filter(hidden).collect();
        left.extend(list(&scratch));
        left
    }

    /// Installs the heartbeat in a database, and writes one row.
    pub(crate) fn beat(&self, database: &str) {
        let settings = Settings::parse(&self.source.conninfo(database), &Environment::default()).unwrap();
        let mut session = Connection::open(&settings, &SessionOptions::new()).unwrap();
        heartbeat::install(&mut session).unwrap();
        heartbeat::beat(&mut session, "test", 1_000).unwrap();
    }

    /// Runs `work` while the source is written to.
    pub(crate) fn under_load<T>(&self, databases: &[&str], work: impl FnOnce() -> T) -> T {
        let done = AtomicBool::new(false);
        let done = &done;
        thread::scope(|scope| {
            for database in databases {
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        self.source.psql(database, LOAD).unwrap();
                    }
                });
            }
            let guard = Done(done);
            let result = work();
            drop(guard);
            result
        })
    }
}

/// Ends the load also when the work panics.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The entries of a directory, which need not be there.
pub(crate) fn list(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
}
