//! A volume's data on its way: what PodVolumeBackup, PodVolumeRestore, DataUpload and DataDownload have in common.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::core::object::HasStatus;
use serde::{Deserialize, Serialize};

use super::object::Observed;
use super::phase::{Phase, Progress};

/// The status of each of the four kinds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TransferStatus {
    /// Phase.
    pub phase: Phase,
    /// Reason of the failure. Seen to be empty where one would need it, and to be filled on success.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The node that moves the data. A PodVolumeBackup has it in its spec instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Time at which a node agent accepted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_timestamp: Option<Time>,
    /// Start of the data movement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// End of the transfer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// Progress.
    pub progress: TransferProgress,
    /// Snapshot in Kopia's repository that a backup wrote.
    #[serde(rename = "snapshotID", skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
}

/// Bytes of the volume's files. Both are missing until the data moves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TransferProgress {
    /// Number of bytes read or written.
    pub bytes_done: i64,
    /// All of them.
    pub total_bytes: i64,
}

/// One of the four kinds, as far as it does not matter which.
#[derive(Clone, Debug)]
pub struct Transfer<'a> {
    /// As in `PodVolumeBackup nightly-001-x2 of volume basebackup`.
    pub object: String,
    /// The node that moves the data, if one was found.
    pub node: Option<&'a str>,
    /// Status.
    pub status: Cow<'a, TransferStatus>,
    created: Option<Timestamp>,
}

impl<'a> Transfer<'a> {
    /// The view of an object that moves the data of `volume`.
    pub(super) fn new<K>(object: &'a K, volume: &str, node: Option<&'a str>) -> Self
    where
        K: Resource<DynamicType = ()> + HasStatus<Status = TransferStatus>,
    {
        let metadata = object.meta();
        let name = metadata.name.as_deref().unwrap_or_default();
        Self {
            object: format!("{} {name} of {volume}", K::kind(&())),
            node: node.or_else(|| object.status()?.node.as_deref()),
            status: object.observed(),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
        }
    }

    /// Start of the current phase, as far as Velero reports it: `Prepared` has no time of its own.
    pub(super) fn since(&self) -> Option<Timestamp> {
        let status = &self.status;
        let time = status.start_timestamp.as_ref().or(status.accepted_timestamp.as_ref());
        time.map(|time| time.0).or(self.created)
    }
}

/// All that moves data for a backup or a restore: files, and snapshots.
pub fn transfers<'a, F, S>(files: &'a [F], snapshots: &'a [S]) -> Vec<Transfer<'a>>
where
    Transfer<'a>: From<&'a F> + From<&'a S>,
{
    files.iter().map(Transfer::from).chain(snapshots.iter().map(Transfer::from)).collect()
}

/// Returns whether one of them is still in progress.
pub fn moving(transfers: &[Transfer<'_>]) -> bool {
    transfers.iter().any(|transfer| transfer.status.phase.progress() == Progress::Running)
}
