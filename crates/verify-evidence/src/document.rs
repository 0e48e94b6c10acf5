//! The documents in stored reports, as far as their verdict follows from their content.

use serde_json::Value;
use verify_core::finding::{Severity, Verdict};
use verify_core::report::{self, Report};

const RESTORE: &str = "state-lab-restore";
const DATABASES: &str = "state-lab-databases";
const REPLICAS: &str = "state-lab-replicas";
const FAILOVER: &str = "state-lab-failover";
const DRILL: &str = "state-lab-drill";
/// The document of a run that could not be made: it verifies nothing.
const ERROR: &str = "state-lab-error";

/// The reports of databases in a document: one of `verify` and `compare`, one for each database of `restore` and
/// `verify --all-databases`, else none.
///
/// # Errors
///
/// If one is not a report, or its verdict does not follow from its findings.
pub fn reports(document: &Value) -> Result<Vec<Report>, String> {
    let read = |report: &Value| {
        let text = serde_json::to_vec(report).map_err(|error| error.to_string())?;
        Report::from_json(&text).map_err(|error| error.to_string())
    };
    match format(document) {
        report::FORMAT => Ok(vec![read(document)?]),
        RESTORE | DATABASES => list(document, "reports")?.iter().map(read).collect(),
        _ => Ok(Vec::new()),
    }
}

/// The verdict that a document states.
///
/// # Errors
///
/// If it states none.
pub fn stated(document: &Value) -> Result<Verdict, String> {
    match format(document) {
        ERROR => Ok(Verdict::Inconclusive),
        _ => verdict_in(document, "verdict"),
    }
}

/// The verdict that the findings of a document give; `None` if its format is not known here.
///
/// # Errors
///
/// If the document is not as its format requires.
pub fn derived(document: &Value) -> Result<Option<Verdict>, String> {
    let verdict = match format(document) {
        report::FORMAT => Verdict::worst(reports(document)?.iter().map(Report::verdict)),
        RESTORE => {
            let reports = reports(document)?;
            let integrity = Verdict::worst(reports.iter().map(|report| report.comparison().verdict()));
            if verdict_in(document, "integrity_checks")? != integrity {
                return Err(format!("its integrity_checks are not {integrity}, which its findings give"));
            }
            Verdict::worst(reports.iter().map(Report::verdict))
        }
        DATABASES => of_databases(document)?,
        REPLICAS => of_replicas(document)?,
        FAILOVER => of_failover(&document["drill"])?,
        DRILL => of_drill(document)?,
        ERROR => Verdict::Inconclusive,
        _ => return Ok(None),
    };
    Ok(Some(verdict))
}

fn of_databases(document: &Value) -> Result<Verdict, String> {
    let reports = Verdict::worst(reports(document)?.iter().map(Report::verdict));
    let open = (!list(document, "errors")?.is_empty()).then_some(Severity::Inconclusive);
    let others = Verdict::of(severities(document)?.into_iter().chain(open));
    Ok(Verdict::worst([reports, others]))
}

/// The severities of the findings that a document itself has.
fn severities(document: &Value) -> Result<Vec<Severity>, String> {
    let severity = |finding: &Value| {
        serde_json::from_value::<Severity>(finding["severity"].clone()).map_err(|error| error.to_string())
    };
    list(document, "findings")?.iter().map(severity).collect()
}

fn of_replicas(document: &Value) -> Result<Verdict, String> {
    let found = severities(document)?;
    let open = !list(document, "not_covered")?.is_empty() || number(&document["depth"], "objects")? == 0;
    Ok(Verdict::of(found.into_iter().chain(open.then_some(Severity::Inconclusive))))
}

fn of_failover(drill: &Value) -> Result<Verdict, String> {
    let Some(impact) = drill["reading"].get("read") else {
        return match drill["reading"].get("unread") {
            Some(_) => Ok(Verdict::Inconclusive),
            None => Err("its document has no reading".to_owned()),
        };
    };
    let is_exact = list(impact, "lost")?.is_empty() && list(impact, "duplicated")?.is_empty();
    let served = number(impact, "outage_ms")? <= number(drill, "objective_ms")?
        && impact["first_write_after_ms"].is_u64();
    let failed = !is_exact || !served || !list(drill, "missing")?.is_empty();
    let open = drill["moved"] == "none" || impact["recorded_to_end"] != true;
    let severities = [failed.then_some(Severity::Fail), open.then_some(Severity::Inconclusive)];
    Ok(Verdict::of(severities.into_iter().flatten()))
}

fn of_drill(document: &Value) -> Result<Verdict, String> {
    let steps = list(document, "steps")?;
    let severity = |step: &Value| {
        let text = |field: &str| step[field].as_str().ok_or_else(|| lacks(field));
        Ok(match (text("result")?, text("phase")?) {
            ("expected", _) => None,
            ("unexpected" | "late", "method" | "after" | "rollback") => Some(Severity::Fail),
            _ => Some(Severity::Inconclusive),
        })
    };
    let severities: Vec<Option<Severity>> = steps.iter().map(severity).collect::<Result<_, String>>()?;
    let none = steps.is_empty().then_some(Severity::Inconclusive);
    Ok(Verdict::of(severities.into_iter().flatten().chain(none)))
}

fn format(document: &Value) -> &str {
    document["format"].as_str().unwrap_or_default()
}

fn verdict_in(document: &Value, field: &str) -> Result<Verdict, String> {
    serde_json::from_value(document[field].clone()).map_err(|_| lacks(field))
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a Vec<Value>, String> {
    value[field].as_array().ok_or_else(|| lacks(field))
}

fn number(value: &Value, field: &str) -> Result<u64, String> {
    value[field].as_u64().ok_or_else(|| lacks(field))
}

fn lacks(field: &str) -> String {
    format!("its document has no valid {field}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_verdict_of_replicas_follows_from_findings_and_gaps() {
        let document = |severities: &[&str], gaps: usize, objects: u64| {
            let findings: Vec<Value> =
                severities.iter().map(|severity| json!({ "severity": severity })).collect();
            json!({
                "format": REPLICAS, "findings": findings, "not_covered": vec![json!({}); gaps],
                "depth": { "objects": objects },
            })
        };
        for (document, expected) in [
            (document(&[], 0, 1), Verdict::Pass),
            (document(&["notice"], 0, 1), Verdict::Pass),
            (document(&["notice"], 1, 1), Verdict::Inconclusive),
            (document(&[], 0, 0), Verdict::Inconclusive),
            (document(&["inconclusive", "fail"], 0, 1), Verdict::Fail),
        ] {
            assert_eq!(derived(&document), Ok(Some(expected)), "{document}");
        }
        derived(&document(&["fine"], 0, 1)).unwrap_err();
        derived(&json!({ "format": REPLICAS })).unwrap_err();
    }

    #[test]
    fn the_verdict_on_all_databases_follows_from_reports_findings_and_errors() {
        use verify_core::compare::{Comparison, Coverage};
        use verify_core::finding::{Code, Finding};
        use verify_core::report::{Circumstances, Side};

        let report = |codes: &[Code]| {
            let findings = codes.iter().map(|&code| Finding::new(code, "t", "m")).collect();
            let circumstances = Circumstances {
                tool_version: "0".to_owned(),
                started_at: jiff::Timestamp::UNIX_EPOCH,
                duration_ms: 1,
                source: Side::default(),
                restored: None,
                manifest: None,
            };
            let comparison = Comparison::new(findings, Coverage::default());
            serde_json::to_value(Report::of_comparison(circumstances, comparison)).unwrap()
        };
        let (pass, fail) = (report(&[]), report(&[Code::RowMissing]));
        let document = |reports: &[&Value], severities: &[&str], errors: usize| {
            let findings: Vec<Value> =
                severities.iter().map(|severity| json!({ "severity": severity })).collect();
            let errors = vec![json!({}); errors];
            json!({ "format": DATABASES, "reports": reports, "findings": findings, "errors": errors })
        };
        for (document, expected) in [
            (document(&[&pass, &pass], &["notice"], 0), Verdict::Pass),
            (document(&[&pass, &fail], &[], 0), Verdict::Fail),
            (document(&[&pass], &["inconclusive"], 0), Verdict::Inconclusive),
            (document(&[&pass], &["fail"], 0), Verdict::Fail),
            (document(&[&pass], &[], 1), Verdict::Inconclusive),
            (document(&[], &[], 0), Verdict::Inconclusive),
        ] {
            assert_eq!(derived(&document), Ok(Some(expected)), "{document}");
        }
        derived(&json!({ "format": DATABASES, "reports": [pass], "findings": [] })).unwrap_err();
    }

    #[test]
    fn the_verdict_of_a_failover_follows_from_its_measurements() {
        let drill = json!({
            "moved": "other-node", "objective_ms": 30_000, "missing": [],
            "reading": { "read": {
                "outage_ms": 30_000, "first_write_after_ms": 1, "lost": [], "duplicated": [], "recorded_to_end": true,
            } },
        });
        let with = |pointer: &str, value: Value| {
            let mut changed = drill.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            derived(&json!({ "format": FAILOVER, "drill": changed })).unwrap().unwrap()
        };
        assert_eq!(with("/moved", json!("other-node")), Verdict::Pass);
        for (pointer, value, expected) in [
            ("/moved", json!("none"), Verdict::Inconclusive),
            ("/missing", json!(["standby"]), Verdict::Fail),
            ("/reading", json!({ "unread": "refused" }), Verdict::Inconclusive),
            ("/reading/read/outage_ms", json!(30_001), Verdict::Fail),
            ("/reading/read/first_write_after_ms", Value::Null, Verdict::Fail),
            ("/reading/read/lost", json!([{}]), Verdict::Fail),
            ("/reading/read/duplicated", json!([{}]), Verdict::Fail),
            ("/reading/read/recorded_to_end", json!(false), Verdict::Inconclusive),
        ] {
            assert_eq!(with(pointer, value), expected, "{pointer}");
        }
    }

    #[test]
    fn the_verdict_of_a_drill_follows_from_its_steps() {
        let document = |steps: &[(&str, &str)]| {
            let steps: Vec<Value> =
                steps.iter().map(|(phase, result)| json!({ "phase": phase, "result": result })).collect();
            json!({ "format": DRILL, "steps": steps })
        };
        for (steps, expected) in [
            (&[("method", "expected"), ("rollback", "expected")][..], Verdict::Pass),
            (&[], Verdict::Inconclusive),
            (&[("before", "unexpected")], Verdict::Inconclusive),
            (&[("method", "not-bitten"), ("method", "not-run")], Verdict::Inconclusive),
            (&[("method", "unexpected"), ("method", "not-run")], Verdict::Fail),
            (&[("after", "late")], Verdict::Fail),
            (&[("method", "expected"), ("rollback", "unexpected")], Verdict::Fail),
        ] {
            assert_eq!(derived(&document(steps)), Ok(Some(expected)), "{steps:?}");
        }
    }

    #[test]
    fn nothing_is_derived_from_an_unknown_format() {
        assert_eq!(derived(&json!({ "format": "state-lab-unknown", "verdict": "pass" })), Ok(None));
    }
}
