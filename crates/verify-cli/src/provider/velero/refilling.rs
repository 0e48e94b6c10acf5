//! Following a Restore of Velero until it and all that fills volumes for it have ended.

use anyhow::{Result, bail};
use jiff::Timestamp;

use super::evidence::Evidence;
use super::waiting::{Look, wait};
use crate::cluster::Cluster;
use crate::duration::Period;
use crate::provider::Watch;
use crate::velero::artefact::Artefact;
use crate::velero::data_movement::DataDownload;
use crate::velero::judge::{RestoreSeen, restore_problems};
use crate::velero::label;
use crate::velero::pod_volume::PodVolumeRestore;
use crate::velero::problem::Problem;
use crate::velero::restore::Restore;
use crate::velero::results;
use crate::velero::snapshot::VolumeSnapshotContent;
use crate::velero::transfer::{moving, transfers};
use crate::velero::volume::ExpectedVolumes;
use crate::velero::volume_info::VolumeInfo;
use crate::velero::waiting;

/// What is followed.
pub(super) struct Refilled<'a> {
    pub(super) cluster: &'a Cluster,
    /// Velero's namespace.
    pub(super) velero: &'a str,
    /// The Restore's name.
    pub(super) name: &'a str,
    /// What the backup holds of each volume.
    pub(super) volumes: &'a [VolumeInfo],
    pub(super) expected: &'a ExpectedVolumes,
    pub(super) patience: Period,
}

impl Refilled<'_> {
    /// Waits for the end; every reason why it is no success, and what Velero warns of.
    ///
    /// # Errors
    ///
    /// If the Restore goes, or nothing moves for too long; then it says what hangs.
    pub(super) fn to_the_end(&self, evidence: &Evidence, watch: &Watch<'_>) -> Result<Vec<Problem>> {
        let selector = label::of_restore(self.name);
        let (restore, files, downloads) = wait(self.patience, watch, || {
            let restore = self.cluster.of::<Restore>(self.velero).get(self.name)?;
            let Some(restore) = restore else {
                bail!("failed to follow the Restore {}: it is gone", self.name)
            };
            let files = self.cluster.of::<PodVolumeRestore>(self.velero).list(&selector)?;
            let downloads = self.cluster.of::<DataDownload>(self.velero).list(&selector)?;
            let transfers = transfers(&files, &downloads);
            if restore.status.phase.ended() && !moving(&transfers) {
                drop(transfers);
                return Ok(Look::Done((restore, files, downloads)));
            }
            let on = waiting::restore(&restore, &transfers, Timestamp::now());
            let statuses: Vec<_> = transfers.iter().map(|transfer| transfer.status).collect();
            let state = serde_json::to_string(&(&restore.status, statuses))?;
            let on =
                on.unwrap_or_else(|| Problem::failure(format!("Restore {}", self.name), "is about to end"));
            Ok(Look::Waiting { on, state })
        })?;
        let contents = self.cluster.global::<VolumeSnapshotContent>().list_if_known(&selector)?;
        // What it complains of decides nothing that its objects do not decide as well.
        let results = evidence.of_restore(self.name, Artefact::Results).ok().flatten();
        let results = results.and_then(|packed| results::decode(&packed).ok()).unwrap_or_default();
        let seen = RestoreSeen {
            restore: &restore,
            pod_volume_restores: &files,
            downloads: &downloads,
            contents: &contents,
            results: &results,
            volumes: self.volumes,
        };
        Ok(restore_problems(&seen, self.expected))
    }
}
