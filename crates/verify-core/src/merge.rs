//! The sum of all parts of a capture: the manifest that one process would have written, or the reason why they do not belong together.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use jiff::Timestamp;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Content, FORMAT, Header, Manifest, TableEntry};
use crate::names::Names;
use crate::partial::PartialManifest;
use crate::table::TableName;

/// Adds up the parts of a capture, in any order, each with the name of its file for messages.
///
/// The result has the sequences, definitions and invariants of the first part, and the earliest time and position of all. A table
/// that one part could not read, or that not all of them found alike, is in it with the reason and without rows.
///
/// # Errors
///
/// That of an item, or [`ErrorKind::Manifest`] with the file and the reason: a part is missing or there twice, or is one of another capture.
pub fn merge<E: From<Error>>(
    parts: impl IntoIterator<Item = Result<(String, PartialManifest), E>>,
) -> Result<Manifest, E> {
    let mut parts = parts.into_iter();
    let (file, first) = parts.next().ok_or_else(|| refused("there is none"))??;
    let mut sum = Sum::new(file, first);
    for part in parts {
        let (file, part) = part?;
        sum.add(file, part)?;
    }
    Ok(sum.finish()?)
}

/// Sum of some of the parts.
struct Sum {
    /// The number of all parts.
    of: u32,
    chunk_pages: u32,
    /// Files by number of their part.
    files: BTreeMap<u32, String>,
    /// The file with which the others are compared, and its header.
    first: String,
    header: Header,
    tables: Vec<Table>,
    /// Content of the first part, which alone has more than rows.
    rest: Option<Manifest>,
    captured_at: Timestamp,
    lsn: String,
}

/// A table, as far as it was added up.
struct Table {
    /// As a part found it, with the sum of the parts as its content.
    entry: TableEntry,
    is_uncut: bool,
    /// The part that found it so, the lowest so far.
    found_by: u32,
    /// The part that the reason is from, if there are no rows.
    part: u32,
}

impl Sum {
    fn new(file: String, part: PartialManifest) -> Self {
        let PartialManifest { part: number, chunk_pages, uncut, mut manifest } = part;
        let table = |entry| {
            let (is_uncut, part) = (is_listed(&uncut, &entry), number.number());
            Table { entry, is_uncut, found_by: part, part }
        };
        let tables = std::mem::take(&mut manifest.tables).into_iter().map(table).collect();
        let header = manifest.header.clone();
        Self {
            of: number.of(),
            chunk_pages,
            files: BTreeMap::from([(number.number(), file.clone())]),
            first: file,
            tables,
            captured_at: header.captured_at,
            lsn: header.lsn.clone(),
            header,
            rest: number.is_first().then_some(manifest),
        }
    }

    fn add(&mut self, file: String, part: PartialManifest) -> Result<()> {
        self.check(&part).map_err(|reason| other_capture(&file, &reason))?;
        let PartialManifest { part: number, uncut, mut manifest, .. } = part;
        for (table, entry) in self.tables.iter_mut().zip(std::mem::take(&mut manifest.tables)) {
            let is_uncut = is_listed(&uncut, &entry);
            table.add(entry, is_uncut, number.number());
        }
        match self.files.entry(number.number()) {
            Entry::Occupied(other) => {
                return Err(refused(&format!("{file} and {} are both part {number}", other.get())));
            }
            Entry::Vacant(place) => place.insert(file),
        };
        self.captured_at = self.captured_at.min(manifest.header.captured_at);
        if position(&manifest.header.lsn) < position(&self.lsn) {
            self.lsn.clone_from(&manifest.header.lsn);
        }
        if number.is_first() {
            self.rest = Some(manifest);
        }
        Ok(())
    }

    /// Returns why a part is not one of the same capture.
    fn check(&self, part: &PartialManifest) -> Result<(), String> {
        let (ours, theirs) = (&self.header, &part.manifest.header);
        let first = &self.first;
        if part.part.of() != self.of {
            return Err(format!("it is one of {} parts, and {first} is one of {}", part.part.of(), self.of));
        }
        if theirs.snapshot != ours.snapshot {
            return Err(format!(
                "it is of the snapshot {}, and {first} of {}",
                theirs.snapshot, ours.snapshot
            ));
        }
        let same = [
            (theirs.version == ours.version && theirs.encoding == ours.encoding, "version of the format"),
            (theirs.hash == ours.hash, "hash function"),
            (theirs.key == ours.key, "key of the hash"),
            (theirs.consistency == ours.consistency, "mode of the capture"),
            (theirs.source.system_identifier == ours.source.system_identifier, "system identifier"),
            (theirs.source.server_version == ours.source.server_version, "version of the server"),
            (theirs.source.postmaster_started_at == ours.source.postmaster_started_at, "start of the server"),
            (theirs.source.database_oid == ours.source.database_oid, "database"),
            (theirs.source.encoding == ours.source.encoding, "encoding of the database"),
            (part.chunk_pages == self.chunk_pages, "size of chunks"),
        ];
        if let Some((_, what)) = same.iter().find(|(same, _)| !same) {
            return Err(format!("it has another {what} than {first}"));
        }
        let mut tables = self.tables.iter().zip(&part.manifest.tables);
        let other = tables.find(|(ours, theirs)| ours.entry.name() != theirs.name());
        if let Some((_, theirs)) = other {
            return Err(format!("it has other tables than {first}, from {} on", theirs.name()));
        }
        if self.tables.len() != part.manifest.tables.len() {
            return Err(format!("it has more or fewer tables than {first}"));
        }
        Ok(())
    }

    fn finish(self) -> Result<Manifest> {
        let missing: Vec<u32> =
            (1..=self.of).filter(|number| !self.files.contains_key(number)).take(MISSING_MAX + 1).collect();
        let Some(mut manifest) = self.rest.filter(|_| missing.is_empty()) else {
            let named: Vec<String> =
                missing.iter().take(MISSING_MAX).map(|number| format!("{number}/{}", self.of)).collect();
            let more = if missing.len() > MISSING_MAX { " and more" } else { "" };
            return Err(refused(&format!("missing: part {}{more}", named.join(", "))));
        };
        let finished = |Table { mut entry, .. }: Table| {
            if let Content::Rows { names, .. } = &mut entry.content {
                names.sort();
            }
            entry
        };
        manifest.tables = self.tables.into_iter().map(finished).collect();
        manifest.header.format = FORMAT.to_owned();
        manifest.header.captured_at = self.captured_at;
        manifest.header.lsn = self.lsn;
        Ok(manifest)
    }
}

/// The most missing parts that a message names.
const MISSING_MAX: usize = 5;
/// The reason of a table that parts found different.
const DIFFERENT: &str = "not all parts of the capture found it alike (columns, their encoding, file, division): it was altered, or \
    it has a row that is too large for the part that read it";

impl Table {
    fn add(&mut self, mut entry: TableEntry, is_uncut: bool, part: u32) {
        let ours = &self.entry;
        let alike = entry.table == ours.table
            && entry.filenode == ours.filenode
            && entry.columns_found == ours.columns_found
            && is_uncut == self.is_uncut;
        let theirs = std::mem::replace(&mut entry.content, different());
        let mine = std::mem::replace(&mut self.entry.content, different());
        let both = worse((mine, self.part), (theirs, part));
        let (content, part_of_reason) = if alike { both } else { worse(both, (different(), u32::MAX)) };
        if part < self.found_by {
            (self.entry, self.is_uncut, self.found_by) = (entry, is_uncut, part);
        }
        (self.entry.content, self.part) = (content, part_of_reason);
    }
}

fn different() -> Content {
    Content::Unreadable(DIFFERENT.to_owned())
}

/// The worse of two contents, of the lower part where both are as bad; the sum, if both are rows.
fn worse(mine: (Content, u32), theirs: (Content, u32)) -> (Content, u32) {
    let rank = |content: &Content| match content {
        Content::Rows { .. } => 0,
        Content::Unreadable(_) => 1,
        Content::Rewritten(_) => 2,
        Content::Damaged(_) => 3,
    };
    match (mine, theirs) {
        ((Content::Rows { digest, bytes, names }, part), (other @ Content::Rows { .. }, _)) => {
            added(digest, bytes, names, other).map_or((different(), u32::MAX), |sum| (sum, part))
        }
        (mine, theirs) => {
            let order = |of: &(Content, u32)| (std::cmp::Reverse(rank(&of.0)), of.1);
            if order(&mine) <= order(&theirs) { mine } else { theirs }
        }
    }
}

/// The rows of two parts; `None` if no capture gives such numbers or lists.
fn added(mut digest: Digest, bytes: u64, mut names: Names, other: Content) -> Option<Content> {
    let Content::Rows { digest: theirs, bytes: more, names: others } = other else { return None };
    digest.rows.checked_add(theirs.rows)?;
    digest.merge(&theirs);
    let bytes = bytes.checked_add(more)?;
    if !names.fits(&others) {
        return None;
    }
    names.merge(others);
    Some(Content::Rows { digest, bytes, names })
}

fn is_listed(uncut: &[TableName], entry: &TableEntry) -> bool {
    uncut.binary_search(entry.name()).is_ok()
}

/// A position in the WAL as a number, `16/B374D848`; one that is none comes last.
fn position(lsn: &str) -> (u64, u64) {
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let halves = lsn.split_once('/').and_then(|(high, low)| Some((number(high)?, number(low)?)));
    halves.unwrap_or((u64::MAX, u64::MAX))
}

fn refused(reason: &str) -> Error {
    Error::new(ErrorKind::Manifest, format!("merge the parts: {reason}"))
        .with_hint("give each part of one capture once: all from 1/n to n/n")
}

fn other_capture(file: &str, reason: &str) -> Error {
    Error::new(ErrorKind::Manifest, format!("merge the parts: {file} is not of the same capture: {reason}")).with_hint(
        "capture all parts under one snapshot and with one key (`--snapshot-id`, `--key-file`), by one version of state-lab, with \
         the same --hash",
    )
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
