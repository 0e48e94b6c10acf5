//! The page of a history: each database, then all runs.

use jiff::Timestamp;
use maud::{Markup, html};
use verify_core::finding::Verdict;
use verify_core::table::shown_text;
use verify_drill::quantity::counted;
use verify_drill::recovery::{duration, phase};

use super::{badge, chart};
use crate::history::{DatabaseHistory, DatabaseResult, History, RunResult};
use crate::quantity::{age, minute};

/// More runs are only counted; the store has them.
const RUNS_MAX: usize = 1_000;

/// The content of the page. `link` gives the address of a run's page, if it has one.
pub fn history(history: &History, now: Timestamp, link: &dyn Fn(u64) -> Option<String>) -> Markup {
    let databases = history.databases();
    html! {
        h1 { "Restores and their verification" }
        p class="faint" {
            (history.store) ", " (counted(history.runs.len() as u64, "report")) ", as of " (minute(now))
        }
        @for unreadable in &history.unreadable {
            p class="late" { "Report " (unreadable.sequence) " cannot be read: " (unreadable.reason) }
        }
        @let unsigned = history.runs.iter().filter(|run| !run.has_signatures).count() as u64;
        @if unsigned > 0 { p { strong { "Not signed: " } (counted(unsigned, "report")) "." } }
        (summaries(&databases, now, link))
        @for database in &databases { (self::database(database)) }
        h2 { "Runs, the newest first" }
        div class="scroll" { table {
            tr {
                th scope="col" { "Report" } th scope="col" { "Finished" } th scope="col" { "Command" } th scope="col" { "Database" }
                th scope="col" { "Verdict" } th scope="col" class="number" { "RTO" } th scope="col" class="number" { "RPO" }
                th scope="col" { "First finding" }
            }
            @for run in history.runs.iter().rev().take(RUNS_MAX) {
                @if run.databases.is_empty() { (row(run, None, link)) }
                @for result in &run.databases { (row(run, Some(result), link)) }
            }
        } }
        @if history.runs.len() > RUNS_MAX { p class="faint" { "and " (history.runs.len() - RUNS_MAX) " older runs" } }
    }
}

/// A table of all databases: when each was last verified, and its results against its objectives.
pub fn summaries(
    databases: &[DatabaseHistory<'_>],
    now: Timestamp,
    link: &dyn Fn(u64) -> Option<String>,
) -> Markup {
    html! {
        div class="scroll" { table {
            tr {
                th scope="col" { "Database" } th scope="col" { "Newest verdict" } th scope="col" { "Last verified restore" }
                th scope="col" class="number" { "Rows" } th scope="col" class="number" { "RTO" } th scope="col" class="number" { "RPO" }
                th scope="col" { "Not covered" }
            }
            @for of in databases {
                @if let Some((run, result)) = of.last() {
                    tr {
                        th scope="row" {
                            (shown_text(&of.database.name))
                            @if !of.database.cluster.is_empty() { br; span class="faint" { "cluster " (of.database.cluster) } }
                        }
                        td { (badge(result.verdict)) br; (age(run.finished_at, now)) " ago, " (report(run.sequence, link)) }
                        td {
                            @match of.last_verified() {
                                Some(run) => { (age(run.finished_at, now)) " ago" br; span class="faint" { (minute(run.finished_at)) } }
                                None => { span class="late" { "never" } }
                            }
                        }
                        td class="number" { (verify_drill::quantity::count(result.rows)) }
                        td class="number" { (time(rto_ms(result), result.objectives.rto_ms, result.misses_rto())) }
                        td class="number" { (time(rpo_ms(result), result.objectives.rpo_ms, result.misses_rpo())) }
                        td { (counted(result.not_covered, "gap")) }
                    }
                }
            }
        } }
    }
}

fn database(of: &DatabaseHistory<'_>) -> Markup {
    let percentiles = |name: &str, of: Option<crate::history::Percentiles>| {
        of.map(|of| {
            let [median, p90, max] = [of.median_ms, of.p90_ms, of.max_ms].map(duration);
            format!("{name}: median {median}, 90% within {p90}, maximum {max}.")
        })
    };
    html! {
        h2 { "Database " (shown_text(&of.database.name)) }
        (chart::verdicts(&of.results))
        @if of.results.len() > chart::DRAWN_MAX { p class="faint" { "The newest " (chart::DRAWN_MAX) " runs are drawn." } }
        @if let Some(text) = percentiles("Recovery time (RTO)", of.recovery_times()) {
            h3 { "Recovery time by phase, against its objective" }
            (chart::recoveries(&of.results))
            (chart::legend(&of.results))
            p {
                (text)
                @if let Some((milestone, percent)) = of.costliest_phase() {
                    " Most of it is " (phase(milestone)) ", " (percent) "%."
                }
            }
        }
        @if let Some(text) = percentiles("Recovery point (RPO)", of.recovery_points()) {
            h3 { "Upper bound of the lost time, against its objective" }
            (chart::losses(&of.results))
            p { (text) }
        }
    }
}

fn row(run: &RunResult, result: Option<&DatabaseResult>, link: &dyn Fn(u64) -> Option<String>) -> Markup {
    html! {
        tr {
            td { (report(run.sequence, link)) }
            td { (minute(run.finished_at)) }
            td { (run.command) }
            td { @if let Some(result) = result { (shown_text(&result.database.name)) } }
            td { (badge(result.map_or(run.verdict, |result| result.verdict))) }
            @match result {
                Some(result) => {
                    td class="number" { (time(rto_ms(result), None, result.misses_rto())) }
                    td class="number" { (time(rpo_ms(result), None, result.misses_rpo())) }
                    td { @if result.verdict != Verdict::Pass { (shown_text(result.first_finding.as_deref().unwrap_or_default())) } }
                }
                None => { td {} td {} td {} }
            }
        }
    }
}

fn report(sequence: u64, link: &dyn Fn(u64) -> Option<String>) -> Markup {
    html! {
        @match link(sequence) {
            Some(address) => { a href=(address) { "report " (sequence) } }
            None => { "report " (sequence) }
        }
    }
}

fn rto_ms(result: &DatabaseResult) -> Option<u64> {
    result.rto.as_ref().map(|rto| rto.total_ms)
}

fn rpo_ms(result: &DatabaseResult) -> Option<u64> {
    result.rpo.as_ref().map(|rpo| rpo.at_most_ms)
}

/// A time, marked where it is more than its objective.
fn time(measured_ms: Option<u64>, objective_ms: Option<u64>, is_late: bool) -> Markup {
    html! {
        @match measured_ms {
            Some(ms) if is_late => { span class="late" { (duration(ms)) " late" } }
            Some(ms) => { (duration(ms)) }
            None => { "–" }
        }
        @if let Some(objective) = objective_ms { br; span class="faint" { "of " (duration(objective)) } }
    }
}
