//! The report: what was compared with what, the verdict, and the recovery against its objectives.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::compare::Comparison;
use crate::error::{Error, ErrorKind, Result};
use crate::finding::{Code, Finding, Verdict, severities};
use crate::heartbeat::{Evidence, Rpo};
use crate::manifest::{Consistency, Header, Source};
use crate::timeline::Rto;

/// The value of [`Report::format`].
pub const FORMAT: &str = "state-lab-report";
/// The version of this format.
pub const FORMAT_VERSION: u32 = 1;

/// Evidence of one comparison, complete in itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[must_use]
pub struct Report {
    /// `state-lab-report`.
    pub format: String,
    /// The version of the format.
    pub version: u32,
    /// The version of the tool that made it.
    pub tool_version: String,
    /// The answer: that of the comparison, unless an objective was missed.
    verdict: Verdict,
    /// Start of the work, by the clock of the machine that did it.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// Duration, in milliseconds.
    pub duration_ms: u64,
    /// The database that was backed up.
    pub source: Side,
    /// The restored database; absent if the restore failed before there was a database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Side>,
    /// The manifest that the restored side was compared with; absent if two live databases were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Instant>,
    /// The point in time that the restored side was recovered to; absent if it is that of its backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_to: Option<RecoveredTo>,
    /// Result of the comparison.
    comparison: Comparison,
    /// Recovery time, if measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto: Option<Rto>,
    /// Bound of the lost time, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo: Option<Rpo>,
    /// Objectives of the recovery.
    #[serde(default, skip_serializing_if = "Objectives::is_empty")]
    pub objectives: Objectives,
    /// The objectives that were missed, or could not be judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    missed: Vec<Finding>,
}

/// One side of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// Origin: a file, or `user@host:port/database`. Never a password.
    pub place: String,
    /// The database, as far as it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Source>,
}

/// The snapshot of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Instant {
    /// The source's clock when its snapshot was fixed.
    #[schemars(with = "String")]
    pub captured_at: Timestamp,
    /// `pg_current_snapshot()` of that snapshot.
    pub snapshot: String,
    /// Relation of the snapshot to a backup.
    pub consistency: Consistency,
}

/// The point in time that a base backup was recovered to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveredTo {
    /// The target, in words.
    pub target: String,
    /// The position up to which the write-ahead log was replayed.
    pub lsn: String,
}

/// Objectives of a recovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Objectives {
    /// The longest recovery time, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto_ms: Option<u64>,
    /// The longest time whose writes may be lost, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo_ms: Option<u64>,
}

/// Results of a recovery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Recovery time.
    pub rto: Option<Rto>,
    /// Bound of the lost time.
    pub rpo: Option<Rpo>,
    /// Objectives of the recovery.
    pub objectives: Objectives,
}

/// The circumstances of a comparison, which only the caller knows.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// The version of the tool.
    pub tool_version: String,
    /// Start of the work.
    pub started_at: Timestamp,
    /// Duration, in milliseconds.
    pub duration_ms: u64,
    /// The database that was backed up.
    pub source: Side,
    /// The restored database.
    pub restored: Option<Side>,
    /// The manifest's snapshot.
    pub manifest: Option<Instant>,
}

impl Report {
    /// The report of a comparison that measured no recovery.
    pub fn of_comparison(circumstances: Circumstances, comparison: Comparison) -> Self {
        Self::new(circumstances, comparison, Recovery::default())
    }

    /// The report of a recovery; an objective that was missed, or cannot be judged, counts in the verdict.
    pub fn new(circumstances: Circumstances, comparison: Comparison, recovery: Recovery) -> Self {
        let Circumstances { tool_version, started_at, duration_ms, source, restored, manifest } =
            circumstances;
        let rpo = recovery.rpo.filter(|rpo| is_supported(rpo, comparison.verdict()));
        let recovery = Recovery { rpo, ..recovery };
        let missed = recovery.judge();
        let Recovery { rto, rpo, objectives } = recovery;
        Self {
            format: FORMAT.to_owned(),
            version: FORMAT_VERSION,
            tool_version,
            verdict: verdict(&comparison, &missed),
            started_at,
            duration_ms,
            source,
            restored,
            manifest,
            recovered_to: None,
            comparison,
            rto,
            rpo,
            objectives,
            missed,
        }
    }

    /// The answer, that of the findings: the comparison's, unless an objective was missed.
    pub fn verdict(&self) -> Verdict {
        verdict(&self.comparison, &self.missed)
    }

    /// Result of the comparison.
    pub fn comparison(&self) -> &Comparison {
        &self.comparison
    }

    /// The objectives that were missed, or could not be judged.
    pub fn missed(&self) -> &[Finding] {
        &self.missed
    }

    /// Findings, including missed objectives.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.comparison.findings().iter().chain(&self.missed)
    }

    /// Returns the recovery point, unless it rests on a capture whose rows were not verified, as in reports that
    /// earlier versions wrote.
    pub fn recovery_point(&self) -> Option<&Rpo> {
        self.rpo.as_ref().filter(|rpo| is_supported(rpo, self.comparison.verdict()))
    }

    /// Reads a report.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Manifest`] if `text` is not a report of this version, or if its verdict is not the one that its
    /// own findings give.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        let broken = |error| Error::with_source(ErrorKind::Manifest, "read the report", error);
        let Version { format, version } = serde_json::from_slice(text).map_err(broken)?;
        if format != FORMAT {
            return Err(refused("it is not a state-lab report"));
        }
        if version != FORMAT_VERSION {
            return Err(refused(format!(
                "it is of version {version}, and this state-lab reads {FORMAT_VERSION}"
            ))
            .with_hint("use the state-lab that wrote it"));
        }
        let report: Self = serde_json::from_slice(text).map_err(broken)?;
        let consistent = report.comparison.is_consistent()
            && report.missed.iter().all(Finding::is_consistent)
            && report.verdict == report.verdict();
        if consistent { Ok(report) } else { Err(refused("its verdict does not match its findings")) }
    }
}

#[derive(Deserialize)]
struct Version {
    format: String,
    version: u32,
}

impl Objectives {
    /// Returns whether no objective is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Recovery {
    /// The objectives that were missed, or could not be judged.
    fn judge(&self) -> Vec<Finding> {
        let rto = self.rto.as_ref().map(|rto| rto.total_ms);
        let rpo = self.rpo.as_ref().map(|rpo| rpo.at_most_ms);
        let Objectives { rto_ms, rpo_ms } = self.objectives;
        let judged = [
            ("rto", "the recovery took", rto, rto_ms),
            ("rpo", "the latest writes may be lost, up to", rpo, rpo_ms),
        ];
        judged
            .into_iter()
            .filter_map(|(name, took, found, allowed)| judge(name, took, found, allowed?))
            .collect()
    }
}

/// A time in words, to the millisecond by which an objective may be missed.
fn displayed(ms: u64) -> String {
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    let fraction = if ms.is_multiple_of(1_000) { String::new() } else { format!(".{:03}", ms % 1_000) };
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, _) => format!("{minutes}m{seconds}{fraction}s"),
        _ => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

fn judge(name: &str, took: &str, found_ms: Option<u64>, allowed_ms: u64) -> Option<Finding> {
    let allowed = displayed(allowed_ms);
    match found_ms {
        Some(found) if found <= allowed_ms => None,
        Some(found) => {
            let message = format!("{took} {}; the objective is {allowed}", displayed(found));
            Some(Finding::new(Code::ObjectiveMissed, name, message))
        }
        None => {
            let message =
                format!("could not be measured, so the objective of {allowed} could not be checked");
            Some(Finding::new(Code::ObjectiveUnknown, name, message))
        }
    }
}

/// Returns whether a recovery point is supported by the comparison: a capture counts only if the comparison passed.
fn is_supported(rpo: &Rpo, comparison: Verdict) -> bool {
    rpo.evidence != Evidence::Capture || comparison == Verdict::Pass
}

fn verdict(comparison: &Comparison, missed: &[Finding]) -> Verdict {
    Verdict::of(severities(comparison.findings().iter().chain(missed)))
}

impl From<&Header> for Instant {
    fn from(header: &Header) -> Self {
        Self {
            captured_at: header.captured_at,
            snapshot: header.snapshot.clone(),
            consistency: header.consistency.clone(),
        }
    }
}

/// The JSON Schema of a report.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Report).into()
}

fn refused(reason: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Manifest, format!("read the report: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Coverage;

    fn report(rto_ms: Option<u64>, rpo_ms: Option<u64>, objectives: Objectives) -> Report {
        let circumstances = Circumstances {
            tool_version: "0.1.0".to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
            duration_ms: 1,
            source: Side { place: "nightly.manifest".to_owned(), database: None },
            restored: Some(Side { place: "u@h:5432/d".to_owned(), database: None }),
            manifest: None,
        };
        let comparison = Comparison::new(Vec::new(), Coverage::default());
        let rto = rto_ms.map(|total_ms| Rto { total_ms, parts: Vec::new() });
        let rpo = rpo_ms.map(|at_most_ms| Rpo {
            at_most_ms,
            clock_error_ms: 0,
            evidence: Evidence::Heartbeat,
            recovered_until: Timestamp::UNIX_EPOCH,
            incident: Timestamp::UNIX_EPOCH,
        });
        Report::new(circumstances, comparison, Recovery { rto, rpo, objectives })
    }

    fn missed(report: &Report) -> Vec<(Code, &str, &str)> {
        report.missed.iter().map(|f| (f.code(), f.object.as_str(), f.message.as_str())).collect()
    }

    #[test]
    fn an_objective_that_is_met_to_the_millisecond_is_met() {
        let both = Objectives { rto_ms: Some(600_000), rpo_ms: Some(300_000) };
        let met = report(Some(600_000), Some(300_000), both);
        assert_eq!((met.verdict, missed(&met)), (Verdict::Pass, vec![]));
        let late = report(Some(600_001), Some(300_000), both);
        assert_eq!(late.verdict, Verdict::Fail);
        assert_eq!(
            missed(&late),
            [(Code::ObjectiveMissed, "rto", "the recovery took 10m0.001s; the objective is 10m0s")]
        );
    }

    #[test]
    fn an_objective_that_cannot_be_judged_is_never_a_pass() {
        let rpo = Objectives { rto_ms: None, rpo_ms: Some(5_000) };
        let unknown = report(Some(1), None, rpo);
        assert_eq!(unknown.verdict, Verdict::Inconclusive);
        assert_eq!(missed(&unknown)[0].0, Code::ObjectiveUnknown);
        assert_eq!(report(None, None, Objectives::default()).verdict, Verdict::Pass);
    }

    #[test]
    fn a_report_is_read_back_and_a_changed_one_refused() {
        let report = report(Some(2), None, Objectives { rto_ms: Some(1), rpo_ms: None });
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(Report::from_json(text.as_bytes()).unwrap(), report);
        let refusals = [
            (r#""verdict":"fail""#, r#""verdict":"pass""#, "its verdict does not match its findings"),
            (r#""severity":"fail""#, r#""severity":"notice""#, "its verdict does not match its findings"),
            ("state-lab-report", "other-report", "it is not a state-lab report"),
            (r#""version":1"#, r#""version":2"#, "it is of version 2"),
        ];
        for (from, to, reason) in refusals {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            let error = Report::from_json(changed.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(reason), "{}", error.to_string());
        }
        assert!(Report::from_json(&text.as_bytes()[..text.len() - 1]).is_err());
    }
}
