//! The checks of a restored database, in order, each with its own time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use verify_core::compare::{Comparison, Ran};
use verify_core::cost::Cost;
use verify_core::database::{Database, Found};
use verify_core::event::OnEvent;
use verify_core::finding::{Code, Finding};
use verify_core::manifest::Manifest;
use verify_core::not_covered::{Check, NotCovered};
use verify_core::plan::Plan;
use verify_core::postgres::clone;
use verify_core::postgres::constraints::{self, Constraints, SourceRows};
use verify_core::postgres::integrity::{self, Integrity};
use verify_core::postgres::{PausedCopy, Postgres, Settings};
use verify_core::reuse::Reuse;
use verify_core::verify;

/// Checks that the comparison with the manifest makes.
const COMPARED: [Check; 5] =
    [Check::Rows, Check::Sequences, Check::Definitions, Check::Cluster, Check::Invariants];
/// Checks that amcheck and `pg_visibility` make.
const INTEGRITY: [Check; 3] = [Check::IndexContents, Check::Heap, Check::Visibility];

/// A restored database, and what is known of it.
pub struct Copy<'a> {
    /// The way to it.
    pub settings: &'a Settings,
    /// The rows that the comparison found equal to the source's.
    pub source: SourceRows,
    /// True if its files were compared with the server's own list, or its indexes have just been built: then it is no more than a
    /// gap if amcheck cannot check them.
    pub sound: bool,
}

/// Compares a restored database, to which `settings` lead too, with its manifest. Before that, looks for what it does to other systems.
///
/// # Errors
///
/// As for [`verify::verify`].
pub fn compare(
    manifest: &Manifest,
    database: &dyn Database,
    settings: &Settings,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> verify_core::Result<Comparison> {
    compare_reusing(manifest, database, settings, Reuse::Nothing, plan, on_event)
}

/// The same with measurements of the restored database that were made before.
///
/// # Errors
///
/// As for [`verify::verify_reusing`].
pub fn compare_reusing(
    manifest: &Manifest,
    database: &dyn Database,
    settings: &Settings,
    reuse: Reuse<'_>,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> verify_core::Result<Comparison> {
    after_clone_check(settings, plan, &COMPARED, || {
        verify::verify_reusing(manifest, database, reuse, plan, on_event)
    })
}

/// Checks a restored database of whose point in time there is no manifest.
///
/// # Errors
///
/// As for [`verify::without_manifest`].
pub(super) fn without_manifest(
    settings: &Settings,
    reason: &str,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> verify_core::Result<Comparison> {
    let database = PausedCopy::without_manifest(settings.clone());
    after_clone_check(settings, plan, &[Check::Invariants], || {
        verify::without_manifest(&database, plan, reason, on_event)
    })
}

/// Looks for what the copy does to other systems, then compares it by the checks of `compared`.
fn after_clone_check(
    settings: &Settings,
    plan: &Plan,
    compared: &[Check],
    compare: impl FnOnce() -> verify_core::Result<Comparison>,
) -> verify_core::Result<Comparison> {
    let began = Instant::now();
    let clone = clone::check(settings, plan)?;
    let cloned = began.elapsed();
    let began = Instant::now();
    let mut comparison = compare()?;
    // The source may act.
    if !is_source(&comparison) {
        note(&mut comparison, &[Check::Clone], plan, cloned);
        comparison.join(clone);
    }
    note(&mut comparison, compared, plan, began.elapsed());
    Ok(comparison)
}

fn is_source(comparison: &Comparison) -> bool {
    comparison.findings().iter().any(|finding| finding.code() == Code::SourceSameServer)
}

/// What the checks of a database will read, each of an object, in the order in which they run.
///
/// # Errors
///
/// If the server cannot be reached, or its catalogue cannot be read.
pub fn costs(
    database: &dyn Database,
    settings: &Settings,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> verify_core::Result<Vec<Cost>> {
    let mut costs = Vec::new();
    // Durability reads the rows once more.
    let reading = [Check::Rows, Check::Durability].into_iter().filter(|check| plan.runs(*check));
    let reading: Vec<Check> = reading.collect();
    if !reading.is_empty() {
        let snapshot = database.snapshot(plan, on_event)?;
        for check in reading {
            let cost = |found: &Found| Cost {
                check,
                object: found.table.name.to_string(),
                bytes: found.bytes_estimate,
            };
            costs.extend(snapshot.tables().iter().map(cost));
        }
    }
    if plan.runs(Check::Constraints) {
        costs.extend(constraints::costs(settings, plan)?);
    }
    costs.extend(integrity::costs(settings, plan)?);
    Ok(costs)
}

/// Returns whether the source may run on the server of `settings`, as far as the system identifier shows.
///
/// # Errors
///
/// If the server cannot be reached.
pub(super) fn may_be_source_server(
    manifest: &Manifest,
    settings: &Settings,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> verify_core::Result<bool> {
    let database = Postgres::new(settings.clone());
    let snapshot = database.snapshot(plan, on_event)?;
    Ok(snapshot.origin().source.may_be_server_of(&manifest.header.source))
}

/// Adds to a comparison what no comparison shows: rows that violate constraints, and damage in indexes, pages and visibility maps.
///
/// Nothing is done on the source itself. `step` is told what begins.
///
/// # Errors
///
/// If the server cannot be reached, or the caller wants to stop. A finding is not an error.
pub fn check_copy(
    comparison: &mut Comparison,
    copy: &Copy<'_>,
    plan: &Plan,
    on_event: OnEvent<'_>,
    step: &dyn Fn(&str) -> verify_core::Result<()>,
) -> Result<()> {
    let Copy { settings, source, sound } = copy;
    let database = settings.database();
    if is_source(comparison) {
        let checks = [Check::Constraints].into_iter().chain(INTEGRITY).filter(|check| plan.runs(*check));
        let gap = |check: Check| {
            NotCovered::new(
                check,
                check.name().unwrap_or_default(),
                "not checked: the database is the source itself",
            )
        };
        comparison.not_covered(checks.map(gap));
        return Ok(());
    }
    if plan.runs(Check::Constraints) {
        step(&format!("checking constraints of {database} against the rows"))?;
        let began = Instant::now();
        let Constraints { findings, not_covered } = constraints::check(settings, source, plan, on_event)
            .with_context(|| format!("failed to check constraints of {database}"))?;
        comparison.join(findings);
        comparison.not_covered(not_covered);
        note(comparison, &[Check::Constraints], plan, began.elapsed());
    }
    if INTEGRITY.iter().any(|check| plan.runs(*check)) {
        step(&format!("checking indexes and pages of {database} with amcheck"))?;
        let began = Instant::now();
        let Integrity { mut findings, not_covered, indexes_checked } =
            integrity::check(settings, plan, on_event)
                .with_context(|| format!("failed to check indexes and pages of {database}"))?;
        let lacks_extension =
            |finding: &Finding| finding.code() == Code::IntegrityUnknown && finding.object == integrity::ALL;
        findings.retain(|finding| !sound || !lacks_extension(finding));
        if indexes_checked {
            comparison.indexes_were_checked();
        }
        comparison.join(findings);
        comparison.not_covered(not_covered);
        note(comparison, &INTEGRITY, plan, began.elapsed());
    }
    Ok(())
}

/// Notes the time of those of the checks that the plan has.
pub(super) fn note(comparison: &mut Comparison, checks: &[Check], plan: &Plan, duration: Duration) {
    let checks: Vec<Check> = checks.iter().copied().filter(|check| plan.runs(*check)).collect();
    if checks.is_empty() {
        return;
    }
    let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    comparison.add_ran(Ran { checks, duration_ms });
}
