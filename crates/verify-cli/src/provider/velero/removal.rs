//! Removal of everything that a run made in a cluster, and of what dead runs left.
//!
//! One failure does not stop the rest. Nothing is touched that has not our labels, but for what our own restores bring
//! about: Velero's transfers, which are cancelled, and cluster-wide objects, on which [`super::fate`] decides. The run's lease goes last, and only
//! if all else is gone, so that the next sweep goes on with what is left.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::fate::{self, BackupFate, ContentFate, VolumeFate};
use super::place::Place;
use crate::cluster::{Cluster, Component, Kind, Run, labels, lease};
use crate::velero::backup::Backup;
use crate::velero::data_movement::DataDownload;
use crate::velero::deletion::{self, DeleteBackupRequest};
use crate::velero::pod_volume::PodVolumeRestore;
use crate::velero::restore::Restore;
use crate::velero::snapshot::VolumeSnapshotContent;
use crate::velero::transfer::TransferStatus;

pub(crate) use super::fate::UNPROVEN;

/// How long a namespace may take to go, with its pods and the storage of its claims.
const NAMESPACE_TIMEOUT: Duration = Duration::from_secs(180);
/// How long the storage behind a released volume may take to go.
const VOLUME_TIMEOUT: Duration = Duration::from_secs(60);
/// How long Velero may take to let its own objects go.
const VELERO_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(500);

/// What became of a removal.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Removal {
    /// What was removed, as in `Namespace state-lab-0123`.
    pub(crate) removed: Vec<String>,
    /// What was not, and why.
    pub(crate) left: Vec<String>,
}

impl Removal {
    /// Whether nothing is left.
    pub(crate) fn is_whole(&self) -> bool {
        self.left.is_empty()
    }

    /// Takes another one in.
    pub(crate) fn add(&mut self, other: Self) {
        self.removed.extend(other.removed);
        self.left.extend(other.left);
    }
}

/// Removes everything that a run made: its own at its end, or a dead one's. `tell` is told what takes time.
pub(crate) fn remove(cluster: &Cluster, velero_namespace: &str, run: &Run, tell: &dyn Fn(&str)) -> Removal {
    let mut work = Work { cluster, velero_namespace, run, tell, done: Removal::default() };
    work.everything();
    work.done
}

/// Whether an object has been removed, and only waits for whoever holds it.
fn is_going(object: &impl ResourceExt) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// Whether an object lies in a validation namespace. It has the labels of the run that was backed up if it was restored,
/// and goes with the namespace in any case.
pub(super) fn is_restored(object: &impl ResourceExt) -> bool {
    object.namespace().is_some_and(|namespace| namespace.starts_with("state-lab-"))
}

/// The removal of one run.
struct Work<'a> {
    cluster: &'a Cluster,
    velero_namespace: &'a str,
    run: &'a Run,
    tell: &'a dyn Fn(&str),
    done: Removal,
}

/// What outlives the namespace and is to be removed once it is gone.
struct Survivors {
    /// The uids of the claims that there were.
    claims: BTreeSet<String>,
    /// The volumes that go with them.
    going: BTreeSet<String>,
    contents: BTreeSet<String>,
}

impl Work<'_> {
    fn everything(&mut self) {
        // What works for us ends before what it works with.
        self.own::<Job>(None);
        self.own::<Pod>(None);
        self.end_restores();
        self.own::<Restore>(Some(self.velero_namespace));
        self.own::<ConfigMap>(Some(self.velero_namespace));
        self.place();
        self.await_restores_gone();
        self.backups();
        if self.done.is_whole() {
            self.lease();
        }
    }

    /// Removes our own objects of a kind, in one namespace or in all.
    fn own<K>(&mut self, namespace: Option<&str>)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        let kind =
            namespace.map_or_else(|| self.cluster.everywhere::<K>(), |namespace| self.cluster.of(namespace));
        let what = K::kind(&());
        let Some(found) = self.tried(&format!("{what}s"), kind.list_if_known(&self.run.selector())) else {
            return;
        };
        let ours = |object: &&K| Run::of(*object).as_ref() == Some(self.run) && !is_restored(*object);
        let to_go: Vec<&K> = found.iter().filter(ours).filter(|object| !is_going(*object)).collect();
        for object in to_go {
            let (name, within) = (object.name_any(), object.namespace().unwrap_or_default());
            let deleted = self.cluster.of::<K>(&within).delete(&name);
            self.gone(&format!("{what} {within}/{name}"), deleted);
        }
    }

    /// Ends the restores before anything that they work on goes. One that began might make the namespace anew, without
    /// our policy; and one that cannot find its claims any more holds up everybody else's restores for ten minutes.
    fn end_restores(&mut self) {
        let began = Instant::now();
        while began.elapsed() < VELERO_TIMEOUT {
            // What cannot be read is told when it is removed.
            let Ok(found) = self.restores() else { return };
            let open: Vec<Restore> =
                found.into_iter().filter(|restore| !restore.status.phase.ended()).collect();
            if open.is_empty() {
                return;
            }
            for restore in open.iter().filter(|restore| may_never_begin(restore)) {
                let name = restore.name_any();
                let deleted = self.cluster.of::<Restore>(self.velero_namespace).delete(&name);
                self.gone(&format!("Restore {}/{name}", self.velero_namespace), deleted);
            }
            // One that was at work may have begun another volume since.
            self.cancel(&open);
            thread::sleep(POLL);
        }
    }

    /// Has Velero give up the volumes that these restores still fill. A transfer whose pod is gone would never end, and
    /// nobody else's restore would begin for hours: Velero takes one at a time. What fails here is tried again.
    fn cancel(&self, restores: &[Restore]) {
        let cancel = json!({ "spec": { "cancel": true } });
        let filling = self.cluster.of::<PodVolumeRestore>(self.velero_namespace);
        for transfer in filling.list_if_known("").into_iter().flatten() {
            if is_open(&transfer, &transfer.status, restores) {
                let _ = filling.merge(&transfer.name_any(), &cancel);
            }
        }
        let moving = self.cluster.of::<DataDownload>(self.velero_namespace);
        for transfer in moving.list_if_known("").into_iter().flatten() {
            if is_open(&transfer, &transfer.status, restores) {
                let _ = moving.merge(&transfer.name_any(), &cancel);
            }
        }
    }

    fn restores(&self) -> Result<Vec<Restore>> {
        self.cluster.of::<Restore>(self.velero_namespace).list_if_known(&self.run.selector())
    }

    /// The validation namespace, and what is bound to it.
    fn place(&mut self) {
        let name = Place::of(self.run).name();
        let kind = self.cluster.global::<Namespace>();
        let Some(found) = self.tried(&format!("Namespace {name}"), kind.get(&name)) else { return };
        let ours = found.as_ref().is_some_and(|namespace| Run::of(namespace).as_ref() == Some(self.run));
        if found.is_some() && !ours {
            return self.left(format!(
                "Namespace {name}: it has not our labels; look what is in it, and delete it by hand"
            ));
        }
        // What must survive the namespace is made to before it goes. If that fails, it has to stay.
        let Some(survivors) = self.spare(&name) else { return };
        if found.is_some() {
            (self.tell)(&format!("removing the namespace {name}"));
            if self.tried(&format!("Namespace {name}"), kind.delete(&name)).is_none()
                || !self.await_gone(&kind, &name)
            {
                return;
            }
            self.done.removed.push(format!("Namespace {name}"));
        }
        self.volumes(&name, &survivors.claims, survivors.going);
        self.contents(&survivors.contents);
    }

    /// Sets the policies of what outlives the namespace, so that its end takes with it what is ours, and nothing else.
    fn spare(&mut self, namespace: &str) -> Option<Survivors> {
        let claims = self.cluster.of::<PersistentVolumeClaim>(namespace).list("");
        let claims = fate::uids(&self.tried(&format!("PersistentVolumeClaims of {namespace}"), claims)?);
        let volumes = self.cluster.global::<PersistentVolume>();
        let all = self.tried("PersistentVolumes", volumes.list(""))?;
        let mut spared = true;
        let mut going = BTreeSet::new();
        for (volume, fate) in judged(&all, namespace, &claims) {
            spared &= self.set_policy(volume, &fate);
            if fate == VolumeFate::Remove {
                going.insert(volume.name_any());
            }
        }
        let contents = self.cluster.global::<VolumeSnapshotContent>();
        let mut ours = BTreeSet::new();
        for content in self.tried("VolumeSnapshotContents", contents.list_if_known(""))? {
            if fate::content(&content, namespace) != Some(ContentFate::RemoveObject) {
                continue;
            }
            let name = content.name_any();
            if !fate::retains(&content) {
                let set = contents.merge(&name, &json!({ "spec": { "deletionPolicy": "Retain" } }));
                spared &= self.tried(&format!("VolumeSnapshotContent {name}"), set).is_some();
            }
            ours.insert(name);
        }
        if !spared {
            self.left(format!(
                "Namespace {namespace}: it would take with it what has to stay; clean up again"
            ));
            return None;
        }
        Some(Survivors { claims, going, contents: ours })
    }

    /// Lets a volume's storage go with its claim, or stay; whether it is so now.
    fn set_policy(&mut self, volume: &PersistentVolume, fate: &VolumeFate) -> bool {
        let policy = match fate {
            VolumeFate::Remove => "Delete",
            VolumeFate::KeepStorage(_) => "Retain",
        };
        if reclaim_policy(volume) == policy {
            return true;
        }
        let name = volume.name_any();
        let fields = json!({
            "metadata": { "resourceVersion": volume.metadata.resource_version },
            "spec": { "persistentVolumeReclaimPolicy": policy },
        });
        let set = self.cluster.global::<PersistentVolume>().merge_unless_changed(&name, &fields);
        match self.tried(&format!("PersistentVolume {name}"), set) {
            Some(true) => true,
            Some(false) => {
                self.left(format!("PersistentVolume {name}: it changed meanwhile; clean up again"));
                false
            }
            None => false,
        }
    }

    /// Waits until a namespace is gone; tells what holds it where it does not go.
    fn await_gone(&mut self, kind: &Kind<Namespace>, name: &str) -> bool {
        let began = Instant::now();
        loop {
            let Some(found) = self.tried(&format!("Namespace {name}"), kind.get(name)) else { return false };
            let Some(namespace) = found else { return true };
            if began.elapsed() > NAMESPACE_TIMEOUT {
                // Without them the message only tells less.
                let pods = self.cluster.of::<Pod>(name).list("").unwrap_or_default();
                let claims = self.cluster.of::<PersistentVolumeClaim>(name).list("").unwrap_or_default();
                let holds = held_by(&namespace, &pods, &claims);
                let waited = NAMESPACE_TIMEOUT.as_secs();
                self.left(format!("Namespace {name}: it is still going after {waited} s{holds}"));
                return false;
            }
            thread::sleep(POLL);
        }
    }

    /// The volumes of claims that are gone: those that go by themselves are waited for, the others are removed as objects.
    fn volumes(&mut self, namespace: &str, claims: &BTreeSet<String>, mut going: BTreeSet<String>) {
        let kind = self.cluster.global::<PersistentVolume>();
        let began = Instant::now();
        let mut dealt_with = BTreeSet::new();
        loop {
            let Some(all) = self.tried("PersistentVolumes", kind.list("")) else { return };
            let before = std::mem::take(&mut going);
            for (volume, fate) in judged(&all, namespace, claims) {
                let name = volume.name_any();
                if dealt_with.contains(&name) {
                    continue;
                }
                // One that was bound at the last moment has kept its policy so far.
                if !self.set_policy(volume, &fate) {
                    dealt_with.insert(name);
                    continue;
                }
                match fate {
                    VolumeFate::Remove => {
                        going.insert(name);
                    }
                    VolumeFate::KeepStorage(reason) => self.forget(&kind, &name, &reason, &mut dealt_with),
                }
            }
            let gone = before.difference(&going).filter(|name| !dealt_with.contains(*name));
            self.done.removed.extend(gone.map(|name| format!("PersistentVolume {name}")));
            if going.is_empty() {
                return;
            }
            if began.elapsed() > VOLUME_TIMEOUT {
                let waited = VOLUME_TIMEOUT.as_secs();
                for name in going {
                    self.left(format!(
                        "PersistentVolume {name}: its storage is not gone {waited} s after its claim; `kubectl describe \
                         pv {name}` shows why"
                    ));
                }
                return;
            }
            thread::sleep(POLL);
        }
    }

    /// Removes the object of a volume whose storage stays.
    fn forget(
        &mut self,
        kind: &Kind<PersistentVolume>,
        name: &str,
        reason: &str,
        dealt_with: &mut BTreeSet<String>,
    ) {
        let what = format!("PersistentVolume {name}");
        let Some(read) = self.tried(&what, kind.get(name)) else {
            dealt_with.insert(name.to_owned());
            return;
        };
        if let Some(volume) = read
            && reclaim_policy(&volume) == "Retain"
        {
            let deleted = kind.delete_as_read(&volume);
            (self.tell)(&format!("the storage of the PersistentVolume {name} is kept: {reason}"));
            self.gone(&format!("{what}, whose storage is kept: {reason}"), deleted);
            dealt_with.insert(name.to_owned());
        }
    }

    /// The contents of snapshots that a restore made. The storage's snapshots are the backup's, and stay.
    fn contents(&mut self, names: &BTreeSet<String>) {
        let kind = self.cluster.global::<VolumeSnapshotContent>();
        for name in names {
            let what = format!("VolumeSnapshotContent {name}");
            match self.tried(&what, kind.get(name)) {
                Some(Some(content)) if fate::retains(&content) => {
                    let deleted = kind.delete_as_read(&content);
                    self.gone(&what, deleted);
                }
                Some(Some(_)) => {
                    self.left(format!("{what}: its deletion policy is not Retain any more; clean up again"));
                }
                Some(None) => self.done.removed.push(what),
                None => {}
            }
        }
    }

    /// Restores that were removed go when Velero lets them.
    fn await_restores_gone(&mut self) {
        let began = Instant::now();
        loop {
            let Some(found) = self.tried("Restores", self.restores()) else { return };
            if found.is_empty() {
                return;
            }
            if began.elapsed() > VELERO_TIMEOUT {
                for restore in found {
                    self.left(format!(
                        "Restore {}: Velero has not let it go within {} s; does the Velero server run, and does it \
                         reach the backup's location?",
                        restore.name_any(),
                        VELERO_TIMEOUT.as_secs()
                    ));
                }
                return;
            }
            thread::sleep(POLL);
        }
    }

    /// Backups that were never proven.
    fn backups(&mut self) {
        let kind = self.cluster.of::<Backup>(self.velero_namespace);
        let unproven = format!("{},{UNPROVEN}=true", self.run.selector());
        let Some(found) = self.tried("Backups", kind.list_if_known(&unproven)) else { return };
        let leases = self.cluster.of::<Lease>(self.velero_namespace);
        let lease = if found.is_empty() {
            None
        } else {
            let Some(lease) = self.tried("the run's Lease", leases.get(&lease::name(self.run))) else {
                return;
            };
            lease
        };
        for backup in found {
            let what = format!("Backup {}", backup.name_any());
            match fate::backup(&backup, self.run, lease.as_ref()) {
                None => {}
                Some(BackupFate::Busy) => {
                    self.left(format!("{what}: Velero is still at it; clean up again when it has ended"));
                }
                Some(BackupFate::NotOurs(reason)) => (self.tell)(&format!("the {what} stays: {reason}")),
                Some(BackupFate::Going) => self.await_backup_gone(&kind, &backup, &what),
                Some(BackupFate::Delete) => {
                    (self.tell)(&format!(
                        "asking Velero to delete the backup {}, which was never proven",
                        backup.name_any()
                    ));
                    if self.tried(&what, self.ask_for_deletion(&backup)).is_some() {
                        self.await_backup_gone(&kind, &backup, &what);
                    }
                }
            }
        }
    }

    fn ask_for_deletion(&self, backup: &Backup) -> Result<()> {
        let kind = self.cluster.of::<DeleteBackupRequest>(self.velero_namespace);
        let name = lease::name(self.run);
        // One that was processed, with errors, does nothing any more.
        if kind.get(&name)?.is_some_and(|request| {
            request.status.phase.ended() && Run::of(&request).as_ref() == Some(self.run)
        }) {
            kind.delete(&name)?;
        }
        kind.create(&deletion::request(name, labels(self.run, Component::Backup), backup))?;
        Ok(())
    }

    fn await_backup_gone(&mut self, kind: &Kind<Backup>, backup: &Backup, what: &str) {
        let began = Instant::now();
        loop {
            let Some(found) = self.tried(what, kind.get(&backup.name_any())) else { return };
            if found.is_none_or(|found| found.metadata.uid != backup.metadata.uid) {
                return self.done.removed.push(what.to_owned());
            }
            if began.elapsed() > VELERO_TIMEOUT {
                let requests = self.cluster.of::<DeleteBackupRequest>(self.velero_namespace);
                let request = requests.get(&lease::name(self.run)).ok().flatten();
                let errors = request
                    .map(|request| request.status.errors.join("; "))
                    .filter(|errors| !errors.is_empty());
                return self.left(match errors {
                    Some(errors) => format!("{what}: Velero failed to delete it: {errors}"),
                    None => format!(
                        "{what}: Velero has been asked to delete it, and has not within {} s",
                        VELERO_TIMEOUT.as_secs()
                    ),
                });
            }
            thread::sleep(POLL);
        }
    }

    fn lease(&mut self) {
        let name = lease::name(self.run);
        let kind = self.cluster.of::<Lease>(self.velero_namespace);
        if let Some(Some(lease)) = self.tried(&format!("Lease {name}"), kind.get(&name))
            && Run::of(&lease).as_ref() == Some(self.run)
        {
            let deleted = kind.delete(&name);
            self.tried(&format!("Lease {name}"), deleted);
        }
    }

    /// What came of a request; where it failed, that is told, and the work goes on.
    fn tried<T>(&mut self, what: &str, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.failed(what, &error);
                None
            }
        }
    }

    fn failed(&mut self, what: &str, error: &Error) {
        self.left(format!("{what}: {error:#}"));
    }

    fn gone(&mut self, what: &str, deleted: Result<bool>) {
        // Somebody else may have been faster.
        if self.tried(what, deleted) == Some(true) {
            self.done.removed.push(what.to_owned());
        }
    }

    fn left(&mut self, what: String) {
        self.done.left.push(what);
    }
}

/// The volumes of our namespace, with what becomes of each.
fn judged<'a>(
    all: &'a [PersistentVolume],
    namespace: &str,
    claims: &BTreeSet<String>,
) -> Vec<(&'a PersistentVolume, VolumeFate)> {
    all.iter().filter_map(|volume| Some((volume, fate::volume(volume, namespace, claims, all)?))).collect()
}

/// Kubernetes' default for volumes that say nothing is to keep them.
fn reclaim_policy(volume: &PersistentVolume) -> &str {
    let spec = volume.spec.as_ref();
    spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()).unwrap_or("Retain")
}

/// Whether Velero has not looked at a restore yet; it never begins one that is removed before.
fn may_never_begin(restore: &Restore) -> bool {
    restore.status.phase.untouched() && !is_going(restore)
}

/// Whether this transfer belongs to one of these restores, and has not ended. Velero's own mark of that is the owner: it
/// gives transfers none of our labels.
fn is_open(transfer: &impl ResourceExt, status: &TransferStatus, restores: &[Restore]) -> bool {
    let owners = transfer.owner_references().iter().filter(|owner| owner.kind == "Restore");
    let ours = owners
        .into_iter()
        .any(|owner| restores.iter().any(|restore| restore.metadata.uid.as_ref() == Some(&owner.uid)));
    ours && !status.phase.ended()
}

/// What keeps a namespace from going, in words that follow a statement.
fn held_by(namespace: &Namespace, pods: &[Pod], claims: &[PersistentVolumeClaim]) -> String {
    let conditions = namespace.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut holds: Vec<String> = conditions
        .filter(|condition| condition.status == "True")
        .filter_map(|condition| condition.message.clone())
        .filter(|message| !message.is_empty())
        .collect();
    holds.extend(pods.iter().map(|pod| {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let node = node.map(|node| format!(" on {node}")).unwrap_or_default();
        format!("the pod {}{node}{}", pod.name_any(), finalizers(pod))
    }));
    holds.extend(claims.iter().map(|claim| format!("the claim {}{}", claim.name_any(), finalizers(claim))));
    if holds.is_empty() { String::new() } else { format!(", held by: {}", holds.join("; ")) }
}

fn finalizers(object: &impl ResourceExt) -> String {
    match object.finalizers() {
        [] => String::new(),
        finalizers => format!(" (finalizers {})", finalizers.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<K: DeserializeOwned>(value: serde_json::Value) -> K {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_restore_that_nobody_has_looked_at_is_removed_once() {
        let table = [
            (json!({}), true),
            (json!({ "status": { "phase": "New" } }), true),
            (json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }), false),
            (json!({ "status": { "phase": "InProgress" } }), false),
            (json!({ "status": { "phase": "Completed" } }), false),
        ];
        for (restore, expected) in table {
            assert_eq!(may_never_begin(&read(restore.clone())), expected, "{restore}");
        }
    }

    #[test]
    fn only_open_transfers_of_our_own_restores_are_cancelled() {
        let restore: Restore = read(json!({ "metadata": { "name": "r", "uid": "1" } }));
        let transfer = |kind: &str, uid: &str, phase: &str| -> PodVolumeRestore {
            read(json!({
                "metadata": { "ownerReferences": [{ "apiVersion": "velero.io/v1", "kind": kind, "name": "r", "uid": uid }] },
                "status": { "phase": phase },
            }))
        };
        let table = [
            (transfer("Restore", "1", ""), true),
            (transfer("Restore", "1", "InProgress"), true),
            (transfer("Restore", "1", "Completed"), false),
            (transfer("Restore", "2", "InProgress"), false),
            (transfer("Backup", "1", "InProgress"), false),
            (PodVolumeRestore::default(), false),
        ];
        for (found, open) in table {
            assert_eq!(is_open(&found, &found.status, std::slice::from_ref(&restore)), open, "{found:?}");
        }
        assert!(!is_open(&transfer("Restore", "1", ""), &TransferStatus::default(), &[]));
    }

    #[test]
    fn what_holds_a_namespace_is_told() {
        let namespace: Namespace = read(json!({ "status": { "conditions": [
            { "type": "NamespaceDeletionContentFailure", "status": "False", "message": "All content deleted" },
            { "type": "NamespaceContentRemaining", "status": "True", "message": "Some resources are remaining: pods. has 1 resource instances" },
        ]}}));
        let pod: Pod = read(
            json!({ "metadata": { "name": "p" }, "spec": { "nodeName": "worker-1", "containers": [] } }),
        );
        let claim: PersistentVolumeClaim =
            read(json!({ "metadata": { "name": "data", "finalizers": ["kubernetes.io/pvc-protection"] } }));
        assert_eq!(
            held_by(&namespace, &[pod], &[claim]),
            ", held by: Some resources are remaining: pods. has 1 resource instances; the pod p on worker-1; the claim \
             data (finalizers kubernetes.io/pvc-protection)"
        );
        assert_eq!(held_by(&Namespace::default(), &[], &[]), "");
    }

    #[test]
    fn a_volume_that_says_nothing_is_kept() {
        assert_eq!(reclaim_policy(&PersistentVolume::default()), "Retain");
    }
}
