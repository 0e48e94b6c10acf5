//! Measurements that were made before, and the rule by which tables need not be read again: since then no row can have changed.
//!
//! The rule: one and the same server process, which has not recovered from a crash, is no standby, and has rolled back every transaction
//! that the earlier snapshot did not see and that has ended since. Then both snapshots see the same rows. Unlogged tables are always read.

use jiff::Timestamp;

use crate::database::{Found, Snapshot};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{self, Event, OnEvent};
use crate::journal::{self, Journal, Measured, MeasuredEarlier, OTHER_FILE, Side};
use crate::manifest::{Header, Manifest, Source, TableEntry};
use crate::plan::Plan;
use crate::scan::{Hash, Wanted};
use crate::table::{Table, TableName};

/// Measurements that a comparison may use in place of reading tables.
#[derive(Clone, Copy)]
pub enum Reuse<'a> {
    /// None: every table is read.
    Nothing,
    /// Those of an interrupted run, if no row can have changed since. Otherwise every table is read, and an event has the reason.
    Journal(OpenJournal<'a>),
    /// Those of a manifest of the restored database, which [`crate::capture_part::capture_part_like`] and [`crate::merge`] made. It is an
    /// error if a row may have changed since.
    Rows(&'a Manifest),
}

/// The journal of this run, with what interrupted runs have left in it.
#[derive(Clone, Copy)]
pub struct OpenJournal<'a> {
    /// Its content when the run began.
    pub content: &'a Journal,
    /// Appends a line.
    pub append: &'a AppendLine<'a>,
}

/// Appends a line to a journal, whole or with an error. Called from several threads.
pub type AppendLine<'a> = dyn Fn(&[u8]) -> Result<()> + Sync + 'a;

/// What one side of a comparison need not read, and where it puts what it has read.
#[derive(Default)]
pub(crate) struct Known<'a> {
    /// Usable measurements, sorted by name.
    tables: Vec<&'a TableEntry>,
    /// The note about them.
    pub earlier: Option<MeasuredEarlier>,
    keep: Option<Keep<'a>>,
}

/// Appends tables to a journal.
struct Keep<'a> {
    journal: OpenJournal<'a>,
    side: Side,
    header: Header,
}

impl<'a> Known<'a> {
    /// These tables, sorted by name.
    pub(crate) fn of(tables: Vec<&'a TableEntry>) -> Self {
        Self { tables, ..Self::default() }
    }

    /// The usable measurement of a table.
    pub(crate) fn find(&self, found: &Found) -> Option<&TableEntry> {
        let name = &found.table.name;
        let place = self.tables.binary_search_by(|entry| entry.name().cmp(name)).ok()?;
        Some(self.tables[place])
    }

    /// Keeps the measurement of a table for a later run.
    pub(crate) fn keep(&self, entry: impl FnOnce() -> TableEntry) -> Result<()> {
        let Some(Keep { journal, side, header }) = &self.keep else { return Ok(()) };
        let entry = entry();
        if !entry.is_measured() || entry.table.unlogged {
            return Ok(());
        }
        (journal.append)(&journal::table_line(*side, header, &entry)?)
    }
}

/// The restored side of a verification with a journal.
pub(crate) fn continued<'a>(
    journal: OpenJournal<'a>,
    snapshot: &dyn Snapshot,
    like: &[&Table],
    hash: Hash,
    on_event: OnEvent<'_>,
) -> Result<Known<'a>> {
    let content = journal.content;
    if content.source.is_some() {
        return Err(other_journal("it is of `compare`, not of `verify`"));
    }
    note_void_lines(content, on_event)?;
    side(journal, Side::Restored, content.restored.as_ref(), snapshot, Some(like), hash, on_event)
}

/// The restored side of a verification with the rows of a manifest.
pub(crate) fn rows_of<'a>(
    manifest: &'a Manifest,
    snapshot: &dyn Snapshot,
    like: &[&Table],
    hash: Hash,
    on_event: OnEvent<'_>,
) -> Result<Known<'a>> {
    let refused =
        |reason: &str| Error::new(ErrorKind::Manifest, format!("use the rows that were measured: {reason}"));
    let again = "capture all parts again, under a new snapshot: state-lab capture --part I/N --like MANIFEST";
    check_subject(&manifest.header, snapshot, hash).map_err(|reason| {
        refused(&reason).with_hint("give the manifest that `merge` made of the copy's parts")
    })?;
    if let Some(reason) = changed(&manifest.header, snapshot)? {
        return Err(refused(&reason).with_hint(again));
    }
    let find = |name: &TableName| manifest.table(name);
    let known = usable(Side::Restored, &manifest.header, &find, snapshot, Some(like), on_event)?;
    if known.tables.is_empty() && !snapshot.tables().is_empty() {
        return Err(refused("none of its tables was measured as those of the manifest").with_hint(again));
    }
    Ok(known)
}

/// The hash and both sides of a comparison of two databases with a journal.
///
/// The key is the journal's as long as the source has not changed since it was drawn: who writes the rows must not know it before.
pub(crate) fn continued_both<'a>(
    journal: OpenJournal<'a>,
    (ours, theirs): (&dyn Snapshot, &dyn Snapshot),
    like: &[&Table],
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<(Hash, Known<'a>, Known<'a>)> {
    let Journal { source, restored, .. } = journal.content;
    if source.is_none() && restored.is_some() {
        return Err(other_journal("it is of `verify`, not of `compare`"));
    }
    note_void_lines(journal.content, on_event)?;
    let (mut source, mut restored) = (source.as_ref(), restored.as_ref());
    let drawn = Hash { algorithm: plan.hash, key: ours.draw_key()? };
    let mut hash = drawn;
    if let Some(measured) = source {
        hash.key = measured.header.key;
        check_subject(&measured.header, ours, hash).map_err(|reason| other_journal(&reason))?;
        if let Some(reason) = changed(&measured.header, ours)? {
            report_changed(Side::Source, &reason, on_event)?;
            if restored.is_some() {
                let reason = "the source has changed, so that the key of the hash is a new one";
                report_changed(Side::Restored, reason, on_event)?;
            }
            (hash, source, restored) = (drawn, None, None);
        }
    }
    let ours = side(journal, Side::Source, source, ours, None, hash, on_event)?;
    // Without its source's header the other side's lines would be those of `verify`.
    let theirs = match ours.keep {
        None => Known::default(),
        Some(_) => side(journal, Side::Restored, restored, theirs, Some(like), hash, on_event)?,
    };
    Ok((hash, ours, theirs))
}

/// One side: what can be used of the journal, and a header for what cannot.
fn side<'a>(
    journal: OpenJournal<'a>,
    side: Side,
    measured: Option<&'a Measured>,
    snapshot: &dyn Snapshot,
    like: Option<&[&Table]>,
    hash: Hash,
    on_event: OnEvent<'_>,
) -> Result<Known<'a>> {
    if let Some(measured) = measured {
        check_subject(&measured.header, snapshot, hash).map_err(|reason| other_journal(&reason))?;
        match changed(&measured.header, snapshot)? {
            None => {
                let keep = Some(Keep { journal, side, header: measured.header.clone() });
                let find = |name: &TableName| measured.tables.get(name);
                let known = usable(side, &measured.header, &find, snapshot, like, on_event)?;
                return Ok(Known { keep, ..known });
            }
            Some(reason) => report_changed(side, &reason, on_event)?,
        }
    }
    let header = journal::header(hash.algorithm, hash.key, snapshot.origin());
    if let Some(reason) = changed(&header, snapshot)? {
        let message = format!("no table of {side} is kept for --resume: {reason}");
        event::send(on_event, Event::Notice { message })?;
        return Ok(Known::default());
    }
    (journal.append)(&journal::header_line(side, &header)?)?;
    Ok(Known { keep: Some(Keep { journal, side, header }), ..Known::default() })
}

/// The tables that are found as they were when they were measured.
fn usable<'a>(
    side: Side,
    header: &Header,
    find: &dyn Fn(&TableName) -> Option<&'a TableEntry>,
    snapshot: &dyn Snapshot,
    like: Option<&[&Table]>,
    on_event: OnEvent<'_>,
) -> Result<Known<'a>> {
    let is_usable = |found: &Found, entry: &TableEntry| {
        entry.is_measured()
            && !found.table.unlogged
            && found.unreadable.is_none()
            && entry.filenode == found.filenode
            && entry.table == Wanted::like(found, like).described()
            && entry.columns_found.as_ref() == like.map(|_| &found.table.columns)
    };
    let entry = |found: &Found| find(&found.table.name).filter(|entry| is_usable(found, entry));
    let tables: Vec<&TableEntry> = snapshot.tables().iter().filter_map(entry).collect();
    if tables.is_empty() {
        return Ok(Known::default());
    }
    let captured_at = header.captured_at;
    let (number, all) = (tables.len(), snapshot.tables().len());
    let message = format!(
        "{number} of {all} tables of {side} were measured earlier, under a snapshot of {captured_at}; nothing has changed since, so they \
         are not read again"
    );
    event::send(on_event, Event::Notice { message })?;
    let earlier = MeasuredEarlier { side, tables: number as u64, captured_at };
    Ok(Known { tables, earlier: Some(earlier), keep: None })
}

/// Returns what other database or parameters the measurement is of.
fn check_subject(then: &Header, snapshot: &dyn Snapshot, hash: Hash) -> Result<(), String> {
    let now = &snapshot.origin().source;
    let same = [
        (then.source.may_be_server_of(now) && then.source.database_oid == now.database_oid, "database"),
        (then.hash == hash.algorithm, "hash function"),
        (then.key == hash.key, "manifest (the key of its hash is another)"),
    ];
    match same.iter().find(|(same, _)| !same) {
        Some((_, what)) => Err(format!("it is of another {what}")),
        None => Ok(()),
    }
}

/// Returns the reason why rows may have changed since the snapshot of `then`, if they may.
fn changed(then: &Header, snapshot: &dyn Snapshot) -> Result<Option<String>> {
    match other_process(&then.source, &snapshot.origin().source) {
        Some(reason) => Ok(Some(reason.to_owned())),
        None => snapshot.changed_since(then),
    }
}

fn other_process(then: &Source, now: &Source) -> Option<&'static str> {
    // A time that is unknown is no evidence.
    let same = |then: Option<Timestamp>, now: Option<Timestamp>| then.is_some() && then == now;
    if !same(then.postmaster_started_at, now.postmaster_started_at) {
        return Some("the server was restarted since, or it is another copy");
    }
    if !same(then.statistics_since, now.statistics_since) {
        return Some("the server recovered from a crash since, or its statistics were reset");
    }
    None
}

fn report_changed(side: Side, reason: &str, on_event: OnEvent<'_>) -> Result<()> {
    let message = format!("all tables of {side} are read again: {reason}");
    event::send(on_event, Event::Notice { message })
}

fn note_void_lines(journal: &Journal, on_event: OnEvent<'_>) -> Result<()> {
    match journal.void_lines {
        0 => Ok(()),
        lines => {
            let message = format!(
                "lines of the journal that are torn or damaged: {lines}; their tables are read again"
            );
            event::send(on_event, Event::Notice { message })
        }
    }
}

fn other_journal(reason: &str) -> Error {
    Error::new(ErrorKind::Manifest, format!("continue the journal: {reason}")).with_hint(OTHER_FILE)
}
