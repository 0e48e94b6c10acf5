//! The manifest's file: JSON Lines behind zstd, sealed so that nothing cut or changed is accepted.
//!
//! A header, one line an object in sorted order, and a trailer with the number of lines and the BLAKE3
//! of all before it; compressed with zstd. Behind the compressed frame is a zstd skippable frame
//! (RFC 8878 §3.1.2) with the BLAKE3 of the compressed bytes, so that a file with any byte cut or
//! flipped is refused, while `zstd -d` still reads it.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::definition::{Definition, Definitions};
use crate::error::{Error, ErrorKind, Result};
use crate::heartbeat::Pulse;
use crate::invariant::Evaluated;
use crate::manifest::{FORMAT, FORMAT_VERSION, Header, Manifest, TableEntry};
use crate::partial::{PARTIAL_FORMAT, PartNumber, PartialManifest};
use crate::row::ENCODING_VERSION;
use crate::sequence::Sequence;
use crate::table::TableName;

/// The oldest version that is read: it has no definitions.
const FORMAT_VERSION_MIN: u32 = 1;
/// The first with definitions of the database's objects; those of the cluster came later.
const WITH_DEFINITIONS: u32 = 2;
const COMPRESSION_LEVEL: i32 = 1;
/// A longer line is refused: the largest sketch in base64 needs a tenth of it.
const LINE_BYTES_MAX: u64 = 1 << 30;
/// Magic number and length of the skippable frame that seals the file.
const SEAL_HEAD: [u8; 8] = [0x5a, 0x2a, 0x4d, 0x18, 32, 0, 0, 0];
const SEAL_BYTES: usize = 40;

impl Manifest {
    /// Writes the manifest; the same manifest gives the same bytes.
    ///
    /// # Errors
    ///
    /// If `to` fails; what was written so far has no seal and will be refused.
    pub fn write(&self, to: impl Write) -> Result<()> {
        write(self, None, to)
    }

    /// Reads a manifest, and refuses one that is cut, changed, or of another format.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Manifest`] with the reason, or [`ErrorKind::File`] if `from` fails.
    pub fn read(from: impl Read) -> Result<Self> {
        match Contents::read(from)? {
            Contents { manifest, part: None, .. } => Ok(manifest),
            Contents { part: Some(Part { number, of, .. }), .. } => {
                Err(refused(format!("it is part {number}/{of} of one"))
                    .with_hint("merge all parts first: state-lab merge PART... -o MANIFEST"))
            }
        }
    }
}

impl PartialManifest {
    /// Writes the part; the same part gives the same bytes.
    ///
    /// # Errors
    ///
    /// As for [`Manifest::write`].
    pub fn write(&self, to: impl Write) -> Result<()> {
        write(&self.manifest, Some(self), to)
    }

    /// Reads a part, and refuses what is cut, changed, or a whole manifest.
    ///
    /// # Errors
    ///
    /// As for [`Manifest::read`].
    pub fn read(from: impl Read) -> Result<Self> {
        let Contents { manifest, part, uncut } = Contents::read(from)?;
        let Some(Part { number, of, chunk_pages }) = part else {
            return Err(refused("it is a whole one, not a part")
                .with_hint("give the files that `state-lab capture --part` wrote"));
        };
        let part =
            PartNumber::new(number, of).ok_or_else(|| refused(format!("part {number}/{of} cannot be")))?;
        Ok(Self { part, chunk_pages, uncut, manifest })
    }
}

fn write(manifest: &Manifest, partial: Option<&PartialManifest>, to: impl Write) -> Result<()> {
    try_write(manifest, partial, to)
        .map_err(|error| Error::with_source(ErrorKind::File, "write the manifest", error))
}

fn try_write(manifest: &Manifest, partial: Option<&PartialManifest>, to: impl Write) -> io::Result<()> {
    let sealed = Hashing { inner: BufWriter::new(to), hasher: blake3::Hasher::new() };
    let mut encoder = zstd::Encoder::new(sealed, COMPRESSION_LEVEL)?;
    encoder.include_checksum(true)?;
    let mut lines = Lines { to: Hashing { inner: encoder, hasher: blake3::Hasher::new() }, count: 0 };
    lines.write(&LineRef::Header(&manifest.header))?;
    if let Some(PartialManifest { part, chunk_pages, uncut, .. }) = partial {
        let (number, of, chunk_pages) = (part.number(), part.of(), *chunk_pages);
        lines.write(&LineRef::Part(&Part { number, of, chunk_pages }))?;
        for table in uncut {
            lines.write(&LineRef::Uncut(table))?;
        }
    }
    for entry in &manifest.tables {
        lines.write(&LineRef::Table(entry))?;
    }
    for sequence in &manifest.sequences {
        lines.write(&LineRef::Sequence(sequence))?;
    }
    lines.write_definitions(&manifest.definitions, LineRef::Definition, LineRef::DefinitionsUnread)?;
    lines.write_definitions(&manifest.cluster, LineRef::Cluster, LineRef::ClusterUnread)?;
    for invariant in &manifest.invariants {
        lines.write(&LineRef::Invariant(invariant))?;
    }
    lines.write(&LineRef::Pulse(&manifest.pulse))?;
    let blake3 = lines.to.hasher.finalize().to_hex().to_string();
    lines.write(&LineRef::Trailer(&Trailer { lines: lines.count, blake3 }))?;
    let Hashing { mut inner, hasher } = lines.to.inner.finish()?;
    inner.write_all(&SEAL_HEAD)?;
    inner.write_all(hasher.finalize().as_bytes())?;
    inner.flush()
}

/// Contents of a file: a manifest, or a part of one.
struct Contents {
    manifest: Manifest,
    part: Option<Part>,
    uncut: Vec<TableName>,
}

impl Contents {
    fn read(from: impl Read) -> Result<Self> {
        let sealed = Unsealing { from, held: Vec::new(), hasher: blake3::Hasher::new(), ended: false };
        let decoder = zstd::Decoder::new(sealed).map_err(unreadable)?.single_frame();
        let mut reading =
            ManifestReader { lines: BufReader::new(decoder), hasher: blake3::Hasher::new(), count: 0 };
        let Some(Line::Header(header)) = reading.next()? else {
            return Err(refused("its first line is not a header"));
        };
        check_version(&header)?;
        let mut builder = Builder::new(header);
        let trailer = loop {
            let before = (reading.hasher.clone(), reading.count);
            match reading.next()? {
                None => return Err(refused("it is truncated: the trailer is missing")),
                Some(Line::Trailer(trailer)) => break (trailer, before),
                Some(line) => builder.push(line)?,
            }
        };
        let (Trailer { lines, blake3 }, (hasher, count)) = trailer;
        if lines != count || blake3 != hasher.finalize().to_hex().as_str() {
            return Err(refused("it was modified: the trailer does not match its lines"));
        }
        if reading.next()?.is_some() {
            return Err(refused("unexpected lines follow its trailer"));
        }
        let compressed = reading.lines.into_inner().finish();
        if !compressed.buffer().is_empty() {
            return Err(refused("unexpected data follow its frame"));
        }
        compressed.into_inner().check()?;
        builder.finish()
    }
}

/// A line as it is read.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Header(Header),
    /// Second line of a part of a manifest, which no whole one has.
    Part(Part),
    /// A table that one part of the capture read as a whole; also of parts alone.
    Uncut(TableName),
    Table(Box<TableEntry>),
    Sequence(Sequence),
    Definition(Definition),
    /// The reason why no definition is here.
    DefinitionsUnread(String),
    /// The definition of an object of the cluster.
    Cluster(Definition),
    /// The reason why none of those is here.
    ClusterUnread(String),
    Invariant(Evaluated),
    Pulse(Pulse),
    Trailer(Trailer),
}

/// A line as it is written: the same, without owning what may be large.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum LineRef<'a> {
    Header(&'a Header),
    Part(&'a Part),
    Uncut(&'a TableName),
    Table(&'a TableEntry),
    Sequence(&'a Sequence),
    Definition(&'a Definition),
    DefinitionsUnread(&'a str),
    Cluster(&'a Definition),
    ClusterUnread(&'a str),
    Invariant(&'a Evaluated),
    Pulse(&'a Pulse),
    Trailer(&'a Trailer),
}

/// The part of a capture that a file is.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Part {
    /// Its number, from 1.
    number: u32,
    /// The number of all parts.
    of: u32,
    /// Pages of a chunk, of which each part reads its own.
    chunk_pages: u32,
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

fn check_version(header: &Header) -> Result<()> {
    if header.format != FORMAT && header.format != PARTIAL_FORMAT {
        return Err(refused("it is not a state-lab manifest"));
    }
    if !(FORMAT_VERSION_MIN..=FORMAT_VERSION).contains(&header.version) || header.encoding != ENCODING_VERSION
    {
        return Err(refused(format!(
            "it is of version {}.{}, and this state-lab reads {FORMAT_VERSION_MIN}.{ENCODING_VERSION} to {FORMAT_VERSION}.{ENCODING_VERSION}",
            header.version, header.encoding
        ))
        .with_hint("use the state-lab that wrote it"));
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
            "read the manifest: it is truncated, modified, or not a manifest",
            error,
        )
    }
}

fn push_sorted(definitions: &mut Definitions, definition: Definition) -> Result<()> {
    match definitions {
        Definitions::Read(known) if known.last().is_none_or(|last| last.key() < definition.key()) => {
            known.push(definition);
            Ok(())
        }
        _ => Err(refused("its definitions are not sorted")),
    }
}

/// Gathers lines, and insists on their order.
struct Builder {
    manifest: Manifest,
    part: Option<Part>,
    uncut: Vec<TableName>,
    pulse: bool,
}

impl Builder {
    fn new(header: Header) -> Self {
        let pulse = Pulse { beat: None, last_commit: None, read_at: header.captured_at };
        let (tables, sequences, invariants) = (Vec::new(), Vec::new(), Vec::new());
        let since = |first| match header.version >= first {
            true => Definitions::Read(Vec::new()),
            false => Definitions::Unread(
                "its manifest was written by a state-lab that did not read them".to_owned(),
            ),
        };
        let (definitions, cluster) = (since(WITH_DEFINITIONS), since(FORMAT_VERSION));
        Self {
            manifest: Manifest { header, tables, sequences, definitions, cluster, invariants, pulse },
            part: None,
            uncut: Vec::new(),
            pulse: false,
        }
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
                    return Err(refused("a key has a column that does not exist"));
                }
                manifest.tables.push(*entry);
            }
            Line::Part(part) if self.part.is_none() => self.part = Some(part),
            Line::Part(_) => return Err(refused("it is several parts")),
            Line::Uncut(table) => {
                if self.uncut.last().is_some_and(|last| *last >= table) {
                    return Err(refused("its uncut tables are not sorted"));
                }
                self.uncut.push(table);
            }
            Line::Sequence(sequence) => manifest.sequences.push(sequence),
            Line::Definition(definition) => push_sorted(&mut manifest.definitions, definition)?,
            Line::DefinitionsUnread(reason) => manifest.definitions = Definitions::Unread(reason),
            Line::Cluster(definition) => push_sorted(&mut manifest.cluster, definition)?,
            Line::ClusterUnread(reason) => manifest.cluster = Definitions::Unread(reason),
            Line::Invariant(invariant) => manifest.invariants.push(invariant),
            Line::Pulse(pulse) => {
                manifest.pulse = pulse;
                self.pulse = true;
            }
            Line::Header(_) | Line::Trailer(_) => return Err(refused("it has a second header")),
        }
        Ok(())
    }

    fn finish(self) -> Result<Contents> {
        let Self { manifest, part, uncut, pulse } = self;
        if !pulse {
            return Err(refused("its heartbeat is missing"));
        }
        // A part that lacks its number must not be taken for a whole manifest.
        if (manifest.header.format == PARTIAL_FORMAT) != part.is_some() {
            return Err(refused("its format and its number of a part do not match"));
        }
        Ok(Contents { manifest, part, uncut })
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

    /// Writes a line for each definition, or one for the reason why there are none.
    fn write_definitions<'a>(
        &mut self,
        definitions: &'a Definitions,
        line: fn(&'a Definition) -> LineRef<'a>,
        unread: fn(&'a str) -> LineRef<'a>,
    ) -> io::Result<()> {
        match definitions {
            Definitions::Read(all) => all.iter().try_for_each(|definition| self.write(&line(definition))),
            Definitions::Unread(reason) => self.write(&unread(reason)),
        }
    }
}

struct ManifestReader<R> {
    lines: R,
    hasher: blake3::Hasher,
    count: u64,
}

impl<R: BufRead> ManifestReader<R> {
    fn next(&mut self) -> Result<Option<Line>> {
        let mut text = Vec::new();
        self.lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text).map_err(unreadable)?;
        if text.is_empty() {
            return Ok(None);
        }
        if text.last() != Some(&b'\n') {
            return Err(refused("it is truncated in the middle of a line"));
        }
        self.hasher.update(&text);
        self.count += 1;
        let line = serde_json::from_slice(&text).map_err(|error| {
            Error::with_source(
                ErrorKind::Manifest,
                format!("read the manifest: it is truncated or modified in line {}", self.count),
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
            _ => return Err(refused("it is truncated or modified: its checksum does not match")),
        }
        if trailing > 0 { Err(refused("unexpected data follow its frame")) } else { Ok(()) }
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
