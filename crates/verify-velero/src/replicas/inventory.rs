//! Objects of a backup, according to Velero's own files in the bucket.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use verify_core::not_covered::{Check, NotCovered};

use super::repository::{Absence, Kind, Repository};
use crate::velero::artefact::Artefact;
use crate::velero::volume_info::{self, VolumeInfo};

/// The folder of all backups.
pub(super) const BACKUPS: &str = "backups/";
/// A file of Velero's that is longer is refused.
pub(super) const FILE_BYTES_MAX: u64 = 256 << 20;

/// A backup as its `velero-backup.json` describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VeleroBackup {
    /// Its name.
    pub name: String,
    /// Phase.
    pub phase: Phase,
    /// Start of the backup, after which writes to the source need not be in it.
    #[schemars(with = "Option<String>")]
    pub started_at: Option<Timestamp>,
    /// End of the backup.
    #[schemars(with = "Option<String>")]
    pub completed_at: Option<Timestamp>,
}

/// Phase of a backup, in Velero's terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Phase(String);

/// Location of the data of a backup's volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Volumes {
    /// Repositories in the bucket that hold some of it.
    pub(super) repositories: BTreeSet<Repository>,
    /// Volumes whose data are not in the bucket.
    pub(super) elsewhere: Vec<NotCovered>,
}

/// `velero-backup.json`, as much of it as is needed.
#[derive(Deserialize)]
struct BackupFile {
    #[serde(default)]
    status: StatusField,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusField {
    phase: Option<Phase>,
    start_timestamp: Option<Timestamp>,
    completion_timestamp: Option<Timestamp>,
}

impl Phase {
    /// Returns whether Velero will no longer write to this backup.
    pub fn is_final(&self) -> bool {
        matches!(self.0.as_str(), "Completed" | "PartiallyFailed" | "Failed" | "FailedValidation")
    }

    /// Returns whether the backup is Completed.
    pub fn is_completed(&self) -> bool {
        self.0 == "Completed"
    }

    /// Velero's word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl VeleroBackup {
    /// The keys of its objects begin with this.
    pub(super) fn folder(name: &str) -> String {
        format!("{BACKUPS}{name}/")
    }

    /// The key of the file that it is read from.
    pub(super) fn key(name: &str) -> String {
        format!("{BACKUPS}{name}/velero-backup.json")
    }

    /// Returns the meaning of the absence of one of its objects in the copy. The reports of restores come one by one,
    /// each with the next restore.
    pub(super) fn absence(&self, key: &str) -> Absence {
        let reports = format!("{}state-lab/reports/", Self::folder(&self.name));
        if key.starts_with(&reports) { Absence::OfRestore } else { Absence::Needed }
    }

    pub(super) fn parse(name: &str, file: &[u8]) -> Result<Self> {
        let BackupFile { status } = serde_json::from_slice(file).context("it is not a backup by Velero")?;
        Ok(Self {
            name: name.to_owned(),
            phase: status.phase.unwrap_or_else(|| Phase("New".to_owned())),
            started_at: status.start_timestamp,
            completed_at: status.completion_timestamp,
        })
    }
}

impl Volumes {
    /// The key of the file that they are read from.
    pub(super) fn key(backup: &str) -> String {
        Artefact::VolumeInfos.of_backup(backup)
    }

    pub(super) fn parse(file: &[u8]) -> Result<Self> {
        let mut volumes = Self::default();
        for info in volume_info::decode(file)?.iter().filter(|info| !info.skipped) {
            match place(info) {
                Ok(repository) => {
                    volumes.repositories.insert(repository);
                }
                Err(reason) => {
                    volumes.elsewhere.push(NotCovered::new(Check::Replica, shown(info), reason));
                }
            }
        }
        Ok(volumes)
    }
}

/// The repository that holds the volume's data, or why none does.
fn place(info: &VolumeInfo) -> Result<Repository, &'static str> {
    if info.result == "failed" {
        return Err("Velero failed to back it up");
    }
    let (uploader, namespace) = match (info.backup_method.as_str(), &info.pvb_info) {
        ("PodVolumeBackup", Some(upload)) if !upload.pod_namespace.is_empty() => {
            (upload.uploader_type.as_str(), upload.pod_namespace.as_str())
        }
        ("PodVolumeBackup", upload) => {
            let uploader = upload.as_ref().map_or("", |upload| upload.uploader_type.as_str());
            (uploader, info.pvc_namespace.as_str())
        }
        (_, _) if info.snapshot_data_moved => {
            let movement = info.snapshot_data_movement_info.as_ref();
            if movement.is_some_and(|movement| !matches!(movement.data_mover.as_str(), "" | "velero")) {
                return Err("its data were moved by a data mover other than Velero's, to an unknown place");
            }
            let uploader = movement.map_or("", |movement| movement.uploader_type.as_str());
            (uploader, info.pvc_namespace.as_str())
        }
        ("CSISnapshot", _) => {
            return Err(
                "its data are in a CSI snapshot, which is not in the bucket; `state-lab backup --method csi-move` moves them there",
            );
        }
        ("NativeSnapshot", _) => {
            return Err("its data are in a snapshot of the cloud provider, which is not in the bucket");
        }
        _ => return Err("it was backed up by an unknown method"),
    };
    let kind = match uploader {
        // Velero's default since 1.10.
        "" | "kopia" => Kind::Kopia,
        "restic" => Kind::Restic,
        _ => return Err("its data were stored by an unknown uploader"),
    };
    match namespace {
        "" => Err("Velero does not record its namespace"),
        namespace => Ok(Repository { kind, namespace: namespace.to_owned() }),
    }
}

fn shown(info: &VolumeInfo) -> String {
    match (info.pvc_namespace.as_str(), info.pvc_name.as_str()) {
        ("", "") => format!("volume {}", info.pv_name),
        (namespace, name) => format!("volume {namespace}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::{Value, json};
    use std::io::Write;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn volumes(entry: &Value) -> Volumes {
        Volumes::parse(&packed(json!([entry]).to_string().as_bytes())).unwrap()
    }

    #[test]
    fn where_the_data_of_a_volume_are_follows_from_how_it_was_backed_up() {
        let kopia = |namespace: &str| Some(Repository { kind: Kind::Kopia, namespace: namespace.to_owned() });
        let volume = |rest: Value| {
            let mut entry =
                json!({"pvcName": "data", "pvcNamespace": "shop", "pvName": "pv-1", "result": "succeeded"});
            entry.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            volumes(&entry)
        };
        for (rest, repository, reason) in [
            (
                json!({"backupMethod": "PodVolumeBackup", "pvbInfo": {"uploaderType": "kopia"}}),
                kopia("shop"),
                "",
            ),
            (
                json!({"backupMethod": "PodVolumeBackup", "pvbInfo": {"uploaderType": "kopia", "podNamespace": "pod"}}),
                kopia("pod"),
                "",
            ),
            (
                json!({"backupMethod": "PodVolumeBackup", "pvbInfo": {"uploaderType": "restic"}}),
                Some(Repository { kind: Kind::Restic, namespace: "shop".to_owned() }),
                "",
            ),
            (json!({"backupMethod": "CSISnapshot", "snapshotDataMoved": true}), kopia("shop"), ""),
            (
                json!({"backupMethod": "CSISnapshot", "snapshotDataMoved": true,
                       "snapshotDataMovementInfo": {"dataMover": "velero", "uploaderType": "kopia"}}),
                kopia("shop"),
                "",
            ),
            (
                json!({"backupMethod": "CSISnapshot", "snapshotDataMoved": true,
                       "snapshotDataMovementInfo": {"dataMover": "other"}}),
                None,
                "a data mover other than Velero's",
            ),
            (json!({"backupMethod": "CSISnapshot", "snapshotDataMoved": false}), None, "in a CSI snapshot"),
            (json!({"backupMethod": "NativeSnapshot"}), None, "a snapshot of the cloud provider"),
            (
                json!({"backupMethod": "PodVolumeBackup", "result": "failed"}),
                None,
                "Velero failed to back it up",
            ),
            (json!({"backupMethod": "Telepathy"}), None, "by an unknown method"),
            (json!({}), None, "by an unknown method"),
            (json!({"skipped": true, "skippedReason": "opted out"}), None, ""),
        ] {
            let found = volume(rest.clone());
            assert_eq!(found.repositories.into_iter().next(), repository, "{rest}");
            match found.elsewhere.as_slice() {
                [] => assert_eq!(reason, "", "{rest}"),
                [gap] => {
                    assert!(
                        gap.object == "volume shop/data" && gap.reason.contains(reason) && !reason.is_empty(),
                        "{gap:?}"
                    );
                }
                more => panic!("{more:?}"),
            }
        }
        let none = Volumes::parse(&packed(b"[]")).unwrap();
        assert_eq!(none, Volumes::default());
    }

    #[test]
    fn a_file_that_is_no_list_of_volumes_is_refused() {
        for (file, reason) in [
            (b"[]".to_vec(), "failed to unpack Velero's list of volumes"),
            (packed(b"{}"), "failed to read Velero's list of volumes"),
            (packed(b"[{\"skipped\": 1}]"), "failed to read Velero's list of volumes"),
            (Vec::new(), "failed to unpack Velero's list of volumes"),
        ] {
            let refused = format!("{:#}", Volumes::parse(&file).unwrap_err());
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[test]
    fn a_backup_has_its_location_and_its_time() {
        let file = json!({"kind": "Backup", "metadata": {"name": "n"}, "status": {
            "phase": "PartiallyFailed", "startTimestamp": "2026-11-21T01:00:00Z", "completionTimestamp": "2026-11-21T01:05:00Z"}});
        let record = VeleroBackup::parse("n", file.to_string().as_bytes()).unwrap();
        let expected = VeleroBackup {
            name: "n".to_owned(),
            phase: Phase("PartiallyFailed".to_owned()),
            started_at: Some("2026-11-21T01:00:00Z".parse().unwrap()),
            completed_at: Some("2026-11-21T01:05:00Z".parse().unwrap()),
        };
        assert_eq!(record, expected);
        assert!(record.phase.is_final() && !record.phase.is_completed());
        assert!(!VeleroBackup::parse("n", b"{}").unwrap().phase.is_final());
        VeleroBackup::parse("n", b"<html>").unwrap_err();
        for (key, absence) in [
            ("backups/n/velero-backup.json", Absence::Needed),
            ("backups/n/state-lab/backup.json", Absence::Needed),
            ("backups/n/state-lab/reports.manifest", Absence::Needed),
            ("backups/n/state-lab/reports/1.json", Absence::OfRestore),
            ("backups/m/state-lab/reports/1.json", Absence::Needed),
        ] {
            assert_eq!(record.absence(key), absence, "{key}");
        }
    }
}
