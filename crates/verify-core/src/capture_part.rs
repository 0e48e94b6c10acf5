//! The engine of one part of a capture: measures its share of every table, under a snapshot that all parts read.

use crate::capture::{self, Order};
use crate::chunks::{CHUNK_PAGES, Share};
use crate::database::{Database, Snapshot};
use crate::digest::HashKey;
use crate::error::Result;
use crate::event::OnEvent;
use crate::manifest::Manifest;
use crate::partial::{PARTIAL_FORMAT, PartNumber, PartialManifest};
use crate::plan::Plan;
use crate::reuse::Known;
use crate::scan::Hash;
use crate::table::Table;

/// Measures one part of a database.
///
/// All parts must read one snapshot (`postgres::Postgres::under`) and have one key, which must be drawn after that snapshot was taken: a
/// key that is known before lets who writes the rows choose them so that a changed one is not seen. The first part also
/// measures what is not rows: sequences, definitions, invariants. [`crate::merge::merge`] makes the manifest of all parts.
///
/// # Errors
///
/// As for [`capture::capture`].
pub fn capture_part(
    database: &dyn Database,
    part: PartNumber,
    key: HashKey,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<PartialManifest> {
    let snapshot = database.snapshot(plan, on_event)?;
    let mut partial = capture_part_snapshot(&*snapshot, part, key, plan, on_event)?;
    complete_part(&*snapshot, &mut partial, plan)?;
    Ok(partial)
}

/// Measures one part of a restored database as `manifest` of its source was measured: with its hash, its key and, where the copy has
/// them, its columns. Of the sum of all parts, [`crate::reuse::Reuse::Rows`] uses the rows.
///
/// # Errors
///
/// As for [`capture::capture`].
pub fn capture_part_like(
    database: &dyn Database,
    part: PartNumber,
    manifest: &Manifest,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<PartialManifest> {
    let snapshot = &*database.snapshot(plan, on_event)?;
    let like: Vec<&Table> = manifest.tables.iter().map(|entry| &entry.table).collect();
    let hash = Hash { algorithm: manifest.header.hash, key: manifest.header.key };
    let mut partial = capture_chunks(snapshot, part, Some(&like), hash, CHUNK_PAGES, plan, on_event)?;
    complete_part(snapshot, &mut partial, plan)?;
    Ok(partial)
}

/// Measures one part under a snapshot that the caller holds. [`complete_part`] must follow.
///
/// # Errors
///
/// As for [`capture::capture`].
pub fn capture_part_snapshot(
    snapshot: &dyn Snapshot,
    part: PartNumber,
    key: HashKey,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<PartialManifest> {
    let hash = Hash { algorithm: plan.hash, key };
    capture_chunks(snapshot, part, None, hash, CHUNK_PAGES, plan, on_event)
}

/// The same with chunks of another size, the same for all parts.
pub(crate) fn capture_chunks(
    snapshot: &dyn Snapshot,
    part: PartNumber,
    like: Option<&[&Table]>,
    hash: Hash,
    chunk_pages: u32,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<PartialManifest> {
    let tables = snapshot.tables();
    let shares: Vec<Share> = tables.iter().map(|found| Share::new(found, part, chunk_pages)).collect();
    let mut manifest = match part.is_first() {
        true => capture::measure_all_but_rows(snapshot, hash, plan)?,
        false => capture::nothing(snapshot, hash),
    };
    manifest.header.format = PARTIAL_FORMAT.to_owned();
    let order = Order { like, shares: Some(&shares), ..Order::default() };
    manifest.tables = capture::measure_tables(snapshot, order, hash, &Known::default(), plan, on_event)?;
    let uncut = tables.iter().filter(|found| found.pages.is_none());
    let uncut = uncut.map(|found| found.table.name.clone()).collect();
    Ok(PartialManifest { part, chunk_pages, uncut, manifest })
}

/// Notes which tables were rewritten meanwhile and, in the first part, how far the sequences went. The snapshot must still be held.
///
/// # Errors
///
/// If the connection broke; then the part is not usable.
pub fn complete_part(snapshot: &dyn Snapshot, partial: &mut PartialManifest, plan: &Plan) -> Result<()> {
    match partial.part.is_first() {
        true => capture::complete_within(snapshot, &mut partial.manifest, plan),
        false => capture::note_disturbed(snapshot, &mut partial.manifest),
    }
}

#[cfg(test)]
#[path = "capture_part_tests.rs"]
mod tests;
