//! A backup, a restore and a failover as JSON.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use verify_core::finding::Verdict;
use verify_core::heartbeat::Rpo;
use verify_core::report::Report;
use verify_core::timeline::Rto;

use verify_doctor::Risks;
use verify_drill::backup_record::BackupRecord;
use verify_drill::problem::Problem;
use verify_drill::provider::{BackupOrigin, RestoreTarget, StoredAt, TakenBackup};
#[cfg(feature = "drill")]
use verify_gameday::outcome::DrillOutcome;
#[cfg(feature = "velero")]
use verify_velero::failover::FailoverOutcome;
#[cfg(feature = "velero")]
use verify_velero::provider::Record;

/// Status of a backup or restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    /// Succeeded.
    Success,
    /// Failed.
    Failed,
}

/// A backup.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BackupDocument<'a> {
    backup_status: Status,
    /// Its directory, on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a Path>,
    /// Its backup storage location and bucket, with Velero.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a str>,
    /// The backup's record; null where Velero's backup is not restorable.
    #[schemars(with = "Option<AnyRecord>")]
    backup: Option<&'a Value>,
    /// Reasons why Velero's backup is not restorable, and Velero's warnings.
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<Vec<ProblemLine<'a>>>,
    /// Errors and warnings in Velero's log of the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    complaints: Option<&'a [String]>,
}

/// Record of a backup, on this machine or by Velero.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "it is the schema of what the provider stored")]
enum AnyRecord {
    Local(Box<BackupRecord>),
    #[cfg(feature = "velero")]
    Velero(Box<Record>),
}

/// Problem of an object.
#[derive(Debug, Serialize, JsonSchema)]
struct ProblemLine<'a> {
    /// True if the problem makes the backup not restorable.
    fails: bool,
    object: &'a str,
    what: &'a str,
    /// Suggested remedy.
    way_out: Option<&'a str>,
}

impl<'a> BackupDocument<'a> {
    /// A backup that was taken.
    pub(crate) fn new(taken: &'a TakenBackup) -> Self {
        let problem = |problem: &'a Problem| ProblemLine {
            fails: problem.is_failure(),
            object: &problem.object,
            what: &problem.what,
            way_out: problem.hint.as_deref(),
        };
        let (path, place) = match &taken.place {
            StoredAt::Directory(path) => (Some(path.as_path()), None),
            StoredAt::Service(place) => (None, Some(place.as_str())),
        };
        Self {
            backup_status: if taken.record.is_some() { Status::Success } else { Status::Failed },
            path,
            place,
            backup: taken.record.is_some().then_some(&taken.stored),
            problems: place.map(|_| taken.problems.iter().map(problem).collect()),
            complaints: place.map(|_| taken.complaints.as_slice()),
        }
    }
}

/// A restore that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RestoreDocument<'a> {
    pub(crate) restore_status: Status,
    /// Name of the backup.
    pub(crate) backup: &'a str,
    /// The backup that was restored.
    pub(crate) origin: &'a BackupOrigin,
    /// Place of the copy.
    pub(crate) target: &'a RestoreTarget,
    /// The verdict on the data, over all databases.
    pub(crate) integrity_checks: Verdict,
    /// The same with the objectives.
    pub(crate) verdict: Verdict,
    /// Recovery time.
    pub(crate) rto: Option<&'a Rto>,
    /// Bound of the lost time, if known.
    pub(crate) rpo: Option<&'a Rpo>,
    /// A report for each database.
    pub(crate) reports: &'a [Report],
    /// Addresses of the stored reports.
    pub(crate) report_files: &'a [String],
    /// A connection string to the first restored database, where the server was left running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) conninfo: Option<&'a str>,
    /// The doctor's worst findings for what the restore touched; no part of the verdict. Absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) doctor: Option<&'a Risks>,
}

/// A drill.
#[cfg(feature = "drill")]
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DrillDocument<'a> {
    #[serde(flatten)]
    pub(crate) outcome: &'a DrillOutcome,
    /// The doctor's worst findings for what the drill touched; no part of the verdict. Absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) doctor: Option<&'a Risks>,
}

/// A failover drill.
#[cfg(feature = "velero")]
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FailoverDocument<'a> {
    event: &'static str,
    service_impact: String,
    verdict: Verdict,
    drill: &'a FailoverOutcome,
}

#[cfg(feature = "velero")]
impl<'a> FailoverDocument<'a> {
    pub(crate) fn new(outcome: &'a FailoverOutcome) -> Self {
        Self {
            event: outcome.event(),
            service_impact: outcome.service_impact(),
            verdict: outcome.verdict(),
            drill: outcome,
        }
    }
}
