//! The engine of comparison: measures a restored database by a manifest, or two databases at once.

use crate::capture::{self, Order, complete};
use crate::compare::{Comparison, ComparisonDraft};
use crate::compare_definitions::Differing as DifferingDefinition;
use crate::database::{Database, Deviation, Found, Placement, Snapshot};
use crate::error::Result;
use crate::event::{self, Event, OnEvent};
use crate::invariant::Invariant;
use crate::journal::Side;
use crate::look_up::look_up;
use crate::manifest::{Manifest, TableEntry};
use crate::names::{Difference, Names};
use crate::not_covered::{Check, NotCovered};
use crate::plan::Plan;
use crate::reuse::{self, Known, OpenJournal, Reuse};
use crate::rows::Differing;
use crate::scan::{self, Effort, Hash, Wanted};
use crate::sketch::{PARTITION_LOG2_MAX, Sketch};
use crate::table::Table;

/// Compares a restored database with the manifest of its source, which need not exist any more.
///
/// The manifest's invariants are evaluated, and those of the plan that it does not know.
///
/// # Errors
///
/// If the restored database cannot be reached or cannot be verified as it is.
pub fn verify(
    manifest: &Manifest,
    restored: &dyn Database,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<Comparison> {
    verify_reusing(manifest, restored, Reuse::Nothing, plan, on_event)
}

/// The same with measurements of the restored database that were made before.
///
/// # Errors
///
/// As for [`verify`], and [`ErrorKind::Manifest`](crate::ErrorKind::Manifest) if the measurements are of something else.
pub fn verify_reusing(
    manifest: &Manifest,
    restored: &dyn Database,
    reuse: Reuse<'_>,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<Comparison> {
    let snapshot = restored.snapshot(plan, on_event)?;
    let within;
    let manifest = if plan.skips_compared() {
        within = manifest.within(plan);
        &within
    } else {
        manifest
    };
    let hash = Hash { algorithm: manifest.header.hash, key: manifest.header.key };
    let known: Vec<Invariant> = manifest.invariants.iter().map(|known| known.invariant.clone()).collect();
    let unknown = plan.invariants_for(&manifest.header.source.database);
    let unknown =
        unknown.filter(|invariant| !known.contains(invariant) && plan.runs(Check::Invariants)).cloned();
    let plan = plan.clone().with_invariants(known.iter().cloned().chain(unknown));
    let like: Vec<&Table> = manifest.tables.iter().map(|entry| &entry.table).collect();
    let known = match reuse {
        Reuse::Nothing => Known::default(),
        Reuse::Journal(journal) => reuse::continued(journal, &*snapshot, &like, hash, on_event)?,
        Reuse::Rows(rows) => reuse::rows_of(rows, &*snapshot, &like, hash, on_event)?,
    };
    let order = Order { like: Some(&like), ..Order::default() };
    let measured = capture::measure_database(&*snapshot, order, hash, &known, &plan, on_event)?;
    let deviation = if plan.bounded { Some(Deviation::Unknown) } else { snapshot.deviation() };
    let mut draft = ComparisonDraft::new(manifest, &measured, deviation);
    draft.coverage.earlier.extend(known.earlier);
    draft.compare_cluster(manifest, &measured, plan.own_restore);
    for (name, reason) in snapshot.disturbed()? {
        draft.disturbed(manifest, &name, &reason);
    }
    settle(&mut draft, &*snapshot, on_event)?;
    reprint(&mut draft, &*snapshot, manifest)?;
    for differing in &mut draft.differing {
        look_up(&*snapshot, Side::Restored, differing, hash, plan.limits, on_event)?;
    }
    let mut comparison = draft.finish();
    comparison.not_covered(plan.skip.iter().copied().map(NotCovered::skipped));
    Ok(comparison)
}

/// Checks a restored database of whose point in time there is no manifest: evaluates the plan's invariants, and lists what could
/// not be compared. Never passes.
///
/// # Errors
///
/// If the restored database cannot be reached or cannot be verified as it is.
pub fn without_manifest(
    restored: &dyn Database,
    plan: &Plan,
    reason: &str,
    on_event: OnEvent<'_>,
) -> Result<Comparison> {
    const COMPARED: [(Check, &str); 3] =
        [(Check::Sequences, "sequences"), (Check::Definitions, "definitions"), (Check::Cluster, "cluster")];
    let snapshot = restored.snapshot(plan, on_event)?;
    let evaluated = plan.clone().without(COMPARED.map(|(check, _)| check).into_iter().chain([Check::Rows]));
    let hash = Hash { algorithm: plan.hash, key: snapshot.draw_key()? };
    let measured = capture::measure_database(
        &*snapshot,
        Order::default(),
        hash,
        &Known::default(),
        &evaluated,
        on_event,
    )?;
    let unknown = Manifest { invariants: Vec::new(), ..measured.clone() };
    let mut draft = ComparisonDraft::empty();
    draft.invariants(&unknown, &measured);
    draft.unproven(reason, "capture a manifest before changes, and give it with --to-capture");
    for found in snapshot.tables().iter().filter(|_| plan.runs(Check::Rows)) {
        draft.not_covered(Check::Rows, &found.table.name, reason);
    }
    for (check, object) in COMPARED.into_iter().filter(|(check, _)| plan.runs(*check)) {
        draft.not_covered(check, object, reason);
    }
    let mut comparison = Comparison::new(draft.findings, draft.coverage);
    comparison.not_covered(plan.skip.iter().copied().map(NotCovered::skipped));
    Ok(comparison)
}

/// Compares two live databases, and names every row in which they differ.
///
/// # Errors
///
/// If one of them cannot be reached or cannot be verified as it is.
pub fn compare_databases(
    source: &dyn Database,
    restored: &dyn Database,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<Comparison> {
    compare_databases_reusing(source, restored, None, plan, on_event)
}

/// The same with the journal of an interrupted run.
///
/// # Errors
///
/// As for [`compare_databases`], and [`ErrorKind::Manifest`](crate::ErrorKind::Manifest) if the journal is of something else.
pub fn compare_databases_reusing(
    source: &dyn Database,
    restored: &dyn Database,
    journal: Option<OpenJournal<'_>>,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<Comparison> {
    let ours = &*source.snapshot(plan, on_event)?;
    let theirs = &*restored.snapshot(plan, on_event)?;
    let plan = &plan.for_copy_of(&ours.origin().source.database);
    let like: Vec<&Table> = ours.tables().iter().map(|found| &found.table).collect();
    let (hash, ours_known, theirs_known) = match journal {
        None => {
            let hash = Hash { algorithm: plan.hash, key: ours.draw_key()? };
            (hash, Known::default(), Known::default())
        }
        Some(journal) => reuse::continued_both(journal, (ours, theirs), &like, plan, on_event)?,
    };
    // A manifest limits the size of its sketches; here one that is too small costs another pass over the table.
    let ours_order = Order { large_sketches: true, ..Order::default() };
    let theirs_order = Order { like: Some(&like), ..ours_order };
    let (manifest, mut measured) = both(
        || {
            let mut manifest =
                capture::measure_database(ours, ours_order, hash, &ours_known, plan, on_event)?;
            complete(ours, &mut manifest)?;
            Ok(manifest)
        },
        || capture::measure_database(theirs, theirs_order, hash, &theirs_known, plan, on_event),
    )?;
    measure_hashed_alike(theirs, &manifest, &mut measured, hash, plan, on_event)?;
    let mut draft = ComparisonDraft::new(&manifest, &measured, None);
    draft.coverage.earlier.extend(ours_known.earlier.into_iter().chain(theirs_known.earlier));
    draft.compare_cluster(&manifest, &measured, plan.own_restore);
    for (name, reason) in theirs.disturbed()? {
        draft.disturbed(&manifest, &name, &reason);
    }
    settle(&mut draft, theirs, on_event)?;
    reprint(&mut draft, theirs, &manifest)?;
    for differing in &mut draft.differing {
        if !differing.difference.complete {
            differing.difference = second_pass(ours, theirs, differing, hash, Effort::of(plan), on_event)?;
        }
        look_up(theirs, Side::Restored, differing, hash, plan.limits, on_event)?;
        if differing.difference.entries.iter().any(|(entry, count)| *count > 0 && entry.key.is_hashed()) {
            look_up(ours, Side::Source, differing, hash, plan.limits, on_event)?;
        }
    }
    Ok(draft.finish())
}

/// Measures the tables again of which the source has a row too large to send, so that the server hashed its long values.
fn measure_hashed_alike(
    restored: &dyn Snapshot,
    source: &Manifest,
    measured: &mut Manifest,
    hash: Hash,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<()> {
    if !source.tables.iter().any(|entry| entry.table.is_hashed_on_server()) {
        return Ok(());
    }
    let is_sent = |entry: &&TableEntry| {
        source.table(entry.name()).is_none_or(|entry| !entry.table.is_hashed_on_server())
    };
    let others = Known::of(measured.tables.iter().filter(is_sent).collect());
    let like: Vec<&Table> = source.tables.iter().map(|entry| &entry.table).collect();
    let order = Order { like: Some(&like), ..Order::default() };
    measured.tables = capture::measure_tables(restored, order, hash, &others, plan, on_event)?;
    Ok(())
}

/// Checks whether rows that are in other partitions than on the source are where the restored server wants them.
fn settle(draft: &mut ComparisonDraft<'_>, restored: &dyn Snapshot, on_event: OnEvent<'_>) -> Result<()> {
    for moved in std::mem::take(&mut draft.moved) {
        event::send(on_event, Event::SecondPass { table: moved.root.clone() })?;
        let mut placement = Placement::Right;
        for partition in &moved.apart {
            match restored.placement(&partition.table.name)? {
                Placement::Right => {}
                Placement::Wrong => {
                    placement = Placement::Wrong;
                    break;
                }
                unknown @ Placement::Unknown(_) => placement = unknown,
            }
        }
        draft.settle(moved, placement);
    }
    Ok(())
}

/// Has the restored server print definitions that read differently. Nothing is made on the source itself.
pub(crate) fn reprint(
    draft: &mut ComparisonDraft<'_>,
    restored: &dyn Snapshot,
    manifest: &Manifest,
) -> Result<()> {
    let printed: Vec<_> = draft.definitions.iter().flat_map(DifferingDefinition::expressions).collect();
    let is_source = restored.origin().source.is_same_database(&manifest.header.source);
    let reprints = if printed.is_empty() || is_source { Vec::new() } else { restored.reprint(&printed)? };
    draft.settle_definitions(reprints);
    Ok(())
}

/// Runs two things at once, on either side of a comparison.
pub(crate) fn both<T: Send>(
    ours: impl FnOnce() -> Result<T> + Send,
    theirs: impl FnOnce() -> Result<T> + Send,
) -> Result<(T, T)> {
    std::thread::scope(|scope| {
        let other = scope.spawn(ours);
        let theirs = theirs();
        let ours = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((ours?, theirs?))
    })
}

/// Reads a table on both sides again, into sketches that hold all of the differences.
fn second_pass<'t>(
    ours: &dyn Snapshot,
    theirs: &dyn Snapshot,
    differing: &Differing<'t>,
    hash: Hash,
    effort: Effort,
    on_event: OnEvent<'_>,
) -> Result<Difference> {
    // Half as much again as the estimate, which is one of a sample.
    let entries = differing.difference.estimate.map_or(u64::MAX, |estimate| estimate.saturating_mul(3) / 2);
    let mut log2 = Sketch::log2_for(entries);
    loop {
        event::send(on_event, Event::SecondPass { table: differing.table.name.clone() })?;
        let read = |snapshot: &dyn Snapshot| {
            let want = |table: &&'t Table| {
                Some(Wanted { table, sketch_log2: Some(log2), ..Wanted::whole(find(snapshot, table)?) })
            };
            let Some(wanted) = differing.parts.iter().map(want).collect::<Option<Vec<_>>>() else {
                return Ok(None);
            };
            let measured = scan::measure(snapshot, &wanted, hash, effort.alone(), &|_, _| Ok(()), on_event)?;
            let measured: Option<Vec<_>> = measured.into_iter().map(Result::ok).collect();
            Ok(measured.and_then(|parts| Names::of_all(parts.iter().map(|measure| &measure.names))))
        };
        let (ours, theirs) = both(|| read(ours), || read(theirs))?;
        let larger = ours.zip(theirs).and_then(|(ours, theirs)| ours.difference(&theirs));
        match larger {
            Some(difference) if difference.complete || log2 == PARTITION_LOG2_MAX => return Ok(difference),
            // The estimate was far too low.
            Some(_) => log2 = (log2 + 2).min(PARTITION_LOG2_MAX),
            // What the first pass named stays true.
            None => return Ok(differing.difference.clone()),
        }
    }
}

fn find<'s>(snapshot: &'s dyn Snapshot, table: &Table) -> Option<&'s Found> {
    snapshot.tables().iter().find(|found| found.table.name == table.name)
}
