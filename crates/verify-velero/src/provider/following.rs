//! Following a Backup of Velero until it and all that moves data for it have ended.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use jiff::Timestamp;
use kube::ResourceExt;

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
use verify_drill::until::Look;
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
    /// What Velero's log complains of.
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

/// What is followed.
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
    /// Waits for the end. `each` is called at every look, with the snapshots of that moment.
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
        let selector = label::of_backup(self.name);
        let mut snapshots = BTreeMap::new();
        let (backup, pod_volume_backups, uploads) = wait(self.patience, watch, || {
            let backup = self.cluster.of::<Backup>(self.velero).get(self.name)?;
            let Some(backup) = backup else {
                bail!("failed to follow the Backup {}: it was deleted; run it again", self.name)
            };
            let seen = self.cluster.of::<VolumeSnapshot>(self.namespace).list_if_known(&selector)?;
            snapshots.extend(seen.iter().filter_map(|snapshot| {
                let claim = snapshot.spec.source.persistent_volume_claim_name.clone()?;
                Some((claim, snapshot.metadata.name.clone()?))
            }));
            each(&seen, &backup)?;
            let files = self.cluster.of::<PodVolumeBackup>(self.velero).list(&selector)?;
            let uploads = self.cluster.of::<DataUpload>(self.velero).list(&selector)?;
            let transfers = transfers(&files, &uploads);
            if backup.observed().phase.ended() && !moving(&transfers) {
                drop(transfers);
                return Ok(Look::Done((backup, files, uploads)));
            }
            let (ahead, their_files) = self.ahead(&backup)?;
            let on = waiting::backup(&backup, &transfers, &seen, &ahead, Timestamp::now());
            let statuses: Vec<_> = transfers.iter().map(|transfer| &transfer.status).collect();
            let ahead: Vec<_> = ahead.iter().map(|other| other.observed()).collect();
            let their_files: Vec<_> = their_files.iter().map(|files| &files.status).collect();
            let state =
                serde_json::to_string(&(backup.observed(), statuses, seen.len(), ahead, their_files))?;
            let on =
                on.unwrap_or_else(|| Problem::failure(format!("Backup {}", self.name), "is about to finish"));
            Ok(Look::Waiting(Pending { on, state }))
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

    /// The backups ahead of one that waits, and what moves for them: as long as it does, ours may wait.
    fn ahead(&self, backup: &Backup) -> Result<(Vec<Backup>, Vec<PodVolumeBackup>)> {
        if !(backup.observed().phase.untouched() || backup.observed().phase.is("Queued")) {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut ahead = self.cluster.of::<Backup>(self.velero).list("")?;
        ahead.retain(|other| waiting::is_backup_ahead(other, backup));
        let files = self.cluster.of::<PodVolumeBackup>(self.velero);
        let files = ahead.iter().map(|other| files.list(&label::of_backup(&other.name_any())));
        let files = files.collect::<Result<Vec<_>>>()?.concat();
        Ok((ahead, files))
    }

    /// What Velero wrote beside the backup. It writes nothing for one that it refused.
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
