//! Comparison of invariants.

use crate::compare::{ComparisonDraft, Doubts};
use crate::finding::{Code, Finding, Rows};
use crate::invariant::{Evaluated, Expect, Judgement, Outcome};
use crate::manifest::Manifest;
use crate::not_covered::Check;

impl ComparisonDraft<'_> {
    pub(crate) fn invariants(&mut self, source: &Manifest, restored: &Manifest) {
        for evaluated in &restored.invariants {
            let same = |ours: &&Evaluated| ours.invariant == evaluated.invariant;
            let ours = source.invariants.iter().find(same).map(|ours| &ours.outcome);
            let invariant = &evaluated.invariant;
            match invariant.judge(ours, &evaluated.outcome) {
                Judgement::Holds => self.coverage.invariants += 1,
                Judgement::Broken(message) => {
                    self.coverage.invariants += 1;
                    let before = ours.filter(|_| invariant.expect != Expect::Same);
                    let already = before.is_some_and(|outcome| {
                        matches!(invariant.judge(None, outcome), Judgement::Broken(_))
                    });
                    let (code, message) = if already {
                        (
                            Code::InvariantBrokenOnSource,
                            format!("{message}; it was already broken on the source"),
                        )
                    } else {
                        (Code::InvariantBroken, message)
                    };
                    let mut finding = Finding::new(code, &invariant.name, message);
                    finding.rows = offenders(&evaluated.outcome);
                    if self.doubts == Doubts::OfInstant && invariant.expect == Expect::Same {
                        finding.doubt();
                    }
                    self.findings.push(finding);
                }
                Judgement::Unknown(message) => {
                    self.not_covered(Check::Invariants, &invariant.name, message.clone());
                    self.find(Code::InvariantUnknown, &invariant.name, message);
                }
            }
        }
    }
}

fn offenders(outcome: &Outcome) -> Option<Rows> {
    let Outcome::Result(result) = outcome else { return None };
    let shown = result.rows.iter().map(|row| {
        let values = result.columns.iter().zip(row).map(|(column, value)| {
            let value = value.as_deref().map_or("NULL".to_owned(), crate::table::shown_text);
            format!("{}={value}", crate::table::shown_identifier(column))
        });
        values.collect::<Vec<_>>().join(", ")
    });
    // In the order of the result, which its author may have chosen.
    Some(Rows { named: shown.collect(), at_least: result.row_count, more: false, estimate: None })
}
