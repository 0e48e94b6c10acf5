//! An examination as text: first the verdict, then findings, checks that could not be made, and changes.

use std::collections::BTreeMap;
use std::fmt::Write;

use verify_core::finding::Severity;
use verify_doctor::drift::{Change, Drift};
use verify_doctor::{Examination, Finding, NotApplicable, Risks, Unknown};
use verify_drill::openmetrics::severity_name;
use verify_drill::quantity::{count, counted};

use super::style::{Ink, Style, sentence};
use super::text::more_findings;

/// The whole examination.
pub(crate) fn examination(examined: &Examination, style: &Style) -> String {
    let Examination { verdict, findings, inconclusive, not_applicable, passed, skipped, drift } = examined;
    let mut text = format!("doctor: {}\n\n", style.paint((*verdict).into(), &verdict.to_string()));
    let shown = findings.len().min(style.rows_max.saturating_mul(5));
    explained(&mut text, &findings[..shown], style);
    more_findings(&mut text, findings.len() - shown);
    if !findings.is_empty() {
        text.push('\n');
    }
    if let Some(drift) = drift {
        changes(&mut text, drift, style);
    }
    unknown(&mut text, inconclusive, style);
    let failures = findings.iter().filter(|finding| finding.severity == Severity::Fail).count();
    let _ = writeln!(
        text,
        "checks: {} passed; {}, {}; {} not checked",
        count(passed.len() as u64),
        counted(failures as u64, "failure"),
        counted((findings.len() - failures) as u64, "notice"),
        count(inconclusive.len() as u64)
    );
    elsewhere(&mut text, not_applicable, style);
    if !skipped.is_empty() {
        let _ = writeln!(text, "skipped: {}", counted(skipped.len() as u64, "check"));
    }
    text
}

/// The worst findings, below the result of another command; empty if there is nothing to report.
pub(crate) fn risks(risks: Option<&Risks>, style: &Style) -> String {
    let Some(Risks { findings, more, not_checked }) = risks else { return String::new() };
    let mut text = "\ndoctor, no part of the verdict:\n".to_owned();
    explained(&mut text, findings, style);
    if *more > 0 {
        let _ = writeln!(text, "and {}; `state-lab doctor` lists them", counted(*more, "more finding"));
    }
    if let Some(line) = not_checked {
        let _ = writeln!(text, "{}: {}", style.paint(Ink::Doubtful, "not checked"), sentence(line));
    }
    text
}

/// Findings, with effect and remedy once below all findings of a code.
fn explained(text: &mut String, findings: &[Finding], style: &Style) {
    let mut explained = "";
    let next = findings.iter().skip(1).map(Some).chain([None]);
    for (finding, next) in findings.iter().zip(next) {
        let Finding { code, severity, object, message, effect, remedy } = finding;
        let name = style.paint((*severity).into(), severity_name(*severity));
        let _ = writeln!(text, "{name}: {}: {} [{code}]", style.cut(object), sentence(message));
        if next.is_none_or(|next| next.code != *code || next.severity != *severity) && explained != *code {
            let _ = writeln!(text, "    next restore: {effect}\n    fix: {remedy}");
            explained = code;
        }
    }
}

/// Checks that could not be made, by the right that they need.
fn unknown(text: &mut String, inconclusive: &[Unknown], style: &Style) {
    if inconclusive.is_empty() {
        return;
    }
    let mut by_reason = BTreeMap::<(&str, &str), Vec<String>>::new();
    for Unknown { code, object, reason, needs } in inconclusive {
        let name = object.as_ref().map_or((*code).to_owned(), |object| format!("{code} of {object}"));
        by_reason.entry((reason, needs)).or_default().push(name);
    }
    text.push_str(&style.paint(Ink::Doubtful, "not checked:"));
    text.push('\n');
    for ((reason, needs), names) in by_reason {
        let shown = names.len().min(style.rows_max);
        let more =
            if names.len() > shown { format!(" and {} more", names.len() - shown) } else { String::new() };
        let _ = writeln!(text, "    {}{more}: {}", sentence(&names[..shown].join(", ")), sentence(reason));
        let _ = writeln!(text, "        needs {}", sentence(needs));
    }
    text.push('\n');
}

/// Checks that do not apply, by their reason.
fn elsewhere(text: &mut String, not_applicable: &[NotApplicable], style: &Style) {
    let mut by_reason = BTreeMap::<&str, Vec<&str>>::new();
    for NotApplicable { code, reason } in not_applicable {
        by_reason.entry(reason).or_default().push(code);
    }
    if !by_reason.is_empty() {
        text.push_str("not applicable:\n");
    }
    for (reason, codes) in by_reason {
        let line = format!("    {}: {}", sentence(reason), codes.join(", "));
        let _ = writeln!(text, "{}", style.paint(Ink::Faint, &line));
    }
}

fn changes(text: &mut String, drift: &Drift, style: &Style) {
    let Drift { since, changes, not_compared } = drift;
    let _ = writeln!(text, "changed since {since}: {}", counted(changes.len() as u64, "value"));
    for Change { part, name, before, after } in changes {
        let shown =
            |value: &Option<String>| value.as_ref().map_or("nothing".to_owned(), |value| style.cut(value));
        let _ = writeln!(
            text,
            "    {}: {}: {} -> {}",
            style.paint(Ink::Bad, part),
            style.cut(name),
            shown(before),
            shown(after)
        );
    }
    for gap in not_compared {
        let _ = writeln!(
            text,
            "    {}: not compared: {}",
            style.paint(Ink::Doubtful, &gap.part),
            sentence(&gap.reason)
        );
    }
    text.push('\n');
}
