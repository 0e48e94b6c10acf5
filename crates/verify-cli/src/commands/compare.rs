//! `compare`: two live databases.

use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use verify_core::report::{Report, Side};
use verify_core::screen::screen_databases;
use verify_core::verify::compare_databases_reusing;
use verify_core::{Error, ErrorKind};

use super::measuring::{Beginning, Effort, Hash, ReportFlag, deliver};
use crate::connect::Target;
use crate::evidence::EvidenceFlags;
use crate::exit::Exit;
use crate::globals::Globals;
use crate::journal_file::{JournalFile, ResumeFlag};
use verify_drill::hint::Hinted;

/// Compare two running databases, and list every differing row
///
/// Reads both at the same time, each under a snapshot of its own. If many rows differ, their tables are read once more,
/// so that all of these rows can be listed.
///
/// Neither may be written to meanwhile, and both must be of the same point in time: a source that was written to after
/// the backup differs from the restore. In that case capture a manifest with the backup, and use `verify`.
///
/// With --quick no row leaves the servers: they count and hash the rows of each table, and the sums are compared. That finds
/// differences, but never passes: tables without one are screened, not verified (exit status 3).
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Compare {
    /// The original: a connection string, a URI, or a name from the configuration
    #[arg(value_name = "SOURCE")]
    source: String,
    /// The copy, likewise
    #[arg(value_name = "RESTORED")]
    restored: String,
    /// Have the servers count and hash the rows, and compare the sums; never a pass
    #[arg(long, conflicts_with_all = ["hash", "resume", "max_rate", "max_replication_lag", "max_active_sessions", "max_snapshot_age"])]
    quick: bool,
    /// Hash function for rows
    #[arg(long, value_enum, default_value_t = Hash::Blake3, value_name = "HASH")]
    hash: Hash,
    #[command(flatten)]
    resume: ResumeFlag,
    #[command(flatten)]
    effort: Effort,
    #[command(flatten)]
    report: ReportFlag,
    #[command(flatten)]
    evidence: EvidenceFlags,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab compare postgresql://old/shop postgresql://new/shop
    state-lab compare shop restored --jobs 4 --verbose
    state-lab compare shop restored --resume shop.journal
    state-lab compare shop restored --quick";

impl Compare {
    /// The report to write.
    pub(crate) fn output(&self) -> Option<&Path> {
        self.report.path()
    }

    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let Self { source, restored, quick, hash, resume, effort, report, evidence } = self;
        let beginning = Beginning::now();
        let config = globals.config()?;
        let evidence = evidence.begin("compare", &config, globals)?;
        let (report, draft, journal) = evidence.watch(|| {
            let one = config.conninfo(&source)? == config.conninfo(&restored)?;
            let (source, restored) = (Target::find(&source, &config)?, Target::find(&restored, &config)?);
            if one {
                return Err(same_twice(&source).into());
            }
            let plan = effort.plan(&config, hash.into());
            let draft = report.open(&config)?;
            let progress = globals.terminal().progress(if quick { "screening" } else { "comparing" });
            let (one, other) = (source.database(), restored.database());
            let journal = resume.open()?;
            let on_event = |event| evidence.take(event, &progress);
            let compared = if quick {
                screen_databases(&one, &other, &plan, &on_event)
            } else {
                let journal = journal.as_ref().map(JournalFile::lend);
                compare_databases_reusing(&one, &other, journal, &plan, &on_event)
            };
            let comparison = compared
                .with_context(|| format!("failed to compare {} with {}", source.place, restored.place))?;
            drop(progress);
            let side = |target: Target| Side { place: target.place, database: None };
            let circumstances = beginning.end(side(source), side(restored), None);
            Ok((Report::of_comparison(circumstances, comparison), draft, journal))
        })?;
        let exit = deliver(&report, draft, &evidence, globals)?;
        journal.into_iter().for_each(JournalFile::remove);
        Ok(exit)
    }
}

/// Refuses to compare a database with itself, which verifies nothing.
fn same_twice(target: &Target) -> Hinted {
    let hint =
        "give the original first and the copy second, as in the examples of `state-lab compare --help`";
    let cause = "distinguish the source from the copy: both have the same connection string";
    Hinted::new(format!("failed to compare {} with itself", target.place), hint)
        .because(Error::new(ErrorKind::Settings, cause))
}
