//! A history as CSV: a line for each run and database.

use anyhow::{Context, Result};
use csv::Writer;
use verify_core::table::shown_text;
use verify_drill::quantity::seconds;

use crate::history::{DatabaseResult, History, RunResult};

const HEADER: [&str; 18] = [
    "report",
    "run",
    "command",
    "started_at",
    "finished_at",
    "run_verdict",
    "database",
    "cluster",
    "verdict",
    "rto_seconds",
    "rto_objective_seconds",
    "rpo_seconds",
    "rpo_objective_seconds",
    "tables",
    "rows",
    "failures",
    "inconclusive",
    "first_finding",
];

/// The text of a history, with a header. A run without databases has one line, whose last columns are empty.
///
/// # Errors
///
/// If it cannot be written.
pub fn history(history: &History) -> Result<String> {
    let mut writer = Writer::from_writer(Vec::new());
    writer.write_record(HEADER)?;
    for run in &history.runs {
        if run.databases.is_empty() {
            writer.write_record(record(run, None))?;
        }
        for result in &run.databases {
            writer.write_record(record(run, Some(result)))?;
        }
    }
    let bytes = writer.into_inner().context("failed to write the history as CSV")?;
    Ok(String::from_utf8(bytes)?)
}

fn record(run: &RunResult, result: Option<&DatabaseResult>) -> [String; HEADER.len()] {
    let of = |value: fn(&DatabaseResult) -> String| result.map(value).unwrap_or_default();
    let time = |ms: Option<u64>| ms.map(seconds).unwrap_or_default();
    [
        run.sequence.to_string(),
        inert(&run.id),
        inert(&run.command),
        run.started_at.to_string(),
        run.finished_at.to_string(),
        run.verdict.to_string(),
        of(|result| inert(&result.database.name)),
        of(|result| inert(&result.database.cluster)),
        of(|result| result.verdict.to_string()),
        time(result.and_then(|result| Some(result.rto.as_ref()?.total_ms))),
        time(result.and_then(|result| result.objectives.rto_ms)),
        time(result.and_then(|result| Some(result.rpo.as_ref()?.at_most_ms))),
        time(result.and_then(|result| result.objectives.rpo_ms)),
        of(|result| result.tables.to_string()),
        of(|result| result.rows.to_string()),
        of(|result| result.failures.to_string()),
        of(|result| result.inconclusive.to_string()),
        of(|result| inert(result.first_finding.as_deref().unwrap_or_default())),
    ]
}

/// Text that no spreadsheet takes for a formula, and no terminal for a sequence of its own.
fn inert(text: &str) -> String {
    let text = shown_text(text);
    match text.starts_with(['=', '+', '-', '@']) {
        true => format!("'{text}"),
        false => text,
    }
}
