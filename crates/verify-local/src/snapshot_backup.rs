//! A snapshot of the server's volumes, which a command of the user takes while no session can write, and the manifests of that moment.

use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};
use verify_core::plan::Plan;
use verify_core::postgres::Fence;
use verify_drill::backup_name::BackupName;
use verify_drill::hint::Hinted;
use verify_drill::watch::Watch;

use super::concurrent::copy_and_capture;
use super::physical_backup::Captured;
use super::program::{Ended, Program};
use super::survey::Survey;
use super::tools::Command;

/// Time that the command has.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(10);

/// Has the command take a snapshot behind a fence, and captures the databases as of that moment.
pub(super) fn take(
    survey: &Survey,
    name: &BackupName,
    command: Option<&Command>,
    plan: &Plan,
    watch: &Watch<'_>,
) -> Result<Vec<Captured>> {
    let Some(program) = command.and_then(|command| command.snapshot(name)) else {
        let text = "failed to take a snapshot of the volume: the configuration has no command for it";
        let hint = "add `snapshot`, a program and its arguments, to [tools.command] of state-lab.toml; see docs/tools.md";
        return Err(Hinted::new(text, hint).into());
    };
    if survey.is_standby {
        bail!(
            "failed to take a snapshot of the volume: the server is a standby; name its primary, or use --method physical"
        );
    }
    let on_event = |event| watch.event(event);
    watch.step("keeping writers out of all tables")?;
    let fence = Fence::begin(&survey.databases, plan, &on_event)?;
    let began = Instant::now();
    let taken = run(program, began, watch);
    let snapshots = fence.end(&on_event);
    let stood = began.elapsed();
    taken?;
    let snapshots = snapshots.with_context(|| {
        format!(
            "failed to back up: the command took the snapshot {name}, which cannot be verified: remove it"
        )
    })?;
    watch.step(&format!("the snapshot was taken in {:.2} s, and writers go on", stood.as_secs_f64()))?;
    let manifests = copy_and_capture(&survey.databases[0], &snapshots, plan, watch, |_| Ok(()));
    let manifests = manifests
        .with_context(|| format!("failed to capture the databases as of the snapshot {name}: remove it"))?;
    Ok(manifests.into_iter().map(|manifest| Captured { manifest, unproven: None }).collect())
}

/// Runs the command within its time.
fn run(program: Program, began: Instant, watch: &Watch<'_>) -> Result<()> {
    let late = || began.elapsed() >= SNAPSHOT_TIMEOUT;
    match program.run(&|| (watch.asked)() || late()) {
        Ok(ended) if ended.status.success() => Ok(()),
        Ok(ended) => Err(failed(&ended)),
        Err(_) if late() && !(watch.asked)() => {
            let text = format!(
                "failed to take a snapshot of the volume: the command did not end within {} s, in which nobody could write",
                SNAPSHOT_TIMEOUT.as_secs()
            );
            let hint = "use a storage system whose snapshots are instant, or --method physical, for which writers do not wait";
            Err(Hinted::new(text, hint).into())
        }
        Err(error) => Err(error),
    }
}

fn failed(ended: &Ended) -> Error {
    anyhow::anyhow!("failed to take a snapshot of the volume ({}): {}", ended.status, ended.messages())
}
