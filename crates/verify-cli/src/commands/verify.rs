//! `verify`: a restored database against the manifest of its source.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use verify_core::compare::Comparison;
use verify_core::database::Database;
use verify_core::manifest::Manifest;
use verify_core::not_covered::{Check, NotCovered};
use verify_core::plan::Plan;
use verify_core::postgres::constraints::SourceRows;
use verify_core::report::{Instant, Report, Side};
use verify_core::reuse::Reuse;

use super::measuring::{Beginning, Checks, Effort, ReportFlag, deliver};
use super::server_verify;
use crate::config::Config;
use crate::connect::Target;
use crate::evidence::{Evidence, EvidenceFlags};
use crate::exit::Exit;
use crate::globals::Globals;
use crate::journal_file::{JournalFile, ResumeFlag};
use crate::render::explanation::Explanation;
use crate::store;
use verify_local::{Copy, check_copy, check_running, self_test_running};

/// Compare a restored database with the manifest of its source
///
/// Reads every row of the restored database once, and reports whether it is the one that was captured, and if not,
/// which rows are missing, added or changed, by key. Then checks its constraints against the rows, and its indexes,
/// pages and visibility maps with PostgreSQL's own amcheck and pg_visibility, which a superuser installs meanwhile. The
/// source is not needed.
///
/// What could not be checked is never a pass: it is listed by name with the reason, and the exit status is 3.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {
    /// The manifest: a file, or s3://bucket/key; with --all-databases the directory of manifests, or s3://bucket/prefix
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The restored database: a connection string, a URI, or a name from the configuration
    #[arg(value_name = "DB")]
    database: String,
    /// Verify all databases of which PATH has manifests, on the server that DB leads to, each under its own name. One that the copy
    /// lacks fails. If one cannot be verified, the others are, and the exit status is 2, or 1 if one fails. --report names a directory
    #[arg(long, conflicts_with_all = ["explain", "resume"])]
    all_databases: bool,
    #[command(flatten)]
    checks: Checks,
    /// The point in time of the restored database is unknown: equal tables are verified, and rows that differ are listed without being
    /// a failure. Damage and broken constraints still fail, and nothing passes
    #[arg(long)]
    bounded: bool,
    /// Show what each check would read, and stop
    #[arg(long, conflicts_with_all = ["report", "no_evidence", "resume"])]
    explain: bool,
    /// Take the rows from this manifest of DB in place of reading them: the one that `merge` made of parts that were captured with
    /// --like PATH. If a transaction has written to the server since, or the server was restarted, the command fails
    #[arg(long, value_name = "MANIFEST", conflicts_with_all = ["all_databases", "explain", "resume"])]
    rows: Option<PathBuf>,
    #[command(flatten)]
    resume: ResumeFlag,
    #[command(flatten)]
    effort: Effort,
    #[command(flatten)]
    report: ReportFlag,
    #[command(flatten)]
    evidence: EvidenceFlags,
}

/// The gap that a check is which writes to the server.
fn not_used() -> NotCovered {
    let reason =
        "not run: it writes to the server; `restore` does it, and verify if --checks names durability";
    NotCovered::new(Check::Durability, "durability", reason)
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab verify shop.manifest postgresql://postgres@restored/shop
    state-lab verify shop.manifest restored --report evidence/2026-11-21.json
    state-lab verify shop.manifest restored --resume shop.journal
    state-lab verify shop.manifest restored --rows restored.manifest
    state-lab verify shop.manifest restored --explain
    state-lab verify shop.manifest restored --skip indexes,heap
    state-lab verify --all-databases /backups/2026-11-21 \"host=restored\"
    state-lab verify shop.manifest \"host=/tmp dbname=shop\" --output json";

impl Verify {
    /// The report to write.
    pub(crate) fn output(&self) -> Option<&Path> {
        self.report.path()
    }

    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        if self.explain {
            return self.explain(globals);
        }
        let Self {
            path,
            database,
            all_databases,
            checks,
            bounded,
            explain: _,
            rows,
            resume,
            effort,
            report,
            evidence,
        } = self;
        let beginning = Beginning::now();
        let config = globals.config()?;
        let evidence = evidence.begin("verify", &config, globals)?;
        let verification =
            Verification { checks, effort, bounded, config: &config, evidence: &evidence, globals };
        if all_databases {
            let found = evidence.watch(|| server_verify::run(&path, &database, &report, &verification))?;
            return evidence.conclude(&found, found.exit(), || {
                globals.terminal().result(&found, |style| found.text(style))
            });
        }
        let (report, draft, journal) = evidence.watch(|| {
            let target = Target::find(&database, &config)?;
            let draft = report.open(&config)?;
            let manifest = store::read_manifest(&path, config.s3())?;
            let journal = resume.open()?;
            let rows = rows.map(|path| store::read_manifest(&path, config.s3())).transpose()?;
            let reuse = match (&journal, &rows) {
                (Some(journal), _) => Reuse::Journal(journal.lend()),
                (None, Some(rows)) => Reuse::Rows(rows),
                (None, None) => Reuse::Nothing,
            };
            let comparison = verification.compare(&manifest, &target, reuse, "verifying")?;
            let source = Side {
                place: path.to_string_lossy().into_owned(),
                database: Some(manifest.header.source.clone()),
            };
            let restored = Side { place: target.place, database: None };
            let instant = Some(Instant::from(&manifest.header));
            Ok((Report::of_comparison(beginning.end(source, restored, instant), comparison), draft, journal))
        })?;
        let exit = deliver(&report, draft, &evidence, globals)?;
        journal.into_iter().for_each(JournalFile::remove);
        Ok(exit)
    }

    fn explain(self, globals: &Globals) -> Result<Exit> {
        let config = globals.config()?;
        let target = Target::find(&self.database, &config)?;
        let manifest = store::read_manifest(&self.path, config.s3())?;
        let used = self.checks.names(Check::Durability);
        let mut plan = self.checks.limit(self.effort.plan(&config, manifest.header.hash));
        if !used {
            plan.skip.insert(Check::Durability);
        }
        let progress = globals.terminal().progress("reading the catalogue");
        let database = target.database_of(&manifest);
        let costs = verify_local::costs(&*database, &target.settings(), &plan, &|event| progress.take(event))
            .with_context(|| format!("failed to explain the checks of {}", target.place))?;
        drop(progress);
        let explanation = Explanation::new(costs);
        globals.terminal().result(&explanation, |_| explanation.text())?;
        Ok(Exit::PASS)
    }
}

/// How databases are verified.
pub(super) struct Verification<'a> {
    checks: Checks,
    effort: Effort,
    pub(super) bounded: bool,
    pub(super) config: &'a Config,
    evidence: &'a Evidence,
    globals: &'a Globals,
}

impl Verification<'_> {
    /// Compares a database with the manifest of its source, and checks it.
    pub(super) fn compare(
        &self,
        manifest: &Manifest,
        target: &Target,
        reuse: Reuse<'_>,
        doing: &str,
    ) -> Result<Comparison> {
        let Self { checks, effort, bounded, config, evidence, globals } = self;
        let used = checks.names(Check::Durability);
        let plan = checks.clone().limit(effort.plan(config, manifest.header.hash));
        let plan = if *bounded { plan.of_unknown_instant() } else { plan };
        let progress = globals.terminal().progress(doing);
        let database: Box<dyn Database> =
            if *bounded { Box::new(target.database()) } else { target.database_of(manifest) };
        let on_event = |event| evidence.take(event, &progress);
        let settings = target.settings();
        let mut comparison =
            verify_local::compare_reusing(manifest, &*database, &settings, reuse, &plan, &on_event)
                .with_context(|| format!("failed to verify {}", target.place))?;
        let equal = SourceRows { tables: comparison.equal_tables(manifest), snapshot: None };
        let copy = Copy { settings: &settings, source: equal, sound: false };
        check_copy(&mut comparison, &copy, &plan, &on_event, &|_| Ok(()))?;
        if used {
            check_running(&mut comparison, manifest, &settings, &plan, &on_event)
                .with_context(|| format!("failed to check durability of {}", target.place))?;
        } else if plan.runs(Check::Durability) {
            comparison.not_covered([not_used()]);
        }
        self_test_running(&mut comparison, manifest, &settings, &plan, &on_event)?;
        Ok(comparison)
    }

    /// Returns whether a check is to run.
    pub(super) fn runs(&self, check: Check) -> bool {
        self.checks.clone().limit(Plan::default()).runs(check)
    }
}
