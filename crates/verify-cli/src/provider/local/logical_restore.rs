//! Loading dumps into a fresh server.

use anyhow::{Context, Result, bail};
use verify_core::compare::NotCovered;
use verify_core::plan::Plan;
use verify_core::postgres::{Postgres, Settings};
use verify_core::timeline::Milestone;
use verify_core::verify;

use super::logical_backup::{DUMPS, GLOBALS};
use super::name::file_safe;
use super::physical_restore::BroughtUp;
use super::program::Program;
use super::recovery::{self, Stopwatch};
use super::store::StoredBackup;
use super::survey::connect;
use crate::provider::Watch;
use crate::scratch::Scratch;
use crate::server::{InitOptions, Installation, Server, StartOptions};

/// The superuser of the fresh server.
const ROLE: &str = "postgres";
/// The database to connect to for creating others.
const MAINTENANCE: &str = "template1";

pub(super) fn restore(
    backup: &StoredBackup,
    scratch: &Scratch,
    plan: &Plan,
    stopwatch: &mut Stopwatch,
    watch: &Watch<'_>,
) -> Result<BroughtUp> {
    let installation = installation(backup)?;
    watch.step("creating a fresh server")?;
    let data = scratch.path().join("data");
    Server::init(&installation, &data, &InitOptions::default())?;
    let options = StartOptions { asked: watch.asked, ..StartOptions::in_directory(scratch.path()) };
    // What a dump holds was committed long ago; autovacuum would only compete with the load.
    let options = options.set("autovacuum", "off").set("max_locks_per_transaction", "1024");
    let server = Server::start(&installation, &data, &options)?;
    stopwatch.reach(Milestone::Fetched);
    watch.step("creating the roles")?;
    let maintenance = recovery::settings(&server, ROLE, MAINTENANCE)?;
    let roles = create_roles(backup, &maintenance, watch)?;
    for database in &backup.record.databases {
        watch.step(&format!("loading {} with pg_restore", database.name))?;
        load(backup, &database.name, plan, &maintenance, watch)?;
    }
    stopwatch.reach(Milestone::Recovered);
    stopwatch.reach(Milestone::Ready);
    let databases = backup.record.databases.iter();
    let databases = databases.map(|database| recovery::settings(&server, ROLE, &database.name));
    let databases = databases.collect::<Result<Vec<Settings>>>()?;
    let mut comparisons = Vec::new();
    for (manifest, settings) in backup.manifests.iter().zip(&databases) {
        watch.step(&format!("comparing every row of {}", settings.database()))?;
        let on_event = |event| watch.event(event);
        let mut comparison = verify::verify(manifest, &Postgres::new(settings.clone()), plan, &on_event)
            .with_context(|| format!("failed to verify {}", settings.database()))?;
        comparison.coverage.not_covered.extend(roles.clone());
        comparisons.push(comparison);
    }
    stopwatch.reach(Milestone::Compared);
    let pulses = recovery::pulses(&databases)?;
    Ok(BroughtUp { server, databases, comparisons, pulses })
}

/// Creates the roles, and says which statements failed: that there is a role of our superuser's name is no failure.
fn create_roles(
    backup: &StoredBackup,
    maintenance: &Settings,
    watch: &Watch<'_>,
) -> Result<Option<NotCovered>> {
    let file = format!("--file={}", backup.path.join(GLOBALS).display());
    let program = Program::find("psql", backup.record.server.major)?;
    let args = ["--no-psqlrc", "--quiet", "--no-password", &file];
    let ended = program.connect(maintenance).args(args).run(&watch.asked)?;
    let expected = format!("role \"{ROLE}\" already exists");
    let errors: Vec<&str> =
        ended.said.lines().filter(|line| line.contains("ERROR") && !line.contains(&expected)).collect();
    if !ended.status.success() {
        bail!("failed to create the roles: psql ended with {}: {}", ended.status, ended.told());
    }
    let gap = || NotCovered { object: "roles".to_owned(), reason: errors.join("; ") };
    Ok((!errors.is_empty()).then(gap))
}

/// Creates a database as it was on the source, and loads its dump.
fn load(
    backup: &StoredBackup,
    database: &str,
    plan: &Plan,
    maintenance: &Settings,
    watch: &Watch<'_>,
) -> Result<()> {
    if database == "postgres" {
        // The fresh one has our encoding and locale, not the source's.
        connect(maintenance)?.execute("DROP DATABASE postgres")?;
    }
    let dump = backup.path.join(DUMPS).join(file_safe(database));
    let mut args =
        vec!["--exit-on-error".to_owned(), "--no-tablespaces".to_owned(), "--no-password".to_owned()];
    args.push(format!("--jobs={}", plan.jobs));
    args.push(format!("--dbname={MAINTENANCE}"));
    if database != MAINTENANCE {
        args.push("--create".to_owned());
    }
    args.push(dump.to_string_lossy().into_owned());
    let program = Program::find("pg_restore", backup.record.copied_by)?.connect(maintenance);
    program.args(args).succeed(&watch.asked).with_context(|| format!("failed to load {database}"))
}

/// The server to load into: a `pg_restore` reads no dump of a newer `pg_dump`, and serves no older server.
fn installation(backup: &StoredBackup) -> Result<Installation> {
    let major = Program::find("pg_restore", backup.record.copied_by)?.major().max(backup.record.server.major);
    let installed = Installation::find_all().into_iter().filter(|installed| installed.major >= major);
    match installed.min_by_key(|installed| installed.major) {
        Some(installation) => Ok(installation),
        None => Installation::of_major(major),
    }
}
