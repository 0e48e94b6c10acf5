//! `verify`: a restored database against the manifest of its source.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use verify_core::report::{Instant, Report, Side};
use verify_core::verify;

use super::measuring::{Beginning, Effort, ReportFlag, deliver};
use crate::connect::Target;
use crate::evidence::EvidenceFlags;
use crate::exit::Exit;
use crate::globals::Globals;
use crate::store;

/// Compare a restored database with the manifest of its source
///
/// Reads every row of the restored database once, and reports whether it is the one that was captured, and if not,
/// which rows are missing, added or changed, by key. The source is not needed.
///
/// What could not be checked is never a pass: it is listed by name with the reason, and the exit status is 3.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {
    /// The manifest: a file, or s3://bucket/key
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The restored database: a connection string, a URI, or a name from the configuration
    #[arg(value_name = "DB")]
    database: String,
    #[command(flatten)]
    effort: Effort,
    #[command(flatten)]
    report: ReportFlag,
    #[command(flatten)]
    evidence: EvidenceFlags,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab verify shop.manifest postgresql://postgres@restored/shop
    state-lab verify shop.manifest restored --report evidence/2026-11-21.json
    state-lab verify shop.manifest \"host=/tmp dbname=shop\" --output json";

impl Verify {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let Self { path, database, effort, report, evidence } = self;
        let beginning = Beginning::now();
        let config = globals.config()?;
        let evidence = evidence.begin("verify", &config, globals)?;
        let (report, draft) = evidence.watch(|| {
            let target = Target::find(&database, &config)?;
            let draft = report.open(&config)?;
            let manifest = store::read_manifest(&path, config.s3())?;
            let plan = effort.plan(&config, manifest.header.hash);
            let progress = globals.terminal().progress("verifying");
            let database = target.database_of(&manifest);
            let comparison =
                verify::verify(&manifest, &*database, &plan, &|event| evidence.take(event, &progress))
                    .with_context(|| format!("failed to verify {}", target.place))?;
            drop(progress);
            let source = Side {
                place: path.to_string_lossy().into_owned(),
                database: Some(manifest.header.source.clone()),
            };
            let restored = Side { place: target.place, database: None };
            let instant = Some(Instant::from(&manifest.header));
            Ok((Report::of_comparison(beginning.end(source, restored, instant), comparison), draft))
        })?;
        deliver(&report, draft, &evidence, globals)
    }
}
