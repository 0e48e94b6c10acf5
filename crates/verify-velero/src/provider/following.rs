//! Following a Backup of Velero until it and all that moves data for it have ended.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use jiff::Timestamp;

use super::evidence::Evidence;
use super::waiting::{Pending, wait};
use crate::cluster::Cluster;
use crate::velero::artefact::Artefact;
use crate::velero::backup::Backup;
use crate::velero::data_movement::DataUpload;
use crate::velero::judge::BackupSeen;
use crate::velero::label;
use crate::velero::object::Observed;
use crate::velero::pod_volume::PodVolumeBackup;
use crate::velero::results::{self, Results};
use crate::velero::snapshot::VolumeSnapshot;
use crate::velero::transfer::{moving, transfers};
use crate::velero::volume_info::{self, VolumeInfo};
use crate::velero::{log, waiting};
use verify_drill::duration::Period;
use verify_drill::problem::Problem;
use verify_drill::until::Check;
use verify_drill::watch::Watch;

/// A backup that has ended, and all that belongs to it.
pub(super) struct Ended {
    pub(super) backup: Backup,
    pod_volume_backups: Vec<PodVolumeBackup>,
    uploads: Vec<DataUpload>,
    results: Results,
    pub(super) volumes: Vec<VolumeInfo>,
    /// The VolumeSnapshots that were seen, by the claims that they are of.
    pub(super) snapshots: BTreeMap<String, String>,
    /// Errors in Velero's log.
    pub(super) complaints: Vec<String>,
}

impl Ended {
    /// As the judgment takes it.
    pub(super) fn seen(&self) -> BackupSeen<'_> {
        BackupSeen {
            backup: &self.backup,
            pod_volume_backups: &self.pod_volume_backups,
            uploads: &self.uploads,
            results: &self.results,
            volumes: &self.volumes,
        }
    }
}

/// Backup to follow.
pub(super) struct Followed<'a> {
    pub(super) cluster: &'a Cluster,
    /// Velero's namespace.
    pub(super) velero: &'a str,
    /// The database's.
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) patience: Period,
}

impl Followed<'_> {
    /// Waits for the end. `each` is called at every check, with the snapshots that exist then.
    ///
    /// # Errors
    ///
    /// If the backup goes, or nothing moves for too long; then it says what hangs.
    pub(super) fn to_the_end(
        &self,
        evidence: &Evidence,
        watch: &Watch<'_>,
        mut each: impl FnMut(&[VolumeSnapshot], &Backup) -> Result<()>,
    ) -> Result<Ended> {
        let mut snapshots = BTreeMap::new();
        let (backup, pod_volume_backups, uploads) = self.await_end(watch, |seen, backup| {
            snapshots.extend(seen.iter().filter_map(|snapshot| {
                let claim = snapshot.spec.source.persistent_volume_claim_name.clone()?;
                Some((claim, snapshot.metadata.name.clone()?))
            }));
            each(seen, backup)
        })?;
        for upload in &uploads {
            if let Some(snapshot) = &upload.spec.csi_snapshot {
                snapshots
                    .entry(upload.spec.source_pvc.clone())
                    .or_insert_with(|| snapshot.volume_snapshot.clone());
            }
        }
        self.read_artefacts(evidence, backup, pod_volume_backups, uploads, snapshots)
    }

    /// Waits until the backup and all its transfers have finished. A check sends one request for each kind.
    fn await_end(
        &self,
        watch: &Watch<'_>,
        mut each: impl FnMut(&[VolumeSnapshot], &Backup) -> Result<()>,
    ) -> Result<(Backup, Vec<PodVolumeBackup>, Vec<DataUpload>)> {
        let selector = label::of_backup(self.name);
        let pod_volume_backups = self.cluster.of::<PodVolumeBackup>(self.velero);
        let mut waits = true;
        wait(self.patience, watch, || {
            let (backup, mut ahead) = self.cluster.of::<Backup>(self.velero).get_with(self.name, waits)?;
            let Some(backup) = backup else {
                bail!("failed to follow the Backup {}: it was deleted; run it again", self.name)
            };
            waits = backup.observed().phase.untouched() || backup.observed().phase.is("Queued");
            let seen = self.cluster.of::<VolumeSnapshot>(self.namespace).list_if_known(&selector)?;
            each(&seen, &backup)?;
            // One that waits has no transfers yet; as long as those of the backups ahead move, it may wait.
            ahead.retain(|other| waits && waiting::is_backup_ahead(other, &backup));
            let names = ahead.iter().filter_map(|other| other.metadata.name.as_deref());
            let (files, their_files) = match (waits, ahead.is_empty()) {
                (false, _) => (pod_volume_backups.list(&selector)?, Vec::new()),
                (true, false) => (Vec::new(), pod_volume_backups.list(&label::of_backups(names))?),
                (true, true) => (Vec::new(), Vec::new()),
            };
            let uploads = self.cluster.of::<DataUpload>(self.velero).list(&selector)?;
            let transfers = transfers(&files, &uploads);
            if backup.observed().phase.ended() && !moving(&transfers) {
                drop(transfers);
                return Ok(Check::Done((backup, files, uploads)));
            }
            let on = waiting::backup(&backup, &transfers, &seen, &ahead, Timestamp::now());
            let statuses: Vec<_> = transfers.iter().map(|transfer| &transfer.status).collect();
            let ahead: Vec<_> = ahead.iter().map(|other| other.observed()).collect();
            let their_files: Vec<_> = their_files.iter().map(|files| &files.status).collect();
            let state =
                serde_json::to_string(&(backup.observed(), statuses, seen.len(), ahead, their_files))?;
            let on =
                on.unwrap_or_else(|| Problem::failure(format!("Backup {}", self.name), "is about to finish"));
            Ok(Check::Waiting(Pending { on, state }))
        })
    }

    /// Reads Velero's files beside the backup. It writes nothing for one that it refused.
    fn read_artefacts(
        &self,
        evidence: &Evidence,
        backup: Backup,
        pod_volume_backups: Vec<PodVolumeBackup>,
        uploads: Vec<DataUpload>,
        snapshots: BTreeMap<String, String>,
    ) -> Result<Ended> {
        let completed = backup.observed().phase.is("Completed");
        let read = |artefact| match evidence.of_backup(self.name, artefact) {
            // A failed backup may have failed because the bucket cannot be reached: it is judged without.
            Err(_) if !completed => Ok(None),
            other => other,
        };
        let results = read(Artefact::Results)?.map(|packed| results::decode(&packed)).transpose()?;
        let volumes = read(Artefact::VolumeInfos)?.map(|packed| volume_info::decode(&packed)).transpose()?;
        if completed && volumes.is_none() {
            bail!(
                "failed to find the volumes of the backup {}: Velero wrote no list of them; it does since 1.13",
                self.name
            );
        }
        let complaints = match completed {
            true => Vec::new(),
            false => {
                read(Artefact::Logs)?.map(|packed| log::decode(&packed)).transpose()?.unwrap_or_default()
            }
        };
        Ok(Ended {
            backup,
            pod_volume_backups,
            uploads,
            results: results.unwrap_or_default(),
            volumes: volumes.unwrap_or_default(),
            snapshots,
            complaints,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::cluster::fake_server::FakeServer;

    #[test]
    fn a_backup_that_waits_and_works_is_polled_once_a_second() {
        let server = FakeServer::new(|target, since| {
            let backup = |name: &str, phase: &str| json!({ "metadata": { "name": name }, "status": { "phase": phase, "queuePosition": 1 } });
            let (waits, deleted) =
                (since < Duration::from_millis(1_500), since > Duration::from_millis(3_500));
            let asked_of_other = target.contains("in+%28other%29") || target.contains("in%20%28other%29");
            match target.split('?').next()?.rsplit('/').next()? {
                "backups" if waits => Some(json!([backup("ours", "Queued"), backup("other", "InProgress")])),
                // The last list, and what is read by its name from then on.
                "backups" => Some(json!([backup("ours", "InProgress")])),
                "ours" if !deleted => Some(backup("ours", "InProgress")),
                "ours" => None,
                "podvolumebackups" => {
                    assert_eq!(asked_of_other, waits, "{target}");
                    Some(json!([]))
                }
                _ => Some(json!([])),
            }
        });
        let followed = Followed {
            cluster: &server.cluster,
            velero: "velero",
            namespace: "app",
            name: "ours",
            patience: Period::from_ms(60_000),
        };
        let mut checks = 0;
        let ended = followed.await_end(&Watch::silent(), |_, _| {
            checks += 1;
            Ok(())
        });
        assert_eq!(
            ended.unwrap_err().to_string(),
            "failed to follow the Backup ours: it was deleted; run it again"
        );
        assert!((4..=5).contains(&checks), "{checks}");
        let gaps = server.shortest_gaps();
        assert_eq!(
            gaps.keys().collect::<Vec<_>>(),
            ["backups", "datauploads", "podvolumebackups", "volumesnapshots"]
        );
        assert!(gaps.values().all(|gap| *gap >= Duration::from_secs(1)), "{gaps:?}");
    }
}
