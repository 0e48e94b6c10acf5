//! The journal of a comparison: each table once it has been measured, so that a run that was cut off need not read it again.
//!
//! It has the lines that a manifest has for its header and its tables, each with the side that it is of, and before it the BLAKE3 of the
//! line and of the header that it belongs to, in hexadecimal. A line that is torn or changed is void, and the others count. A later header
//! of a side makes its tables so far void, and a header of the source those of both sides, for it has a key of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, Read};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::{HashAlgorithm, HashKey};
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{FORMAT_VERSION, Header, Origin, TableEntry};
use crate::row::ENCODING_VERSION;
use crate::table::TableName;

/// The value of [`Header::format`] in a journal.
const JOURNAL_FORMAT: &str = "state-lab-journal";
/// A longer line is refused, as in a manifest.
const LINE_BYTES_MAX: u64 = 1 << 30;
/// Digits of the BLAKE3 of a line.
const CHECK_DIGITS: usize = 64;

/// One side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The database that was backed up.
    Source,
    /// Its copy.
    Restored,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "the source",
            Self::Restored => "the restored database",
        })
    }
}

/// Tables of a database that were measured under one snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Origin and parameters of the measurement.
    pub header: Header,
    /// The tables by name.
    pub tables: BTreeMap<TableName, TableEntry>,
}

/// Tables of one side whose measurement was made before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MeasuredEarlier {
    /// The side.
    pub side: Side,
    /// Number of tables.
    pub tables: u64,
    /// The server's clock when the snapshot was fixed under which they were read. No row has changed since.
    #[schemars(with = "String")]
    pub captured_at: Timestamp,
}

/// Content of a journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journal {
    /// The source, if two databases are compared.
    pub source: Option<Measured>,
    /// Its copy.
    pub restored: Option<Measured>,
    /// Number of lines that are torn or changed.
    pub void_lines: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Header(Side, Box<Header>),
    Table(Side, Box<TableEntry>),
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum LineRef<'a> {
    Header(Side, &'a Header),
    Table(Side, &'a TableEntry),
}

/// A header for the lines of a side.
pub(crate) fn header(algorithm: HashAlgorithm, key: HashKey, origin: &Origin) -> Header {
    Header { format: JOURNAL_FORMAT.to_owned(), ..Header::new(algorithm, key, origin.clone()) }
}

/// The line that begins the tables of a side.
pub(crate) fn header_line(side: Side, header: &Header) -> Result<Vec<u8>> {
    Ok(line(&json(&LineRef::Header(side, header))?, &[]))
}

/// The line of a table that was measured under the snapshot of `header`.
pub(crate) fn table_line(side: Side, header: &Header, entry: &TableEntry) -> Result<Vec<u8>> {
    Ok(line(&json(&LineRef::Table(side, entry))?, &json(header)?))
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::with_source(ErrorKind::File, "write the journal", error))
}

fn check(json: &[u8], header: &[u8]) -> String {
    blake3::Hasher::new().update(header).update(json).finalize().to_hex().to_string()
}

fn line(json: &[u8], header: &[u8]) -> Vec<u8> {
    [check(json, header).as_bytes(), b" ", json, b"\n"].concat()
}

impl Journal {
    /// Reads a journal; nothing is one without content.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Manifest`] if the first line is not that of a journal of this version, or [`ErrorKind::File`] if `from` fails.
    pub fn read(mut from: impl BufRead) -> Result<Self> {
        let mut journal = Self::default();
        let mut first = true;
        loop {
            let mut text = Vec::new();
            let read = from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text);
            read.map_err(|error| Error::with_source(ErrorKind::File, "read the journal", error))?;
            if text.is_empty() {
                return Ok(journal);
            }
            let is_valid = journal.push(&text)?;
            if first && !is_valid {
                return Err(refused("its first line is not that of a journal"));
            }
            first = false;
            journal.void_lines += u64::from(!is_valid);
        }
    }

    /// Adds a line, and returns whether it is valid.
    fn push(&mut self, text: &[u8]) -> Result<bool> {
        let parts = text.strip_suffix(b"\n").and_then(|line| line.split_at_checked(CHECK_DIGITS));
        let Some((found, json)) = parts.and_then(|(found, rest)| Some((found, rest.strip_prefix(b" ")?)))
        else {
            return Ok(false);
        };
        if check(json, &[]).as_bytes() == found {
            let Some(Line::Header(side, header)) = parsed(json)? else { return Ok(false) };
            check_version(&header)?;
            if side == Side::Source {
                self.restored = None;
            }
            *self.side_mut(side) = Some(Measured { header: *header, tables: BTreeMap::new() });
            return Ok(true);
        }
        for side in [Side::Source, Side::Restored] {
            let Some(measured) = self.side_mut(side) else { continue };
            if check(json, &self::json(&measured.header)?).as_bytes() != found {
                continue;
            }
            let Some(Line::Table(of, entry)) = parsed(json)? else { return Ok(false) };
            if of == side {
                measured.tables.insert(entry.name().clone(), *entry);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn side_mut(&mut self, side: Side) -> &mut Option<Measured> {
        match side {
            Side::Source => &mut self.source,
            Side::Restored => &mut self.restored,
        }
    }
}

/// Parses a line whose check is right, so that only another version can have written what is not understood.
fn parsed(json: &[u8]) -> Result<Option<Line>> {
    match serde_json::from_slice(json) {
        Ok(line) => Ok(Some(line)),
        Err(error) => {
            Err(Error::with_source(ErrorKind::Manifest, "read the journal: a line is not understood", error)
                .with_hint(OTHER_FILE))
        }
    }
}

fn check_version(header: &Header) -> Result<()> {
    if header.format != JOURNAL_FORMAT {
        return Err(refused("its first line is not that of a journal"));
    }
    if (header.version, header.encoding) != (FORMAT_VERSION, ENCODING_VERSION) {
        return Err(refused("another version of state-lab wrote it"));
    }
    Ok(())
}

/// The remedy for a journal that cannot be continued.
pub(crate) const OTHER_FILE: &str = "name another file, or remove this one to measure everything anew";

fn refused(reason: &str) -> Error {
    Error::new(ErrorKind::Manifest, format!("read the journal: {reason}")).with_hint(OTHER_FILE)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
