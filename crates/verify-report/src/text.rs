//! A history as text: each database, then each run that did not pass.

use std::fmt::Write;

use jiff::Timestamp;
use verify_core::finding::Verdict;
use verify_core::table::shown_text;
use verify_drill::quantity::counted;
use verify_drill::recovery::{duration, phase};
use verify_evidence::entry::StoredReport;

use crate::circumstances::rows;
use crate::history::{DatabaseHistory, DatabaseResult, History, Percentiles};
use crate::quantity::{age, minute};

/// At most this many runs that did not pass are listed, the newest.
const LISTED_MAX: usize = 20;

/// The text of a history.
pub fn history(history: &History, now: Timestamp) -> String {
    let mut text = String::new();
    let runs = history.runs.len() as u64;
    let _ = writeln!(text, "store: {}, {}", shown_text(&history.store), counted(runs, "report"));
    for database in history.databases() {
        self::database(&mut text, &database, now);
    }
    failures(&mut text, history);
    let unsigned = history.runs.iter().filter(|run| !run.has_signatures).count() as u64;
    if unsigned > 0 {
        let _ = writeln!(text, "\nnot signed: {}", counted(unsigned, "report"));
    }
    for unreadable in &history.unreadable {
        let reason = shown_text(&unreadable.reason);
        let _ = writeln!(text, "\nreport {} cannot be read: {reason}", unreadable.sequence);
    }
    text
}

/// The circumstances of a stored report, a line each.
pub fn circumstances(stored: &StoredReport) -> String {
    rows(stored).into_iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{}: {value}", name.to_lowercase());
        text
    })
}

fn database(text: &mut String, history: &DatabaseHistory<'_>, now: Timestamp) {
    let _ = write!(text, "\n{}", shown_text(&history.database.name));
    if !history.database.cluster.is_empty() {
        let _ = write!(text, ", cluster {}", shown_text(&history.database.cluster));
    }
    let _ = writeln!(text, ": {}", counted(history.results.len() as u64, "run"));
    let verified = history.last_verified().map_or_else(
        || "never".to_owned(),
        |run| {
            format!(
                "{}, {} ago (report {})",
                minute(run.finished_at),
                age(run.finished_at, now),
                run.sequence
            )
        },
    );
    let _ = writeln!(text, "    last verified restore: {verified}");
    if let Some((run, result)) = history.last() {
        let _ = writeln!(text, "    newest: {} at {}", result.verdict, minute(run.finished_at));
        let missed = |missed: bool| if missed { "; missed" } else { "" };
        let objectives = result.objectives;
        let rto = objective(objectives.rto_ms, missed(result.misses_rto()));
        let rpo = objective(objectives.rpo_ms, missed(result.misses_rpo()));
        durations(text, "rto", result.rto.as_ref().map(|rto| rto.total_ms), history.recovery_times(), &rto);
        durations(
            text,
            "rpo",
            result.rpo.as_ref().map(|rpo| rpo.at_most_ms),
            history.recovery_points(),
            &rpo,
        );
    }
    if let Some((milestone, percent)) = history.costliest_phase() {
        let _ = writeln!(text, "    costliest phase: {}, {percent}% of the recovery time", phase(milestone));
    }
}

fn objective(objective_ms: Option<u64>, missed: &str) -> String {
    objective_ms.map_or(String::new(), |ms| format!("; objective {}{missed}", duration(ms)))
}

fn durations(text: &mut String, name: &str, last: Option<u64>, all: Option<Percentiles>, objective: &str) {
    let Some(Percentiles { median_ms, p90_ms, max_ms }) = all else { return };
    let last = last.map_or_else(|| "unknown".to_owned(), duration);
    let (median, p90, max) = (duration(median_ms), duration(p90_ms), duration(max_ms));
    let _ = writeln!(text, "    {name}: {last}{objective}; median {median}, 90% {p90}, maximum {max}");
}

fn failures(text: &mut String, history: &History) {
    let failed: Vec<_> = history.runs.iter().rev().filter(|run| run.verdict != Verdict::Pass).collect();
    if failed.is_empty() {
        return;
    }
    text.push_str("\nruns without a pass, the newest first:\n");
    for run in failed.iter().take(LISTED_MAX) {
        let first = run.databases.iter().find_map(|result| Some((result, result.first_finding.as_ref()?)));
        let reason = match first {
            Some((DatabaseResult { database, .. }, finding)) => {
                format!(": {}: {}", shown_text(&database.name), shown_text(finding))
            }
            None => String::new(),
        };
        let (sequence, at, command) = (run.sequence, minute(run.finished_at), shown_text(&run.command));
        let _ = writeln!(text, "    {sequence} {at} {command} {}{reason}", run.verdict);
    }
    if failed.len() > LISTED_MAX {
        let _ = writeln!(text, "    and {} more; --format csv lists all", failed.len() - LISTED_MAX);
    }
}
