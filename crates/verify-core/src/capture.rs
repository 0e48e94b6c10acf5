//! The engine: measures every table of a database under one snapshot, several at once.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::check::Check;
use crate::chunks::Share;
use crate::database::{Database, Found, Obstacle, Snapshot};
use crate::definition::{Definitions, Extent};
use crate::error::{Error, Result};
use crate::event::{self, Event, OnEvent};
use crate::heartbeat::Pulse;
use crate::invariant::Evaluated;
use crate::manifest::{Content, Header, Manifest, TableEntry};
use crate::measure::Measure;
use crate::pace;
use crate::plan::Plan;
use crate::reuse::Known;
use crate::scan::{Effort, Hash, Wanted, measure, measure_by};
use crate::table::{Table, TableKind};

/// Measures a database: one pass under one snapshot.
///
/// # Errors
///
/// If the database cannot be reached or cannot be verified as it is. A table that cannot be read is
/// not an error: it is in the manifest with its reason.
pub fn capture(database: &dyn Database, plan: &Plan, on_event: OnEvent<'_>) -> Result<Manifest> {
    let once = || {
        let snapshot = database.snapshot(plan, on_event)?;
        let mut manifest = capture_snapshot(&*snapshot, plan, on_event)?;
        complete_within(&*snapshot, &mut manifest, plan)?;
        Ok(manifest)
    };
    despite_conflicts(once, |error: &Error| error.is_recovery_conflict(), on_event)
}

/// Number of attempts to read a standby whose recovery cancels them.
pub const CONFLICT_ATTEMPTS_MAX: u32 = 5;

/// Repeats work under a snapshot of a standby, with a new one, while recovery cancels it: at most [`CONFLICT_ATTEMPTS_MAX`] times.
/// `conflicts` recognises the error, see [`Error::is_recovery_conflict`].
///
/// # Errors
///
/// That of the work; the last one if each attempt was cancelled.
pub fn despite_conflicts<T, E: From<Error>>(
    mut work: impl FnMut() -> Result<T, E>,
    conflicts: impl Fn(&E) -> bool,
    on_event: OnEvent<'_>,
) -> Result<T, E> {
    for attempt in 2..=CONFLICT_ATTEMPTS_MAX {
        match work() {
            Err(error) if conflicts(&error) => {}
            done => return done,
        }
        let reason = format!(
            "the standby's recovery removed rows of the snapshot, and cancelled it; attempt {attempt} of \
             {CONFLICT_ATTEMPTS_MAX} begins"
        );
        event::send(on_event, Event::Waiting { reason })?;
    }
    work()
}

/// Measures a database under a snapshot that the caller holds, for example while a backup is taken.
/// [`complete`] must follow when the backup is done.
///
/// # Errors
///
/// As for [`capture`].
pub fn capture_snapshot(snapshot: &dyn Snapshot, plan: &Plan, on_event: OnEvent<'_>) -> Result<Manifest> {
    let hash = Hash { algorithm: plan.hash, key: snapshot.draw_key()? };
    measure_database(snapshot, Order::default(), hash, &Known::default(), plan, on_event)
}

/// Measures everything but the tables that are known.
pub(crate) fn measure_database(
    snapshot: &dyn Snapshot,
    order: Order<'_>,
    hash: Hash,
    known: &Known<'_>,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<Manifest> {
    let mut manifest = measure_all_but_rows(snapshot, hash, plan)?;
    manifest.tables = measure_tables(snapshot, order, hash, known, plan, on_event)?;
    Ok(manifest)
}

/// Measures sequences, definitions and invariants.
pub(crate) fn measure_all_but_rows(snapshot: &dyn Snapshot, hash: Hash, plan: &Plan) -> Result<Manifest> {
    let sequences = if plan.runs(Check::Sequences) { snapshot.sequences().to_vec() } else { Vec::new() };
    let read = |check, extent| match plan.runs(check) {
        true => snapshot.definitions(extent),
        false => Ok(Definitions::Read(Vec::new())),
    };
    let definitions = read(Check::Definitions, Extent::Database)?;
    let cluster = read(Check::Cluster, Extent::Cluster)?;
    let pulse = snapshot.pulse()?;
    let invariants = plan
        .invariants_for(&snapshot.origin().source.database)
        .map(|invariant| {
            Ok(Evaluated { outcome: snapshot.evaluate(invariant)?, invariant: invariant.clone() })
        })
        .collect::<Result<_>>()?;
    Ok(Manifest { sequences, definitions, cluster, invariants, pulse, ..nothing(snapshot, hash) })
}

/// A manifest in which nothing was measured.
pub(crate) fn nothing(snapshot: &dyn Snapshot, hash: Hash) -> Manifest {
    let origin = snapshot.origin();
    Manifest {
        header: Header::new(hash.algorithm, hash.key, origin.clone()),
        tables: Vec::new(),
        sequences: Vec::new(),
        definitions: Definitions::Read(Vec::new()),
        cluster: Definitions::Read(Vec::new()),
        invariants: Vec::new(),
        pulse: Pulse { beat: None, last_commit: None, read_at: origin.captured_at },
    }
}

/// The tables to measure, and what of each.
#[derive(Clone, Copy, Default)]
pub(crate) struct Order<'a> {
    /// Tables by whose columns those of the same name are read, where they have them.
    pub like: Option<&'a [&'a Table]>,
    /// The share of each table that the snapshot has, if not all of it.
    pub shares: Option<&'a [Share]>,
    /// True for larger sketches of the largest tables than a manifest has.
    pub large_sketches: bool,
}

/// The partition size of a large sketch: 98,304 cells name about 38,000 changed rows.
const LARGE_SKETCH_LOG2: u8 = 15;
/// Number of tables that have one, of 6 or 12 MiB each.
const LARGE_SKETCHES: usize = 4;
/// A smaller table is soon read a second time.
const LARGE_TABLE_BYTES: u64 = 64 << 20;

/// Measures the rows of all tables but those that are known.
pub(crate) fn measure_tables(
    snapshot: &dyn Snapshot,
    order: Order<'_>,
    hash: Hash,
    known: &Known<'_>,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<Vec<TableEntry>> {
    let Order { like, shares, large_sketches } = order;
    let tables: &[Found] = if plan.runs(Check::Rows) { snapshot.tables() } else { &[] };
    let large = if large_sketches { largest(tables) } else { Vec::new() };
    let wanted: Vec<Wanted<'_>> = tables
        .iter()
        .enumerate()
        .filter(|(_, found)| known.find(found).is_none())
        .map(|(i, found)| Wanted {
            share: shares.and_then(|shares| shares.get(i)),
            sketch_log2: large.contains(&i).then_some(LARGE_SKETCH_LOG2),
            ..Wanted::like(found, like)
        })
        .collect();
    let entry = |wanted: &Wanted<'_>, table: Table, measured| TableEntry {
        table,
        filenode: wanted.found.filenode,
        columns_found: like.map(|_| wanted.found.table.columns.clone()),
        content: content(wanted.found.table.kind, measured),
    };
    let keep = |i: usize, measure: &Measure| {
        known.keep(|| entry(&wanted[i], wanted[i].described(), Ok(measure.clone())))
    };
    let measured = measure(snapshot, &wanted, hash, Effort::of(plan), &keep, on_event)?;
    let mut entries = Vec::with_capacity(tables.len());
    for (wanted, mut measured) in wanted.iter().zip(measured) {
        let mut table = wanted.described();
        let is_late = measured.is_err();
        if let Err(Obstacle::Locked(_)) = measured {
            // Its connection reads, so that it cannot ask for the server's activity meanwhile.
            let limits = plan.limits.without_activity();
            measured = pace::with_readers(snapshot, limits, on_event, |readers| {
                measure_by(&mut *readers.keep(snapshot.coordinator()), *wanted, hash, on_event)
            })?;
        }
        if let (Some(_), Err(Obstacle::TooLarge(reason))) = (like, &measured) {
            // The source sent these very columns whole, so here the lengths are damaged.
            measured = Err(Obstacle::Damaged(reason.clone()));
        }
        if let Err(Obstacle::TooLarge(_)) = measured {
            table = table.hashed_on_server();
            let again = [Wanted { table: &table, ..*wanted }];
            let alone = Effort::of(plan).alone();
            measured = measure(snapshot, &again, hash, alone, &|_, _| Ok(()), on_event)?.swap_remove(0);
        }
        let entry = entry(wanted, table, measured);
        if is_late {
            known.keep(|| entry.clone())?;
        }
        entries.push(entry);
    }
    if entries.len() < tables.len() {
        entries.extend(tables.iter().filter_map(|found| known.find(found)).cloned());
        entries.sort_by(|a, b| a.name().cmp(b.name()));
    }
    Ok(entries)
}

/// The places of the tables that have large sketches.
fn largest(tables: &[Found]) -> Vec<usize> {
    let mut places: Vec<usize> =
        (0..tables.len()).filter(|&i| tables[i].bytes_estimate >= LARGE_TABLE_BYTES).collect();
    places.sort_by_key(|&i| Reverse(tables[i].bytes_estimate));
    places.truncate(LARGE_SKETCHES);
    places
}

/// Notes what only the end of a backup shows: how far the sequences went, and which tables were
/// rewritten meanwhile. The snapshot must still be held.
///
/// # Errors
///
/// If the connection broke; then the manifest is not usable.
pub fn complete(snapshot: &dyn Snapshot, manifest: &mut Manifest) -> Result<()> {
    complete_within(snapshot, manifest, &Plan::default())
}

/// The same without what the plan left out of the capture.
///
/// # Errors
///
/// As for [`complete`].
pub fn complete_within(snapshot: &dyn Snapshot, manifest: &mut Manifest, plan: &Plan) -> Result<()> {
    let now = snapshot.sequences_now()?;
    let now: BTreeMap<_, _> = now.iter().map(|later| (&later.name, later.latest)).collect();
    for sequence in &mut manifest.sequences {
        // One that was dropped meanwhile keeps its early value: it was there under the snapshot.
        if let Some(latest) = now.get(&sequence.name) {
            sequence.latest = *latest;
        }
    }
    if plan.runs(Check::Definitions) {
        manifest.definitions.changed_meanwhile(snapshot.definitions_now(Extent::Database)?);
    }
    if plan.runs(Check::Cluster) {
        manifest.cluster.changed_meanwhile(snapshot.definitions_now(Extent::Cluster)?);
    }
    note_disturbed(snapshot, manifest)
}

/// Notes which tables were rewritten meanwhile.
pub(crate) fn note_disturbed(snapshot: &dyn Snapshot, manifest: &mut Manifest) -> Result<()> {
    for (name, reason) in snapshot.disturbed()? {
        if let Some(entry) = manifest.tables.iter_mut().find(|entry| *entry.name() == name) {
            entry.content = Content::Rewritten(reason);
        }
    }
    Ok(())
}

pub(crate) fn content(kind: TableKind, measured: Result<Measure, Obstacle>) -> Content {
    match measured {
        Ok(Measure { digest, mut names, bytes }) => {
            names.sort();
            Content::Rows { digest, bytes, names }
        }
        // Somebody refreshes it, and will be done before the copy is.
        Err(Obstacle::Locked(reason)) if kind == TableKind::MaterializedView => Content::Rewritten(reason),
        Err(Obstacle::Dropped(reason)) => Content::Rewritten(reason),
        Err(Obstacle::Unreadable(reason) | Obstacle::Locked(reason) | Obstacle::TooLarge(reason)) => {
            Content::Unreadable(reason)
        }
        Err(Obstacle::Damaged(reason)) => Content::Damaged(reason),
    }
}
