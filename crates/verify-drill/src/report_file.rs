//! Reports of verifications and their metrics in files: beside backups, and where a user wants them.

use std::fmt;

use anyhow::{Context, Result};
use jiff::Timestamp;
use verify_core::report::Report;

use crate::backup_name::{BackupName, file_safe};
use crate::openmetrics;
use crate::store::{Draft, Store};

/// A larger report is refused: it names at most some thousand rows.
pub const REPORT_BYTES_MAX: u64 = 256 << 20;

/// Writes a report where its user wants it.
///
/// # Errors
///
/// If it cannot be stored. Nothing of it is left then.
pub fn write_report(draft: Box<dyn Draft>, report: &Report) -> Result<()> {
    draft.keep(&mut |to| Ok(writeln!(to, "{}", json(report)?)?))
}

/// Writes the reports of a restore beside its backup, in the folder `reports/` of `folder`. Returns their keys, in the
/// order of the reports.
///
/// # Errors
///
/// If one of them cannot be stored.
pub fn write_reports(
    store: &dyn Store,
    folder: &str,
    databases: &[String],
    reports: &[Report],
    now: Timestamp,
) -> Result<Vec<String>> {
    let write = |(report, database): (&Report, &String)| {
        let key = format!("{folder}reports/{}", report_file(now, database, reports.len()));
        store.put_new(&key, json(report)?.as_bytes())?;
        Ok(key)
    };
    reports.iter().zip(databases).map(write).collect()
}

/// Writes the metrics of a restore beside its reports.
///
/// # Errors
///
/// If they cannot be stored.
pub fn write_metrics(
    store: &dyn Store,
    folder: &str,
    backup: &BackupName,
    databases: &[String],
    reports: &[Report],
    now: Timestamp,
) -> Result<()> {
    let text = openmetrics::metrics(backup.as_str(), databases, reports);
    store.put_new(&format!("{folder}reports/{}", metrics_file(now)), text.as_bytes())
}

/// Reads the reports whose keys begin with `prefix`.
///
/// # Errors
///
/// If they cannot be listed, or one cannot be read.
pub fn read_reports(store: &dyn Store, prefix: &str) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for object in store.list(prefix)?.into_iter().filter(|object| object.key.ends_with(".json")) {
        if let Some(text) = store.get(&object.key, REPORT_BYTES_MAX)? {
            reports.push(Report::from_json(&text).with_context(|| format!("failed to read {}", object.key))?);
        }
    }
    Ok(reports)
}

fn json(report: &Report) -> Result<String> {
    serde_json::to_string_pretty(report).context("failed to write the report")
}

/// Returns the name of the file of a report, which is one of `reports` of the same restore.
fn report_file(now: Timestamp, database: &str, reports: usize) -> String {
    let time = file_time(now);
    match reports {
        1 => format!("{time}.json"),
        _ => format!("{time}-{}.json", file_safe(database)),
    }
}

/// Returns the name of the file of a restore's metrics, which are of all its databases.
fn metrics_file(now: Timestamp) -> String {
    format!("{}.prom", file_time(now))
}

fn file_time(now: Timestamp) -> impl fmt::Display {
    now.strftime("%Y-%m-%dT%H-%M-%S%.3fZ")
}
