//! Result of a restore, as an Event on the Backup: `kubectl describe` of the backup shows it.

use std::collections::BTreeSet;

use anyhow::{Error, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::core::ObjectMeta;
use verify_core::finding::{Code, Verdict};
use verify_core::report::Report;

use super::settings::Settings;
use crate::cluster::{Cluster, Component, Run, labels, lease};
use crate::velero::backup::Backup;
use verify_drill::backup_name::BackupName;
use verify_drill::failure::is_interruption;
use verify_drill::provider::RestoredCopy;
use verify_drill::recovery::recovery;
use verify_drill::watch::Watch;

/// Reporter of the Event.
const REPORTER: &str = "state-lab";
/// The API takes no longer message.
const MESSAGE_BYTES_MAX: usize = 1_000;

/// Records the result of a restore on the Backup. A failure to do so does not change the outcome.
pub(super) fn announce(
    cluster: &Cluster,
    backup: &Backup,
    run: &Run,
    restored: &Result<RestoredCopy>,
    watch: &Watch<'_>,
) {
    let said = match restored {
        Ok(copy) => Said::of(copy),
        // A restore that was stopped says nothing of the backup.
        Err(error) if is_interruption(error) => return,
        Err(error) => Said::failed(error),
    };
    let event = said.event(backup, run, Timestamp::now());
    let namespace = backup.namespace().unwrap_or_default();
    if let Err(error) = cluster.of::<Event>(&namespace).create(&event) {
        watch.report(&format!("could not record an Event on the Backup: {error:#}"));
    }
}

/// Records on the Backup which report of the evidence its restore has become.
///
/// # Errors
///
/// If the Backup cannot be read, or the Event not be created. A Backup that does not exist is no error: then the restore
/// failed because of that.
pub(super) fn publish_evidence(settings: &Settings, backup: &BackupName, report: &str) -> Result<()> {
    let cluster = settings.connect()?;
    let velero = settings.velero_namespace();
    let Some(backup) = cluster.of::<Backup>(velero).get(backup.as_str())? else { return Ok(()) };
    let said = Said { reason: STORED, message: report.to_owned() };
    // A run has one Event by its name, and this is the second of its restore.
    cluster.of::<Event>(velero).create(&said.event(&backup, &Run::new(), Timestamp::now()))?;
    Ok(())
}

/// Content of the Event.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub reason: &'static str,
    pub message: String,
}

/// The one result that is not a warning.
const PASSED: &str = "RestoreProven";
/// Not a result.
const STORED: &str = "EvidenceStored";

impl Said {
    /// Event of a completed restore.
    pub fn of(copy: &RestoredCopy) -> Self {
        let reason = match (copy.integrity(), copy.verdict()) {
            (Verdict::Pass, Verdict::Pass) => PASSED,
            (Verdict::Fail, _) => "RestoreDiffers",
            // Every row is there, but too late or of too long ago.
            (Verdict::Pass, Verdict::Fail) => "ObjectiveMissed",
            // Rows that were not verified are not there for sure, whether an objective was missed as well or not.
            (Verdict::Inconclusive, _) | (Verdict::Pass, Verdict::Inconclusive) => "RestoreInconclusive",
        };
        let missed = copy.reports.iter().flat_map(Report::missed);
        let missed = missed.filter(|finding| finding.code() == Code::ObjectiveMissed);
        let missed: BTreeSet<&str> = missed.map(|finding| finding.object.as_str()).collect();
        let missed = match missed.is_empty() {
            true => String::new(),
            false => format!("; missed: {}", missed.into_iter().collect::<Vec<_>>().join(", ")),
        };
        let databases = copy.databases.join(", ");
        let (rto, rpo) = recovery(&copy.reports);
        let report = match copy.report_files.as_slice() {
            [] => "not stored".to_owned(),
            files => files.join(", "),
        };
        Self {
            reason,
            message: format!(
                "{databases}: integrity checks: {}; rto: {}; rpo: {rpo}{missed}; report: {report}",
                copy.integrity(),
                rto.as_deref().unwrap_or("not measured"),
            ),
        }
    }

    /// The causes of an error may quote a server, and a server rows: they stay where the restore was run.
    fn failed(error: &Error) -> Self {
        Self { reason: "RestoreFailed", message: error.to_string() }
    }

    fn event(self, backup: &Backup, run: &Run, now: Timestamp) -> Event {
        let Self { reason, message } = self;
        let mut end = message.len().min(MESSAGE_BYTES_MAX);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        Event {
            metadata: ObjectMeta {
                name: Some(lease::name(run)),
                namespace: backup.namespace(),
                labels: Some(labels(run, Component::Validation)),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("velero.io/v1".to_owned()),
                kind: Some("Backup".to_owned()),
                name: Some(backup.name_any()),
                namespace: backup.namespace(),
                uid: backup.uid(),
                ..ObjectReference::default()
            },
            type_: Some(if [PASSED, STORED].contains(&reason) { "Normal" } else { "Warning" }.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message[..end].to_owned()),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            source: Some(EventSource { component: Some(REPORTER.to_owned()), host: None }),
            reporting_component: Some(REPORTER.to_owned()),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;
    use verify_core::compare::{Comparison, Coverage};
    use verify_core::finding::Finding;
    use verify_core::report::{Circumstances, Objectives, Recovery, Side};
    use verify_core::timeline::Rto;
    use verify_drill::provider::{BackupOrigin, RestoreTarget};

    fn copy(verdict: Verdict, integrity: Verdict, report_files: &[&str]) -> RestoredCopy {
        let circumstances = Circumstances {
            tool_version: "0".to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
            duration_ms: 41_000,
            source: Side::default(),
            restored: Some(Side::default()),
            manifest: None,
        };
        let findings = match integrity {
            Verdict::Pass => vec![],
            Verdict::Inconclusive => vec![Finding::new(Code::SnapshotUnproven, "snapshot", "moved on")],
            Verdict::Fail => vec![Finding::new(Code::RowMissing, "public.t", "1 row")],
        };
        // What fails beside the data is an objective that was missed, and what is open one that cannot be judged.
        let objectives = match verdict {
            _ if verdict == integrity => Objectives::default(),
            Verdict::Pass | Verdict::Inconclusive => Objectives { rto_ms: None, rpo_ms: Some(1) },
            Verdict::Fail => Objectives { rto_ms: Some(1), rpo_ms: None },
        };
        let rto = Some(Rto { total_ms: 40_050, parts: Vec::new() });
        let comparison = Comparison::new(findings, Coverage::default());
        let report = Report::new(circumstances, comparison, Recovery { rto, rpo: None, objectives });
        assert_eq!((report.verdict(), report.comparison().verdict()), (verdict, integrity));
        RestoredCopy {
            databases: vec!["app".to_owned()],
            reports: vec![report],
            origin: BackupOrigin::default(),
            target: RestoreTarget::default(),
            report_files: report_files.iter().map(|file| (*file).to_owned()).collect(),
            warnings: Vec::new(),
            left: Vec::new(),
            kept: None,
        }
    }

    #[test]
    fn the_reason_is_the_verdict_and_distinguishes_lost_rows_from_lost_time() {
        use Verdict::{Fail, Inconclusive, Pass};
        for (verdict, integrity, reason) in [
            (Pass, Pass, "RestoreProven"),
            (Fail, Fail, "RestoreDiffers"),
            (Fail, Pass, "ObjectiveMissed"),
            (Fail, Inconclusive, "RestoreInconclusive"),
            (Inconclusive, Inconclusive, "RestoreInconclusive"),
            (Inconclusive, Pass, "RestoreInconclusive"),
        ] {
            assert_eq!(Said::of(&copy(verdict, integrity, &[])).reason, reason, "{verdict} {integrity}");
        }
    }

    #[test]
    fn the_message_has_what_an_on_call_engineer_asks_for() {
        let said = Said::of(&copy(Verdict::Fail, Verdict::Fail, &["s3://b/r.json"]));
        assert_eq!(
            said.message,
            "app: integrity checks: fail; rto: 41s; rpo: unknown (the copy has no heartbeat or commit timestamp from before \
             the incident, and its rows are not verified); report: s3://b/r.json"
        );
        let error =
            anyhow!("ERROR: duplicate key (email)=(jane@example.com)").context("failed to start the copy");
        assert_eq!(
            Said::failed(&error),
            Said { reason: "RestoreFailed", message: "failed to start the copy".to_owned() }
        );
    }

    #[test]
    fn it_belongs_to_the_backup_and_only_a_proof_is_normal() {
        let mut backup = Backup::default();
        backup.metadata.name = Some("nightly-001".to_owned());
        backup.metadata.namespace = Some("velero".to_owned());
        backup.metadata.uid = Some("u".to_owned());
        let (run, now) = (Run::new(), Timestamp::UNIX_EPOCH);
        for (reason, kind) in [
            (PASSED, "Normal"),
            (STORED, "Normal"),
            ("RestoreFailed", "Warning"),
            ("RestoreDiffers", "Warning"),
        ] {
            let event = Said { reason, message: "ä".repeat(MESSAGE_BYTES_MAX) }.event(&backup, &run, now);
            assert_eq!(event.type_.as_deref(), Some(kind));
            assert_eq!(event.message.unwrap().len(), MESSAGE_BYTES_MAX);
            let about = event.involved_object;
            assert_eq!(
                (
                    about.kind.as_deref(),
                    about.name.as_deref(),
                    about.namespace.as_deref(),
                    about.uid.as_deref()
                ),
                (Some("Backup"), Some("nightly-001"), Some("velero"), Some("u"))
            );
            assert_eq!(event.metadata.namespace.as_deref(), Some("velero"));
        }
    }
}
