//! Problems of the stored reports.

use std::collections::BTreeMap;

use verify_core::finding::Severity;

use crate::check::{Answer, Found};
use crate::fact::{Missing, known};
use crate::facts::{EvidenceProblem, Facts};

/// One finding for each kind of problem. What only lacks a signature or a signer is a notice.
pub(crate) fn broken(facts: &Facts) -> Result<Answer, Missing> {
    let evidence = known(&facts.evidence)?;
    let mut by_code = BTreeMap::<&str, Vec<&EvidenceProblem>>::new();
    for problem in known(&evidence.problems)?.iter().filter(|problem| problem.severity > Severity::Notice) {
        by_code.entry(&problem.code).or_default().push(problem);
    }
    let found = by_code.into_iter().filter_map(|(code, problems)| {
        let (first, rest) = problems.split_first()?;
        let object = first.report.map_or_else(|| evidence.name.clone(), |number| format!("report {number}"));
        let more = match rest.len() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let found = Found::new(object, format!("{} [{code}]{more}", first.message));
        Some(if first.severity == Severity::Fail { found } else { found.as_notice() })
    });
    Ok(found.collect::<Vec<_>>().into())
}
