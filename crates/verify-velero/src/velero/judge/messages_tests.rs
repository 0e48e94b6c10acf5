//! Every problem of a backup, a restore and a wait, each in all of its forms, as snapshots.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::{BackupSeen, RestoreSeen, backup_problems, restore_problems};
use crate::velero::backup::{Backup, HookStatus};
use crate::velero::data_movement::{DataDownload, DataUpload};
use crate::velero::pod_volume::{PodVolumeBackup, PodVolumeRestore};
use crate::velero::restore::Restore;
use crate::velero::results::Results;
use crate::velero::sample;
use crate::velero::snapshot::VolumeSnapshot;
use crate::velero::transfer::Transfer;
use crate::velero::volume::{ExpectedVolume, VolumeMethod};
use crate::velero::volume_info::VolumeInfo;
use crate::velero::waiting;
use verify_drill::problem::Problem;

/// All samples of a kind.
fn samples<T: DeserializeOwned>(kind: &str) -> Vec<T> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/velero/samples").join(kind);
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_ne!(names, [] as [String; 0]);
    names.iter().map(|name| sample::load(&format!("{kind}/{}", name.trim_end_matches(".json")))).collect()
}

/// The problems, each once, with their hints.
fn text(problems: impl IntoIterator<Item = Problem>) -> String {
    let line = |problem: Problem| {
        let weight = if problem.is_failure() { "failure" } else { "warning" };
        let hint = problem.hint.as_ref().map(|hint| format!("\n    hint: {hint}")).unwrap_or_default();
        format!("{weight}: {problem}{hint}")
    };
    let lines: BTreeSet<String> = problems.into_iter().map(line).collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

fn volumes() -> Vec<VolumeInfo> {
    serde_json::from_str(sample::VOLUME_INFOS).unwrap()
}

#[test]
fn every_problem_of_a_backup_has_its_text() {
    let (results, volumes, none) = (Results::default(), volumes(), Vec::new());
    let pod_volume_backups: Vec<PodVolumeBackup> = samples("PodVolumeBackup");
    let uploads: Vec<DataUpload> = samples("DataUpload");
    let backups: Vec<Backup> = samples("Backup");
    let completed: Backup = sample::load("Backup/Completed.2");
    let of = |backup: &Backup, results: &Results, volumes: &[VolumeInfo], method, volume: &ExpectedVolume| {
        let seen = BackupSeen {
            backup,
            pod_volume_backups: &pod_volume_backups,
            uploads: &uploads,
            results,
            volumes,
        };
        backup_problems(&seen, method, volume)
    };
    let local = sample::expected_volume("app", "local");
    let mut problems = Vec::new();
    for backup in &backups {
        problems.extend(of(backup, &results, &volumes, VolumeMethod::Snapshot, &local));
    }
    for claim in ["absent", "skipped", "failed", "local"] {
        let volume = sample::expected_volume("app", claim);
        for method in [VolumeMethod::Files, VolumeMethod::Snapshot, VolumeMethod::MovedSnapshot] {
            problems.extend(of(&completed, &results, &volumes, method, &volume));
            problems.extend(of(&completed, &results, &none, method, &volume));
        }
    }
    let mut unexplained = volumes.clone();
    unexplained.iter_mut().for_each(|info| info.skipped_reason.clear());
    let skipped = sample::expected_volume("app", "skipped");
    problems.extend(of(&completed, &results, &unexplained, VolumeMethod::Files, &skipped));
    let mut counted = completed.clone();
    let status = counted.status.get_or_insert_default();
    status.hook_status = HookStatus { hooks_attempted: 2, hooks_failed: 1 };
    (status.backup_item_operations_failed, status.csi_volume_snapshots_completed) = (1, 1);
    (status.errors, status.warnings) = (3, 1);
    problems.extend(of(&counted, &results, &volumes, VolumeMethod::Snapshot, &local));
    let mut listed = Results::default();
    listed.errors.velero = vec!["no space".to_owned()];
    listed.warnings.velero = vec!["too slow".to_owned()];
    problems.extend(of(&counted, &listed, &volumes, VolumeMethod::Snapshot, &local));
    insta::assert_snapshot!(text(problems));
}

#[test]
fn every_problem_of_a_restore_has_its_text() {
    let (results, volumes, none) = (Results::default(), volumes(), Vec::new());
    let restores: Vec<Restore> = samples("Restore");
    let pod_volume_restores: Vec<PodVolumeRestore> = samples("PodVolumeRestore");
    let downloads: Vec<DataDownload> = samples("DataDownload");
    let completed: Restore = sample::load("Restore/Completed.1");
    let filled: PodVolumeRestore = sample::load("PodVolumeRestore/Completed.1");
    let of =
        |restore: &Restore, pod_volume_restores: &[PodVolumeRestore], volumes: &[VolumeInfo], claim: &str| {
            let seen = RestoreSeen {
                restore,
                pod_volume_restores,
                downloads: &downloads,
                contents: &[],
                results: &results,
                volumes,
            };
            restore_problems(&seen, &sample::expected_volume("app", claim))
        };
    let mut problems = Vec::new();
    for restore in &restores {
        problems.extend(of(restore, &pod_volume_restores, &volumes, "basebackup"));
    }
    for claim in ["basebackup", "moved", "local", "absent"] {
        problems.extend(of(&completed, &[], &volumes, claim));
        problems.extend(of(&completed, &[], &none, claim));
    }
    let mut older = filled.clone();
    older.spec.snapshot_id = "older".to_owned();
    problems.extend(of(&completed, &[older], &volumes, "basebackup"));
    problems.extend(of(&completed, std::slice::from_ref(&filled), &volumes, "basebackup"));
    problems.extend(of(&completed, &[filled.clone(), filled], &volumes, "basebackup"));
    insta::assert_snapshot!(text(problems));
}

#[test]
fn every_reason_to_wait_has_its_text() {
    let now = "2026-11-21T08:57:00Z".parse().unwrap();
    let mut problems: Vec<Option<Problem>> = Vec::new();
    let running: Backup = sample::load("Backup/InProgress.1");
    for object in samples::<Backup>("Backup") {
        problems.push(waiting::backup(&object, &[], &[], &[], now));
        problems.push(waiting::backup(&object, &[], &[], std::slice::from_ref(&running), now));
    }
    for snapshot in samples::<VolumeSnapshot>("VolumeSnapshot") {
        problems.push(waiting::backup(&running, &[], &[snapshot], &[], now));
    }
    let pod_volume_backups: Vec<PodVolumeBackup> = samples("PodVolumeBackup");
    let uploads: Vec<DataUpload> = samples("DataUpload");
    let transfers = pod_volume_backups.iter().map(Transfer::from).chain(uploads.iter().map(Transfer::from));
    let transfers: Vec<Transfer<'_>> = transfers.collect();
    for transfer in transfers.chunks(1).chain([&transfers[..2], &transfers[..3]]) {
        problems.push(waiting::backup(&running, transfer, &[], &[], now));
    }
    let begun: Restore = sample::load("Restore/InProgress.1");
    for object in samples::<Restore>("Restore") {
        problems.push(waiting::restore(&object, &[], &[], now));
        problems.push(waiting::restore(&object, &[], std::slice::from_ref(&begun), now));
    }
    insta::assert_snapshot!(text(problems.into_iter().flatten()));
}
