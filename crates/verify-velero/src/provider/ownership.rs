//! Decides the removal of objects that outlive a validation namespace, where a wrong decision destroys a backup or
//! production itself. Decided here without a client; an object that is not certainly owned by state-lab alone is kept.

use std::collections::BTreeSet;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;

use super::storage::{claim_in, storage};
use crate::cluster::Run;
use crate::velero::backup::Backup;
use crate::velero::label::RESTORE_NAME;
use crate::velero::object::Observed;
use crate::velero::snapshot::VolumeSnapshotContent;

/// Set on a Velero Backup until it is known to be restorable: the run that made it may still ask Velero to delete it.
///
/// Velero keeps a backup's labels beside its data, so that a copy of the object that Velero reads back from there, in
/// this cluster or in another one, has this label for ever. It is never enough by itself.
pub(super) const UNPROVEN: &str = "state-lab.dev/unproven";

/// Annotation with the provisioner of a volume.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Prefix of the name that Velero gives a volume that it restores unchanged beside the original.
const VELERO_CLONE: &str = "velero-clone-";

/// Decision on a PersistentVolume of the validation namespace.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum VolumeOwnership {
    /// Its storage was made for our claim alone: both go.
    Remove,
    /// The object goes, its storage stays, for this reason.
    KeepStorage(String),
}

/// Decides on a PersistentVolume; `None` if it is not bound to a claim in `namespace`. `claims` are the uids of the
/// claims that were seen there, `all` are the volumes of the cluster.
///
/// Velero restores a volume whose reclaim policy is `Retain` as the object that it was: it points at production's own
/// storage then.
pub(super) fn volume(
    volume: &PersistentVolume,
    namespace: &str,
    claims: &BTreeSet<String>,
    all: &[PersistentVolume],
) -> Option<VolumeOwnership> {
    let spec = volume.spec.as_ref()?;
    let claim = claim_in(volume, namespace)?;
    let keep = |reason: &str| Some(VolumeOwnership::KeepStorage(reason.to_owned()));
    if let Some(reason) = foreign(volume, all) {
        return keep(&reason);
    }
    if !volume.annotations().contains_key(PROVISIONED_BY) {
        return keep("it was not provisioned for a claim");
    }
    if storage(spec).is_none() {
        return keep("state-lab does not support this type of storage");
    }
    if is_named_after_claim(volume) || claim.uid.as_ref().is_some_and(|uid| claims.contains(uid)) {
        return Some(VolumeOwnership::Remove);
    }
    keep("nothing shows that it was provisioned for this claim")
}

/// Returns whether a volume has the name that provisioners give: that of the claim's uid. It shows this also when the
/// claim was deleted.
fn is_named_after_claim(volume: &PersistentVolume) -> bool {
    let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let uid = claim.and_then(|claim| claim.uid.as_deref()).filter(|uid| !uid.is_empty());
    uid.is_some_and(|uid| volume.name_any().ends_with(uid))
}

/// Returns why the storage behind a volume may have another owner, above all production; `None` if nothing indicates
/// it.
pub(super) fn foreign(volume: &PersistentVolume, all: &[PersistentVolume]) -> Option<String> {
    // A volume that was provisioned for its claim may have inherited the label from one that was once restored.
    let restored = volume.labels().contains_key(RESTORE_NAME) && !is_named_after_claim(volume);
    if restored || volume.name_any().starts_with(VELERO_CLONE) {
        return Some("Velero restored it unchanged, so it may be production's own".to_owned());
    }
    let storage = volume.spec.as_ref().and_then(storage)?;
    let other = all.iter().find(|other| {
        other.metadata.uid != volume.metadata.uid
            && other.spec.as_ref().and_then(self::storage).is_some_and(|others| others == storage)
    })?;
    Some(format!("it is also that of the PersistentVolume {}", other.name_any()))
}

/// The uids of claims.
pub(super) fn uids(claims: &[PersistentVolumeClaim]) -> BTreeSet<String> {
    claims.iter().filter_map(ResourceExt::uid).collect()
}

/// Decision on a VolumeSnapshotContent of the validation namespace.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ContentOwnership {
    /// Remove the object only, whose existing snapshot belongs to the backup; its policy must be `Retain` until then.
    RemoveObject,
    /// Its snapshot was taken of a volume in state-lab's namespace, by another owner.
    LeaveAlone,
}

/// Decides on a VolumeSnapshotContent; `None` if it has no snapshot in `namespace`.
pub(super) fn content(content: &VolumeSnapshotContent, namespace: &str) -> Option<ContentOwnership> {
    let source = &content.spec.source;
    (content.spec.volume_snapshot_ref.namespace == namespace).then_some(match source.snapshot_handle {
        Some(_) => ContentOwnership::RemoveObject,
        None => ContentOwnership::LeaveAlone,
    })
}

/// Returns whether the storage keeps the snapshot when the object is deleted.
pub(super) fn retains(content: &VolumeSnapshotContent) -> bool {
    content.spec.deletion_policy == "Retain"
}

/// Decision on a Velero Backup that its run never marked as verifiable.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BackupOwnership {
    /// Velero is asked to delete it, with its data.
    Delete,
    /// Velero deletes it already.
    Going,
    /// Velero is still at it.
    Busy,
    /// Not removable by this run, for this reason.
    NotOurs(&'static str),
}

/// Decides on a Backup; `None` unless it is one of this run that is not marked as verifiable. `lease` is the run's,
/// where it has one.
///
/// Only the object that the run itself created is deleted, and only if its lease shows that the run ended without
/// having removed it: neither holds for a copy that Velero has read back from the object store.
pub(super) fn backup(backup: &Backup, run: &Run, lease: Option<&Lease>) -> Option<BackupOwnership> {
    let unproven = backup.labels().get(UNPROVEN).is_some_and(|value| value == "true");
    if !unproven || Run::of(backup).as_ref() != Some(run) {
        return None;
    }
    let not_ours = |reason| Some(BackupOwnership::NotOurs(reason));
    let status = backup.observed();
    if status.phase.is("Deleting") {
        return Some(BackupOwnership::Going);
    }
    if !status.phase.ended() {
        return Some(BackupOwnership::Busy);
    }
    if lease.is_none_or(|lease| Run::of(lease).as_ref() != Some(run)) {
        return not_ours("the state of the run that created it is unknown in this cluster");
    }
    // Velero never reads back one that failed its validation, and such a one never began.
    let created = backup.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let began = status.start_timestamp.as_ref().map(|time| time.0);
    match (created, began) {
        (Some(created), Some(began)) if created <= began => Some(BackupOwnership::Delete),
        (Some(_), None) if status.phase.is("FailedValidation") => Some(BackupOwnership::Delete),
        _ => not_ours(
            "Velero synchronised it from the object store, so it may have been marked as verifiable since",
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::object as read;
    use crate::cluster::{Component, RUN, labels};

    const OURS: &str = "state-lab-0123";
    const UID: &str = "6f1c";

    /// A volume that was provisioned for our claim.
    fn provisioned() -> Value {
        json!({
            "metadata": { "name": "pvc-6f1c", "uid": "1", "annotations": { PROVISIONED_BY: "csi.test" } },
            "spec": {
                "claimRef": { "namespace": OURS, "name": "data", "uid": UID },
                "persistentVolumeReclaimPolicy": "Retain",
                "csi": { "driver": "csi.test", "volumeHandle": "handle-1" },
            },
        })
    }

    fn production() -> Value {
        json!({
            "metadata": { "name": "pvc-0000", "uid": "2", "annotations": { PROVISIONED_BY: "csi.test" } },
            "spec": {
                "claimRef": { "namespace": "app", "name": "data", "uid": "0000" },
                "csi": { "driver": "csi.test", "volumeHandle": "handle-0" },
            },
        })
    }

    fn judged(ours: Value, claims: &[&str]) -> Option<VolumeOwnership> {
        let (ours, other): (PersistentVolume, PersistentVolume) = (read(ours), read(production()));
        let claims = claims.iter().map(|&uid| uid.to_owned()).collect();
        volume(&ours, OURS, &claims, &[ours.clone(), other])
    }

    /// A volume that differs in one thing.
    fn but(pointer: &str, value: Value) -> Value {
        let mut volume = provisioned();
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        volume.pointer_mut(parent).unwrap()[last.replace("~1", "/")] = value;
        volume
    }

    #[test]
    fn storage_goes_only_if_it_was_made_for_our_claim_alone() {
        let kept = |reason: &str| Some(VolumeOwnership::KeepStorage(reason.to_owned()));
        let mut restored = but("/metadata/labels", json!({ RESTORE_NAME: "r" }));
        restored["metadata"]["name"] = json!("pvc-9999");
        let as_it_was = "Velero restored it unchanged, so it may be production's own";
        let table = [
            ("as it should be", provisioned(), Some(VolumeOwnership::Remove)),
            ("of another namespace", but("/spec/claimRef/namespace", json!("app")), None),
            ("of no claim", but("/spec/claimRef", Value::Null), None),
            ("Velero's clone", but("/metadata/name", json!("velero-clone-6f1c")), kept(as_it_was)),
            ("restored under its name", restored, kept(as_it_was)),
            (
                "with the label of what was restored once",
                but("/metadata/labels", json!({ RESTORE_NAME: "r" })),
                Some(VolumeOwnership::Remove),
            ),
            (
                "made by hand",
                but("/metadata/annotations", json!({})),
                kept("it was not provisioned for a claim"),
            ),
            (
                "production's storage",
                but("/spec/csi/volumeHandle", json!("handle-0")),
                kept("it is also that of the PersistentVolume pvc-0000"),
            ),
            (
                "the same handle of another driver",
                but("/spec/csi", json!({ "driver": "other.test", "volumeHandle": "handle-0" })),
                Some(VolumeOwnership::Remove),
            ),
            (
                "storage that we do not know",
                but("/spec/csi", Value::Null),
                kept("state-lab does not support this type of storage"),
            ),
            (
                "bound to a claim that we did not see",
                but("/metadata/name", json!("pvc-9999")),
                Some(VolumeOwnership::Remove),
            ),
        ];
        for (name, volume, ownership) in table {
            assert_eq!(judged(volume, &[UID]), ownership, "{name}");
        }
    }

    #[test]
    fn a_claim_that_is_gone_is_known_by_the_name_of_its_volume() {
        assert_eq!(judged(provisioned(), &[]), Some(VolumeOwnership::Remove));
        let reason = "nothing shows that it was provisioned for this claim".to_owned();
        for (volume, claims) in [
            (but("/metadata/name", json!("pvc-9999")), &[][..]),
            (but("/spec/claimRef/uid", json!("another")), &[UID]),
            (but("/spec/claimRef/uid", json!("")), &[]),
            (but("/spec/claimRef/uid", Value::Null), &[UID]),
        ] {
            assert_eq!(judged(volume, claims), Some(VolumeOwnership::KeepStorage(reason.clone())));
        }
    }

    #[test]
    fn a_backups_snapshot_never_goes_with_an_object_of_ours() {
        let of = |namespace: &str, source: Value| -> VolumeSnapshotContent {
            read(json!({ "spec": {
                "deletionPolicy": "Delete", "source": source, "volumeSnapshotRef": { "namespace": namespace, "name": "s" },
            }}))
        };
        let exists = json!({ "snapshotHandle": "snapshot-1" });
        let table = [
            (of(OURS, exists.clone()), Some(ContentOwnership::RemoveObject)),
            (of("app", exists.clone()), None),
            (of("state-lab-01234", exists), None),
            (of(OURS, json!({ "volumeHandle": "volume-1" })), Some(ContentOwnership::LeaveAlone)),
        ];
        for (found, ownership) in table {
            assert_eq!(content(&found, OURS), ownership, "{found:?}");
            assert!(!retains(&found), "it has to be set first");
        }
    }

    #[test]
    fn only_the_runs_own_object_of_an_unproven_backup_is_deleted() {
        let run = Run::new();
        let ours = labels(&run, Component::Backup);
        let lease = Lease {
            metadata: kube::api::ObjectMeta { labels: Some(ours.clone()), ..Default::default() },
            spec: None,
        };
        let other = Lease {
            metadata: kube::api::ObjectMeta {
                labels: Some(labels(&Run::new(), Component::Backup)),
                ..Default::default()
            },
            spec: None,
        };
        let unproven = || {
            let mut labels = ours.clone();
            labels.insert(UNPROVEN.to_owned(), "true".to_owned());
            json!({
                "metadata": { "name": "b", "labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z" },
                "status": { "phase": "Completed", "startTimestamp": "2026-01-01T00:00:00Z" },
            })
        };
        let but = |pointer: &str, value: Value| {
            let mut backup = unproven();
            *backup.pointer_mut(pointer).unwrap() = value;
            read::<Backup>(backup)
        };
        let verifiable = {
            let mut backup: Backup = read(unproven());
            backup.metadata.labels.as_mut().unwrap().remove(UNPROVEN);
            backup
        };
        let never_began = {
            let mut backup = but("/status/phase", json!("FailedValidation"));
            backup.status.get_or_insert_default().start_timestamp = None;
            backup
        };
        let read_back =
            "Velero synchronised it from the object store, so it may have been marked as verifiable since";
        let unknown = "the state of the run that created it is unknown in this cluster";
        let table = [
            ("unproven", read(unproven()), Some(&lease), Some(BackupOwnership::Delete)),
            (
                "failed",
                but("/status/phase", json!("PartiallyFailed")),
                Some(&lease),
                Some(BackupOwnership::Delete),
            ),
            ("never began", never_began, Some(&lease), Some(BackupOwnership::Delete)),
            ("verifiable", verifiable, Some(&lease), None),
            (
                "another run's",
                but(&format!("/metadata/labels/{}", RUN.replace('/', "~1")), json!("beef")),
                Some(&lease),
                None,
            ),
            (
                "not by us",
                but("/metadata/labels/app.kubernetes.io~1managed-by", json!("Helm")),
                Some(&lease),
                None,
            ),
            (
                "under way",
                but("/status/phase", json!("Finalizing")),
                Some(&lease),
                Some(BackupOwnership::Busy),
            ),
            (
                "being deleted",
                but("/status/phase", json!("Deleting")),
                Some(&lease),
                Some(BackupOwnership::Going),
            ),
            ("of a run unknown here", read(unproven()), None, Some(BackupOwnership::NotOurs(unknown))),
            ("with another's lease", read(unproven()), Some(&other), Some(BackupOwnership::NotOurs(unknown))),
            (
                "read back",
                but("/metadata/creationTimestamp", json!("2026-01-01T00:00:09Z")),
                Some(&lease),
                Some(BackupOwnership::NotOurs(read_back)),
            ),
        ];
        for (name, found, lease, ownership) in table {
            assert_eq!(backup(&found, &run, lease), ownership, "{name}");
        }
    }
}
