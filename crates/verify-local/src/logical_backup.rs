//! Dumps, each under the snapshot that its manifest was captured under.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use verify_core::capture::despite_conflicts;
use verify_core::database::Snapshot;
use verify_core::manifest::Manifest;
use verify_core::plan::{Mode, Plan};
use verify_core::postgres::{Postgres, Settings};

use super::concurrent::copy_and_capture;
use super::program::Program;
use super::survey::Survey;
use super::tree;
use verify_drill::backup_name::file_safe;
use verify_drill::watch::Watch;

/// Directory of the dumps in the directory of a backup.
pub(super) const DUMPS: &str = "dumps";
/// The file of roles.
pub(super) const GLOBALS: &str = "globals.sql";

/// Returns whether the backup in this directory holds the roles.
pub fn holds_globals(backup: &Path) -> bool {
    backup.join(GLOBALS).is_file()
}

/// Dumps the databases into `to`, one after the other, while they are captured.
pub(super) fn copy(survey: &Survey, plan: &Plan, to: &Path, watch: &Watch<'_>) -> Result<Vec<Manifest>> {
    let plan = plan.clone().with_mode(Mode::SharedSnapshot);
    let dumps = to.join(DUMPS);
    tree::create_directory(&dumps)?;
    let mut manifests = Vec::new();
    for database in &survey.databases {
        let on_event = |event| watch.event(event);
        let once = || dump(survey, database, &plan, &dumps, watch);
        manifests.push(despite_conflicts(once, conflicts, &on_event)?);
    }
    watch.step("dumping the roles with pg_dumpall")?;
    // Without them the owners in the dumps cannot be restored. Passwords and tablespaces are not needed for that.
    let args = ["--globals-only", "--no-role-passwords", "--no-tablespaces", "--no-password"];
    let program = Program::find("pg_dumpall", survey.server.major)?.connect(&survey.databases[0]).args(args);
    program.write_to(&to.join(GLOBALS))?.succeed(&watch.asked).context("failed to dump the roles")?;
    Ok(manifests)
}

/// Dumps one database while it is captured.
fn dump(
    survey: &Survey,
    database: &Settings,
    plan: &Plan,
    dumps: &Path,
    watch: &Watch<'_>,
) -> Result<Manifest> {
    watch.step(&format!("dumping {} with pg_dump", database.describe()))?;
    let snapshot = Postgres::new(database.clone()).or_standby().begin(plan, &|event| watch.event(event))?;
    // Its own name: a pooler may know it by another.
    let name = &snapshot.origin().source.database;
    let file = dumps.join(file_safe(name));
    // Of an attempt that a standby cancelled.
    let _ = fs::remove_dir_all(&file);
    let args = [
        "--format=directory".to_owned(),
        format!("--file={}", file.display()),
        format!("--jobs={}", plan.jobs),
        format!("--snapshot={}", snapshot.exported()),
        format!("--lock-wait-timeout={}", plan.limits.lock_timeout_ms),
        "--no-password".to_owned(),
    ];
    let program = Program::find("pg_dump", survey.server.major)?.connect(database).args(args);
    let copy = |stop: &dyn Fn() -> bool| {
        program.succeed(stop).with_context(|| format!("failed to dump {}", database.describe()))
    };
    let manifests = copy_and_capture(database, &[snapshot], plan, watch, copy)?;
    manifests.into_iter().next().context("failed to capture: no manifest was made")
}

/// Returns whether a standby cancelled the capture or the dump for its recovery.
fn conflicts(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| match cause.downcast_ref::<verify_core::Error>() {
        Some(error) => error.is_recovery_conflict(),
        // pg_dump reports no SQLSTATE.
        None => cause.to_string().contains("conflict with recovery"),
    })
}
