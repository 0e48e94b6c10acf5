//! An examination: every check over the facts, and the verdict.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use verify_core::finding::{Severity, Verdict};
use verify_drill::quantity::counted;

use crate::check::{Check, Found, Gap};
use crate::code::CHECKS;
use crate::drift::Drift;
use crate::fact::Missing;
use crate::facts::Facts;

/// At most this many findings are in the result of another command.
const RISKS_MAX: usize = 3;

/// Selection of checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these; empty for all.
    pub only: BTreeSet<String>,
    /// Checks that are left out.
    pub skip: BTreeSet<String>,
}

impl Selection {
    /// The names in it that no check has.
    pub fn unknown(&self) -> Vec<&str> {
        let names = self.only.iter().chain(&self.skip).map(String::as_str);
        names.filter(|name| !CHECKS.iter().any(|check| matches(name, check.code))).collect()
    }

    /// Returns whether a check is selected.
    pub fn has(&self, code: &str) -> bool {
        let among = |names: &BTreeSet<String>| names.iter().any(|name| matches(name, code));
        (self.only.is_empty() || among(&self.only)) && !among(&self.skip)
    }
}

/// Returns whether a name is the code, or the part of it before its point: `archive` means all of `archive.…`.
fn matches(name: &str, code: &str) -> bool {
    name == code || code.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
}

/// Result of an examination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[must_use]
pub struct Examination {
    pub verdict: Verdict,
    /// Problems, the worst first.
    pub findings: Vec<Finding>,
    /// Checks that could not be made.
    pub inconclusive: Vec<Unknown>,
    /// Checks for things that do not exist.
    pub not_applicable: Vec<NotApplicable>,
    /// Codes of the checks that found nothing wrong.
    pub passed: Vec<&'static str>,
    /// Codes of the checks that were not selected.
    pub skipped: Vec<&'static str>,
    /// Changes since a known state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
}

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[must_use]
pub struct Finding {
    pub code: &'static str,
    pub severity: Severity,
    /// The setting, table, schedule, volume.
    pub object: String,
    /// Description of the problem.
    pub message: String,
    /// Effect on the next restore.
    pub effect: &'static str,
    /// Remedy.
    pub remedy: &'static str,
}

/// A check that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unknown {
    pub code: &'static str,
    /// The object, of several; absent if the whole check could not be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    pub reason: String,
    /// The right, grant or setting that the check needs.
    pub needs: String,
}

/// A check for something that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NotApplicable {
    pub code: &'static str,
    pub reason: String,
}

/// The worst findings of an examination, in the result of another command, outside its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Risks {
    /// At most three, the worst first.
    pub findings: Vec<Finding>,
    /// Number of further findings.
    pub more: u64,
    /// Number and reason of the checks that could not be made, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_checked: Option<String>,
}

impl Risks {
    /// No finding, since no check could be made, for this reason.
    pub fn unknown(reason: &str) -> Self {
        let not_checked = Some(format!("no check was made: {reason}"));
        Self { findings: Vec::new(), more: 0, not_checked }
    }
}

/// The checks that could not be made, with the most frequent of their reasons.
fn not_checked(inconclusive: &[Unknown]) -> Option<String> {
    let mut by_reason = BTreeMap::<&str, usize>::new();
    for unknown in inconclusive {
        *by_reason.entry(&unknown.reason).or_default() += 1;
    }
    let (reason, _) = by_reason.iter().max_by_key(|(_, count)| **count)?;
    let others = match by_reason.len() - 1 {
        0 => String::new(),
        others => format!(", and {}", counted(others as u64, "other reason")),
    };
    let checks = counted(inconclusive.len() as u64, "check");
    Some(format!("{checks} could not be made: {reason}{others}"))
}

impl Finding {
    fn new(check: &Check, found: Found) -> Self {
        let Found { object, message, lesser } = found;
        let severity = lesser.map_or(check.severity, |lesser| lesser.min(check.severity));
        Self { code: check.code, severity, object, message, effect: check.effect, remedy: check.remedy }
    }
}

/// Makes the selected checks, and settles the verdict.
pub fn examine(facts: &Facts, selection: &Selection) -> Examination {
    let mut examined = Examination {
        verdict: Verdict::Pass,
        findings: Vec::new(),
        inconclusive: Vec::new(),
        not_applicable: Vec::new(),
        passed: Vec::new(),
        skipped: Vec::new(),
        drift: None,
    };
    for check in &CHECKS {
        let code = check.code;
        if !selection.has(code) {
            examined.skipped.push(code);
            continue;
        }
        match (check.judge)(facts) {
            Ok(answer) => {
                if answer.found.is_empty() && answer.gaps.is_empty() {
                    examined.passed.push(code);
                }
                let unknown =
                    |Gap { object, reason, needs }| Unknown { code, object: Some(object), reason, needs };
                examined.findings.extend(answer.found.into_iter().map(|found| Finding::new(check, found)));
                examined.inconclusive.extend(answer.gaps.into_iter().map(unknown));
            }
            Err(Missing::NotApplicable(reason)) => {
                examined.not_applicable.push(NotApplicable { code, reason });
            }
            Err(Missing::Unknown { reason, needs }) => {
                examined.inconclusive.push(Unknown { code, object: None, reason, needs });
            }
        }
    }
    examined.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    examined.settle();
    examined
}

impl Examination {
    /// Adds changes since a known state.
    pub fn with_drift(mut self, drift: Drift) -> Self {
        self.drift = Some(drift);
        self.settle();
        self
    }

    /// The worst findings, for the result of another command; `None` if there is nothing to report.
    pub fn risks(mut self) -> Option<Risks> {
        let not_checked = not_checked(&self.inconclusive);
        let more = self.findings.len().saturating_sub(RISKS_MAX);
        self.findings.truncate(RISKS_MAX);
        let risks = Risks { findings: self.findings, more: more as u64, not_checked };
        (!risks.findings.is_empty() || risks.not_checked.is_some()).then_some(risks)
    }

    fn settle(&mut self) {
        let findings = self.findings.iter().map(|finding| finding.severity);
        let unknown = self.inconclusive.iter().map(|_| Severity::Inconclusive);
        let drift = self.drift.iter().flat_map(Drift::severities);
        let answered = !self.findings.is_empty() || !self.passed.is_empty() || self.drift.is_some();
        // Where no check could be made, nothing passed.
        let nothing = (!answered).then_some(Severity::Inconclusive);
        self.verdict = Verdict::of(findings.chain(unknown).chain(drift).chain(nothing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Objectives;

    fn selection(only: &[&str], skip: &[&str]) -> Selection {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Selection { only: names(only), skip: names(skip) }
    }

    #[test]
    fn a_selection_names_checks_or_groups_of_them() {
        let codes = |selection: &Selection| {
            CHECKS.iter().map(|check| check.code).filter(|code| selection.has(code)).collect::<Vec<_>>()
        };
        assert_eq!(codes(&Selection::default()).len(), CHECKS.len());
        let archive = codes(&selection(&["archive"], &["archive.gap"]));
        assert!(archive.contains(&"archive.failing") && !archive.contains(&"archive.gap"), "{archive:?}");
        assert!(archive.iter().all(|code| code.starts_with("archive.")), "{archive:?}");
        assert_eq!(
            selection(&["arch", "archive"], &["heartbeat.none"]).unknown(),
            ["arch", "heartbeat.none"]
        );
    }

    #[test]
    fn risks_are_the_worst_three_findings_and_one_line_about_the_rest() {
        let examined = |severities: &[Severity], reasons: &[&str]| {
            let finding = |severity: &Severity| Finding {
                code: "fsync",
                severity: *severity,
                object: String::new(),
                message: String::new(),
                effect: "",
                remedy: "",
            };
            let unknown = |reason: &&str| Unknown {
                code: "fsync",
                object: None,
                reason: (*reason).to_owned(),
                needs: String::new(),
            };
            let nothing = Missing::not_applicable("nothing");
            let facts = Facts::none(jiff::Timestamp::UNIX_EPOCH, Objectives::default(), &nothing);
            Examination {
                findings: severities.iter().map(finding).collect(),
                inconclusive: reasons.iter().map(unknown).collect(),
                ..examine(&facts, &Selection::default())
            }
        };
        assert_eq!(examined(&[], &[]).risks(), None);
        use Severity::{Fail, Notice};
        let risks = examined(&[Fail, Fail, Notice, Notice, Notice], &["a", "b", "b"]).risks().unwrap();
        let severities: Vec<Severity> = risks.findings.iter().map(|finding| finding.severity).collect();
        assert_eq!((severities, risks.more), (vec![Fail, Fail, Notice], 2));
        assert_eq!(risks.not_checked.as_deref(), Some("3 checks could not be made: b, and 1 other reason"));
        let risks = examined(&[], &["a"]).risks().unwrap();
        assert_eq!((risks.findings.len(), risks.more), (0, 0));
        assert_eq!(risks.not_checked.as_deref(), Some("1 check could not be made: a"));
    }

    #[test]
    fn without_a_check_nothing_passed() {
        let now = "2026-11-29T12:00:00Z".parse().unwrap();
        for (why, inconclusive) in [
            (Missing::not_applicable("no database was given"), false),
            (Missing::unknown("the server does not answer", "a server"), true),
        ] {
            let facts = Facts::none(now, Objectives::default(), &why);
            let examined = examine(&facts, &selection(&["fsync"], &[]));
            assert_eq!((examined.verdict, examined.passed.len()), (Verdict::Inconclusive, 0));
            assert_eq!(examined.inconclusive.len() + examined.not_applicable.len(), 1);
            assert_eq!(examined.inconclusive.len() == 1, inconclusive);
        }
    }
}
