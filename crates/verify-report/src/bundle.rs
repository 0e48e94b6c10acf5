//! A bundle for an auditor: every object of a store, the public keys, and how to verify them, as one `.tar.zst` file.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use tar::{Builder, EntryType, Header};
use verify_drill::store::Store;

/// A larger object is refused.
const OBJECT_BYTES_MAX: u64 = 64 << 20;

const README: &str = "\
Evidence of restores that state-lab verified
============================================

reports/NNNNNN/report.json                 the report of one run
reports/NNNNNN/report.json.sig             its SSH signature
reports/NNNNNN/report.json.sigstore.json   its Sigstore bundle
reports/NNNNNN/report.html                 the report as a page, derived from it and not signed
allowed_signers                            the public keys that the sender trusts

Compare allowed_signers with the keys that you received on another way: anyone who could change the reports could change
this file as well. Then, for each report:

    ssh-keygen -Y verify -f allowed_signers -I IDENTITY -n state-lab-report -s report.json.sig < report.json

IDENTITY is the first word of the line in allowed_signers. Each report has the SHA-256 of the report before it under
\"previous\": sha256sum of that report.json must give it. All of this at once, if state-lab is installed:

    state-lab evidence verify reports --signers allowed_signers
";

/// Writes the bundle of a store to `to`. `signers` is the content of the `allowed_signers` file, if given.
///
/// # Errors
///
/// If the store cannot be read, an object is too large, or `to` cannot be written.
pub fn write(store: &dyn Store, signers: Option<&[u8]>, to: &mut dyn Write) -> Result<u64> {
    let mut compressed = zstd::Encoder::new(to, 0).context("failed to begin the bundle")?;
    let mut archive = Builder::new(&mut compressed);
    append(&mut archive, "README", README.as_bytes())?;
    if let Some(signers) = signers {
        append(&mut archive, "allowed_signers", signers)?;
    }
    let mut objects = 0;
    for object in store.list("")? {
        let content = store.get(&object.key, OBJECT_BYTES_MAX)?;
        let content = content.with_context(|| format!("failed to read {}: it does not exist", object.key))?;
        append(&mut archive, &format!("reports/{}", object.key), &content)?;
        objects += 1;
    }
    archive.finish().context("failed to write the bundle")?;
    drop(archive);
    compressed.finish().context("failed to write the bundle")?;
    Ok(objects)
}

fn append(archive: &mut Builder<impl Write>, path: &str, content: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    archive
        .append_data(&mut header, Path::new(path), content)
        .with_context(|| format!("failed to add {path} to the bundle"))
}
