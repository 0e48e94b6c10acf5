//! Backups by Velero in a Kubernetes cluster, and their restores into a namespace of state-lab.
//!
//! `backup` captures a database in the mode that its copy needs, lets Velero take the copy, and believes only what
//! every object of it says. `restore` has Velero fill volumes where nothing runs, brings them up where nothing can be
//! reached, and compares them with the manifests. The evidence of a backup is beside it in the bucket of its location:
//!
//! ```text
//! backups/NAME/state-lab/backup.json            what was backed up, and the hashes of the manifests
//!              state-lab/manifests/DB.manifest  what every table held
//!              state-lab/reports/TIME-DB.json   what restores found
//!              state-lab/reports/TIME.prom      the same as metrics
//! ```

mod agent_call;
mod announcement;
mod backup;
mod basebackup_claim;
mod claim_state;
pub(crate) mod evidence;
mod following;
mod latest;
mod method;
mod modifier;
#[cfg(test)]
mod operators_tests;
mod ownership;
mod place;
mod preflight;
mod record;
mod removal;
mod restore;
mod settings;
mod source;
mod storage;
mod sweep;
mod volume_restore;
mod waiting;

use anyhow::Result;
use verify_drill::backup_name::BackupName;
use verify_drill::provider::{BackupRequest, Provider, Removal, RestoreRequest, RestoredCopy, TakenBackup};
use verify_drill::store::OpenStore;
use verify_drill::watch::Watch;

use self::sweep::{KeptServers, sweep};
use crate::failover;

pub use announcement::Said;
pub use evidence::place_of;
pub(crate) use latest::CLUSTER;
pub use method::VeleroMethod;
pub use record::Record;
pub use settings::Settings;
pub(crate) use source::{choose, login};

/// The provider `velero`.
#[derive(Clone, Debug)]
pub struct VeleroProvider {
    pub settings: Settings,
    /// Opens the bucket of a backup storage location.
    pub open_store: OpenStore,
}

impl Provider for VeleroProvider {
    fn backup(&self, request: &BackupRequest, watch: &Watch<'_>) -> Result<TakenBackup> {
        backup::backup(self, request, watch)
    }

    fn restore(&self, request: &RestoreRequest, watch: &Watch<'_>) -> Result<RestoredCopy> {
        restore::restore(self, request, watch)
    }

    fn publish_evidence(&self, backup: &BackupName, report: &str) -> Result<()> {
        announcement::publish_evidence(&self.settings, backup, report)
    }

    fn latest(&self, watch: &Watch<'_>) -> Result<BackupName> {
        latest::latest(self, watch)
    }

    /// Removes the leftovers of aborted runs in the cluster, those of failover drills included.
    fn remove_leftovers(&self, watch: &Watch<'_>) -> Result<Removal> {
        let cluster = self.settings.connect()?;
        let velero = self.settings.velero_namespace();
        let mut removal = sweep(&cluster, velero, KeptServers::Remove, watch)?;
        removal.add(failover::sweep(&cluster)?);
        Ok(removal)
    }
}
