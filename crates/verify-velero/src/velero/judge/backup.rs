//! Problems of a backup.

use super::finished::{Finished, transfer};
use super::named;
use crate::velero::backup::Backup;
use crate::velero::data_movement::DataUpload;
use crate::velero::message::shown;
use crate::velero::object::Observed;
use crate::velero::phase::Progress;
use crate::velero::pod_volume::PodVolumeBackup;
use crate::velero::results::Results;
use crate::velero::snapshot_class::VELERO_LABEL;
use crate::velero::transfer::{Transfer, transfers};
use crate::velero::volume::{ExpectedVolume, VolumeMethod};
use crate::velero::volume_info::{self, VolumeInfo};
use verify_drill::problem::Problem;

/// A backup that has ended, and what belongs to it.
#[derive(Clone, Copy, Debug)]
pub struct BackupSeen<'a> {
    /// The backup.
    pub backup: &'a Backup,
    /// Its copies of files, by its label.
    pub pod_volume_backups: &'a [PodVolumeBackup],
    /// Its uploads of snapshots, by its label.
    pub uploads: &'a [DataUpload],
    /// The texts of its errors and warnings; empty where they could not be had.
    pub results: &'a Results,
    /// Volumes that the backup lists; empty if the list could not be read.
    pub volumes: &'a [VolumeInfo],
}

/// Returns the problems of this backup; none if it succeeded and holds this volume, copied in this way.
pub fn backup_problems(seen: &BackupSeen<'_>, method: VolumeMethod, volume: &ExpectedVolume) -> Vec<Problem> {
    let (backup, status) = (seen.backup, seen.backup.observed());
    let outcome = Finished {
        object: named(backup),
        phase: &status.phase,
        validation_errors: &status.validation_errors,
        failure_reason: &status.failure_reason,
        hooks: &status.hook_status,
        operations_attempted: status.backup_item_operations_attempted,
        operations_failed: status.backup_item_operations_failed,
        errors: status.errors,
        warnings: status.warnings,
        results: seen.results,
    };
    let mut problems = outcome.problems();
    problems.extend(snapshots(backup));
    let transfers = transfers(seen.pod_volume_backups, seen.uploads);
    problems.extend(transfers.iter().filter_map(transfer));
    problems.extend(transfers.iter().filter_map(empty));
    problems.extend(missing(seen, method, volume));
    problems.extend(outcome.complaints());
    problems
}

impl BackupSeen<'_> {
    /// Returns whether an object moved this volume's data, with any result, which is reported for that object.
    fn moved(&self, method: VolumeMethod, volume: &ExpectedVolume) -> bool {
        match method {
            VolumeMethod::Files => self.pod_volume_backups.iter().any(|object| {
                let (spec, pod) = (&object.spec, &object.spec.pod);
                (&pod.namespace, &pod.name, &spec.volume) == (&volume.namespace, &volume.pod, &volume.volume)
            }),
            VolumeMethod::MovedSnapshot => self.uploads.iter().any(|object| {
                (&object.spec.source_namespace, &object.spec.source_pvc) == (&volume.namespace, &volume.claim)
            }),
            // Its objects are deleted by the end of the backup.
            VolumeMethod::Snapshot => false,
        }
    }
}

/// Snapshots are counted as taken only by a backup that came to its end.
fn snapshots(backup: &Backup) -> Option<Problem> {
    let status = backup.observed();
    let (attempted, completed) =
        (status.csi_volume_snapshots_attempted, status.csi_volume_snapshots_completed);
    (status.phase.ended() && completed < attempted).then(|| {
        Problem::failure(named(backup), format!("took {completed} of {attempted} snapshots"))
            .with_hint("check the snapshot controller's and the storage driver's logs of that time")
    })
}

/// A copy that is complete and has no snapshot holds nothing: the volume was empty.
fn empty(transfer: &Transfer<'_>) -> Option<Problem> {
    let status = &transfer.status;
    let nothing = status.snapshot_id.as_deref().unwrap_or_default().is_empty();
    (status.phase.progress() == Progress::Succeeded && nothing).then(|| {
        Problem::failure(&transfer.object, "is Completed but empty: the volume had no data")
            .with_hint("check that the hook that writes its data ran, and that it is the right volume")
    })
}

/// A volume that we need and that the backup does not hold.
fn missing(seen: &BackupSeen<'_>, method: VolumeMethod, volume: &ExpectedVolume) -> Option<Problem> {
    if seen.moved(method, volume) {
        return None;
    }
    let info = volume_info::of(seen.volumes, volume);
    if info.is_some_and(|info| info.copied_by(method)) {
        return None;
    }
    let skipped = info.filter(|info| info.skipped).map(|info| shown(&info.skipped_reason));
    let failed = info.is_some_and(|info| info.result == "failed");
    let elsewise = info.and_then(VolumeInfo::copy).is_some();
    let what = match skipped {
        Some(reason) if reason.is_empty() => {
            "is not in the backup: Velero skipped it and gives no reason".to_owned()
        }
        Some(reason) => format!("is not in the backup: Velero skipped it ({reason})"),
        None if failed => "is not in the backup: its copy failed".to_owned(),
        None if elsewise => "is in the backup, but was copied by another method than requested".to_owned(),
        None if seen.volumes.is_empty() => "is in no known object of the backup".to_owned(),
        None => "is not in the backup".to_owned(),
    };
    Some(Problem::failure(volume.to_string(), what).with_hint(way_in(method, volume)))
}

/// Returns what Velero needs to copy this volume.
fn way_in(method: VolumeMethod, volume: &ExpectedVolume) -> String {
    let ExpectedVolume { namespace, pod, volume, claim } = volume;
    match method {
        VolumeMethod::Files => format!(
            "annotate the pod {namespace}/{pod} with backup.velero.io/backup-volumes={volume} (in its StatefulSet's pod \
             template, so that it persists; separate several volumes by commas), and check that node-agent runs on its \
             node"
        ),
        VolumeMethod::Snapshot | VolumeMethod::MovedSnapshot => format!(
            "the storage of claim {namespace}/{claim} needs a CSI driver and a VolumeSnapshotClass labelled \
             {VELERO_LABEL}=true, and Velero the feature EnableCSI (before 1.14 its CSI plugin)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::velero::judge::{BackupSeen, backup_problems};
    use crate::velero::phase::Phase;
    use crate::velero::sample;

    /// A backup of one volume, copied as files, with nothing wrong.
    struct Case {
        backup: Backup,
        pod_volume_backups: Vec<PodVolumeBackup>,
        uploads: Vec<DataUpload>,
        results: Results,
        volumes: Vec<VolumeInfo>,
        method: VolumeMethod,
        volume: ExpectedVolume,
    }

    impl Case {
        fn healthy() -> Self {
            Self {
                backup: sample::load("Backup/Completed.1"),
                pod_volume_backups: vec![sample::load("PodVolumeBackup/Completed.1")],
                uploads: Vec::new(),
                results: Results::default(),
                volumes: Vec::new(),
                method: VolumeMethod::Files,
                volume: ExpectedVolume {
                    namespace: "big".to_owned(),
                    pod: "big".to_owned(),
                    volume: "d".to_owned(),
                    claim: "d".to_owned(),
                },
            }
        }

        /// The same for a volume whose snapshot was moved.
        fn moved() -> Self {
            Self {
                backup: sample::load("Backup/Completed.3"),
                pod_volume_backups: Vec::new(),
                uploads: vec![sample::load("DataUpload/Completed.1")],
                method: VolumeMethod::MovedSnapshot,
                volume: ExpectedVolume {
                    claim: "data-pg-0".to_owned(),
                    ..sample::expected_volume("appcsi", "data")
                },
                ..Self::healthy()
            }
        }

        /// The same for a volume whose snapshot stays where it is.
        fn snapshot() -> Self {
            Self {
                backup: sample::load("Backup/Completed.2"),
                pod_volume_backups: Vec::new(),
                volumes: volume_infos(),
                method: VolumeMethod::Snapshot,
                volume: sample::expected_volume("app", "local"),
                ..Self::healthy()
            }
        }

        fn with(mut self, damage: impl FnOnce(&mut Self)) -> Self {
            damage(&mut self);
            self
        }

        fn problems(&self) -> Vec<Problem> {
            let seen = BackupSeen {
                backup: &self.backup,
                pod_volume_backups: &self.pod_volume_backups,
                uploads: &self.uploads,
                results: &self.results,
                volumes: &self.volumes,
            };
            backup_problems(&seen, self.method, &self.volume)
        }

        fn texts(&self) -> Vec<String> {
            self.problems().iter().map(Problem::to_string).collect()
        }
    }

    fn volume_infos() -> Vec<VolumeInfo> {
        serde_json::from_str(sample::VOLUME_INFOS).unwrap()
    }

    #[test]
    fn healthy_backups_have_no_problem() {
        for case in [Case::healthy(), Case::moved(), Case::snapshot()] {
            assert_eq!(case.problems(), [], "{:?}", case.backup.metadata.name);
        }
    }

    #[test]
    fn a_backup_that_is_no_success_says_why() {
        let table = [
            ("InProgress.1", "Backup big-1 has not finished: it is InProgress"),
            ("Deleting.1", "Backup big-1 is being deleted"),
            ("PartiallyFailed.1", "Backup big-3 finished as PartiallyFailed; Backup big-3 has 1 error"),
            (
                "Failed.1",
                "Backup big-4 finished as Failed: found a backup with status \"InProgress\" during the server \
                 starting, mark it as \"Failed\"",
            ),
            (
                "FailedValidation.1",
                "Backup down-085525 finished as FailedValidation: backup can't be created because \
                 BackupStorageLocation default is in Unavailable status.",
            ),
        ];
        for (name, expected) in table {
            // Its volume is complete all the same, as it was beside `Failed.1`.
            let case = Case::healthy().with(|case| case.backup = sample::load(&format!("Backup/{name}")));
            assert_eq!(case.texts().join("; "), expected, "{name}");
        }
        let refused =
            Case::healthy().with(|case| case.backup = sample::load("Backup/Failed.2")).texts().join("; ");
        assert!(
            refused.starts_with("Backup s3down-1 finished as Failed: backup execution failed: "),
            "{refused}"
        );
        assert!(refused.ends_with("dial tcp 10.89.0.254:9100: connect: connection refused"), "{refused}");
    }

    #[test]
    fn every_count_of_the_status_is_reported() {
        type Damage = fn(&mut Case);
        let table: [(Damage, &[&str]); 5] = [
            (
                |case| {
                    case.backup.status.get_or_insert_default().hook_status =
                        crate::velero::backup::HookStatus { hooks_attempted: 2, hooks_failed: 1 }
                },
                &["Backup csi-001 ran 2 hooks, of which 1 failed"],
            ),
            (
                |case| case.backup.status.get_or_insert_default().backup_item_operations_failed = 1,
                &["Backup csi-001 started 2 plugin operations, of which 1 failed"],
            ),
            (
                |case| case.backup.status.get_or_insert_default().csi_volume_snapshots_completed = 1,
                &["Backup csi-001 took 1 of 2 snapshots"],
            ),
            (
                |case| {
                    case.backup.status.get_or_insert_default().errors = 3;
                    case.results.errors.velero = vec!["no space".to_owned()];
                },
                &["Backup csi-001 has the error: no space", "Backup csi-001 has 2 more errors"],
            ),
            (
                |case| case.results.errors.cluster = vec!["x".to_owned(); 12],
                &["Backup csi-001 has the error: x", "Backup csi-001 has 2 more errors"],
            ),
        ];
        for (damage, expected) in table {
            let mut texts = Case::snapshot().with(damage).texts();
            texts.dedup();
            assert_eq!(texts, expected);
        }
    }

    #[test]
    fn a_warning_is_reported_and_does_not_decide() {
        let case = Case::healthy().with(|case| case.backup.status.get_or_insert_default().warnings = 1);
        let problems = case.problems();
        assert_eq!(problems.len(), 1);
        assert_eq!(
            (problems[0].to_string(), problems[0].is_failure()),
            ("Backup big-1 has 1 warning".to_owned(), false)
        );
    }

    #[test]
    fn snapshots_are_not_counted_before_the_end() {
        let case = Case::snapshot().with(|case| {
            case.backup.status.get_or_insert_default().phase = Phase::from("Finalizing");
            case.backup.status.get_or_insert_default().csi_volume_snapshots_completed = 0;
        });
        assert_eq!(case.texts(), ["Backup csi-001 has not finished: it is Finalizing"]);
    }

    #[test]
    fn a_transfer_that_is_not_complete_is_a_problem() {
        let load = |name: &str| sample::load(&format!("PodVolumeBackup/{name}"));
        let canceled =
            Case::healthy().with(|case| case.pod_volume_backups = vec![load("Canceled.1")]).problems();
        let expected = Problem::failure(
            "PodVolumeBackup big-3-p4glv of volume d of pod big/big",
            "finished as Canceled on worker-3, and Velero gives no reason",
        )
        .with_hint("check the location, and the node agent's log: an outage of the object store of some minutes causes this");
        assert_eq!(canceled, [expected]);
        let prepared =
            Case::healthy().with(|case| case.pod_volume_backups = vec![load("Prepared.1")]).texts();
        let text = "PodVolumeBackup big-1-ztpjf of volume d of pod big/big has not finished: it is Prepared on worker-3";
        assert_eq!(prepared, [text]);
        let upload = Case::moved().with(|case| {
            case.uploads[0].status.get_or_insert_default().phase = Phase::from("Failed");
            case.uploads[0].status.get_or_insert_default().message = "no\nspace".to_owned();
        });
        let text =
            "DataUpload move-001-5bl4k of claim appcsi/data-pg-0 finished as Failed on worker-1: no space";
        assert_eq!(upload.texts(), [text]);
    }

    #[test]
    fn a_complete_copy_of_nothing_is_a_problem() {
        let case = Case::healthy()
            .with(|case| case.pod_volume_backups[0].status.get_or_insert_default().snapshot_id = None);
        let text = "PodVolumeBackup big-1-ztpjf of volume d of pod big/big is Completed but empty: the volume had no \
                    data";
        assert_eq!(case.texts(), [text]);
    }

    #[test]
    fn a_volume_that_is_missing_comes_with_what_it_takes() {
        let wanted = |claim: &str, method| {
            Case::snapshot().with(|case| {
                case.method = method;
                case.volume = sample::expected_volume("app", claim);
            })
        };
        let table = [
            ("absent", VolumeMethod::Files, "is not in the backup"),
            (
                "skipped",
                VolumeMethod::Files,
                "is not in the backup: Velero skipped it (podvolume: opted out;)",
            ),
            ("failed", VolumeMethod::Files, "is not in the backup: its copy failed"),
            (
                "local",
                VolumeMethod::MovedSnapshot,
                "is in the backup, but was copied by another method than requested",
            ),
            ("absent", VolumeMethod::Snapshot, "is not in the backup"),
        ];
        for (claim, method, what) in table {
            let problems = wanted(claim, method).problems();
            let object = format!("volume {claim} of pod app/pg-0 (claim app/{claim})");
            let hint = way_in(method, &sample::expected_volume("app", claim));
            assert_eq!(problems, [Problem::failure(object, what).with_hint(hint)], "{claim}");
        }
        let unknown = wanted("absent", VolumeMethod::Files).with(|case| case.volumes.clear()).texts();
        assert_eq!(
            unknown,
            ["volume absent of pod app/pg-0 (claim app/absent) is in no known object of the backup"]
        );
        let hint = way_in(VolumeMethod::Files, &sample::expected_volume("app", "basebackup"));
        assert!(
            hint.starts_with("annotate the pod app/pg-0 with backup.velero.io/backup-volumes=basebackup ")
        );
    }

    #[test]
    fn the_copy_of_another_pods_volume_is_not_taken_for_ours() {
        let case = Case::healthy().with(|case| case.volume.pod = "big-0".to_owned());
        assert_eq!(
            case.texts(),
            ["volume d of pod big/big-0 (claim big/d) is in no known object of the backup"]
        );
    }
}
