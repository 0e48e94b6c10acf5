//! A history as JUnit XML: a test suite for each run, a test case for each database. Only a pass is a passed test.
//! Names are shown as on a terminal: a line of them would be a command to some CI services that read the output.

use std::time::Duration;

use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use verify_core::finding::Verdict;
use verify_core::table::shown_text;

use crate::history::{DatabaseResult, History, RunResult};

/// The XML of a history. A failed database is a failure, an inconclusive one an error.
///
/// # Errors
///
/// If it cannot be written.
pub fn history(history: &History) -> Result<String> {
    let mut report = Report::new("state-lab");
    for run in &history.runs {
        let mut suite = TestSuite::new(format!("report {}: {}", run.sequence, run.command));
        suite.add_property(("started_at", run.started_at.to_string().as_str()));
        suite.add_property(("run", run.id.as_str()));
        suite.set_time(duration(run));
        if run.databases.is_empty() {
            suite.add_test_case(case(run, &run.command, run.verdict, None));
        }
        for result in &run.databases {
            suite.add_test_case(case(run, &shown_text(&result.database.name), result.verdict, Some(result)));
        }
        report.add_test_suite(suite);
    }
    report.to_string().context("failed to write the history as JUnit XML")
}

fn case(run: &RunResult, name: &str, verdict: Verdict, result: Option<&DatabaseResult>) -> TestCase {
    let mut status = match verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Inconclusive => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if verdict != Verdict::Pass {
        status.set_type(verdict.to_string());
        if let Some(finding) = result.and_then(|result| result.first_finding.as_deref()) {
            status.set_message(shown_text(finding));
        }
    }
    let mut case = TestCase::new(name, status);
    case.set_classname(format!("state-lab.{}", run.command));
    case.set_time(duration(run));
    case
}

fn duration(run: &RunResult) -> Duration {
    run.finished_at.duration_since(run.started_at).unsigned_abs()
}
