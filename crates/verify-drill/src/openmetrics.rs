//! A restore as OpenMetrics text: what an alert is made of, and no key of any row.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

use verify_core::finding::{Code, Severity, Verdict};
use verify_core::report::Report;

use crate::quantity::seconds;

/// The labels that every sample has.
struct Labels<'a> {
    database: &'a str,
    backup: &'a str,
}

/// The outcome of a restore, whose reports are in the databases' order. A value that was not measured is left out.
pub fn metrics(backup: &str, databases: &[String], reports: &[Report]) -> String {
    let of: Vec<(Labels<'_>, &Report)> = databases
        .iter()
        .zip(reports)
        .map(|(database, report)| (Labels { database, backup }, report))
        .collect();
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&Report) -> Option<Seconds>| {
        family(&mut text, name, "seconds", help);
        for (labels, report) in &of {
            if let Some(value) = value(report) {
                let _ = writeln!(text, "{name}{{{labels}}} {value}");
            }
        }
    };
    gauge(
        "statelab_verify_last_success_timestamp_seconds",
        "End of the last restore whose verdict was pass.",
        &|report| (report.verdict() == Verdict::Pass).then(|| ended(report)),
    );
    gauge("statelab_verify_duration_seconds", "Duration of the restore and its verification.", &|report| {
        Some(Seconds { ms: report.duration_ms })
    });
    gauge("statelab_rto_seconds", "Time from the start of the restore to the verdict.", &|report| {
        report.rto.as_ref().map(|rto| Seconds { ms: rto.total_ms })
    });
    gauge(
        "statelab_rpo_seconds",
        "Upper bound of the time between the newest evidence of recovery and the incident.",
        &|report| report.recovery_point().map(|rpo| Seconds { ms: rpo.at_most_ms }),
    );
    family(&mut text, "statelab_findings", "", "Findings of the verification, including missed objectives.");
    for (labels, report) in &of {
        for ((Reverse(severity), code), count) in counted(report) {
            let severity = severity_name(severity);
            let _ = writeln!(
                text,
                "statelab_findings{{{labels},code=\"{code}\",severity=\"{severity}\"}} {count}"
            );
        }
    }
    text.push_str("# EOF\n");
    text
}

pub fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Fail => "fail",
        Severity::Inconclusive => "inconclusive",
        Severity::Notice => "notice",
    }
}

fn family(text: &mut String, name: &str, unit: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    if !unit.is_empty() {
        let _ = writeln!(text, "# UNIT {name} {unit}");
    }
}

fn ended(report: &Report) -> Seconds {
    let started_ms = u64::try_from(report.started_at.as_millisecond()).unwrap_or(0);
    Seconds { ms: started_ms + report.duration_ms }
}

fn counted(report: &Report) -> BTreeMap<(Reverse<Severity>, Code), usize> {
    let mut counts = BTreeMap::new();
    for finding in report.findings() {
        *counts.entry((Reverse(finding.severity()), finding.code())).or_default() += 1;
    }
    counts
}

/// Prometheus' unit of time, from ours.
struct Seconds {
    ms: u64,
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&seconds(self.ms))
    }
}

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database=\"{}\",backup=\"{}\"", escaped(self.database), escaped(self.backup))
    }
}

/// A label's value: the name of a database may hold anything but a NUL.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use verify_core::compare::{Comparison, Coverage};
    use verify_core::finding::Finding;
    use verify_core::report::{Circumstances, Recovery, Side};
    use verify_core::timeline::Rto;

    fn report(findings: Vec<Finding>) -> Report {
        let circumstances = Circumstances {
            tool_version: "0".to_owned(),
            started_at: "2026-11-21T03:17:00.5Z".parse().unwrap(),
            duration_ms: 41_003,
            source: Side { place: "a".to_owned(), database: None },
            restored: None,
            manifest: None,
        };
        let comparison = Comparison::new(findings, Coverage::default());
        let rto = Some(Rto { total_ms: 40_050, parts: Vec::new() });
        Report::new(circumstances, comparison, Recovery { rto, ..Recovery::default() })
    }

    #[test]
    fn a_pass_says_when_and_how_long() {
        assert_eq!(
            metrics("nightly-001", &["app".to_owned()], &[report(Vec::new())]),
            "\
# HELP statelab_verify_last_success_timestamp_seconds End of the last restore whose verdict was pass.
# TYPE statelab_verify_last_success_timestamp_seconds gauge
# UNIT statelab_verify_last_success_timestamp_seconds seconds
statelab_verify_last_success_timestamp_seconds{database=\"app\",backup=\"nightly-001\"} 1795231061.503
# HELP statelab_verify_duration_seconds Duration of the restore and its verification.
# TYPE statelab_verify_duration_seconds gauge
# UNIT statelab_verify_duration_seconds seconds
statelab_verify_duration_seconds{database=\"app\",backup=\"nightly-001\"} 41.003
# HELP statelab_rto_seconds Time from the start of the restore to the verdict.
# TYPE statelab_rto_seconds gauge
# UNIT statelab_rto_seconds seconds
statelab_rto_seconds{database=\"app\",backup=\"nightly-001\"} 40.050
# HELP statelab_rpo_seconds Upper bound of the time between the newest evidence of recovery and the incident.
# TYPE statelab_rpo_seconds gauge
# UNIT statelab_rpo_seconds seconds
# HELP statelab_findings Findings of the verification, including missed objectives.
# TYPE statelab_findings gauge
# EOF
"
        );
    }

    #[test]
    fn no_other_verdict_is_a_success_and_findings_are_counted_without_their_rows() {
        let found = |code, object: &str| Finding::new(code, object, "id=42 is missing");
        let notice = found(Code::MatviewDiffers, "shop.totals");
        let missing = || [found(Code::RowMissing, "shop.orders"), found(Code::RowMissing, "shop.items")];
        let unread = [found(Code::TableUnreadable, "shop.orders")];
        for (findings, verdict, worst) in [
            (missing().to_vec(), Verdict::Fail, r#"code="row.missing",severity="fail"} 2"#),
            (unread.to_vec(), Verdict::Inconclusive, r#"code="table.unreadable",severity="inconclusive"} 1"#),
        ] {
            let failed = report([findings, vec![notice.clone()]].concat());
            assert_eq!(failed.verdict(), verdict);
            let text = metrics("n", &["app".to_owned()], std::slice::from_ref(&failed));
            assert!(!text.contains("success_timestamp_seconds{"), "{text}");
            let findings: Vec<&str> =
                text.lines().filter(|line| line.starts_with("statelab_findings{")).collect();
            assert_eq!(
                findings,
                [
                    &format!(r#"statelab_findings{{database="app",backup="n",{worst}"#),
                    r#"statelab_findings{database="app",backup="n",code="matview.differs",severity="notice"} 1"#,
                ]
            );
            assert!(!text.contains("42"), "{text}");
        }
    }

    #[test]
    fn no_name_of_a_database_breaks_the_text() {
        let text = metrics("n", &["a\"b\\c\nd".to_owned()], &[report(Vec::new())]);
        assert!(text.contains(r#"{database="a\"b\\c\nd",backup="n"} 41.003"#), "{text}");
    }
}
