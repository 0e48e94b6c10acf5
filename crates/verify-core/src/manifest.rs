//! The manifest: everything that was measured of a database, as JSON Lines.
//!
//! A header, one line an object in sorted order, and a trailer with the number of lines and the BLAKE3
//! of all before it; compressed with zstd. Behind the compressed frame stands a zstd skippable frame
//! (RFC 8878 §3.1.2) with the BLAKE3 of the compressed bytes, so that a file with any byte cut or
//! flipped is refused, while `zstd -d` still reads it.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, HashAlgorithm, HashKey};
use crate::error::{Error, ErrorKind, Result};
use crate::heartbeat::Pulse;
use crate::invariant::Evaluated;
use crate::names::Names;
use crate::row::ENCODING_VERSION;
use crate::sequence::Sequence;
use crate::table::{Column, Table, TableName};

/// The value of [`Header::format`].
const FORMAT: &str = "state-lab-manifest";
/// The version of this format.
pub const FORMAT_VERSION: u32 = 1;
const COMPRESSION_LEVEL: i32 = 1;
/// A longer line is refused: the largest sketch in base64 needs a tenth of it.
const LINE_BYTES_MAX: u64 = 1 << 30;
/// Magic number and length of the skippable frame that seals the file.
const SEAL_HEAD: [u8; 8] = [0x5a, 0x2a, 0x4d, 0x18, 32, 0, 0, 0];
const SEAL_BYTES: usize = 40;

/// What was measured of one database at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Where, when and how.
    pub header: Header,
    /// The tables, sorted by name.
    pub tables: Vec<TableEntry>,
    /// The sequences, sorted by name.
    pub sequences: Vec<Sequence>,
    /// The invariants, in the plan's order.
    pub invariants: Vec<Evaluated>,
    /// The newest sign of life under the snapshot.
    pub pulse: Pulse,
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// `state-lab-manifest`.
    pub format: String,
    /// The version of the format.
    pub version: u32,
    /// The version of the canonical row.
    pub encoding: u32,
    /// The hash of the rows.
    pub hash: HashAlgorithm,
    /// The key of the hash, drawn after the snapshot was fixed.
    pub key: HashKey,
    /// Which database.
    pub source: Source,
    /// `pg_current_snapshot()` of the measured instant.
    pub snapshot: String,
    /// The write-ahead log's insert position when the snapshot was fixed.
    pub lsn: String,
    /// The server's clock when the snapshot was fixed.
    #[schemars(with = "String")]
    pub captured_at: Timestamp,
    /// How the instant is tied to a backup.
    pub consistency: Consistency,
}

/// Which database was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// `server_version_num`.
    pub server_version: u32,
    /// The cluster's system identifier, empty where the role may not read it.
    pub system_identifier: String,
    /// The database's name.
    pub database: String,
    /// Its encoding.
    pub encoding: String,
    /// Other databases of the same cluster, which this manifest does not cover.
    pub other_databases: Vec<String>,
}

/// How the instant of the manifest is tied to the instant of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "mode")]
pub enum Consistency {
    /// One snapshot; exact for a dump that was taken under it, or a source that stood still.
    SharedSnapshot,
    /// The snapshot can be read again in a physical copy.
    TimeTravel(Anchor),
}

/// What it takes to read a snapshot again in a physical copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Anchor {
    /// The transaction that was held open until the copy was cut, so that nothing visible was pruned.
    pub xid: u64,
    /// The database that it was open in; it protects no other.
    pub database_oid: u32,
    /// Sub-transactions in progress, which `pg_current_snapshot()` omits.
    pub subtransactions: Vec<u64>,
}

/// A table's line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TableEntry {
    /// Which table, and how its rows were read.
    #[serde(flatten)]
    pub table: Table,
    /// The file that held the rows when the snapshot was fixed (`relfilenode`); 0 where it has none.
    pub filenode: u32,
    /// The columns that the catalogue showed, where the rows were read by another table's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns_found: Option<Vec<Column>>,
    /// What was measured, or why it could not be.
    pub content: Content,
}

/// What was measured of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Its rows.
    Rows {
        /// Count and sum.
        #[serde(flatten)]
        digest: Digest,
        /// Bytes of the canonical rows.
        bytes: u64,
        /// What names rows later.
        names: Names,
    },
    /// It could not be read, for this reason.
    Unreadable(String),
    /// The server found its data damaged when it read them.
    Damaged(String),
    /// It was truncated, rewritten or dropped while it was measured, so that what was read is not the snapshot's.
    Rewritten(String),
}

impl TableEntry {
    /// The table's name.
    pub fn name(&self) -> &TableName {
        &self.table.name
    }

    /// How many rows were read; 0 where none could be.
    pub fn rows(&self) -> u64 {
        match &self.content {
            Content::Rows { digest, .. } => digest.rows,
            Content::Unreadable(_) | Content::Damaged(_) | Content::Rewritten(_) => 0,
        }
    }
}

/// A line as it is read.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Header(Header),
    Table(Box<TableEntry>),
    Sequence(Sequence),
    Invariant(Evaluated),
    Pulse(Pulse),
    Trailer(Trailer),
}

/// A line as it is written: the same, without owning what may be large.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum LineRef<'a> {
    Header(&'a Header),
    Table(&'a TableEntry),
    Sequence(&'a Sequence),
    Invariant(&'a Evaluated),
    Pulse(&'a Pulse),
    Trailer(&'a Trailer),
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Trailer {
    /// Lines before this one.
    lines: u64,
    /// BLAKE3 of the lines before this one, newlines included, in hexadecimal.
    blake3: String,
}

/// The JSON Schema of one line of a manifest.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Line).into()
}

impl Header {
    /// A header of this format and encoding.
    pub fn new(hash: HashAlgorithm, key: HashKey, origin: Origin) -> Self {
        let Origin { source, snapshot, lsn, captured_at, consistency } = origin;
        Self {
            format: FORMAT.to_owned(),
            version: FORMAT_VERSION,
            encoding: ENCODING_VERSION,
            hash,
            key,
            source,
            snapshot,
            lsn,
            captured_at,
            consistency,
        }
    }
}

/// Where a snapshot was taken, and how it can be found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Which database.
    pub source: Source,
    /// `pg_current_snapshot()`.
    pub snapshot: String,
    /// The write-ahead log's insert position.
    pub lsn: String,
    /// The server's clock.
    pub captured_at: Timestamp,
    /// How the instant is tied to a backup.
    pub consistency: Consistency,
}

impl Manifest {
    /// Writes the manifest; the same manifest gives the same bytes.
    ///
    /// # Errors
    ///
    /// If `to` fails; what was written so far has no seal and will be refused.
    pub fn write(&self, to: impl Write) -> Result<()> {
        self.try_write(to).map_err(|error| Error::with_source(ErrorKind::File, "write the manifest", error))
    }

    fn try_write(&self, to: impl Write) -> io::Result<()> {
        let sealed = Hashing { inner: BufWriter::new(to), hasher: blake3::Hasher::new() };
        let mut encoder = zstd::Encoder::new(sealed, COMPRESSION_LEVEL)?;
        encoder.include_checksum(true)?;
        let mut lines = Lines { to: Hashing { inner: encoder, hasher: blake3::Hasher::new() }, count: 0 };
        lines.write(&LineRef::Header(&self.header))?;
        for entry in &self.tables {
            lines.write(&LineRef::Table(entry))?;
        }
        for sequence in &self.sequences {
            lines.write(&LineRef::Sequence(sequence))?;
        }
        for invariant in &self.invariants {
            lines.write(&LineRef::Invariant(invariant))?;
        }
        lines.write(&LineRef::Pulse(&self.pulse))?;
        let blake3 = lines.to.hasher.finalize().to_hex().to_string();
        lines.write(&LineRef::Trailer(&Trailer { lines: lines.count, blake3 }))?;
        let Hashing { mut inner, hasher } = lines.to.inner.finish()?;
        inner.write_all(&SEAL_HEAD)?;
        inner.write_all(hasher.finalize().as_bytes())?;
        inner.flush()
    }

    /// Reads a manifest, and refuses one that is cut, changed, or of another format.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Manifest`] with the reason, or [`ErrorKind::File`] if `from` fails.
    pub fn read(from: impl Read) -> Result<Self> {
        let sealed = Unsealing { from, held: Vec::new(), hasher: blake3::Hasher::new(), ended: false };
        let decoder = zstd::Decoder::new(sealed).map_err(unreadable)?.single_frame();
        let mut reading = Reading { lines: BufReader::new(decoder), hasher: blake3::Hasher::new(), count: 0 };
        let Some(Line::Header(header)) = reading.next()? else {
            return Err(refused("its first line is no header"));
        };
        check_version(&header)?;
        let mut builder = Builder::new(header);
        let trailer = loop {
            let before = (reading.hasher.clone(), reading.count);
            match reading.next()? {
                None => return Err(refused("it is cut: the trailer is missing")),
                Some(Line::Trailer(trailer)) => break (trailer, before),
                Some(line) => builder.push(line)?,
            }
        };
        let (Trailer { lines, blake3 }, (hasher, count)) = trailer;
        if lines != count || blake3 != hasher.finalize().to_hex().as_str() {
            return Err(refused("it was changed: the trailer does not match its lines"));
        }
        if reading.next()?.is_some() {
            return Err(refused("lines follow its trailer"));
        }
        let compressed = reading.lines.into_inner().finish();
        if !compressed.buffer().is_empty() {
            return Err(refused("something follows its frame"));
        }
        compressed.into_inner().check()?;
        builder.finish()
    }

    /// The entry of a table.
    pub fn table(&self, name: &TableName) -> Option<&TableEntry> {
        self.tables.binary_search_by(|entry| entry.name().cmp(name)).ok().map(|i| &self.tables[i])
    }
}

fn check_version(header: &Header) -> Result<()> {
    if header.format != FORMAT {
        return Err(refused("it is no state-lab manifest"));
    }
    if (header.version, header.encoding) != (FORMAT_VERSION, ENCODING_VERSION) {
        return Err(refused(format!(
            "it is of version {}.{}, and this state-lab reads {FORMAT_VERSION}.{ENCODING_VERSION}: use the state-lab that wrote it",
            header.version, header.encoding
        )));
    }
    Ok(())
}

fn refused(reason: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Manifest, format!("read the manifest: {reason}"))
}

fn unreadable(error: io::Error) -> Error {
    // The decoder reports damage as errors of several kinds, and its source's own errors unchanged.
    if error.raw_os_error().is_some() {
        Error::with_source(ErrorKind::File, "read the manifest", error)
    } else {
        Error::with_source(
            ErrorKind::Manifest,
            "read the manifest: it is cut, changed, or none at all",
            error,
        )
    }
}

/// Gathers lines, and insists on their order.
struct Builder {
    manifest: Manifest,
    pulse: bool,
}

impl Builder {
    fn new(header: Header) -> Self {
        let pulse = Pulse { beat: None, last_commit: None, read_at: header.captured_at };
        let (tables, sequences, invariants) = (Vec::new(), Vec::new(), Vec::new());
        Self { manifest: Manifest { header, tables, sequences, invariants, pulse }, pulse: false }
    }

    fn push(&mut self, line: Line) -> Result<()> {
        let manifest = &mut self.manifest;
        match line {
            Line::Table(entry) => {
                if manifest.tables.last().is_some_and(|last| last.name() >= entry.name()) {
                    return Err(refused("its tables are not sorted"));
                }
                let columns = entry.table.columns.len();
                if entry.table.key.columns.iter().any(|&i| i >= columns) {
                    return Err(refused("a key names a column that is not there"));
                }
                manifest.tables.push(*entry);
            }
            Line::Sequence(sequence) => manifest.sequences.push(sequence),
            Line::Invariant(invariant) => manifest.invariants.push(invariant),
            Line::Pulse(pulse) => {
                manifest.pulse = pulse;
                self.pulse = true;
            }
            Line::Header(_) | Line::Trailer(_) => return Err(refused("it has a second header")),
        }
        Ok(())
    }

    fn finish(self) -> Result<Manifest> {
        if self.pulse { Ok(self.manifest) } else { Err(refused("its pulse is missing")) }
    }
}

struct Hashing<W> {
    inner: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

struct Lines<W> {
    to: Hashing<W>,
    count: u64,
}

impl<W: Write> Lines<W> {
    fn write(&mut self, line: &LineRef<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.to, line)?;
        self.to.write_all(b"\n")?;
        self.count += 1;
        Ok(())
    }
}

struct Reading<R> {
    lines: R,
    hasher: blake3::Hasher,
    count: u64,
}

impl<R: BufRead> Reading<R> {
    fn next(&mut self) -> Result<Option<Line>> {
        let mut text = Vec::new();
        self.lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text).map_err(unreadable)?;
        if text.is_empty() {
            return Ok(None);
        }
        if text.last() != Some(&b'\n') {
            return Err(refused("it is cut in the middle of a line"));
        }
        self.hasher.update(&text);
        self.count += 1;
        let line = serde_json::from_slice(&text).map_err(|error| {
            Error::with_source(
                ErrorKind::Manifest,
                format!("read line {} of the manifest", self.count),
                error,
            )
        })?;
        Ok(Some(line))
    }
}

/// Passes on all bytes but the seal at the end, and hashes them.
struct Unsealing<R> {
    from: R,
    held: Vec<u8>,
    hasher: blake3::Hasher,
    ended: bool,
}

impl<R: Read> Unsealing<R> {
    fn check(&mut self) -> Result<()> {
        let mut rest = [0; 4096];
        let mut trailing = 0;
        loop {
            match self.read(&mut rest).map_err(unreadable)? {
                0 => break,
                more => trailing += more,
            }
        }
        let seal: Option<&[u8; SEAL_BYTES]> = self.held.as_slice().try_into().ok();
        match seal {
            Some(seal) if seal[..8] == SEAL_HEAD && seal[8..] == *self.hasher.finalize().as_bytes() => {}
            _ => return Err(refused("it is cut or changed: its seal does not match")),
        }
        if trailing > 0 { Err(refused("something follows its frame")) } else { Ok(()) }
    }
}

impl<R: Read> Read for Unsealing<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while !self.ended && self.held.len() < SEAL_BYTES + to.len() {
            let before = self.held.len();
            self.held.resize(SEAL_BYTES + to.len(), 0);
            let read = self.from.read(&mut self.held[before..]);
            self.held.truncate(before + read.as_ref().map_or(0, |read| *read));
            match read {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let ready = self.held.len().saturating_sub(SEAL_BYTES).min(to.len());
        to[..ready].copy_from_slice(&self.held[..ready]);
        self.held.drain(..ready);
        self.hasher.update(&to[..ready]);
        Ok(ready)
    }
}
