//! Using a restored server, starting it again, and reading its rows once more.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use verify_core::capture::capture;
use verify_core::compare::Comparison;
use verify_core::event::OnEvent;
use verify_core::finding::Finding;
use verify_core::manifest::{Consistency, Manifest};
use verify_core::not_covered::Check;
use verify_core::plan::Plan;
use verify_core::postgres::durability::{self, Exercise};
use verify_core::postgres::{Postgres, Settings};
use verify_core::verify::verify;

use super::checks;
use crate::server::{Server, StartOptions, Wait};
use verify_drill::watch::Watch;

/// A server of this run, to start again as `options` say.
pub(super) struct Restartable<'a> {
    pub(super) server: &'a mut Server,
    pub(super) options: &'a StartOptions,
}

/// Uses a restored server, starts it again, and compares the rows of its databases with those from before. Returns whether the
/// server runs.
///
/// # Errors
///
/// If the server cannot be reached, or the caller wants to stop. A finding is not an error.
pub(super) fn check(
    restartable: Restartable<'_>,
    databases: &[Settings],
    rows: &[Before<'_>],
    comparisons: &mut [Comparison],
    plan: &Plan,
    watch: &Watch<'_>,
) -> Result<bool> {
    if !plan.runs(Check::Durability) {
        return Ok(true);
    }
    let began = Instant::now();
    let on_event = |event| watch.event(event);
    let step = |text: &str| watch.step(text);
    let mut exercise = Exercise::new(databases, plan.limits);
    watch.step("using the copy: transactions, a vacuum, a checkpoint")?;
    let mut findings: Vec<_> = exercise.run()?.into_iter().collect();
    let mut runs = true;
    if findings.is_empty() {
        watch.step("starting the copy again")?;
        let Restartable { server, options } = restartable;
        // Promoted, it needs no WAL from elsewhere. The list of what it looked for as a standby is still there.
        let options = StartOptions { wait: Wait::Ready, in_vain: |_, _| None, ..options.clone() };
        match server.restart(&options) {
            Ok(()) => findings.extend(exercise.look_back()?),
            Err(error) if (watch.asked)() => return Err(error),
            Err(error) => {
                runs = false;
                let cause = error.root_cause();
                findings.push(durability::failed("server", format!("it does not start again: {cause}")));
            }
        }
    }
    for ((before, comparison), settings) in rows.iter().zip(comparisons).zip(databases) {
        if runs {
            comparison.join(before.changed(comparison, settings, plan, &on_event, &step)?);
        }
        comparison.join(findings.clone());
        checks::note(comparison, &[Check::Durability], plan, before.took + began.elapsed());
    }
    if runs {
        exercise.finish().context("failed to remove what was written to the copy as a test")?;
    }
    Ok(runs)
}

/// Reason why the source's server is not used: it is in production.
const SOURCE: &str = "refused: the server has the source's system identifier, so that it is the source or a copy of its files, which cannot be \
     told from it; `restore` checks a copy that it has started itself";

/// The same for a server that is not this run's, hence is not started again.
///
/// # Errors
///
/// As for the restore's. What was written is removed in any case.
pub fn check_running(
    comparison: &mut Comparison,
    manifest: &Manifest,
    settings: &Settings,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<()> {
    let began = Instant::now();
    if checks::may_be_source_server(manifest, settings, plan, on_event)? {
        comparison.join([durability::unknown("server", SOURCE.to_owned())]);
        return Ok(());
    }
    let step = |_: &str| Ok(());
    let before = Before::read(manifest, comparison, settings, plan, on_event, &step)?;
    let databases = [settings.clone()];
    let mut exercise = Exercise::new(&databases, plan.limits);
    let used = exercise.run().and_then(|found| match found {
        None => exercise.look_back(),
        found => Ok(found),
    });
    let changed = match &used {
        Ok(None) => before.changed(comparison, settings, plan, on_event, &step),
        _ => Ok(Vec::new()),
    };
    // Also after a failure, and after Ctrl-C.
    let removed = exercise.finish();
    comparison.join(used?);
    comparison.join(changed?);
    removed.context("failed to remove what was written to the server as a test")?;
    checks::note(comparison, &[Check::Durability], plan, before.took + began.elapsed());
    Ok(())
}

/// The rows of a database before it is used.
pub(super) struct Before<'a> {
    manifest: Cow<'a, Manifest>,
    /// Duration of reading them.
    took: Duration,
}

/// Reads the rows of databases that take writes since now: whatever uses a transaction ID can already bring others.
///
/// # Errors
///
/// As for [`check`].
pub(super) fn before<'a>(
    databases: &[Settings],
    manifests: &'a [Manifest],
    comparisons: &[Comparison],
    plan: &Plan,
    watch: &Watch<'_>,
) -> Result<Vec<Before<'a>>> {
    if !plan.runs(Check::Durability) {
        return Ok(Vec::new());
    }
    let on_event = |event| watch.event(event);
    let step = |text: &str| watch.step(text);
    let read = |((manifest, comparison), settings): ((&'a Manifest, &Comparison), &Settings)| {
        Before::read(manifest, comparison, settings, plan, &on_event, &step)
    };
    manifests.iter().zip(comparisons).zip(databases).map(read).collect()
}

impl<'a> Before<'a> {
    /// Those of the manifest, if all of them were just found equal; otherwise they are read.
    fn read(
        manifest: &'a Manifest,
        comparison: &Comparison,
        settings: &Settings,
        plan: &Plan,
        on_event: OnEvent<'_>,
        step: &dyn Fn(&str) -> verify_core::Result<()>,
    ) -> Result<Self> {
        let began = Instant::now();
        // A copy as of a time-travel capture holds newer rows too.
        let consistency = &manifest.header.consistency;
        let now = !consistency.is_of_files() || matches!(consistency, Consistency::CommitOrder(_));
        if now && comparison.equal_tables(manifest).len() == manifest.tables.len() {
            return Ok(Self { manifest: Cow::Borrowed(manifest), took: Duration::ZERO });
        }
        step(&format!("reading every row of {} as it is now", settings.database()))?;
        let plan = rows_alone(plan).with_hash(manifest.header.hash);
        let manifest = capture(&Postgres::new(settings.clone()), &plan, on_event)
            .with_context(|| format!("failed to read {}", settings.database()))?;
        Ok(Self { manifest: Cow::Owned(manifest), took: began.elapsed() })
    }

    /// Findings of rows that are no longer as they were.
    fn changed(
        &self,
        known: &Comparison,
        settings: &Settings,
        plan: &Plan,
        on_event: OnEvent<'_>,
        step: &dyn Fn(&str) -> verify_core::Result<()>,
    ) -> Result<Vec<Finding>> {
        step(&format!("reading every row of {} again", settings.database()))?;
        let database = Postgres::new(settings.clone());
        let after = verify(&self.manifest, &database, &rows_alone(plan), on_event)
            .with_context(|| format!("failed to read {} again", settings.database()))?;
        Ok(durability::changed(&after, known))
    }
}

/// The plan with the rows as its only check.
fn rows_alone(plan: &Plan) -> Plan {
    let others = Check::SELECTABLE.into_iter().map(|(_, check)| check).filter(|check| *check != Check::Rows);
    plan.clone().with_invariants([]).without(others)
}
