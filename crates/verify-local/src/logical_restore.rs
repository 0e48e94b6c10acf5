//! Loading dumps into a fresh server.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use verify_core::not_covered::{Check, NotCovered};
use verify_core::plan::Plan;
use verify_core::postgres::constraints::SourceRows;
use verify_core::postgres::{Postgres, Settings};
use verify_core::timeline::Milestone;

use super::durability::{self, Restartable};
use super::logical_backup::{DUMPS, GLOBALS};
use super::physical_restore::BroughtUp;
use super::program::Program;
use super::recovery::{self, Stopwatch};
use super::store::StoredBackup;
use super::survey::connect;
use super::{checks, self_test, session};
use crate::scratch::Scratch;
use crate::server::{InitOptions, Installation, Server, StartOptions};
use verify_drill::backup_name::file_safe;
use verify_drill::hint::Hinted;
use verify_drill::watch::Watch;

/// The database to connect to for creating others.
const MAINTENANCE: &str = "template1";

pub(super) fn restore(
    backup: &StoredBackup,
    scratch: &Scratch,
    plan: &Plan,
    stopwatch: &mut Stopwatch,
    watch: &Watch<'_>,
) -> Result<BroughtUp> {
    let plan = &plan.clone().of_own_restore();
    watch.step("creating a new server")?;
    let options = start_options(backup, scratch, watch);
    let mut server = FreshServer::create(backup, scratch, watch)?.start(&options)?;
    stopwatch.reach(Milestone::Fetched);
    watch.step("creating the roles")?;
    let role = &backup.record.server.superuser;
    let maintenance = session::settings(&server, role, MAINTENANCE)?;
    let roles = create_roles(backup, &maintenance, watch)?;
    for database in &backup.record.databases {
        watch.step(&format!("loading {} with pg_restore", database.name))?;
        load_in_parallel(backup, &database.name, &maintenance, plan, watch)?;
    }
    stopwatch.reach(Milestone::Recovered);
    stopwatch.reach(Milestone::Ready);
    let databases = backup.record.databases.iter();
    let databases = databases.map(|database| session::settings(&server, role, &database.name));
    let databases = databases.collect::<Result<Vec<Settings>>>()?;
    let mut comparisons = Vec::new();
    for (manifest, settings) in backup.manifests.iter().zip(&databases) {
        watch.step(&format!("comparing every row of {}", settings.database()))?;
        let on_event = |event| watch.event(event);
        let mut comparison =
            checks::compare(manifest, &Postgres::new(settings.clone()), settings, plan, &on_event)
                .with_context(|| format!("failed to verify {}", settings.database()))?;
        comparison.not_covered(roles.clone());
        comparisons.push(comparison);
    }
    stopwatch.reach(Milestone::Compared);
    let pulses = recovery::pulses(&databases)?;
    stopwatch.reach(Milestone::Verified);
    let rows = durability::before(&databases, &backup.manifests, &comparisons, plan, watch)?;
    for ((comparison, manifest), settings) in comparisons.iter_mut().zip(&backup.manifests).zip(&databases) {
        let source = SourceRows { tables: comparison.equal_tables(manifest), snapshot: None };
        let copy = checks::Copy { settings, source, sound: true };
        let on_event = |event| watch.event(event);
        checks::check_copy(comparison, &copy, plan, &on_event, &|text| watch.step(text))?;
    }
    let restartable = Restartable { server: &mut server, options: &options };
    if durability::check(restartable, &databases, &rows, &mut comparisons, plan, watch)? {
        let on_event = |event| watch.event(event);
        for (comparison, settings) in comparisons.iter_mut().zip(&databases) {
            self_test::run(comparison, settings, plan, &on_event, &|text| watch.step(text))?;
        }
    }
    Ok(BroughtUp { replayed: String::new(), server, databases, comparisons, pulses })
}

/// Restores the roles and all definitions, without rows, to a server of its own that is then removed.
///
/// # Errors
///
/// If the backup could not be restored on this machine. Without the means to try nothing is known, which is reported.
pub(super) fn rehearse(backup: &StoredBackup, watch: &Watch<'_>) -> Result<()> {
    watch.step("restoring the definitions, to check that they can be restored")?;
    let scratch = Scratch::create("rehearsal")?;
    let server = match FreshServer::create(backup, &scratch, watch) {
        Ok(server) => server,
        Err(error) if (watch.asked)() => return Err(error),
        Err(error) => {
            watch.report(&format!("could not check that the dumps can be restored: {error:#}"));
            return Ok(());
        }
    };
    let restored = restore_definitions(backup, server, &scratch, watch);
    restored.map_err(|error| match (watch.asked)() {
        true => error,
        false => Hinted::new(
            "failed to restore the dumps: they are not restorable, and have been removed",
            "install what is missing on this machine (an extension's package, a locale, a library), or change it on the \
             source; `--method physical` copies the server's files instead",
        )
        .because(error)
        .into(),
    })
}

fn restore_definitions(
    backup: &StoredBackup,
    server: FreshServer,
    scratch: &Scratch,
    watch: &Watch<'_>,
) -> Result<()> {
    let server = server.start(&start_options(backup, scratch, watch))?;
    let maintenance = session::settings(&server, &backup.record.server.superuser, MAINTENANCE)?;
    if let Some(NotCovered { reason, .. }) = create_roles(backup, &maintenance, watch)? {
        watch.report(&format!("not all of the roles can be restored: {reason}"));
    }
    let definitions = ["--schema-only".to_owned()];
    let mut databases = backup.record.databases.iter();
    databases.try_for_each(|database| load(backup, &database.name, &maintenance, &definitions, watch))
}

/// An empty server, not started yet.
struct FreshServer {
    installation: Installation,
    data: PathBuf,
}

impl FreshServer {
    fn create(backup: &StoredBackup, scratch: &Scratch, watch: &Watch<'_>) -> Result<Self> {
        let installation = installation(backup)?;
        let data = scratch.path().join("data");
        // The roles that the source's superuser granted name it as the grantor.
        let superuser = backup.record.server.superuser.clone();
        let options = InitOptions { superuser, asked: watch.asked, ..InitOptions::default() };
        Server::init(&installation, &data, &options)?;
        Ok(Self { installation, data })
    }

    fn start(self, options: &StartOptions) -> Result<Server> {
        Server::start(&self.installation, &self.data, options)
    }
}

fn start_options(backup: &StoredBackup, scratch: &Scratch, watch: &Watch<'_>) -> StartOptions {
    let options = StartOptions { asked: watch.asked, ..StartOptions::in_directory(scratch.path()) };
    // What a dump holds was committed long ago; autovacuum would only compete with the load.
    let options = options.set("autovacuum", "off").set("max_locks_per_transaction", "1024");
    let options = options.set("max_logical_replication_workers", "0");
    let preloading = &backup.record.server.preloading;
    let options = preloading.iter().fold(options, |options, (name, value)| options.set(name, value));
    // Without background workers no preloaded library runs jobs or connects anywhere.
    if preloading.is_empty() { options } else { options.set("max_worker_processes", "0") }
}

/// Creates the roles, and says which statements failed: that the superuser exists already is not a failure.
fn create_roles(
    backup: &StoredBackup,
    maintenance: &Settings,
    watch: &Watch<'_>,
) -> Result<Option<NotCovered>> {
    let file = format!("--file={}", backup.path.join(GLOBALS).display());
    let program = Program::find("psql", backup.record.server.major)?;
    let args = ["--no-psqlrc", "--quiet", "--no-password", &file];
    let ended = program.connect(maintenance).args(args).run(&watch.asked)?;
    let expected = format!("role \"{}\" already exists", backup.record.server.superuser);
    let errors: Vec<&str> =
        ended.said.lines().filter(|line| line.contains("ERROR") && !line.contains(&expected)).collect();
    if !ended.status.success() {
        bail!("failed to create the roles: psql exited with {}: {}", ended.status, ended.messages());
    }
    let gap = || NotCovered::new(Check::Roles, "roles", errors.join("; "));
    Ok((!errors.is_empty()).then(gap))
}

/// Loads a dump with several connections. `pg_restore` can deadlock with itself then, between the tables of an inheritance or partition
/// tree, and is run once more with one.
fn load_in_parallel(
    backup: &StoredBackup,
    database: &str,
    maintenance: &Settings,
    plan: &Plan,
    watch: &Watch<'_>,
) -> Result<()> {
    match load(backup, database, maintenance, &[format!("--jobs={}", plan.jobs)], watch) {
        Err(error) if database != MAINTENANCE && format!("{error:#}").contains("deadlock detected") => {
            watch.step(&format!(
                "loading {database} again with one connection: pg_restore's own blocked each other"
            ))?;
            let again = ["--clean", "--if-exists"].map(str::to_owned);
            load(backup, database, maintenance, &again, watch)
        }
        loaded => loaded,
    }
}

/// Creates a database as it was on the source, and loads its dump.
fn load(
    backup: &StoredBackup,
    database: &str,
    maintenance: &Settings,
    more: &[String],
    watch: &Watch<'_>,
) -> Result<()> {
    if database == "postgres" {
        // The fresh one has our encoding and locale, not the source's.
        connect(maintenance)?.execute("DROP DATABASE IF EXISTS postgres")?;
    }
    let dump = backup.path.join(DUMPS).join(file_safe(database));
    let mut args =
        vec!["--exit-on-error".to_owned(), "--no-tablespaces".to_owned(), "--no-password".to_owned()];
    args.extend_from_slice(more);
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
