//! The end of the Restores and Backups that a run asked Velero for.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::core::object::HasStatus;
use serde_json::json;

use super::{Work, is_going};
use crate::cluster::{Component, Namespaced, Run, labels, lease};
use crate::provider::ownership::{self, BackupOwnership, UNPROVEN};
use crate::velero::backup::Backup;
use crate::velero::data_movement::{DataDownload, DataUpload};
use crate::velero::deletion::{self, DeleteBackupRequest};
use crate::velero::object::Observed;
use crate::velero::pod_volume::{PodVolumeBackup, PodVolumeRestore};
use crate::velero::restore::Restore;
use crate::velero::transfer::TransferStatus;
use verify_drill::until::{Check, Pace, Waited, never, until};

/// Time limit for Velero to release its own objects.
const VELERO_TIMEOUT: Duration = Duration::from_secs(60);
/// Time limit for Velero to finish a backup whose transfers are cancelled; it deletes none before.
const BACKUP_TIMEOUT: Duration = Duration::from_secs(120);

impl Work<'_> {
    /// Ends the restores before anything that they work on is deleted. One that began might create the namespace again, without
    /// our policy; and one that cannot find its claims any more holds up everybody else's restores for ten minutes.
    pub(super) fn end_restores(&mut self) {
        // What cannot be read is reported when it is removed.
        let _ = until(VELERO_TIMEOUT, Pace::REMOTE, never, || {
            let mut open = self.restores()?;
            open.retain(|restore| !restore.observed().phase.ended());
            if open.is_empty() {
                return anyhow::Ok(Check::Done(()));
            }
            for restore in open.iter().filter(|restore| may_never_begin(restore)) {
                // Velero may take it up just now; then it differs from what was read, and is checked again.
                if let Ok(true) = self.cluster.of::<Restore>(self.velero_namespace).delete_as_read(restore) {
                    let name = restore.name_any();
                    self.done.removed.push(format!("Restore {}/{name}", self.velero_namespace));
                }
            }
            // One that was at work may have begun another volume since. A transfer whose pod was deleted would never end,
            // and no other restore would begin for hours: Velero takes one at a time.
            let owners: BTreeSet<String> =
                open.into_iter().filter_map(|restore| restore.metadata.uid).collect();
            self.cancel::<PodVolumeRestore>(&owners);
            self.cancel::<DataDownload>(&owners);
            Ok(Check::Waiting(()))
        });
    }

    pub(super) fn restores(&self) -> Result<Vec<Restore>> {
        self.cluster.of::<Restore>(self.velero_namespace).list_if_known(&self.run.selector())
    }

    /// Restores that were removed go when Velero lets them.
    pub(super) fn await_restores_gone(&mut self) {
        let waited = until(VELERO_TIMEOUT, Pace::REMOTE, never, || {
            let found = self.restores()?;
            anyhow::Ok(if found.is_empty() { Check::Done(()) } else { Check::Waiting(found) })
        });
        if let Some(Waited::TimedOut(left)) = self.tried("Restores", waited) {
            for restore in left {
                self.left(format!(
                    "Restore {}: Velero has not removed its finalizer within {} s; is the Velero server running, and can \
                     it reach the backup's location?",
                    restore.name_any(),
                    VELERO_TIMEOUT.as_secs()
                ));
            }
        }
    }

    /// Backups that were never known to be restorable.
    pub(super) fn backups(&mut self) {
        let Some(found) = self.end_backups() else { return };
        if found.is_empty() {
            return;
        }
        let leases = self.cluster.of::<Lease>(self.velero_namespace);
        let lease = leases.get(&lease::name(self.run));
        let Some(lease) = self.tried("the run's Lease", lease) else { return };
        for backup in found {
            let what = format!("Backup {}", backup.name_any());
            match ownership::backup(&backup, self.run, lease.as_ref()) {
                None => {}
                Some(BackupOwnership::Busy) => {
                    self.left(format!(
                        "{what}: Velero is still working on it; clean up again when it has finished"
                    ));
                }
                Some(BackupOwnership::NotOurs(reason)) => {
                    self.watch.report(&format!("the {what} is kept: {reason}"));
                }
                Some(BackupOwnership::Going) => self.await_backup_gone(&backup, &what),
                Some(BackupOwnership::Delete) => {
                    self.watch.report(&format!(
                        "asking Velero to delete the backup {}, which is not verifiable",
                        backup.name_any()
                    ));
                    if self.tried(&what, self.ask_for_deletion(&backup)).is_some() {
                        self.await_backup_gone(&backup, &what);
                    }
                }
            }
        }
    }

    /// Has Velero end the run's backups, and waits for it; those that there are then.
    fn end_backups(&mut self) -> Option<Vec<Backup>> {
        let kind = self.cluster.of::<Backup>(self.velero_namespace);
        let unproven = format!("{},{UNPROVEN}=true", self.run.selector());
        let mut reported = false;
        let ended = until(BACKUP_TIMEOUT, Pace::REMOTE, never, || {
            let found = kind.list_if_known(&unproven)?;
            let open: BTreeSet<String> = found
                .iter()
                .filter(|backup| !backup.observed().phase.ended())
                .filter_map(|backup| backup.metadata.uid.clone())
                .collect();
            for backup in found.iter().filter(|backup| is_queued(backup)) {
                // Velero may take it up just now; then it is not as it was read.
                let _ = kind.delete_as_read(backup);
            }
            if open.is_empty() {
                return anyhow::Ok(Check::Done(found));
            }
            if !reported {
                self.watch.report("waiting for Velero to finish the backup before it can be deleted");
                reported = true;
            }
            self.cancel::<PodVolumeBackup>(&open);
            self.cancel::<DataUpload>(&open);
            Ok(Check::Waiting(found))
        });
        match self.tried("Backups", ended)? {
            Waited::Done(found) | Waited::TimedOut(found) => Some(found),
            Waited::Stopped => None,
        }
    }

    fn ask_for_deletion(&self, backup: &Backup) -> Result<()> {
        let kind = self.cluster.of::<DeleteBackupRequest>(self.velero_namespace);
        let name = lease::name(self.run);
        // One that was processed, with errors, does nothing any more.
        if kind.get(&name)?.is_some_and(|request| {
            request.observed().phase.ended() && Run::of(&request).as_ref() == Some(self.run)
        }) {
            kind.delete(&name)?;
        }
        kind.create(&deletion::request(name, labels(self.run, Component::Backup), backup))?;
        Ok(())
    }

    fn await_backup_gone(&mut self, backup: &Backup, what: &str) {
        let kind = self.cluster.of::<Backup>(self.velero_namespace);
        let waited = until(VELERO_TIMEOUT, Pace::REMOTE, never, || {
            let found = kind.get(&backup.name_any())?;
            let deleted = found.is_none_or(|found| found.metadata.uid != backup.metadata.uid);
            anyhow::Ok(if deleted { Check::Done(()) } else { Check::Waiting(()) })
        });
        match self.tried(what, waited) {
            Some(Waited::Done(())) => self.done.removed.push(what.to_owned()),
            Some(Waited::TimedOut(())) => {
                let requests = self.cluster.of::<DeleteBackupRequest>(self.velero_namespace);
                let request = requests.get(&lease::name(self.run)).ok().flatten();
                let errors = request
                    .map(|request| request.observed().errors.join("; "))
                    .filter(|errors| !errors.is_empty());
                self.left(match errors {
                    Some(errors) => format!("{what}: Velero failed to delete it: {errors}"),
                    None => format!(
                        "{what}: Velero has not deleted it within {} s of the request",
                        VELERO_TIMEOUT.as_secs()
                    ),
                });
            }
            Some(Waited::Stopped) | None => {}
        }
    }

    /// Has Velero give up the transfers of these backups or restores, by their uids. Velero's own mark of whose a
    /// transfer is is the owner: it gives transfers none of our labels. What fails here is tried again.
    fn cancel<K>(&self, owners: &BTreeSet<String>)
    where
        K: Namespaced + HasStatus<Status = TransferStatus>,
    {
        let kind = self.cluster.of::<K>(self.velero_namespace);
        for transfer in kind.list_if_known("").into_iter().flatten() {
            if is_open(&transfer, owners) {
                let _ = kind.merge(&transfer.name_any(), &json!({ "spec": { "cancel": true } }));
            }
        }
    }
}

/// Returns whether this transfer belongs to one of these owners, and has not finished.
fn is_open<K>(transfer: &K, owners: &BTreeSet<String>) -> bool
where
    K: ResourceExt + HasStatus<Status = TransferStatus>,
{
    let ours = transfer.owner_references().iter().any(|owner| owners.contains(&owner.uid));
    ours && !transfer.observed().phase.ended()
}

/// Returns whether a backup is queued behind others; Velero never starts one that is deleted before.
fn is_queued(backup: &Backup) -> bool {
    let status = backup.observed();
    let phase = &status.phase;
    (phase.untouched() || phase.is("Queued")) && !is_going(backup)
}

/// Returns whether Velero has not processed a restore; it never starts one that is deleted before. It takes one up by
/// adding its finalizer: one that is removed from then on is restored all the same, and Velero waits ten minutes for
/// its claims.
fn may_never_begin(restore: &Restore) -> bool {
    restore.observed().phase.untouched() && restore.finalizers().is_empty() && !is_going(restore)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::object as read;

    #[test]
    fn a_restore_that_nobody_has_looked_at_is_removed_once() {
        let table = [
            (json!({}), true),
            (json!({ "status": { "phase": "New" } }), true),
            (json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }), false),
            (
                json!({ "metadata": { "finalizers": ["restores.velero.io/external-resources-finalizer"] } }),
                false,
            ),
            (json!({ "status": { "phase": "InProgress" } }), false),
            (json!({ "status": { "phase": "Completed" } }), false),
        ];
        for (restore, expected) in table {
            assert_eq!(may_never_begin(&read(restore.clone())), expected, "{restore}");
        }
    }

    #[test]
    fn only_our_own_open_transfers_are_cancelled() {
        let transfer = |uid: &str, phase: &str| -> PodVolumeRestore {
            read(json!({
                "metadata": { "ownerReferences":
                    [{ "apiVersion": "velero.io/v1", "kind": "Restore", "name": "r", "uid": uid }] },
                "status": { "phase": phase },
            }))
        };
        let table = [
            (transfer("1", ""), true),
            (transfer("1", "InProgress"), true),
            (transfer("1", "Completed"), false),
            (transfer("2", "InProgress"), false),
            (PodVolumeRestore::default(), false),
        ];
        for (found, open) in table {
            assert_eq!(is_open(&found, &["1".to_owned()].into()), open, "{found:?}");
        }
    }
}
