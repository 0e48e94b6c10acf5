//! Flags of all commands that measure databases, and the plan that they amount to.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use verify_core::digest::HashAlgorithm;
use verify_core::not_covered::Check;
use verify_core::plan::Plan;
use verify_core::report::{Circumstances, Instant, Report, Side};

use crate::config::Config;
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::globals::Globals;
use crate::render::text;
use crate::store;
use verify_drill::duration::Period;
use verify_drill::report_file::write_report;
use verify_drill::size::Size;
use verify_drill::store::{Draft, Existing};

/// Number of connections and limits of the work.
#[derive(Args, Clone, Copy)]
pub(crate) struct Effort {
    /// Number of parallel connections to each database
    #[arg(short, long, value_name = "N", default_value = "2", value_parser = jobs, allow_negative_numbers = true)]
    jobs: NonZeroUsize,
    /// Time to wait for a table's lock before the table counts as unreadable [default: 10s]
    #[arg(long, value_name = "TIME")]
    lock_timeout: Option<Period>,
    /// Time without data from the server after which a second connection checks that it is still working; if it is not,
    /// the command fails. 0s: never check [default: 2m]
    #[arg(long, value_name = "TIME")]
    stall_timeout: Option<Period>,
    #[command(flatten)]
    manners: Manners,
}

const MANNERS: &str = "Limits for a database in use";

/// Limits on the harm to a database that others use.
#[derive(Args, Clone, Copy)]
pub(crate) struct Manners {
    /// Read at most this many bytes a second from each database, over all connections; at least 64KiB [default: no limit]
    #[arg(long, help_heading = MANNERS, value_name = "SIZE", value_parser = rate)]
    max_rate: Option<Size>,
    /// Nearly stop reading while a standby has more than this much WAL yet to replay
    #[arg(long, help_heading = MANNERS, value_name = "SIZE")]
    max_replication_lag: Option<Size>,
    /// Nearly stop reading while more than N other client sessions are running a statement
    #[arg(long, help_heading = MANNERS, value_name = "N")]
    max_active_sessions: Option<u32>,
    /// Fail when the snapshot is this old, since it keeps VACUUM from removing dead rows
    #[arg(long, help_heading = MANNERS, value_name = "TIME")]
    max_snapshot_age: Option<Period>,
}

/// Reads a rate that no server takes for a reader that has died.
fn rate(text: &str) -> Result<Size, String> {
    const MIN: Size = Size::from_bytes(64 << 10);
    let size: Size = text.parse()?;
    if size < MIN { Err(format!("expected at least {MIN}")) } else { Ok(size) }
}

/// Reads a number of connections.
pub(crate) fn jobs(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "expected a whole number of at least 1".to_owned())
}

/// Checks of a restored database that are to run.
#[derive(Args, Clone)]
pub(crate) struct Checks {
    /// Run only these checks, separated by commas: clone, rows, sequences, catalog, cluster, invariants, constraints,
    /// indexes, heap, visibility, durability. Without rows nothing passes
    #[arg(long, value_name = "CHECKS", value_delimiter = ',', value_parser = check, conflicts_with = "skip")]
    checks: Vec<Check>,
    /// Run all checks but these. They are listed as not covered
    #[arg(long, value_name = "CHECKS", value_delimiter = ',', value_parser = check)]
    skip: Vec<Check>,
    /// Also damage copies of a few tables, in a database of its own on the restored server, and require that this run sees it.
    /// The seed of a report makes the same choices again
    #[arg(long, value_name = "SEED", num_args = 0..=1, require_equals = true)]
    self_test: Option<Option<u64>>,
}

impl Checks {
    /// Returns whether a check is named as one to run.
    pub(crate) fn names(&self, check: Check) -> bool {
        self.checks.contains(&check)
    }

    /// The plan without the other checks.
    pub(crate) fn limit(self, plan: Plan) -> Plan {
        let Self { checks, skip, self_test } = self;
        let plan = plan.with_self_test(self_test.map(|seed| seed.unwrap_or_else(random_seed)));
        if checks.is_empty() {
            return plan.without(skip);
        }
        let all = Check::SELECTABLE.into_iter().map(|(_, check)| check);
        plan.without(all.filter(|check| !checks.contains(check)))
    }
}

fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Reads the name of a check.
fn check(text: &str) -> Result<Check, String> {
    let found = Check::SELECTABLE.iter().find(|(name, _)| *name == text);
    found.map(|(_, check)| *check).ok_or_else(|| {
        let names: Vec<&str> = Check::SELECTABLE.iter().map(|(name, _)| *name).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// The hash of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hash {
    /// Keyed BLAKE3: the fastest
    Blake3,
    /// Keyed SHA-256, where regulations require it
    Sha256,
}

/// Destination of the report besides standard output.
#[derive(Args)]
pub(crate) struct ReportFlag {
    /// Also write the report, as JSON, to this file or s3://bucket/key; `state-lab show` prints it
    #[arg(long, value_name = "PATH")]
    report: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long, requires = "report")]
    force: bool,
}

impl Effort {
    /// The plan: flags win over the configuration, and that over the defaults.
    pub(crate) fn plan(self, config: &Config, hash: HashAlgorithm) -> Plan {
        let Self { jobs, lock_timeout, stall_timeout, manners } = self;
        let mut limits = config.limits();
        limits.lock_timeout_ms = lock_timeout.map_or(limits.lock_timeout_ms, Period::ms_u32);
        limits.stall_timeout_ms = stall_timeout.map_or(limits.stall_timeout_ms, Period::ms_u32);
        let Manners { max_rate, max_replication_lag, max_active_sessions, max_snapshot_age } = manners;
        limits.max_rate = max_rate.map(Size::bytes).or(limits.max_rate);
        limits.max_replication_lag = max_replication_lag.map(Size::bytes).or(limits.max_replication_lag);
        limits.max_active_sessions = max_active_sessions.or(limits.max_active_sessions);
        limits.max_snapshot_age_ms = max_snapshot_age.map(Period::ms).or(limits.max_snapshot_age_ms);
        let plan = Plan::default().with_hash(hash).with_jobs(jobs);
        config.with_invariants(plan).with_limits(limits)
    }
}

impl From<Hash> for HashAlgorithm {
    fn from(hash: Hash) -> Self {
        match hash {
            Hash::Blake3 => Self::Blake3,
            Hash::Sha256 => Self::Sha256,
        }
    }
}

impl ReportFlag {
    /// The file, or the directory of several.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.report.as_deref()
    }

    /// The file of the report in the making, before the work that it reports begins.
    pub(crate) fn open(&self, config: &Config) -> Result<Option<Box<dyn Draft>>> {
        let existing = if self.force { Existing::Replace } else { Existing::Refuse };
        self.report.as_deref().map(|path| store::draft(path, config.s3(), existing)).transpose()
    }

    /// The file of one of several reports in the making, in the directory that the flag names.
    pub(crate) fn open_for(&self, file: &str, config: &Config) -> Result<Option<Box<dyn Draft>>> {
        let Some(folder) = &self.report else { return Ok(None) };
        store::create_folder(folder)?;
        Self { report: Some(folder.join(file)), force: self.force }.open(config)
    }
}

/// Start of the work, by the wall clock and by a monotonic one.
pub(crate) struct Beginning {
    started_at: Timestamp,
    clock: std::time::Instant,
}

impl Beginning {
    pub(crate) fn now() -> Self {
        Self { started_at: Timestamp::now(), clock: std::time::Instant::now() }
    }

    /// The circumstances of work that ends now.
    pub(crate) fn end(&self, source: Side, restored: Side, manifest: Option<Instant>) -> Circumstances {
        Circumstances {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            duration_ms: u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX),
            source,
            restored: Some(restored),
            manifest,
        }
    }
}

/// Keeps the report, prints it, and says how the process is to end.
pub(crate) fn deliver(
    report: &Report,
    draft: Option<Box<dyn Draft>>,
    evidence: &Evidence,
    globals: &Globals,
) -> Result<Exit> {
    evidence.conclude(report, report.verdict().into(), || {
        if let Some(draft) = draft {
            write_report(draft, report)?;
        }
        globals.terminal().result(report, |style| text::report(report, style))
    })
}
