//! A server that archives its WAL, a base backup of it, and restores to points in time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use fixtures::{TestServer, majors};
use verify_core::capture::capture;
use verify_core::finding::{Code, Finding};
use verify_core::manifest::Manifest;
use verify_core::not_covered::Check;
use verify_core::plan::Plan;
use verify_core::postgres::{Connection, Environment, Postgres, SessionOptions, Settings, heartbeat};
use verify_core::report::Objectives;
use verify_drill::hint::Hinted;
use verify_drill::provider::{BackupRequest, RestoreRequest};
use verify_drill::watch::Watch;
use verify_local::server::InitOptions;
use verify_local::wal_archive::ArchiveDirectory;
use verify_local::{LocalProvider, PointInTime, RecoveryTarget, Restored, Store, restore_to};

pub(crate) const DATABASE: &str = "shop";

const SCHEMA: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL, note text);
    INSERT INTO accounts SELECT i, 1000, repeat('x', i % 50) FROM generate_series(1, 2000) i;
    CREATE TABLE ledger (id bigserial PRIMARY KEY, account int, amount int);
    CREATE SEQUENCE plain;";

/// A source with the database `shop`, its archive, and a base backup `b`.
pub(crate) struct Archived {
    pub(crate) source: TestServer,
    store: Store,
}

impl Archived {
    pub(crate) fn new(major: u32) -> Self {
        Self::with_settings(major, &[])
    }

    pub(crate) fn with_settings(major: u32, further: &[(&str, &str)]) -> Self {
        let mut settings = vec![
            ("archive_mode", "on"),
            ("archive_command", "cp %p ../wal/%f"),
            ("autovacuum_naptime", "1s"),
            ("max_wal_size", "64MB"),
            ("min_wal_size", "32MB"),
            ("track_commit_timestamp", "on"),
        ];
        settings.extend(further);
        let source = TestServer::start(&majors::installation(major).unwrap(), &settings).unwrap();
        Self::of(source)
    }

    /// The same with a system identifier of its own.
    pub(crate) fn with_new_cluster() -> Self {
        let settings = [("archive_mode", "on"), ("archive_command", "cp %p ../wal/%f")];
        let installation = majors::installation(15).unwrap();
        Self::of(TestServer::initdb(&installation, &InitOptions::default(), &settings).unwrap())
    }

    fn of(source: TestServer) -> Self {
        verify_local::server::create_server_dir(&source.directory().join("wal")).unwrap();
        source.create_database(DATABASE).unwrap();
        source.psql(DATABASE, SCHEMA).unwrap();
        let store = Store::open(&source.directory().join("store")).unwrap();
        let archived = Self { source, store };
        let mut session = Connection::open(&archived.settings(), &SessionOptions::new()).unwrap();
        heartbeat::install(&mut session).unwrap();
        heartbeat::beat(&mut session, "test", 1_000).unwrap();
        let provider = LocalProvider {
            store: archived.store.clone(),
            databases: vec![archived.settings()],
            point_in_time: None,
            command: None,
        };
        let request = BackupRequest {
            name: "b".parse().unwrap(),
            method: Some("physical".to_owned()),
            plan: Plan::default(),
        };
        verify_local::backup(&provider, &request, &Watch::silent()).unwrap();
        archived
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::parse(&self.source.conninfo(DATABASE), &Environment::default()).unwrap()
    }

    pub(crate) fn wal(&self) -> PathBuf {
        self.source.directory().join("wal")
    }

    pub(crate) fn psql(&self, sql: &str) -> String {
        self.source.psql(DATABASE, sql).unwrap()
    }

    /// Completes the current segment, and waits until it is archived; its name.
    pub(crate) fn archive(&self) -> String {
        self.psql("CHECKPOINT");
        self.source.archive_wal().unwrap()
    }

    pub(crate) fn capture(&self) -> Manifest {
        capture(&Postgres::new(self.settings()), &Plan::default(), &|_| std::ops::ControlFlow::Continue(()))
            .unwrap()
    }

    /// Restores with all checks of rows, sequences and definitions, and without those that read the copy once more.
    pub(crate) fn restore(&self, target: RecoveryTarget) -> Result<Restored> {
        self.restore_from(&self.wal(), target, None)
    }

    pub(crate) fn restore_from(
        &self,
        wal: &Path,
        target: RecoveryTarget,
        timeline: Option<u32>,
    ) -> Result<Restored> {
        let skipped =
            [Check::Durability, Check::Constraints, Check::IndexContents, Check::Heap, Check::Visibility];
        self.restore_with(Plan::default().without(skipped), wal, target, timeline)
    }

    pub(crate) fn restore_with(
        &self,
        plan: Plan,
        wal: &Path,
        target: RecoveryTarget,
        timeline: Option<u32>,
    ) -> Result<Restored> {
        let request = RestoreRequest {
            name: "b".parse().unwrap(),
            plan,
            objectives: Objectives::default(),
            incident: None,
            keep: false,
        };
        let point = PointInTime { archive: Arc::new(ArchiveDirectory::open(wal)?), target, timeline };
        restore_to(&self.store, &request, Some(&point), &Watch::silent())
    }

    /// A copy of the archive, without what `keep` refuses.
    pub(crate) fn copy_of_wal(&self, name: &str, keep: impl Fn(&str) -> bool) -> PathBuf {
        let to = self.source.directory().join(name);
        verify_local::server::create_server_dir(&to).unwrap();
        for entry in fs::read_dir(self.wal()).unwrap() {
            let entry = entry.unwrap();
            let file = entry.file_name().into_string().unwrap();
            if keep(&file) {
                let to = to.join(&file);
                fs::copy(entry.path(), &to).unwrap();
                verify_local::server::give_to_server_user(&to).unwrap();
            }
        }
        to
    }
}

/// What a query of the restored server prints.
pub(crate) fn query(restored: &Restored, sql: &str) -> String {
    let rows = Connection::open(&restored.databases[0], &SessionOptions::new()).unwrap().query(sql).unwrap();
    rows[0].text(0).unwrap().to_owned()
}

/// An error and its hint.
pub(crate) fn refusal(result: Result<Restored>) -> String {
    let error = match result {
        Ok(restored) => panic!("{:?}", restored.reports),
        Err(error) => error,
    };
    let hint = error.chain().find_map(|cause| cause.downcast_ref::<Hinted>().map(Hinted::hint));
    format!("{error:#}\nhint: {}", hint.unwrap_or("none"))
}

pub(crate) fn codes(restored: &Restored) -> Vec<Code> {
    restored.reports[0].comparison().findings().iter().map(Finding::code).collect()
}
