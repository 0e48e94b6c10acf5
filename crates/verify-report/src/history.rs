//! The history of a store: the result of each run for each database, without the rows that reports name.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use verify_core::finding::{Finding, Severity, Verdict};
use verify_core::heartbeat::Rpo;
use verify_core::report::{Objectives, Report};
use verify_core::timeline::{Milestone, Rto};
use verify_drill::store::Store;
use verify_evidence::document;
use verify_evidence::entry::{self, Entry, StoredReport};

/// Commands whose pass verifies a restored copy.
const RESTORES: [&str; 2] = ["restore", "verify"];
/// Longer texts of findings are cut.
const TEXT_CHARS_MAX: usize = 300;

/// Results of the runs of a store, the oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct History {
    /// Location of the store.
    pub store: String,
    /// The runs.
    pub runs: Vec<RunResult>,
    /// Reports that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

/// Result of a run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RunResult {
    /// Number of the report in its store.
    pub sequence: u64,
    /// SHA-256 of the report, in hexadecimal.
    pub sha256: String,
    /// True if the report has signatures. Whether they are genuine, `evidence verify` finds out.
    pub has_signatures: bool,
    /// Name of the run.
    pub id: String,
    /// The command.
    pub command: String,
    /// Start of the run.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// End of the run.
    #[schemars(with = "String")]
    pub finished_at: Timestamp,
    /// The verdict.
    pub verdict: Verdict,
    /// Results for its databases; none for a command that compares no database.
    pub databases: Vec<DatabaseResult>,
}

/// Result of a run for one database.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DatabaseResult {
    /// The database.
    pub database: Database,
    /// The verdict.
    pub verdict: Verdict,
    /// Recovery time, if measured.
    pub rto: Option<Rto>,
    /// Bound of the lost time, if known.
    pub rpo: Option<Rpo>,
    /// Objectives of the recovery.
    pub objectives: Objectives,
    /// Tables that were compared.
    pub tables: u64,
    /// Rows that were compared.
    pub rows: u64,
    /// Checks and objects that were not covered.
    pub not_covered: u64,
    /// Findings that fail the run.
    pub failures: u64,
    /// Findings that leave the verdict open.
    pub inconclusive: u64,
    /// The first of the worst findings, if one decides the verdict: `row.missing shop.orders: 3 rows are missing`.
    pub first_finding: Option<String>,
}

/// A database of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Database {
    /// Name, or where the name was not recorded, its place.
    pub name: String,
    /// System identifier of its cluster; empty where it was not recorded.
    pub cluster: String,
}

/// A report that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unreadable {
    /// Number of the report.
    pub sequence: u64,
    /// Reason.
    pub reason: String,
}

/// Results of all runs for one database.
#[derive(Clone, Debug, PartialEq)]
pub struct DatabaseHistory<'a> {
    pub database: &'a Database,
    /// The runs, the oldest first.
    pub results: Vec<(&'a RunResult, &'a DatabaseResult)>,
}

/// Median, 90th percentile and maximum of some durations, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    pub median_ms: u64,
    pub p90_ms: u64,
    pub max_ms: u64,
}

/// Runs and databases that a history is to have.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Runs that ended earlier are left out.
    pub since: Option<Timestamp>,
    /// The name of the only database.
    pub database: Option<String>,
}

impl History {
    /// Reads the reports of a store. Whether they are genuine is not verified.
    ///
    /// # Errors
    ///
    /// If the store cannot be read. A report that cannot be read is part of the history.
    pub fn read(store: &dyn Store, filter: &Filter) -> Result<Self> {
        let mut history = Self { store: store.place(), runs: Vec::new(), unreadable: Vec::new() };
        entry::each(store, |entry| {
            let sequence = entry.sequence;
            match RunResult::of(entry) {
                Ok(run) => history.runs.extend(filter.apply(run)),
                Err(reason) => history.unreadable.push(Unreadable { sequence, reason }),
            }
        })?;
        Ok(history)
    }

    /// The databases, each with its results.
    pub fn databases(&self) -> Vec<DatabaseHistory<'_>> {
        let mut databases: BTreeMap<&Database, Vec<_>> = BTreeMap::new();
        for run in &self.runs {
            for result in &run.databases {
                databases.entry(&result.database).or_default().push((run, result));
            }
        }
        databases.into_iter().map(|(database, results)| DatabaseHistory { database, results }).collect()
    }
}

impl Filter {
    fn apply(&self, mut run: RunResult) -> Option<RunResult> {
        if self.since.is_some_and(|since| run.finished_at < since) {
            return None;
        }
        if let Some(name) = &self.database {
            run.databases.retain(|result| result.database.name == *name);
            if run.databases.is_empty() {
                return None;
            }
        }
        Some(run)
    }
}

impl RunResult {
    /// The result in an entry of a store, or the reason why it cannot be read.
    fn of(entry: Entry) -> Result<Self, String> {
        let Entry { sequence, report, has_signatures } = entry;
        let StoredReport { sha256, envelope } = report?;
        let reports = document::reports(&envelope.document)?;
        let run = envelope.run;
        Ok(Self {
            sequence,
            sha256,
            has_signatures,
            id: run.id,
            command: run.command,
            started_at: run.started_at,
            finished_at: run.finished_at,
            verdict: envelope.verdict,
            databases: reports.iter().map(DatabaseResult::of).collect(),
        })
    }

    /// Returns whether the run verified a restored copy.
    pub fn is_restore(&self) -> bool {
        RESTORES.contains(&self.command.as_str())
    }
}

impl Database {
    /// The source of a report.
    pub fn of(report: &Report) -> Self {
        match &report.source.database {
            Some(source) => Self { name: source.database.clone(), cluster: source.system_identifier.clone() },
            None => Self { name: report.source.place.clone(), cluster: String::new() },
        }
    }
}

impl DatabaseResult {
    fn of(report: &Report) -> Self {
        let count = |severity| report.findings().filter(|f| f.severity() == severity).count() as u64;
        let (failures, inconclusive) = (count(Severity::Fail), count(Severity::Inconclusive));
        let deciding = report.findings().filter(|finding| finding.severity() > Severity::Notice);
        let first = deciding.reduce(|worst, f| if f.severity() > worst.severity() { f } else { worst });
        let coverage = report.comparison().coverage();
        Self {
            database: Database::of(report),
            verdict: report.verdict(),
            rto: report.rto.clone(),
            rpo: report.recovery_point().cloned(),
            objectives: report.objectives,
            tables: coverage.tables,
            rows: coverage.rows,
            not_covered: coverage.not_covered.len() as u64,
            failures,
            inconclusive,
            first_finding: first.map(one_line),
        }
    }

    /// Returns whether an objective was missed.
    pub fn misses_rto(&self) -> bool {
        exceeds(self.rto.as_ref().map(|rto| rto.total_ms), self.objectives.rto_ms)
    }

    /// Returns whether more may be lost than the objective allows.
    pub fn misses_rpo(&self) -> bool {
        exceeds(self.rpo.as_ref().map(|rpo| rpo.at_most_ms), self.objectives.rpo_ms)
    }
}

impl<'a> DatabaseHistory<'a> {
    /// The newest result.
    pub fn last(&self) -> Option<(&'a RunResult, &'a DatabaseResult)> {
        self.results.last().copied()
    }

    /// The newest run that verified a restored copy with the verdict pass.
    pub fn last_verified(&self) -> Option<&'a RunResult> {
        let mut passes = self.results.iter().rev().filter(|(run, result)| {
            run.is_restore() && run.verdict == Verdict::Pass && result.verdict == Verdict::Pass
        });
        passes.next().map(|(run, _)| *run)
    }

    /// Recovery times.
    pub fn recovery_times(&self) -> Option<Percentiles> {
        Percentiles::of(self.results.iter().filter_map(|(_, result)| Some(result.rto.as_ref()?.total_ms)))
    }

    /// Bounds of the lost time.
    pub fn recovery_points(&self) -> Option<Percentiles> {
        Percentiles::of(self.results.iter().filter_map(|(_, result)| Some(result.rpo.as_ref()?.at_most_ms)))
    }

    /// The phase that took most of the recovery time over all runs, and its share in percent.
    pub fn costliest_phase(&self) -> Option<(Milestone, u64)> {
        let mut phases: BTreeMap<Milestone, u128> = BTreeMap::new();
        for part in
            self.results.iter().filter_map(|(_, result)| result.rto.as_ref()).flat_map(|rto| &rto.parts)
        {
            *phases.entry(part.milestone).or_default() += u128::from(part.after_ms);
        }
        let total: u128 = phases.values().sum();
        let (milestone, most) = phases.into_iter().max_by_key(|(_, ms)| *ms)?;
        let percent = (most * 100).checked_div(total)?;
        Some((milestone, u64::try_from(percent).unwrap_or(100)))
    }
}

impl Percentiles {
    /// The percentiles by nearest rank; `None` of nothing.
    pub fn of(durations_ms: impl Iterator<Item = u64>) -> Option<Self> {
        let mut sorted: Vec<u64> = durations_ms.collect();
        sorted.sort_unstable();
        let rank =
            |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Self { median_ms: rank(50)?, p90_ms: rank(90)?, max_ms: rank(100)? })
    }
}

/// A finding in one line: code, object, message.
pub fn one_line(finding: &Finding) -> String {
    let text = format!("{} {}: {}", finding.code(), finding.object, finding.message);
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn exceeds(measured_ms: Option<u64>, objective_ms: Option<u64>) -> bool {
    measured_ms.zip(objective_ms).is_some_and(|(measured, objective)| measured > objective)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let of = |durations: &[u64]| Percentiles::of(durations.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7]), Some(Percentiles { median_ms: 7, p90_ms: 7, max_ms: 7 }));
        let ten: Vec<u64> = (1..=10).rev().collect();
        assert_eq!(of(&ten), Some(Percentiles { median_ms: 5, p90_ms: 9, max_ms: 10 }));
    }
}
