//! The screen: two live databases compared by counts and by sums of hashes that the servers compute. No row leaves a server.
//!
//! A difference is one; that none was found verifies nothing. The hashes have 64 bits, those of some types 32, and some values that differ
//! have one hash: see `HASHED` in `server_hash.rs`.

use std::collections::BTreeSet;

use crate::capture::{complete_within, content, measure_all_but_rows};
use crate::compare::{Comparison, ComparisonDraft};
use crate::database::{Database, Found, Obstacle, Placement, Snapshot};
use crate::digest::HashKey;
use crate::error::{Error, ErrorKind, Result};
use crate::event::OnEvent;
use crate::finding::{Code, Finding, Verdict};
use crate::manifest::{Manifest, Source, TableEntry};
use crate::measure::Measure;
use crate::names::Names;
use crate::not_covered::{Check, NotCovered};
use crate::plan::{Limits, Plan};
use crate::rows::UNNAMED;
use crate::scan::Hash;
use crate::server_hash::HashedType;
use crate::table::{CellWidth, Table, TableKind};
use crate::verify::{both, reprint};

/// The first `server_version_num` that hashes rows.
const HASHES_ROWS: u32 = 140_000;

/// Compares two live databases without reading a row: counts, and sums of hashes, which the servers compute. Never passes.
///
/// Definitions, sequences and what belongs to the cluster are compared as by [`crate::verify::compare_databases`]. Invariants, which read
/// rows, are not evaluated. Limits of the speed of reading do not hold a statement of a server up, so they are refused.
///
/// # Errors
///
/// If one of the databases cannot be reached, cannot be verified as it is, or if the two servers do not hash alike: both must be
/// of one major version, PostgreSQL 14 or later, and both databases of one encoding.
pub fn screen_databases(
    source: &dyn Database,
    restored: &dyn Database,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<Comparison> {
    check_limits(&plan.limits)?;
    let ours = &*source.snapshot(plan, on_event)?;
    let theirs = &*restored.snapshot(plan, on_event)?;
    let database = &ours.origin().source.database;
    let invariants: Vec<String> =
        plan.invariants_for(database).map(|invariant| invariant.name.clone()).collect();
    let plan = &plan.clone().with_invariants([]);
    check_servers(&ours.origin().source, &theirs.origin().source)?;
    let key = ours.draw_key()?;
    let seed = seed(key);
    if ours.sample_hash(seed)? != theirs.sample_hash(seed)? {
        return Err(unlike(
            "the two servers hash the same values differently, as machines of another byte order do",
        ));
    }
    let hash = Hash { algorithm: plan.hash, key };
    let measure = |snapshot: &dyn Snapshot, other: &dyn Snapshot| {
        let mut manifest = measure_all_but_rows(snapshot, hash, plan)?;
        manifest.tables = measure_tables(snapshot, other.tables(), seed, plan, on_event)?;
        Ok(manifest)
    };
    let (manifest, measured) = both(
        || {
            let mut manifest = measure(ours, theirs)?;
            complete_within(ours, &mut manifest, plan)?;
            Ok(manifest)
        },
        || measure(theirs, ours),
    )?;
    let mut draft = ComparisonDraft::of_screen(&manifest, &measured);
    draft.compare_cluster(&manifest, &measured, plan.own_restore);
    for (name, reason) in theirs.disturbed()? {
        draft.disturbed(&manifest, &name, &reason);
    }
    for moved in std::mem::take(&mut draft.moved) {
        draft.settle(moved.unnamed(), Placement::Unknown("--quick does not check it".to_owned()));
    }
    reprint(&mut draft, theirs, &manifest)?;
    let screened = screened(&mut draft, &manifest, &measured);
    for name in invariants {
        draft.not_covered(Check::Invariants, name, "not evaluated by --quick");
    }
    let mut comparison = draft.finish();
    comparison.lead(depth(comparison.verdict(), screened));
    comparison.not_covered(plan.skip.iter().copied().map(NotCovered::skipped));
    Ok(comparison)
}

/// Numbers of tables whose rows were hashed, and of those that were only counted.
#[derive(Clone, Copy, Default)]
struct Screened {
    hashed: u64,
    counted: u64,
}

/// Lists what was screened as not covered.
fn screened(draft: &mut ComparisonDraft<'_>, source: &Manifest, restored: &Manifest) -> Screened {
    let gaps = draft.coverage.not_covered.iter().filter(|gap| gap.check == Check::Rows);
    let listed: BTreeSet<String> = gaps.map(|gap| gap.object.clone()).collect();
    let mut screened = Screened::default();
    for ours in source.tables.iter().filter(|ours| ours.is_measured()) {
        let Some(theirs) = restored.table(ours.name()).filter(|theirs| theirs.is_measured()) else {
            continue;
        };
        let reason = match unhashed(&ours.table, &theirs.table) {
            None => {
                screened.hashed += 1;
                "screened only: its rows were counted and hashed by the servers, not compared".to_owned()
            }
            Some(reason) => {
                screened.counted += 1;
                format!("not screened: its rows were only counted, since {reason}")
            }
        };
        if !listed.contains(&ours.name().to_string()) {
            draft.not_covered(Check::Rows, ours.name(), reason);
        }
    }
    screened
}

/// The finding that nothing is verified.
fn depth(verdict: Verdict, Screened { hashed, counted }: Screened) -> Finding {
    let message = match (hashed + counted, verdict) {
        (0, _) => "no table was screened, so nothing is known of any row".to_owned(),
        (_, Verdict::Fail) => {
            "screened: differences found, and tables without one are not verified".to_owned()
        }
        (_, _) => "screened: no difference found, not verified".to_owned(),
    };
    let counted = match counted {
        0 => String::new(),
        counted => format!("; the rows of {counted} of {} tables were only counted", hashed + counted),
    };
    Finding::new(Code::CoverageNone, "tables", message + &counted).with_hint(UNNAMED)
}

/// Counts the rows of the tables that `others` has too, and hashes them where both sides can.
fn measure_tables(
    snapshot: &dyn Snapshot,
    others: &[Found],
    seed: i64,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<Vec<TableEntry>> {
    let found: &[Found] = if plan.runs(Check::Rows) { snapshot.tables() } else { &[] };
    let pair = |found: &Found| {
        let place = others.binary_search_by(|other| other.table.name.cmp(&found.table.name)).ok()?;
        let mut wanted = found.clone();
        if unhashed(&found.table, &others[place].table).is_some() {
            wanted.table.columns.clear();
        }
        Some(wanted)
    };
    let wanted: Vec<Option<Found>> = found.iter().map(pair).collect();
    let both_have: Vec<Found> = wanted.iter().flatten().cloned().collect();
    let mut sums = snapshot.row_sums(&both_have, seed, plan.jobs, on_event)?.into_iter();
    let entry = |(found, wanted): (&Found, Option<Found>)| {
        let sum = wanted.and_then(|_| sums.next());
        let sum =
            sum.unwrap_or_else(|| Err(Obstacle::Unreadable("the other side has no such table".to_owned())));
        let names = Names::new(CellWidth::Narrow);
        TableEntry {
            table: found.table.clone(),
            filenode: found.filenode,
            columns_found: None,
            content: content(found.table.kind, sum.map(|digest| Measure { digest, names, bytes: 0 })),
        }
    };
    Ok(found.iter().zip(wanted).map(entry).collect())
}

/// Reason why the servers do not hash the rows of a table, if they do not.
fn unhashed(ours: &Table, theirs: &Table) -> Option<String> {
    if ours.kind == TableKind::LargeObjects {
        return Some("they are large objects".to_owned());
    }
    for table in [ours, theirs] {
        if let Some(column) = table.columns.iter().find(|column| HashedType::of(column).is_none()) {
            let (name, type_name) = (crate::table::shown_identifier(&column.name), &column.type_name);
            return Some(format!(
                "column {name} is of type {type_name}, which the servers do not hash by its value"
            ));
        }
    }
    let columns = |table: &Table| {
        table.columns.iter().map(|column| (column.name.clone(), column.base_type.clone())).collect::<Vec<_>>()
    };
    (columns(ours) != columns(theirs)).then(|| "its columns differ".to_owned())
}

/// The seed of the servers' hash, from the run's key.
fn seed(HashKey(key): HashKey) -> i64 {
    let mut seed = [0; 8];
    seed.copy_from_slice(&key[..8]);
    i64::from_le_bytes(seed)
}

/// Refuses limits that cannot hold a statement up which the server runs by itself.
fn check_limits(limits: &Limits) -> Result<()> {
    if limits.max_rate.is_none() && !limits.depend_on_activity() {
        return Ok(());
    }
    let text = "screen the databases within the limits: no limit of rate, replication lag, active sessions or snapshot age slows a \
                server down that hashes its rows itself";
    Err(Error::new(ErrorKind::Settings, text)
        .with_hint("run it without --quick, or without these limits, also in [limits] of the configuration; --jobs 1 is the gentlest"))
}

/// Refuses servers that may hash the same row differently.
fn check_servers(ours: &Source, theirs: &Source) -> Result<()> {
    let major = |source: &Source| source.server_version / 10_000;
    if let Some(old) = [ours, theirs].into_iter().find(|source| source.server_version < HASHES_ROWS) {
        let text = format!("PostgreSQL {} cannot hash a row; 14 and later can", major(old));
        return Err(Error::new(ErrorKind::Version, doing(&text)).with_hint(WITHOUT));
    }
    if major(ours) != major(theirs) {
        return Err(unlike(&format!(
            "hashes may differ between major versions, and the source is PostgreSQL {}, the restored database {}",
            major(ours),
            major(theirs)
        )));
    }
    if ours.encoding != theirs.encoding {
        return Err(unlike(&format!(
            "text is hashed as it is stored, and the source has the encoding {}, the restored database {}",
            ours.encoding, theirs.encoding
        )));
    }
    Ok(())
}

const WITHOUT: &str = "run it without --quick";

fn doing(reason: &str) -> String {
    format!("screen the databases: {reason}")
}

fn unlike(reason: &str) -> Error {
    Error::new(ErrorKind::Unsuitable, doing(reason)).with_hint(WITHOUT)
}
