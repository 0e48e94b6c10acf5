//! A report as text: first the lines that machines may read, then what was found, then how deep it goes.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

use verify_core::compare::{Coverage, Ran};
use verify_core::finding::{Code, Finding, Rows, Severity};
use verify_core::heartbeat::Evidence;
use verify_core::journal::MeasuredEarlier;
use verify_core::manifest::{Consistency, Source};
use verify_core::not_covered::NotCovered;
use verify_core::report::{Instant, RecoveredTo, Report, Side};
use verify_core::timeline::Rto;

use super::next_step::next_step;
use super::style::{Ink, Style, sentence};
use verify_drill::openmetrics::severity_name;
use verify_drill::quantity::{bytes, count, counted};
use verify_drill::recovery::{duration, phase, recovery_point, recovery_time};

/// The whole report.
pub fn report(report: &Report, style: &Style) -> String {
    let mut text = head(report, style);
    text.push('\n');
    text.push_str(&body(report, style));
    text
}

/// Renders the part below the machine-readable lines.
pub(super) fn body(report: &Report, style: &Style) -> String {
    let mut text = String::new();
    let mut findings: Vec<&Finding> = report.findings().collect();
    findings.sort_by_key(|finding| Reverse(finding.severity()));
    if !findings.is_empty() {
        list(&mut text, &findings, style);
        text.push('\n');
    }
    depth(&mut text, report.comparison().coverage(), style);
    if let Some(rpo) = report.recovery_point() {
        let _ = writeln!(text, "recovered until: {}, by {}", rpo.recovered_until, evidence(rpo.evidence));
    }
    if let Some(rto) = report.rto.as_ref().filter(|rto| !rto.parts.is_empty()) {
        let _ = writeln!(text, "time spent: {}", parts(rto));
    }
    let _ = writeln!(text, "source: {}", side(&report.source, style));
    if let Some(instant) = &report.manifest {
        let _ = writeln!(text, "captured: {}", captured(instant));
    }
    if let Some(RecoveredTo { target, lsn }) = &report.recovered_to {
        let _ = writeln!(text, "recovered to: {}, at WAL position {}", style.cut(target), style.cut(lsn));
    }
    if let Some(restored) = &report.restored {
        let _ = writeln!(text, "restored: {}", side(restored, style));
    }
    let ran = report.comparison().ran();
    if !ran.is_empty() {
        let _ = writeln!(text, "checks: {}", ran.iter().map(checks).collect::<Vec<_>>().join(", "));
    }
    if let Some(test) = report.comparison().self_test() {
        let _ = writeln!(
            text,
            "self-test: {} of {} damages seen (seed {})",
            test.seen(),
            test.damages.len(),
            test.seed
        );
    }
    text
}

/// Checks that ran together, and their time.
fn checks(ran: &Ran) -> String {
    let names: Vec<&str> = ran.checks.iter().filter_map(|check| check.name()).collect();
    format!("{} {}", names.join("+"), duration(ran.duration_ms))
}

/// The lines whose form is promised.
fn head(report: &Report, style: &Style) -> String {
    let mut text = String::new();
    let verdict = report.comparison().verdict();
    if report.rto.is_some() {
        let _ = writeln!(text, "restore_status: {}", style.paint(Ink::Good, "success"));
    } else if report.restored.is_none() {
        let _ = writeln!(text, "restore_status: {}", style.paint(Ink::Bad, "failed"));
    }
    let _ = writeln!(text, "integrity_checks: {}", style.paint(verdict.into(), &verdict.to_string()));
    if let Some(rto) = &report.rto {
        let _ = writeln!(text, "rto: {}", recovery_time(rto));
        let _ = writeln!(text, "rpo: {}", recovery_point(std::slice::from_ref(report)));
    }
    text
}

/// More notices of one code are gathered into one line.
const NOTICES_MAX: usize = 3;

/// The findings, the worst first; many notices of one code in one line.
pub(super) fn list(text: &mut String, all: &[&Finding], style: &Style) {
    let mut notices: BTreeMap<Code, Vec<&Finding>> = BTreeMap::new();
    for finding in all.iter().filter(|finding| finding.severity() == Severity::Notice) {
        notices.entry(finding.code()).or_default().push(finding);
    }
    notices.retain(|_, of| of.len() > NOTICES_MAX && style.rows_max < usize::MAX);
    let gathered =
        |finding: &Finding| finding.severity() == Severity::Notice && notices.contains_key(&finding.code());
    let findings: Vec<&Finding> = all.iter().copied().filter(|finding| !gathered(finding)).collect();
    one_by_one(text, &findings, style);
    for (code, of) in &notices {
        gather(text, *code, of, style);
    }
    next_steps(text, all, style);
}

/// Writes the number of notices of a code, with three examples.
fn gather(text: &mut String, code: Code, of: &[&Finding], style: &Style) {
    let examples = &of[..of.len().min(NOTICES_MAX)];
    let object = |finding: &&Finding| style.cut(&finding.object);
    let whole = |finding: &&Finding| format!("{}: {}", object(finding), sentence(&finding.message));
    let examples = match of.first().map(|first| &first.message) {
        Some(message) if of.iter().all(|finding| finding.message == *message) => {
            let objects: Vec<String> = examples.iter().map(object).collect();
            format!("{}: {}", objects.join(", "), sentence(message))
        }
        _ => examples.iter().map(whole).collect::<Vec<_>>().join("; "),
    };
    let notice = style.paint(Ink::Faint, "notice");
    let _ = writeln!(text, "{notice}: {} times, as in {examples} [{code}]", count(of.len() as u64));
}

fn one_by_one(text: &mut String, findings: &[&Finding], style: &Style) {
    let shown = findings.len().min(style.rows_max.saturating_mul(5));
    for finding in &findings[..shown] {
        let (ink, name) = (finding.severity().into(), severity_name(finding.severity()));
        let _ = writeln!(
            text,
            "{}: {}: {} [{}]",
            style.paint(ink, name),
            style.cut(&finding.object),
            sentence(&finding.message),
            finding.code()
        );
        if let Some(rows) = &finding.rows {
            self::rows(text, rows, style);
        }
    }
    more_findings(text, findings.len() - shown);
}

/// Writes how many findings are not shown.
pub(super) fn more_findings(text: &mut String, hidden: usize) {
    if hidden > 0 {
        let _ = writeln!(text, "and {} more findings; --verbose lists them", count(hidden as u64));
    }
}

/// Writes the suggested next steps; the same one for many tables is written once.
fn next_steps(text: &mut String, findings: &[&Finding], style: &Style) {
    let mut steps: Vec<(&str, Vec<&Finding>)> = Vec::new();
    for finding in
        findings.iter().filter(|finding| finding.severity() > Severity::Notice || !finding.hint.is_empty())
    {
        let step = next_step(finding);
        match steps.iter_mut().find(|(text, _)| *text == step) {
            _ if step.is_empty() => {}
            Some((_, of)) => of.push(finding),
            None => steps.push((step, vec![finding])),
        }
    }
    for (step, of) in steps.iter().take(style.rows_max.saturating_mul(5)) {
        let more = if of.len() > 1 { format!(" and {} more", of.len() - 1) } else { String::new() };
        let _ = writeln!(text, "next, for {}{more}: {}", style.cut(&of[0].object), sentence(step));
    }
}

/// The first rows of a finding, and how many more there are.
fn rows(text: &mut String, rows: &Rows, style: &Style) {
    let Rows { named, at_least, more, estimate } = rows;
    let shown = named.len().min(style.rows_max);
    for name in &named[..shown] {
        let _ = writeln!(text, "    {}", style.cut(name));
    }
    let rest = at_least.saturating_sub(shown as u64);
    let about = estimate.map_or(String::new(), |all| format!(", about {} in all", count(all)));
    match (rest, more) {
        (0, false) => {}
        (0, true) => {
            let _ = writeln!(text, "    and more{about}");
        }
        (rest, more) => {
            let at_least = if *more { "at least " } else { "" };
            let _ = writeln!(text, "    and {at_least}{} more{about}", count(rest));
        }
    }
}

fn depth(text: &mut String, coverage: &Coverage, style: &Style) {
    let Coverage { tables, rows, bytes: size, sequences, definitions, invariants, not_covered, earlier } =
        coverage;
    let _ = writeln!(
        text,
        "depth: {}, {} ({}), {}, {}, {}",
        counted(*tables, "table"),
        counted(*rows, "row"),
        bytes(*size),
        counted(*sequences, "sequence"),
        counted(*definitions, "definition"),
        counted(*invariants, "invariant")
    );
    for MeasuredEarlier { side, tables, captured_at } in earlier {
        let _ = writeln!(
            text,
            "measured earlier: {} of {side}, under a snapshot of {captured_at}; nothing has changed since",
            counted(*tables, "table")
        );
    }
    gaps(text, not_covered, style);
}

/// Writes what was not covered, by name.
pub(super) fn gaps(text: &mut String, gaps: &[NotCovered], style: &Style) {
    if gaps.is_empty() {
        return;
    }
    let _ = writeln!(text, "not covered:");
    for NotCovered { object, reason, .. } in gaps.iter().take(style.rows_max) {
        let _ = writeln!(text, "    {}: {}", style.cut(object), sentence(reason));
    }
    if let Some(rest) = gaps.len().checked_sub(style.rows_max).filter(|&rest| rest > 0) {
        let _ = writeln!(text, "    and {} more", count(rest as u64));
    }
}

fn side(side: &Side, style: &Style) -> String {
    let place = style.cut(&side.place);
    match &side.database {
        Some(source) => format!("{place}: {}", database(source, style)),
        None => place,
    }
}

/// `database shop, PostgreSQL 16.4, cluster 7012345678901234567`.
pub(super) fn database(source: &Source, style: &Style) -> String {
    let version = source.server_version;
    let cluster = match source.system_identifier.as_str() {
        "" => String::new(),
        identifier => format!(", cluster {}", style.cut(identifier)),
    };
    let name = style.cut(&source.database);
    format!("database {name}, PostgreSQL {}.{}{cluster}", version / 10_000, version % 10_000)
}

/// `2026-11-21T03:00:00Z, snapshot 740:740:, consistency shared-snapshot`.
pub(super) fn captured(instant: &Instant) -> String {
    let mode = match &instant.consistency {
        Consistency::StandbySnapshot(replay) => {
            format!("standby-snapshot between {} and {}", replay.from, replay.to)
        }
        Consistency::PausedStandby(position) => format!("paused-standby at {}", position.replay_lsn),
        consistency => consistency.name().to_owned(),
    };
    let snapshot = verify_core::table::shown_text(&instant.snapshot);
    format!("{}, snapshot {snapshot}, consistency {mode}", instant.captured_at)
}

/// The capture is evidence only of a copy that passed: [`Report::recovery_point`].
fn evidence(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::LastCommit => "the last commit",
        Evidence::Capture => "the capture, as of which every row is verified",
        Evidence::Heartbeat => "the heartbeat",
    }
}

fn parts(rto: &Rto) -> String {
    let part = |part: &verify_core::timeline::Reached| {
        let name = phase(part.milestone);
        format!("{name} {}", duration(part.after_ms))
    };
    rto.parts.iter().map(part).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
