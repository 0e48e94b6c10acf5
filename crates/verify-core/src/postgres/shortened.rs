//! Findings and gaps of a check of many objects, of which a wholly damaged copy has too many for a report.

use crate::finding::Finding;
use crate::not_covered::{Check, NotCovered};

/// Maximum number of objects that are named; of more only the number is reported.
pub(super) const NAMED_MAX: usize = 100;

/// Sorts findings, the worst first, and gaps. Of those that are too many, counts `what`, under the name `all`.
pub(super) fn shorten(
    findings: &mut Vec<Finding>,
    not_covered: &mut Vec<NotCovered>,
    check: Check,
    all: &str,
    what: &str,
) {
    findings.sort_by(|a, b| (b.severity(), &a.object).cmp(&(a.severity(), &b.object)));
    not_covered.sort_by(|a, b| a.object.cmp(&b.object));
    if let Some(first) = findings.get(NAMED_MAX) {
        let more = findings.len() - NAMED_MAX;
        let rest = Finding::new(first.code(), all, format!("{more} more{what}, not named here"));
        // The worst of those that are not named decides.
        let rest = if first.severity() < first.code().severity() { rest.excused() } else { rest };
        findings.truncate(NAMED_MAX);
        findings.push(rest);
    }
    if not_covered.len() > NAMED_MAX {
        let more = not_covered.len() - NAMED_MAX;
        not_covered.truncate(NAMED_MAX);
        not_covered.push(NotCovered::new(check, all, format!("{more} more, not named here")));
    }
}
