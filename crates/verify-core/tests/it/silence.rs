//! No false alarm: random databases, restored cleanly by every way, are silent under all checks.
//!
//! `STATE_LAB_SEEDS` is the number of databases of each pair of versions; each is restored five times.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use fixtures::TestServer;
use verify_core::capture::{capture_snapshot, complete};
use verify_core::compare::Comparison;
use verify_core::event;
use verify_core::finding::{Code, Finding, Severity};
use verify_core::manifest::Manifest;
use verify_core::plan::Plan;
use verify_core::postgres::constraints::SourceRows;
use verify_core::postgres::{Environment, Postgres, Settings};
use verify_core::report::Objectives;
use verify_drill::provider::{BackupRequest, RestoreRequest};
use verify_drill::watch::Watch;
use verify_local::server::{Installation, Stop, client_program};
use verify_local::{Copy, LocalProvider, Store};

use crate::definitions::{ROLES, random};
use crate::dump::{program, run};
use crate::measure::postgres;
use crate::obstacles::connection;

/// Databases of one server, which its backups hold together.
const DATABASES: u64 = 5;
/// Number of databases that each pair of versions is tried with.
const SEEDS: u64 = 5;

/// What a way of restoring may find although nothing is wrong.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    /// Unlogged tables are empty.
    crash_like: bool,
    /// The restored server may have newer versions of extensions.
    newer: bool,
}

impl Way {
    fn expects(self, finding: &Finding) -> bool {
        match finding.code() {
            Code::MatviewDiffers | Code::CloneDormant => finding.severity() == Severity::Notice,
            Code::UnloggedLost => self.crash_like,
            Code::CatalogDiffers => {
                self.newer
                    && finding.severity() == Severity::Notice
                    && finding.object.starts_with("extension ")
            }
            _ => false,
        }
    }
}

/// What was found that should not have been.
#[derive(Default)]
struct Alarms {
    restores: u64,
    accepted: usize,
    alarms: Vec<String>,
}

impl Alarms {
    fn judge(&mut self, way: Way, database: &str, comparison: &Comparison) {
        self.restores += 1;
        let unexpected = comparison.findings().iter().filter(|finding| !way.expects(finding));
        self.alarms.extend(unexpected.map(|finding| {
            let (severity, code) = (finding.severity(), finding.code());
            format!("{database}, {}: {severity:?} {code} {}: {}", way.name, finding.object, finding.message)
        }));
    }
}

/// All checks of a restored database.
fn checked(manifest: &Manifest, server: &TestServer, database: &str) -> Result<Comparison> {
    let settings = Settings::parse(&server.conninfo(database), &Environment::default())?;
    let plan = Plan::default();
    let restored = Postgres::new(settings.clone());
    let mut comparison = verify_local::compare(manifest, &restored, &settings, &plan, &event::ignore)?;
    let source = SourceRows { tables: comparison.equal_tables(manifest), snapshot: None };
    let copy = Copy { settings: &settings, source, sound: false };
    verify_local::check_copy(&mut comparison, &copy, &plan, &event::ignore, &|_| Ok(()))?;
    Ok(comparison)
}

/// Returns the number of statements that the server accepted.
fn create(server: &TestServer, database: &str, seed: u64) -> Result<usize> {
    server.create_database(database)?;
    let mut connection = connection(server, database)?;
    let statements = random::statements(seed);
    Ok(statements.iter().filter(|statement| connection.execute(statement).is_ok()).count())
}

/// Restores a dump in each format. A newer server refuses some dumps of an older one, and 13 some that pg_dump 15 takes of it.
fn dumps(source: &TestServer, database: &str, target: &TestServer, alarms: &mut Alarms) -> Result<()> {
    let snapshot = postgres(source, database)?.begin(&Plan::default(), &event::ignore)?;
    let formats = ["plain", "custom", "directory"];
    let path = |format| source.directory().join(format!("{database}.{format}"));
    for format in formats {
        run(Command::new(program("pg_dump", target.major())?)
            .args(["--no-sync", "--snapshot", snapshot.exported(), "--format", format, "--file"])
            .arg(path(format))
            .args(["-d", &source.conninfo(database)]))?;
    }
    let mut manifest = capture_snapshot(&snapshot, &Plan::default(), &event::ignore)?;
    complete(&snapshot, &mut manifest)?;
    drop(snapshot);
    for format in formats {
        let restored = format!("{database}_{format}");
        target.create_database(&restored)?;
        let conninfo = target.conninfo(&restored);
        let loaded = match format {
            "plain" => run(Command::new(program("psql", target.major())?)
                .args(["-q", "-X", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1", "-d", &conninfo, "-f"])
                .arg(path(format))),
            _ => run(Command::new(program("pg_restore", target.major())?)
                .args(["--exit-on-error", "-d", &conninfo])
                .arg(path(format))),
        };
        let newer = source.major() != target.major();
        if let Err(error) = loaded {
            ensure!(newer || target.major() < 15, "{database}, {format}: {error:#}");
            continue;
        }
        let way = Way { name: format, crash_like: false, newer };
        alarms.judge(way, database, &checked(&manifest, target, &restored)?);
        target.psql("postgres", &format!("DROP DATABASE {restored}"))?;
    }
    Ok(())
}

/// Backs the server up with state-lab itself, and restores it.
fn backup(
    server: &TestServer,
    databases: &[String],
    method: &'static str,
    alarms: &mut Alarms,
) -> Result<()> {
    let store = server.directory().join(method);
    let settings =
        databases.iter().map(|name| Settings::parse(&server.conninfo(name), &Environment::default()));
    let provider = LocalProvider {
        store: Store::open(&store)?,
        databases: settings.collect::<verify_core::Result<_>>()?,
        point_in_time: None,
        command: None,
    };
    let name: verify_drill::backup_name::BackupName = "silent".parse().map_err(anyhow::Error::msg)?;
    let request =
        BackupRequest { name: name.clone(), method: Some(method.to_owned()), plan: Plan::default() };
    verify_local::backup(&provider, &request, &Watch::silent())?;
    let request = RestoreRequest {
        name,
        plan: Plan::default(),
        objectives: Objectives::default(),
        incident: None,
        keep: false,
    };
    let restored = verify_local::restore(&provider.store, &request, &Watch::silent())?;
    let way = Way { name: method, crash_like: method == "physical", newer: false };
    ensure!(restored.reports.len() == databases.len(), "{} reports", restored.reports.len());
    for (report, database) in restored.reports.iter().zip(databases) {
        alarms.judge(way, database, report.comparison());
    }
    std::fs::remove_dir_all(&store).context("failed to remove the store")
}

/// Ends the server as a crash does; it recovers.
fn crash(server: &mut TestServer, databases: &[String], alarms: &mut Alarms) -> Result<()> {
    let captured = |database: &String| {
        let snapshot = postgres(server, database)?.begin(&Plan::default(), &event::ignore)?;
        let mut manifest = capture_snapshot(&snapshot, &Plan::default(), &event::ignore)?;
        complete(&snapshot, &mut manifest)?;
        Ok(manifest)
    };
    let manifests = databases.iter().map(captured).collect::<Result<Vec<_>>>()?;
    server.restart_after(Stop::Immediate, |_| Ok(()))?;
    let way = Way { name: "crash", crash_like: true, newer: false };
    for (database, manifest) in databases.iter().zip(&manifests) {
        alarms.judge(way, database, &checked(manifest, server, database)?);
    }
    Ok(())
}

fn clean_restores_are_silent(from: u32, to: u32) -> Result<()> {
    let seeds = std::env::var("STATE_LAB_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS);
    // Each pair of versions has its own databases.
    let first = u64::from(from * 100 + to) * 1_000_000;
    let mut alarms = Alarms::default();
    for batch in (0..seeds).collect::<Vec<_>>().chunks(DATABASES as usize) {
        let mut source = fixtures::server(from)?;
        source.psql("postgres", ROLES)?;
        let target = fixtures::server(to)?;
        target.psql("postgres", ROLES)?;
        let mut databases = Vec::new();
        for seed in batch {
            let database = format!("seed_{}", first + seed);
            alarms.accepted += create(&source, &database, first + seed)?;
            dumps(&source, &database, &target, &mut alarms)?;
            databases.push(database);
        }
        if from != to {
            continue;
        }
        // state-lab looks for the programs of the version on the PATH.
        if Installation::of_major(from).is_ok() && client_program("pg_basebackup", from).is_ok() {
            backup(&source, &databases, "physical", &mut alarms)?;
            backup(&source, &databases, "logical", &mut alarms)?;
        }
        crash(&mut source, &databases, &mut alarms)?;
    }
    println!("{from} to {to}: {} restores of databases {first} to {}", alarms.restores, first + seeds - 1);
    // Databases without objects would prove nothing.
    assert!(alarms.accepted > 20 * usize::try_from(seeds)?, "{} statements accepted", alarms.accepted);
    assert!(alarms.alarms.is_empty(), "{from} to {to}: {:#?}", alarms.alarms);
    Ok(())
}

#[test]
fn clean_restores_of_13_are_silent() -> Result<()> {
    clean_restores_are_silent(13, 13)
}

#[test]
fn clean_restores_of_15_are_silent() -> Result<()> {
    clean_restores_are_silent(15, 15)
}

#[test]
fn clean_restores_of_18_are_silent() -> Result<()> {
    clean_restores_are_silent(18, 18)
}

#[test]
fn clean_restores_of_dumps_of_13_in_18_are_silent() -> Result<()> {
    clean_restores_are_silent(13, 18)
}

#[test]
fn clean_restores_of_dumps_of_15_in_18_are_silent() -> Result<()> {
    clean_restores_are_silent(15, 18)
}
