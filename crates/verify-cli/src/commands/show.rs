//! `show`: a manifest or a report, as text or as JSON.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::exit::Exit;
use crate::globals::Globals;
use crate::render::manifest::Summary;
use crate::render::text;
use crate::store::{Stored, read};

/// Print a manifest or a report
///
/// Prints a manifest without the sketches that identify lost rows, and a report as it was printed when it was created.
/// A file that is truncated or modified is refused, with exit status 2. Otherwise the exit status is 0, whatever
/// the verdict of the report.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Show {
    /// A file, or s3://bucket/key
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab show shop.manifest
    state-lab show shop.manifest --output json | jq '.tables[] | {name, rows}'
    state-lab show evidence/2026-11-21.json";

impl Show {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let Self { path } = self;
        match read(&path, globals.config()?.s3())? {
            Stored::Manifest(manifest) => {
                let summary = Summary::new(&manifest, &path);
                globals.terminal().result(&summary, |style| summary.text(true, style))?;
            }
            Stored::Report(report) => {
                globals.terminal().result(&*report, |style| text::report(&report, style))?;
            }
        }
        Ok(Exit::PASS)
    }
}
