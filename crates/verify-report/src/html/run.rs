//! The page of one run: verdict and scope first, then what is not covered, times, findings, and how to verify the report.

use std::cmp::Reverse;

use maud::{Markup, html};
use verify_core::finding::{Finding, Severity, Verdict};
use verify_core::heartbeat::Evidence;
use verify_core::not_covered::NotCovered;
use verify_core::report::{Report, Side};
use verify_core::table::shown_text;
use verify_drill::openmetrics::severity_name;
use verify_drill::quantity::{bytes, counted};
use verify_drill::recovery::{duration, phase};
use verify_evidence::document;
use verify_evidence::entry::{StoredReport, folder};

use super::{badge, chart};
use crate::circumstances::rows;
use crate::quantity::minute;

/// More findings, rows of a finding and gaps are only counted; the report itself has them.
const FINDINGS_MAX: usize = 200;
const ROWS_MAX: usize = 50;
const GAPS_MAX: usize = 200;
/// A longer document of another kind is cut.
const DOCUMENT_CHARS_MAX: usize = 100_000;

/// The content of the page of a stored report.
pub fn run(stored: &StoredReport, has_signatures: bool) -> Markup {
    let envelope = &stored.envelope;
    let reports = document::reports(&envelope.document);
    let run = &envelope.run;
    html! {
        h1 { "Report " (envelope.sequence) ": " (run.command) }
        p class="faint" { (minute(run.started_at)) ", took " (duration(took_ms(stored))) }
        @match &reports {
            Ok(reports) if !reports.is_empty() => {
                (verdict(envelope.verdict, &html! { @for report in reports { (scope(report)) } }))
                @for report in reports { (database(report)) }
            }
            Ok(_) => {
                (verdict(envelope.verdict, &html! {}))
                (other(&envelope.document))
            }
            Err(reason) => {
                (verdict(Verdict::Inconclusive, &html! { p { "The document cannot be read: " (reason) } }))
                (other(&envelope.document))
            }
        }
        (doctor(&envelope.document["doctor"]))
        (circumstances(stored))
        (evidence(stored, has_signatures))
    }
}

fn took_ms(stored: &StoredReport) -> u64 {
    let run = &stored.envelope.run;
    u64::try_from(run.finished_at.duration_since(run.started_at).as_millis()).unwrap_or(0)
}

fn verdict(verdict: Verdict, scope: &Markup) -> Markup {
    html! { div class=(format!("verdict {verdict}")) { (badge(verdict)) (scope) } }
}

/// Scope of a verdict, in one line.
fn scope(report: &Report) -> Markup {
    let coverage = report.comparison().coverage();
    html! {
        p {
            strong { (shown_text(name(&report.source))) } ": " (counted(coverage.tables, "table")) ", " (counted(coverage.rows, "row"))
            " (" (bytes(coverage.bytes)) "), " (counted(coverage.sequences, "sequence")) ", "
            (counted(coverage.definitions, "definition")) ", "
            (counted(coverage.invariants, "invariant")) " compared; "
            (counted(coverage.not_covered.len() as u64, "gap")) " not covered"
        }
    }
}

fn name(side: &Side) -> &str {
    side.database.as_ref().map_or(&side.place, |source| &source.database)
}

fn database(report: &Report) -> Markup {
    html! {
        h2 { "Database " (shown_text(name(&report.source))) " " (badge(report.verdict())) }
        (not_covered(&report.comparison().coverage().not_covered))
        (recovery_time(report))
        (recovery_point(report))
        (findings(report))
        h3 { "Compared" }
        table {
            (side("Source", &report.source))
            @if let Some(restored) = &report.restored { (side("Restored", restored)) }
            @if let Some(instant) = &report.manifest {
                tr { th scope="row" { "Captured" } td { (instant.captured_at) ", snapshot " code { (instant.snapshot) } } }
            }
        }
    }
}

fn not_covered(gaps: &[NotCovered]) -> Markup {
    html! {
        h3 { "Not covered" }
        @if gaps.is_empty() { p { "Nothing was left out." } } @else {
            ul { @for gap in gaps.iter().take(GAPS_MAX) { li { (shown_text(&gap.object)) ": " (shown_text(&gap.reason)) } } }
            (rest(gaps.len(), GAPS_MAX))
        }
    }
}

fn recovery_time(report: &Report) -> Markup {
    let objective = report.objectives.rto_ms;
    html! {
        h3 { "Recovery time (RTO)" }
        @if let Some(rto) = &report.rto {
            p {
                strong { (duration(rto.total_ms)) } " from the start of the restore to the verdict"
                (against(objective, rto.total_ms))
            }
            (chart::recovery(rto, objective))
            div class="scroll" { table {
                tr { th scope="col" { "Phase" } th scope="col" class="number" { "Time" } }
                @for part in &rto.parts {
                    tr { td { (phase(part.milestone)) } td class="number" { (duration(part.after_ms)) } }
                }
            } }
        } @else { p { "Not measured: this run restored nothing." } }
    }
}

fn recovery_point(report: &Report) -> Markup {
    html! {
        h3 { "Recovery point (RPO)" }
        @if let Some(rpo) = report.recovery_point() {
            p {
                "Writes of at most " strong { (duration(rpo.at_most_ms)) } " before the incident are lost"
                (against(report.objectives.rpo_ms, rpo.at_most_ms))
            }
            p class="faint" {
                "Recovered until " (rpo.recovered_until) ", by " (by(rpo.evidence)) "; incident at " (rpo.incident)
                "; the bound includes " (duration(rpo.clock_error_ms)) " of uncertainty between the clocks."
            }
        } @else { p { "Unknown." } }
    }
}

fn by(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::LastCommit => "the last commit",
        Evidence::Capture => "the capture, whose every row is verified",
        Evidence::Heartbeat => "the heartbeat",
    }
}

fn against(objective_ms: Option<u64>, measured_ms: u64) -> Markup {
    html! {
        @match objective_ms {
            None => " (no objective is set).",
            Some(objective) if measured_ms <= objective => { ", within the objective of " (duration(objective)) "." }
            Some(objective) => { ", " span class="late" { "more than the objective of " (duration(objective)) } "." }
        }
    }
}

fn findings(report: &Report) -> Markup {
    let mut findings: Vec<&Finding> = report.findings().collect();
    findings.sort_by_key(|finding| Reverse(finding.severity()));
    html! {
        h3 { "Findings" }
        @if findings.is_empty() { p { "None." } } @else {
            div class="scroll" { table {
                tr { th scope="col" { "Severity" } th scope="col" { "Object" } th scope="col" { "Finding" } }
                @for finding in findings.iter().take(FINDINGS_MAX) { (row(finding)) }
            } }
            (rest(findings.len(), FINDINGS_MAX))
        }
    }
}

fn row(finding: &Finding) -> Markup {
    let verdict: Verdict = finding.severity().into();
    html! {
        tr {
            td {
                @if finding.severity() == Severity::Notice { "notice" }
                @else { span class=(format!("badge {verdict}")) { (severity_name(finding.severity())) } }
            }
            td { (shown_text(&finding.object)) }
            td {
                (shown_text(&finding.message)) " " code { (finding.code()) }
                @if let Some(rows) = &finding.rows {
                    ul { @for key in rows.named.iter().take(ROWS_MAX) { li { code { (shown_text(key)) } } } }
                    @let hidden = rows.at_least.saturating_sub(rows.named.len().min(ROWS_MAX) as u64);
                    @if hidden > 0 || rows.more {
                        p class="faint" { "and " @if rows.more { "at least " } (counted(hidden, "further row")) }
                    }
                }
                @if !finding.hint.is_empty() { p class="faint" { (shown_text(&finding.hint)) } }
            }
        }
    }
}

fn rest(all: usize, shown: usize) -> Markup {
    html! {
        @if let Some(rest) = all.checked_sub(shown).filter(|rest| *rest > 0) { p class="faint" { "and " (rest) " more" } }
    }
}

fn side(title: &str, side: &Side) -> Markup {
    html! {
        tr {
            th scope="row" { (title) }
            td {
                (shown_text(&side.place))
                @if let Some(source) = &side.database {
                    ": database " (shown_text(&source.database)) ", PostgreSQL " (source.server_version / 10_000) "."
                    (source.server_version % 10_000)
                    @if !source.system_identifier.is_empty() { ", cluster " (source.system_identifier) }
                }
            }
        }
    }
}

/// A document of another kind, as JSON.
fn other(document: &serde_json::Value) -> Markup {
    let text = serde_json::to_string_pretty(document).unwrap_or_default();
    let cut: String = text.chars().take(DOCUMENT_CHARS_MAX).collect();
    html! {
        h2 { "Document" }
        pre { (cut) }
        @if cut.len() < text.len() { p class="faint" { "cut; report.json has the rest" } }
    }
}

/// Findings of the doctor in the document of a restore or drill.
fn doctor(risks: &serde_json::Value) -> Markup {
    let text = |value: &serde_json::Value| shown_text(value.as_str().unwrap_or_default());
    html! {
        @if risks.is_object() {
            h2 { "Doctor" }
            p class="faint" { "What would harm the next restore: no part of the verdict of this one." }
            ul {
                @for finding in risks["findings"].as_array().into_iter().flatten() {
                    li {
                        (text(&finding["severity"])) ": " (text(&finding["object"])) ": " (text(&finding["message"])) " "
                        code { (text(&finding["code"])) }
                        p class="faint" { (text(&finding["effect"])) " " (text(&finding["remedy"])) }
                    }
                }
                @if let Some(more) = risks["more"].as_u64().filter(|more| *more > 0) { li { "and " (more) " more" } }
                @if let Some(line) = risks["not_checked"].as_str() { li { "not checked: " (shown_text(line)) } }
            }
        }
    }
}

fn circumstances(stored: &StoredReport) -> Markup {
    html! {
        h2 { "Circumstances" }
        table { @for (name, value) in rows(stored) { tr { th scope="row" { (name) } td { (value) } } } }
    }
}

fn evidence(stored: &StoredReport, has_signatures: bool) -> Markup {
    let envelope = &stored.envelope;
    html! {
        h2 { "Evidence" }
        table {
            tr { th scope="row" { "Report" } td { (folder(envelope.sequence)) "/report.json, SHA-256 " code { (stored.sha256) } } }
            tr {
                th scope="row" { "Report before it" }
                td {
                    @match &envelope.previous {
                        Some(link) => { (folder(link.sequence)) ", SHA-256 " code { (link.sha256) } }
                        None => "none: this is the first",
                    }
                }
            }
        }
        @if has_signatures {
            p { "This page is not signed; report.json is. Verify it with the public keys that you trust:" }
            pre {
                "ssh-keygen -Y verify -f allowed_signers -I IDENTITY -n state-lab-report \\\n    -s report.json.sig < report.json\n"
                "state-lab evidence verify STORE --signers allowed_signers"
            }
        } @else {
            p { strong { "Not signed." } " Anyone who can write to the store can change this report. Set [evidence] key." }
        }
    }
}
