//! Manifests and reports in files and in S3: written whole or not at all, and never over one that is there
//! unless told to.

use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use verify_core::manifest::Manifest;
use verify_core::report::Report;

use crate::s3::{self, Address, Bucket, Settings};
use verify_drill::file_draft::{Existing, FileDraft, refuse_remote};

/// The first bytes of a zstd frame (RFC 8878 §3.1.1), with which a manifest begins.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A larger report is refused: it names at most some thousand rows.
const REPORT_BYTES_MAX: u64 = 256 << 20;

/// A manifest or report in the making; nothing is left of it unless it is kept.
///
/// It is made before the work begins, so that a place that cannot be written to costs no hour of reading.
#[derive(Debug)]
pub(crate) enum Draft {
    File(FileDraft),
    Object(Box<s3::Draft>),
}

impl Draft {
    pub(crate) fn new(path: &Path, settings: &Settings, existing: Existing) -> Result<Self> {
        match Address::of_path(path)? {
            Some(address) => Ok(Self::Object(Box::new(s3::Draft::new(&address, settings, existing)?))),
            None => Ok(Self::File(FileDraft::new(path, existing)?)),
        }
    }

    /// Writes the content, and gives it its name.
    pub(crate) fn keep(self, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        match self {
            Self::File(draft) => draft.keep(write),
            Self::Object(draft) => draft.keep(write),
        }
    }
}

/// What a file holds.
pub(crate) enum Stored {
    Manifest(Box<Manifest>),
    Report(Box<Report>),
}

/// Reads a manifest.
pub(crate) fn read_manifest(path: &Path, settings: &Settings) -> Result<Manifest> {
    match read(path, settings)? {
        Stored::Manifest(manifest) => Ok(*manifest),
        Stored::Report(_) => bail!("failed to read {}: it is a report, not a manifest", path.display()),
    }
}

/// Reads a manifest or a report, whichever it is.
pub(crate) fn read(path: &Path, settings: &Settings) -> Result<Stored> {
    let doing = || format!("failed to read {}", path.display());
    let file = match Address::of_path(path)? {
        Some(address) => fetch(&address, settings)?,
        None => {
            refuse_remote(path).with_context(doing)?;
            File::open(path).with_context(doing)?
        }
    };
    if file.metadata().with_context(doing)?.is_dir() {
        bail!("{}: it is a directory", doing());
    }
    let mut from = BufReader::new(file);
    let mut head = Vec::new();
    from.by_ref().take(4).read_to_end(&mut head).with_context(doing)?;
    let whole = head.as_slice().chain(from);
    if head.first() == Some(&b'{') {
        let mut text = Vec::new();
        whole.take(REPORT_BYTES_MAX).read_to_end(&mut text).with_context(doing)?;
        return Ok(Stored::Report(Box::new(Report::from_json(&text).with_context(doing)?)));
    }
    if head.is_empty() {
        bail!("{}: it is empty", doing());
    }
    if head != ZSTD_MAGIC {
        bail!("{}: it is neither a manifest nor a report of state-lab", doing());
    }
    Ok(Stored::Manifest(Box::new(Manifest::read(whole).with_context(doing)?)))
}

/// A copy without a name: the object is read once, and whole before any of it is believed.
fn fetch(address: &Address, settings: &Settings) -> Result<File> {
    let bucket = Bucket::open(&settings.location(address)?)?;
    let mut file = tempfile::tempfile().context("failed to create a file in TMPDIR")?;
    if bucket.read(&address.key, &mut file)?.is_none() {
        bail!("failed to read {address}: there is no such object");
    }
    file.rewind().with_context(|| format!("failed to read {address}"))?;
    Ok(file)
}
