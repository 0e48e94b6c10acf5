//! Verified evidence as text: first the lines that machines may read.

use std::fmt::Write;

use verify_drill::openmetrics::severity_name;
use verify_drill::quantity::{count, counted};
use verify_evidence::entry::folder;
use verify_evidence::verify::Verification;

use super::style::{Style, sentence};

/// Renders a verification of stored reports.
pub(crate) fn evidence(found: &Verification, style: &Style) -> String {
    let Verification { verdict, reports, signed, not_signed, head, problems } = found;
    let mut text = format!("evidence: {}\n", style.paint((*verdict).into(), &verdict.to_string()));
    let head = head.as_ref().map_or("none".to_owned(), |head| head.sha256.clone());
    let _ = writeln!(text, "head: {head}\n");
    for problem in problems {
        let place = problem.sequence.map_or(String::new(), |sequence| format!("{}: ", folder(sequence)));
        let severity = style.paint(problem.severity.into(), severity_name(problem.severity));
        let _ = writeln!(text, "{severity}: {place}{} [{}]", sentence(&problem.message), problem.code);
    }
    if !problems.is_empty() {
        text.push('\n');
    }
    if *not_signed > 0 {
        let files = counted(*not_signed, "file");
        let _ = writeln!(text, "{files} beside them: not signed, derived from the reports");
    }
    let _ = writeln!(text, "{}, {} signed by allowed keys", counted(*reports, "report"), count(*signed));
    text
}
