//! The seam between what every drill does and each way to back up: who makes and restores backups.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use verify_core::finding::Verdict;
use verify_core::plan::Plan;
use verify_core::report::{Objectives, Report};

use crate::backup_name::BackupName;
use crate::backup_record::BackupRecord;
use crate::problem::Problem;
use crate::watch::Watch;

/// Makes and restores backups in one way. A step returns a value and reports events to the watch.
pub trait Provider: Send + Sync {
    /// Takes a backup, with the manifests of the same point in time.
    ///
    /// # Errors
    ///
    /// If it could not be taken, or its outcome could not be learnt. That it is not restorable is not an error.
    fn backup(&self, request: &BackupRequest, watch: &Watch<'_>) -> Result<TakenBackup>;

    /// Restores a backup where no client reaches it, verifies it, and removes what was created for it.
    ///
    /// # Errors
    ///
    /// If it could not be restored, or not be compared. A difference is not an error.
    fn restore(&self, request: &RestoreRequest, watch: &Watch<'_>) -> Result<RestoredCopy>;

    /// Publishes beside the backup which report its restore has become, so that a record exists outside of the store of
    /// evidence. Does nothing where there is no such place.
    ///
    /// # Errors
    ///
    /// If there is a place, and it refuses.
    fn publish_evidence(&self, backup: &BackupName, report: &str) -> Result<()> {
        let _ = (backup, report);
        Ok(())
    }

    /// The name of the newest verifiable backup.
    ///
    /// # Errors
    ///
    /// If there is none, or this provider cannot choose one.
    fn latest(&self, watch: &Watch<'_>) -> Result<BackupName>;

    /// Removes what earlier runs left behind, restored copies that were kept included.
    ///
    /// # Errors
    ///
    /// If it could not be found out what there is. That something could not be removed is not an error.
    fn remove_leftovers(&self, watch: &Watch<'_>) -> Result<Removal>;
}

/// A way to copy, as `--method` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// The value of `--method`.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
}

/// Parameters of a backup.
#[derive(Clone, Debug)]
pub struct BackupRequest {
    pub name: BackupName,
    /// One of the provider's methods; the provider chooses unless given.
    pub method: Option<String>,
    /// Scope and limits of the measurement. Its mode is the method's.
    pub plan: Plan,
}

/// A backup that was taken, whether or not it is restorable.
#[derive(Debug)]
pub struct TakenBackup {
    /// Record of the backup; none where the copy is not restorable.
    pub record: Option<BackupRecord>,
    /// The record as it is stored; null where the copy is not restorable.
    pub stored: Value,
    /// Method of the copy, in words.
    pub method: String,
    /// Further lines about the copy: its size, its volume.
    pub details: Vec<String>,
    /// Place of the backup.
    pub place: StoredAt,
    /// Every reason why it is not restorable, and what the provider warns of.
    pub problems: Vec<Problem>,
    /// Errors and warnings in the provider's own log, where it is not restorable.
    pub complaints: Vec<String>,
    /// Objects that could not be removed.
    pub left: Vec<String>,
}

/// Place of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredAt {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A service, in words.
    Service(String),
}

/// Parameters of a restore.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    pub name: BackupName,
    /// Scope and limits of the measurement. The manifests' hash and invariants take precedence over the plan's.
    pub plan: Plan,
    pub objectives: Objectives,
    /// Time at which the source was lost, by this machine's clock; the start of the restore unless given.
    pub incident: Option<Timestamp>,
    /// True to leave the restored server running.
    pub keep: bool,
}

/// A backup that was restored and verified.
#[must_use]
#[derive(Debug)]
pub struct RestoredCopy {
    /// The names of the databases, in the record's order.
    pub databases: Vec<String>,
    /// A report for each, in the same order.
    pub reports: Vec<Report>,
    /// The backup that was restored.
    pub origin: BackupOrigin,
    /// Place of the copy.
    pub target: RestoreTarget,
    /// Files of the reports.
    pub report_files: Vec<String>,
    /// Warnings of the provider.
    pub warnings: Vec<String>,
    /// Objects that could not be removed.
    pub left: Vec<String>,
    /// The restored server, if it was left running.
    pub kept: Option<KeptServer>,
}

/// Origin of a restored copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupOrigin {
    /// Provider: `local` or `velero`.
    pub provider: String,
    /// Method of the copy, in words.
    pub method: String,
    /// Directory, or BackupStorageLocation and bucket.
    pub location: String,
    /// Start of the backup, by the clock of the machine that took it.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// BLAKE3 of the backup's record, in hexadecimal; the record has those of the manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_blake3: Option<String>,
    /// Time until which the bucket refuses to delete the record; absent if no object lock is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub record_locked_until: Option<Timestamp>,
}

/// Place of a restored copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreTarget {
    /// Context of the kubeconfig; absent on this machine and with the account of a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Namespace; absent on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Isolation, as far as it was tried.
    pub isolation: Isolation,
}

/// Isolation of a restored copy, as far as it was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// No connection was tried.
    #[default]
    NotTried,
    /// Connections from the copy's pod to the API server were tried, and failed, before anything was started on the copy.
    ConnectionsFailed,
}

/// A restored server that was left running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptServer {
    /// A connection string to its first database, valid where the server runs.
    pub conninfo: String,
    /// How to connect to it and how to remove it, in words.
    pub note: String,
}

impl RestoredCopy {
    /// The worst verdict of all databases.
    pub fn verdict(&self) -> Verdict {
        Verdict::worst(self.reports.iter().map(Report::verdict))
    }

    /// The worst verdict on the data alone, whatever the objectives.
    pub fn integrity(&self) -> Verdict {
        Verdict::worst(self.reports.iter().map(|report| report.comparison().verdict()))
    }
}

/// Result of a removal.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Removal {
    /// Removed objects, for example `Namespace state-lab-0123`.
    pub removed: Vec<String>,
    /// Objects that are left, and why.
    pub left: Vec<String>,
    /// Runs whose objects were not touched: they are running, or were killed so recently that it is not certain.
    pub at_work: Vec<String>,
    /// The time without a sign of life after which a run counts as dead.
    #[serde(skip)]
    pub dead_after: Duration,
}

impl Removal {
    /// Returns whether nothing is left.
    pub fn is_whole(&self) -> bool {
        self.left.is_empty()
    }

    /// Reports what is left, where nothing else does.
    pub fn report_left(&self, watch: &Watch<'_>) {
        self.left.iter().for_each(|left| watch.report(&format!("not removed: {left}")));
        if !self.is_whole() {
            watch.report("the next run tries again, or run `state-lab cleanup`");
        }
    }

    /// Adds the result of another removal.
    pub fn add(&mut self, other: Self) {
        self.removed.extend(other.removed);
        self.left.extend(other.left);
        self.at_work.extend(other.at_work);
        self.dead_after = self.dead_after.max(other.dead_after);
    }
}
