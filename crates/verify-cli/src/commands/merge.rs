//! `merge`: the parts of a capture become its manifest.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use verify_core::merge::merge;

use super::capture;
use crate::exit::Exit;
use crate::globals::Globals;
use crate::store;
use verify_drill::store::Existing;

/// Make one manifest of the parts that several processes captured
///
/// Adds up what `capture --part` wrote, in any order. The result is the manifest that one process would have written under the
/// same snapshot with the same key, except that its time and position in the WAL are the earliest of all parts. All parts must be there
/// once, of one snapshot, database and key; anything else is refused, with exit status 2.
///
/// A table that one part could not read, or that not all parts found alike, is listed in the manifest with the reason; the exit status is
/// then 3, or 1 if the server found its data damaged.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Merge {
    /// The parts: files, or s3://bucket/key
    #[arg(value_name = "PART", required = true)]
    parts: Vec<PathBuf>,
    /// The manifest to write: a file, or s3://bucket/key
    #[arg(short = 'o', long = "out", value_name = "PATH")]
    path: PathBuf,
    /// Replace an existing manifest; it may be the only evidence of an older backup
    #[arg(long)]
    force: bool,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab merge shop-1.part shop-2.part shop-3.part -o shop.manifest
    state-lab merge s3://evidence/shop/{1,2,3}.part -o shop.manifest";

impl Merge {
    /// The manifest to write.
    pub(crate) fn output(&self) -> &Path {
        &self.path
    }

    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let Self { parts, path, force } = self;
        let config = globals.config()?;
        let draft =
            store::draft(&path, config.s3(), if force { Existing::Replace } else { Existing::Refuse })?;
        // One part is in memory at a time.
        let parts = parts.iter().map(|part| {
            let read = store::read_part(part, config.s3())?;
            anyhow::Ok((part.display().to_string(), read))
        });
        capture::keep(&merge(parts)?, draft, &path, globals)
    }
}
