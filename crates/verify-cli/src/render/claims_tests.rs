//! Checks that printed, stored and recorded texts of a restore claim a verification only for a pass.

use jiff::Timestamp;
use verify_core::compare::{Comparison, Coverage};
use verify_core::finding::{Code, Finding, Verdict};
use verify_core::heartbeat::{Evidence, Rpo};
use verify_core::manifest::{Anchor, Consistency};
use verify_core::report::{Circumstances, Instant, Objectives, Recovery, Report, Side};
use verify_core::timeline::Rto;

use verify_drill::openmetrics;
use verify_drill::provider::{BackupOrigin, RestoreTarget, RestoredCopy};
use verify_velero::provider::Said;

use super::{Style, restore, text};

/// Phrases that claim that the rows of the backup are there. All of them are searched for in lower case.
const CLAIMS: [&str; 9] = [
    "proven",
    "proves",
    "verified",
    "is recovered",
    "are recovered",
    "every row",
    "rows are there",
    "by the capture",
    "last_success_timestamp_seconds{",
];
/// Texts that deny a verification in the same words.
const DENIALS: [&str; 3] = ["rows are not verified", "is not proven", "snapshot.unproven"];

/// The first claim in `text`.
fn claim(text: &str) -> Option<&'static str> {
    let text = DENIALS.iter().fold(text.to_lowercase(), |text, denial| text.replace(denial, ""));
    CLAIMS.into_iter().find(|claim| text.contains(claim))
}

/// Findings as they come with a verdict.
fn findings(of: Verdict) -> Vec<Finding> {
    let found = |code| Finding::new(code, "public.t", "a message");
    match of {
        Verdict::Pass => vec![found(Code::MatviewDiffers)],
        Verdict::Inconclusive => vec![found(Code::SnapshotUnproven)],
        Verdict::Fail => {
            vec![found(Code::CopyOlder), found(Code::RowMissing)]
        }
    }
}

/// The circumstances of a report, and what its recovery came to.
#[derive(Clone, Copy, Debug)]
struct Case {
    integrity: Verdict,
    travelled: bool,
    evidence: Option<Evidence>,
    timed: bool,
    /// Objectives that are missed.
    objectives: bool,
}

impl Case {
    fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for integrity in [Verdict::Pass, Verdict::Inconclusive, Verdict::Fail] {
            for evidence in
                [None, Some(Evidence::LastCommit), Some(Evidence::Heartbeat), Some(Evidence::Capture)]
            {
                for bits in 0..8 {
                    let (travelled, timed, objectives) = (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0);
                    cases.push(Self { integrity, travelled, evidence, timed, objectives });
                }
            }
        }
        cases
    }

    fn report(self) -> Report {
        let Self { integrity, travelled, evidence, timed, objectives } = self;
        let consistency = match travelled {
            true => Consistency::TimeTravel(Anchor {
                xid: 740,
                database_oid: 16_384,
                subtransactions: Vec::new(),
            }),
            false => Consistency::SharedSnapshot,
        };
        let side = || Side { place: "u@h:5432/shop".to_owned(), database: None };
        let circumstances = Circumstances {
            tool_version: "0".to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
            duration_ms: 1,
            source: side(),
            restored: Some(side()),
            manifest: Some(Instant {
                captured_at: Timestamp::UNIX_EPOCH,
                snapshot: "740:740:".to_owned(),
                consistency,
            }),
        };
        let rpo = evidence.map(|evidence| Rpo {
            at_most_ms: 300_000,
            clock_error_ms: 1,
            evidence,
            recovered_until: Timestamp::UNIX_EPOCH,
            incident: Timestamp::UNIX_EPOCH,
        });
        let limit = objectives.then_some(1);
        let recovery = Recovery {
            rto: timed.then(|| Rto { total_ms: 40_050, parts: Vec::new() }),
            rpo: rpo.clone(),
            objectives: Objectives { rto_ms: limit, rpo_ms: limit },
        };
        let findings = findings(integrity);
        let comparison = Comparison::new(findings, Coverage::default());
        assert_eq!(comparison.verdict(), integrity);
        let mut report = Report::new(circumstances, comparison, recovery);
        let unsupported = evidence == Some(Evidence::Capture) && integrity != Verdict::Pass;
        assert_eq!(report.rpo.is_some(), evidence.is_some() && !unsupported, "{self:?}");
        // Earlier versions stored it all the same, and `show` prints what they stored.
        report.rpo = rpo;
        report
    }
}

/// Everything that is written of a restore, each with its name.
fn texts(reports: &[Report]) -> Vec<(&'static str, String)> {
    let databases: Vec<String> = (0..reports.len()).map(|i| format!("db{i}")).collect();
    let copy = RestoredCopy {
        databases: databases.clone(),
        reports: reports.to_vec(),
        origin: BackupOrigin::default(),
        target: RestoreTarget::default(),
        report_files: vec!["r.json".to_owned()],
        warnings: Vec::new(),
        left: Vec::new(),
        kept: None,
    };
    let Said { reason, message } = Said::of(&copy);
    let style = Style::plain();
    vec![
        ("restore", restore::restore(reports, &databases, copy.integrity(), &style)),
        ("metrics", openmetrics::metrics("nightly", &databases, reports)),
        ("event", format!("{reason}: {message}")),
    ]
}

#[test]
fn no_sentence_claims_proof_beside_a_verdict_that_is_not_a_pass() {
    for case in Case::all() {
        let report = case.report();
        let text = text::report(&report, &Style::plain());
        let mut written = texts(std::slice::from_ref(&report));
        written.push(("report", text));
        for (name, text) in &written {
            let passed = match *name {
                // What is said of the recovery as a whole counts its objectives too.
                "metrics" | "event" => report.verdict() == Verdict::Pass,
                _ => case.integrity == Verdict::Pass,
            };
            let expected = match *name {
                "metrics" | "event" => true,
                _ => case.evidence == Some(Evidence::Capture),
            };
            assert_eq!(claim(text).is_some(), passed && expected, "{name} of {case:?}: {text}");
            let bounded = text.contains("<=5m") || text.contains("statelab_rpo_seconds{");
            if case.evidence == Some(Evidence::Capture) && case.integrity != Verdict::Pass {
                assert!(!bounded, "{name} of {case:?}: {text}");
            }
            if *name == "event" {
                let missed = case.integrity == Verdict::Pass && report.verdict() == Verdict::Fail;
                assert_eq!(text.contains("ObjectiveMissed"), missed, "{case:?}");
                assert_eq!(text.contains("RestoreDiffers"), case.integrity == Verdict::Fail, "{case:?}");
            }
        }
    }
}

#[test]
fn of_several_databases_one_that_did_not_pass_silences_the_claims_for_all() {
    let cases: Vec<Case> = Case::all().into_iter().filter(|case| case.timed && case.travelled).collect();
    let passes = |case: Case| case.integrity == Verdict::Pass;
    for (first, second) in cases.iter().flat_map(|first| cases.iter().map(|second| (*first, *second))) {
        let reports = [first.report(), second.report()];
        let both_pass = passes(first) && passes(second);
        let both_met = reports.iter().all(|report| report.verdict() == Verdict::Pass);
        for (name, text) in texts(&reports) {
            // Each database has a section with its own verdict; the text before them is about all.
            let sections: Vec<&str> = text.split("\ndatabase ").collect();
            if name == "restore" {
                assert_eq!(claim(sections[0]), None, "{text}");
                for (section, case) in sections[1..].iter().zip([first, second]) {
                    let claims = passes(case) && case.evidence == Some(Evidence::Capture);
                    assert_eq!(claim(section).is_some(), claims, "{case:?}: {text}");
                }
            }
            if name == "event" {
                assert_eq!(claim(&text).is_some(), both_met, "{first:?} {second:?}: {text}");
                assert!(both_pass || !text.contains("ObjectiveMissed"), "{first:?} {second:?}: {text}");
            }
        }
    }
}
