//! Every reason why a backup is no success.

use super::named;
use super::outcome::{Outcome, texts, transfer};
use crate::velero::backup::Backup;
use crate::velero::data_movement::DataUpload;
use crate::velero::message::shown;
use crate::velero::phase::Progress;
use crate::velero::pod_volume::PodVolumeBackup;
use crate::velero::problem::{Problem, Weight};
use crate::velero::results::Results;
use crate::velero::snapshot_class::VELERO_LABEL;
use crate::velero::transfer::Transfer;
use crate::velero::volume::{ExpectedVolume, ExpectedVolumes, VolumeMethod};
use crate::velero::volume_info::{self, VolumeInfo};

/// A backup that has ended, and what belongs to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackupSeen<'a> {
    /// The backup.
    pub(crate) backup: &'a Backup,
    /// Its copies of files, by its label.
    pub(crate) pod_volume_backups: &'a [PodVolumeBackup],
    /// Its uploads of snapshots, by its label.
    pub(crate) uploads: &'a [DataUpload],
    /// The texts of its errors and warnings; empty where they could not be had.
    pub(crate) results: &'a Results,
    /// What it says that it holds of each volume; empty where it could not be had.
    pub(crate) volumes: &'a [VolumeInfo],
}

/// Every reason why this backup is no success; none if it holds all that is expected.
pub(crate) fn backup_problems(seen: &BackupSeen<'_>, expected: &ExpectedVolumes) -> Vec<Problem> {
    let (backup, status) = (seen.backup, &seen.backup.status);
    let object = named(backup);
    let outcome = Outcome {
        object: object.clone(),
        phase: &status.phase,
        validation_errors: &status.validation_errors,
        failure_reason: &status.failure_reason,
        hooks: &status.hook_status,
        operations_attempted: status.backup_item_operations_attempted,
        operations_failed: status.backup_item_operations_failed,
    };
    let mut problems = outcome.problems();
    problems.extend(snapshots(backup));
    problems.extend(seen.transfers().iter().filter_map(transfer));
    problems.extend(seen.transfers().iter().filter_map(empty));
    problems.extend(expected.volumes.iter().filter_map(|volume| missing(seen, expected.method, volume)));
    problems.extend(texts(&object, Weight::Failure, status.errors, &seen.results.errors));
    problems.extend(texts(&object, Weight::Warning, status.warnings, &seen.results.warnings));
    problems
}

impl<'a> BackupSeen<'a> {
    /// All that moves data for it.
    pub(crate) fn transfers(&self) -> Vec<Transfer<'a>> {
        let files = self.pod_volume_backups.iter().map(Transfer::from);
        files.chain(self.uploads.iter().map(Transfer::from)).collect()
    }

    /// Whether an object moved this volume's data, whatever came of it: that is told of the object.
    fn moved(&self, method: VolumeMethod, volume: &ExpectedVolume) -> bool {
        match method {
            VolumeMethod::Files => self.pod_volume_backups.iter().any(|object| {
                let (spec, pod) = (&object.spec, &object.spec.pod);
                (&pod.namespace, &pod.name, &spec.volume) == (&volume.namespace, &volume.pod, &volume.volume)
            }),
            VolumeMethod::MovedSnapshot => self.uploads.iter().any(|object| {
                (&object.spec.source_namespace, &object.spec.source_pvc) == (&volume.namespace, &volume.claim)
            }),
            // Its objects are gone by the end of the backup.
            VolumeMethod::Snapshot => false,
        }
    }
}

/// Snapshots are counted as taken only by a backup that came to its end.
fn snapshots(backup: &Backup) -> Option<Problem> {
    let status = &backup.status;
    let (attempted, completed) =
        (status.csi_volume_snapshots_attempted, status.csi_volume_snapshots_completed);
    (status.phase.ended() && completed < attempted).then(|| {
        Problem::failure(named(backup), format!("took {completed} of {attempted} snapshots"))
            .way_out("look at the snapshot controller's and the storage driver's logs of that time")
    })
}

/// A copy that is complete and has no snapshot holds nothing: the volume was empty.
fn empty(transfer: &Transfer<'_>) -> Option<Problem> {
    let status = transfer.status;
    let nothing = status.snapshot_id.as_deref().unwrap_or_default().is_empty();
    (status.phase.progress() == Progress::Succeeded && nothing).then(|| {
        Problem::failure(&transfer.object, "is Completed and holds nothing: the volume was empty")
            .way_out("look whether the hook that fills it ran, and whether it is the right volume")
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
        None if elsewise => "is in the backup, but was copied in another way than asked for".to_owned(),
        None => "is not in the backup".to_owned(),
    };
    Some(Problem::failure(volume.to_string(), what).way_out(way_in(method, volume)))
}

/// What it takes for Velero to copy this volume.
fn way_in(method: VolumeMethod, volume: &ExpectedVolume) -> String {
    let ExpectedVolume { namespace, pod, volume, claim } = volume;
    match method {
        VolumeMethod::Files => format!(
            "annotate the pod {namespace}/{pod} with backup.velero.io/backup-volumes={volume} (in its StatefulSet's pod \
             template, so that it stays; several volumes are separated by commas), and see that node-agent runs on its node"
        ),
        VolumeMethod::Snapshot | VolumeMethod::MovedSnapshot => format!(
            "the storage of claim {namespace}/{claim} needs a CSI driver and a VolumeSnapshotClass labelled \
             {VELERO_LABEL}=true, and Velero the feature EnableCSI (before 1.14 its CSI plugin)"
        ),
    }
}
