//! Manifests and reports in files and in S3: written whole or not at all, and never over one that is there
//! unless asked to.

use std::fs::{DirBuilder, File};
use std::io::{BufReader, Cursor, Read, Seek};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use verify_core::manifest::Manifest;
use verify_core::partial::PartialManifest;
use verify_core::report::Report;

use verify_drill::report_file::REPORT_BYTES_MAX;
use verify_drill::store::{
    Address, Draft, Existing, FileDraft, Folder, Location, S3Table, Store, refuse_remote,
};

/// The first bytes of a zstd frame (RFC 8878 §3.1.1), with which a manifest begins.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Begins a manifest or report, before the work that makes it.
pub(crate) fn draft(path: &Path, s3: &S3Table, existing: Existing) -> Result<Box<dyn Draft>> {
    match Address::of_path(path)? {
        Some(address) => open(&s3.location(&address)?)?.draft(&address.key, existing),
        None => Ok(Box::new(FileDraft::new(path, existing)?)),
    }
}

/// Returns whether a path names a bucket, `s3://bucket/prefix`.
pub(crate) fn is_bucket(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with("s3://"))
}

/// Creates the directory of a store that is not a bucket, for its owner alone.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    if is_bucket(path) {
        return Ok(());
    }
    let doing = || format!("failed to create the directory {}", path.display());
    refuse_remote(path).with_context(doing)?;
    DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(doing)
}

/// Opens a directory, or the bucket and prefix of `s3://bucket/prefix`.
pub(crate) fn folder_or_bucket(path: &Path, s3: &S3Table) -> Result<Box<dyn Store>> {
    match path.to_str().filter(|text| text.starts_with("s3://")) {
        Some(text) => open(&s3.prefix(&text.parse()?)?),
        None if path.is_dir() => Ok(Box::new(Folder::new(path))),
        None => bail!("failed to open {}: it is not a directory", path.display()),
    }
}

/// Opens the bucket of a location.
///
/// # Errors
///
/// If it cannot be used, or this program was built without the feature `s3`.
#[cfg(feature = "s3")]
pub(crate) fn open(location: &Location) -> Result<Box<dyn Store>> {
    Ok(Box::new(verify_s3::Bucket::open(location)?))
}

/// Opens the bucket of a location.
///
/// # Errors
///
/// Always: this program was built without the feature `s3`.
#[cfg(not(feature = "s3"))]
pub(crate) fn open(location: &Location) -> Result<Box<dyn Store>> {
    Err(crate::lacking::error("s3", &format!("failed to open {location}")))
}

/// Content of a file.
pub(crate) enum Stored {
    Manifest(Box<Manifest>),
    Report(Box<Report>),
}

/// Reads a manifest.
pub(crate) fn read_manifest(path: &Path, s3: &S3Table) -> Result<Manifest> {
    match read(path, s3)? {
        Stored::Manifest(manifest) => Ok(*manifest),
        Stored::Report(_) => bail!("failed to read {}: it is a report, not a manifest", path.display()),
    }
}

/// Reads a part of a manifest.
pub(crate) fn read_part(path: &Path, s3: &S3Table) -> Result<PartialManifest> {
    let doing = || format!("failed to read {}", path.display());
    match open_content(path, s3)? {
        Content::Manifest(from) => PartialManifest::read(from).with_context(doing),
        Content::Report(_) => bail!("{}: it is a report, not a part of a manifest", doing()),
    }
}

/// Reads a manifest or a report, whichever it is.
pub(crate) fn read(path: &Path, s3: &S3Table) -> Result<Stored> {
    let doing = || format!("failed to read {}", path.display());
    match open_content(path, s3)? {
        Content::Manifest(from) => Ok(Stored::Manifest(Box::new(Manifest::read(from).with_context(doing)?))),
        Content::Report(from) => {
            let mut text = Vec::new();
            from.take(REPORT_BYTES_MAX).read_to_end(&mut text).with_context(doing)?;
            Ok(Stored::Report(Box::new(Report::from_json(&text).with_context(doing)?)))
        }
    }
}

/// A file that was opened, by its first bytes.
enum Content {
    /// A manifest, or a part of one.
    Manifest(Box<dyn Read>),
    Report(Box<dyn Read>),
}

fn open_content(path: &Path, s3: &S3Table) -> Result<Content> {
    let doing = || format!("failed to read {}", path.display());
    let file = match Address::of_path(path)? {
        Some(address) => fetch(&address, s3)?,
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
    if head.is_empty() {
        bail!("{}: it is empty", doing());
    }
    let (is_report, is_manifest) = (head.first() == Some(&b'{'), head == ZSTD_MAGIC);
    let whole = Box::new(Cursor::new(head).chain(from));
    match (is_report, is_manifest) {
        (true, _) => Ok(Content::Report(whole)),
        (_, true) => Ok(Content::Manifest(whole)),
        _ => bail!("{}: it is neither a manifest nor a report of state-lab", doing()),
    }
}

/// A copy without a name: the object is read once, and whole before any of it is believed.
fn fetch(address: &Address, s3: &S3Table) -> Result<File> {
    let store = open(&s3.location(address)?)?;
    let mut file = tempfile::tempfile().context("failed to create a file in TMPDIR")?;
    if store.read(&address.key, &mut file)?.is_none() {
        bail!("failed to read {address}: the object does not exist");
    }
    file.rewind().with_context(|| format!("failed to read {address}"))?;
    Ok(file)
}
