//! Facts of a Kubernetes cluster: the database's pods and volumes, Velero's objects, and those of operators.

use std::collections::BTreeSet;

use jiff::Timestamp;
use verify_drill::duration::Period;

use super::backup::{Backup, Content, Place, Proof, State};
use crate::fact::{Fact, Missing, known};

/// A cluster, as far as it matters to one database.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The database's namespace.
    pub namespace: String,
    /// Pods of the database.
    pub pods: Fact<Vec<DatabasePod>>,
    /// Volumes of these pods.
    pub volumes: Fact<Vec<Volume>>,
    /// Velero's schedules for the namespace.
    pub schedules: Fact<Vec<Schedule>>,
    /// Velero's backups of the namespace, the newest first.
    pub backups: Fact<Vec<VeleroBackup>>,
    /// Error of reading the reports of restores in the bucket, if any.
    pub reports: Fact<()>,
    pub locations: Fact<Vec<Location>>,
    pub repositories: Fact<Vec<Repository>>,
    pub repository_password: Fact<RepositoryPassword>,
    /// Classes of snapshots; not applicable where the cluster does not know the kind.
    pub snapshot_classes: Fact<Vec<SnapshotClass>>,
    pub storage_classes: Fact<Vec<StorageClass>>,
    /// Nodes on which a node-agent of Velero is ready.
    pub agent_nodes: Fact<BTreeSet<String>>,
    /// Images of Velero's server and of its plug-ins.
    pub images: Fact<Vec<String>>,
    pub cnpg: Fact<Vec<CnpgCluster>>,
    pub longhorn: Fact<Vec<LonghornVolume>>,
    /// Quotas of the database's namespace.
    pub quotas: Fact<Vec<Quota>>,
}

/// A pod that runs PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabasePod {
    pub name: String,
    pub node: Option<String>,
    pub is_primary: bool,
    /// Claims that its database container mounts.
    pub mounts: Vec<Mount>,
    /// Volumes that an annotation has Velero copy as files.
    pub copied_as_files: BTreeSet<String>,
    /// Hooks of backups in its annotations after whose failure the backup goes on.
    pub lax_hooks: Vec<String>,
}

/// A claim that a pod mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Name of the volume in the pod.
    pub volume: String,
    pub claim: String,
    pub path: String,
    /// The group in which its snapshots are taken, if any.
    pub group: Option<String>,
}

impl Mount {
    /// Returns whether only WAL is there, by its path.
    pub fn is_wal(&self) -> bool {
        self.path.rsplit('/').any(|part| part.contains("wal"))
    }
}

/// A volume of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub claim: String,
    pub class: Option<String>,
    pub kind: VolumeKind,
    pub capacity_bytes: Option<u64>,
    /// Used part, in percent, as the kubelet sees it.
    pub used_percent: Fact<u64>,
}

/// Storage of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeKind {
    /// A CSI driver, by its name.
    Csi(String),
    HostPath,
    /// A disk of one node.
    Local,
    Nfs,
    Other(String),
}

/// A schedule of Velero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub name: String,
    /// In cron's notation.
    pub cron: String,
    pub paused: bool,
    pub created_at: Timestamp,
    pub last_backup_at: Option<Timestamp>,
    pub ttl: Period,
    pub validation_errors: Vec<String>,
    /// Hooks after whose failure the backup goes on.
    pub lax_hooks: Vec<String>,
}

/// A backup of Velero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VeleroBackup {
    pub name: String,
    pub phase: String,
    pub started_at: Option<Timestamp>,
    pub errors: u64,
    pub warnings: u64,
    pub hooks_failed: u64,
    /// CSI snapshots that were taken.
    pub snapshots: u64,
    pub ttl: Period,
    /// True if state-lab made it: then it holds the database even if it holds none of its own volumes.
    pub is_of_state_lab: bool,
    pub copies: Vec<VolumeCopy>,
    /// The newest attempt to restore and verify it.
    pub proof: Option<Proof>,
}

impl Cluster {
    /// The pods of the database, of which there must be one: a namespace or cluster that is mistyped has none.
    pub(crate) fn running(&self) -> Result<&[DatabasePod], Missing> {
        let pods = known(&self.pods)?;
        if pods.is_empty() {
            let reason = format!("no pod of PostgreSQL was found in the namespace {}", self.namespace);
            return Err(Missing::unknown(reason, "a database that runs there: --namespace, --cluster"));
        }
        Ok(pods)
    }

    /// Velero's backups, as those of any other place.
    pub fn place(&self) -> Place {
        let backups = known(&self.backups).and_then(|backups| {
            let pods = known(&self.pods)?;
            Ok(backups.iter().filter_map(|backup| backup.as_any(pods)).collect())
        });
        Place { name: "Velero".to_owned(), backups, reports: self.reports.clone() }
    }
}

impl VeleroBackup {
    /// The claims of a pod that it holds no copy of.
    pub fn lacking<'a>(&self, pod: &'a DatabasePod) -> Vec<&'a str> {
        let held = |mount: &Mount| {
            self.copies.iter().any(|copy| {
                copy.claim.as_ref() == Some(&mount.claim)
                    || copy
                        .pod_volume
                        .as_ref()
                        .is_some_and(|(of, volume)| *of == pod.name && *volume == mount.volume)
            })
        };
        pod.mounts.iter().filter(|mount| !held(mount)).map(|mount| mount.claim.as_str()).collect()
    }

    /// Returns whether it holds the volumes of one pod of the database; `None` if its objects do not show that.
    pub fn holds(&self, pods: &[DatabasePod]) -> Option<bool> {
        let mut mounted = pods.iter().filter(|pod| !pod.mounts.is_empty()).peekable();
        if self.is_of_state_lab || mounted.peek().is_none() {
            return Some(!self.copies.is_empty() || self.snapshots > 0);
        }
        if mounted.any(|pod| self.lacking(pod).is_empty()) {
            return Some(true);
        }
        // Velero removes the objects of snapshots; that it took some is all that is left in the cluster.
        let listed = self.copies.iter().any(|copy| copy.method == CopyMethod::LocalSnapshot);
        if self.snapshots > 0 && !listed { None } else { Some(false) }
    }

    /// Its copies by method and volume.
    fn kind(&self) -> String {
        let mut copies: Vec<String> = self
            .copies
            .iter()
            .map(|copy| {
                let of = copy.claim.as_ref().or(copy.pod_volume.as_ref().map(|(_, volume)| volume));
                format!("{:?} {}", copy.method, of.map_or("", String::as_str))
            })
            .collect();
        copies.sort();
        copies.join(", ")
    }

    /// The same as any other backup; none where it has not begun, or is being deleted.
    fn as_any(&self, pods: &[DatabasePod]) -> Option<Backup> {
        let counted = |number: u64, noun: &str| verify_drill::quantity::counted(number, noun);
        let state = match self.phase.as_str() {
            "Deleting" | "" | "New" => return None,
            "Completed" if self.holds(pods) == Some(false) => {
                State::Bad("holds no copy of the database's volumes".to_owned())
            }
            "Completed" if self.errors > 0 => State::Bad(format!("has {}", counted(self.errors, "error"))),
            "Completed" if self.warnings > 0 => {
                State::Complained(format!("has {}", counted(self.warnings, "warning")))
            }
            "Completed" => State::Good,
            "PartiallyFailed" | "Failed" | "FailedValidation" => {
                State::Bad(format!("is {} with {}", self.phase, counted(self.errors, "error")))
            }
            _ => State::Running,
        };
        let outside = self.copies.iter().any(|copy| copy.method != CopyMethod::LocalSnapshot);
        let sizes = || self.copies.iter().filter_map(|copy| copy.total_bytes);
        Some(Backup {
            name: self.name.clone(),
            started_at: self.started_at?,
            state,
            bytes: sizes().next().map(|_| sizes().sum()),
            kind: self.kind(),
            content: if outside { Content::Server } else { Content::LocalSnapshot },
            proof: self.proof,
        })
    }
}

/// The copy of a volume in a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeCopy {
    pub claim: Option<String>,
    /// The pod and its volume that was copied as files.
    pub pod_volume: Option<(String, String)>,
    pub method: CopyMethod,
    pub phase: String,
    pub done_bytes: Option<u64>,
    pub total_bytes: Option<u64>,
}

/// Copy of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyMethod {
    /// Its files, through the pod.
    Files,
    /// A snapshot whose data were moved to the object store.
    MovedSnapshot,
    /// A snapshot in the storage.
    LocalSnapshot,
}

/// A place for Velero's backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub name: String,
    pub is_default: bool,
    pub phase: String,
    pub message: String,
    pub provider: String,
    pub bucket: String,
    pub region: Option<String>,
    /// Address of the service; none for the provider's own.
    pub endpoint: Option<String>,
    /// The Secret of its credentials; none for Velero's own.
    pub credentials: Option<String>,
}

/// Velero's repository of volumes' data for one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    pub name: String,
    pub namespace: String,
    pub phase: String,
    pub message: String,
    pub created_at: Timestamp,
    pub maintained_at: Option<Timestamp>,
    pub maintenance_every: Period,
}

/// The password of all repositories. The password itself is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepositoryPassword {
    /// True if it is the one that Velero has in its source.
    pub is_default: bool,
    /// True if something outside of the cluster makes the Secret.
    pub is_managed: bool,
}

/// A class of snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotClass {
    pub name: String,
    pub driver: String,
    /// True if it has the label by which Velero chooses.
    pub is_labelled: bool,
    /// The parameter `type` of Longhorn.
    pub longhorn_type: Option<String>,
    pub deletion_policy: String,
}

/// A class of volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageClass {
    pub name: String,
    pub driver: String,
    /// True if its parameters request encryption; `None` if no such parameter of the driver is known.
    pub encrypted: Option<bool>,
}

/// A cluster of CloudNativePG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CnpgCluster {
    pub name: String,
    /// Status and message of its condition ContinuousArchiving.
    pub archiving: Option<(String, String)>,
    /// The archive that it writes to: object store and server's name.
    pub archives_to: Option<(String, String)>,
    /// The archive that it was recovered from.
    pub recovers_from: Option<(String, String)>,
}

/// A volume of Longhorn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LonghornVolume {
    pub name: String,
    /// Namespace and claim.
    pub claim: Option<(String, String)>,
    pub robustness: String,
}

/// A quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    pub name: String,
    pub storage_bytes_max: Option<u64>,
    pub claims_max: Option<u64>,
}
