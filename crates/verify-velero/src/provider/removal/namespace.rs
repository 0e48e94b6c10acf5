//! The end of a validation namespace, and of what is bound to it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use serde_json::json;

use super::{Work, is_going};
use crate::cluster::{Kind, Run};
use crate::provider::ownership::{self, ContentOwnership, VolumeOwnership};
use crate::provider::place::Place;
use crate::velero::snapshot::{VolumeSnapshot, VolumeSnapshotContent};
use verify_drill::until::{Check, Pace, Waited, never, until};

/// Time limit of the deletion of a namespace, with its pods and the storage of its claims.
const NAMESPACE_TIMEOUT: Duration = Duration::from_secs(180);
/// The same for one that an earlier run has waited for in vain, as for a node that is away.
const STUCK_NAMESPACE_TIMEOUT: Duration = Duration::from_secs(20);
/// Interval at which the snapshot controller is triggered, and the annotation for it.
const REMINDER_PERIOD: Duration = Duration::from_secs(5);
const REMINDER: &str = "state-lab.dev/going-for";
/// Time limit of the deletion of the storage behind a released volume.
const VOLUME_TIMEOUT: Duration = Duration::from_secs(60);

/// Objects that outlive the namespace and are removed after it.
struct Survivors {
    /// The uids of the claims that there were.
    claims: BTreeSet<String>,
    /// The volumes that go with them.
    going: BTreeSet<String>,
    contents: BTreeSet<String>,
}

impl Work<'_> {
    /// The validation namespace, and what is bound to it.
    pub(super) fn end_place(&mut self) {
        let name = Place::of(self.run).name();
        let kind = self.cluster.global::<Namespace>();
        let Some(found) = self.tried(&format!("Namespace {name}"), kind.get(&name)) else { return };
        let ours = found.as_ref().is_some_and(|namespace| Run::of(namespace).as_ref() == Some(self.run));
        if found.is_some() && !ours {
            return self.left(format!(
                "Namespace {name}: it lacks state-lab's labels; inspect it, and delete it by hand"
            ));
        }
        // What must survive the namespace is made to before it goes. If that fails, it has to stay.
        let Some(survivors) = self.spare(&name) else { return };
        if found.is_some() {
            self.watch.report(&format!("removing the namespace {name}"));
            if self.tried(&format!("Namespace {name}"), kind.delete(&name)).is_none()
                || !self.await_gone(&kind, &name, found.as_ref().map_or(NAMESPACE_TIMEOUT, timeout))
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
        let claims = ownership::uids(&self.tried(&format!("PersistentVolumeClaims of {namespace}"), claims)?);
        let volumes = self.cluster.global::<PersistentVolume>();
        let all = self.tried("PersistentVolumes", volumes.list(""))?;
        let mut spared = true;
        let mut going = BTreeSet::new();
        for (volume, ownership) in judged(&all, namespace, &claims) {
            spared &= self.set_policy(volume, &ownership);
            if ownership == VolumeOwnership::Remove {
                going.insert(volume.name_any());
            }
        }
        let contents = self.cluster.global::<VolumeSnapshotContent>();
        let mut ours = BTreeSet::new();
        for content in self.tried("VolumeSnapshotContents", contents.list_if_known(""))? {
            if ownership::content(&content, namespace) != Some(ContentOwnership::RemoveObject) {
                continue;
            }
            let name = content.name_any();
            if !ownership::retains(&content) {
                let set = contents.merge(&name, &json!({ "spec": { "deletionPolicy": "Retain" } }));
                spared &= self.tried(&format!("VolumeSnapshotContent {name}"), set).is_some();
            }
            ours.insert(name);
        }
        if !spared {
            self.left(format!(
                "Namespace {namespace}: deleting it would also delete what must be kept; clean up again"
            ));
            return None;
        }
        Some(Survivors { claims, going, contents: ours })
    }

    /// Lets a volume's storage go with its claim, or stay; whether it is so now.
    fn set_policy(&mut self, volume: &PersistentVolume, ownership: &VolumeOwnership) -> bool {
        let policy = match ownership {
            VolumeOwnership::Remove => "Delete",
            VolumeOwnership::KeepStorage(_) => "Retain",
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

    /// Waits until a namespace is deleted; reports what blocks its deletion.
    fn await_gone(&mut self, kind: &Kind<Namespace>, name: &str, timeout: Duration) -> bool {
        let began = Instant::now();
        let mut reminded_at = began;
        let waited = until(timeout, Pace::REMOTE, never, || {
            let Some(namespace) = kind.get(name)? else { return Ok(Check::Done(())) };
            if reminded_at.elapsed() > REMINDER_PERIOD {
                self.remind(name, began.elapsed());
                reminded_at = Instant::now();
            }
            Ok(Check::Waiting(namespace))
        });
        match self.tried(&format!("Namespace {name}"), waited) {
            Some(Waited::Done(())) => true,
            Some(Waited::TimedOut(namespace)) => {
                // Without them the message only has less detail.
                let pods = self.cluster.of::<Pod>(name).list("").unwrap_or_default();
                let claims = self.cluster.of::<PersistentVolumeClaim>(name).list("").unwrap_or_default();
                let holds = held_by(&namespace, &pods, &claims);
                let waited = began.elapsed().as_secs();
                self.left(format!("Namespace {name}: it is still terminating after {waited} s{holds}"));
                false
            }
            Some(Waited::Stopped) | None => false,
        }
    }

    /// Changes the snapshots that are going. The snapshot controller keeps one as long as a claim is filled from it, and
    /// does not check again when that claim is deleted, but at the snapshot's next change or after a quarter of an hour.
    fn remind(&self, namespace: &str, waited: Duration) {
        let kind = self.cluster.of::<VolumeSnapshot>(namespace);
        let reminder =
            json!({ "metadata": { "annotations": { REMINDER: format!("{} s", waited.as_secs()) } } });
        // Without it the namespace takes its time, which is reported if it takes too long.
        for snapshot in kind.list_if_known("").into_iter().flatten().filter(is_going) {
            let _ = kind.merge(&snapshot.name_any(), &reminder);
        }
    }

    /// The volumes of deleted claims: those that the cluster deletes are waited for, the others are removed as objects.
    fn volumes(&mut self, namespace: &str, claims: &BTreeSet<String>, mut going: BTreeSet<String>) {
        let kind = self.cluster.global::<PersistentVolume>();
        let mut dealt_with = BTreeSet::new();
        let waited = until(VOLUME_TIMEOUT, Pace::REMOTE, never, || {
            let all = kind.list("")?;
            let before = std::mem::take(&mut going);
            for (volume, ownership) in judged(&all, namespace, claims) {
                let name = volume.name_any();
                if dealt_with.contains(&name) {
                    continue;
                }
                // One that was bound at the last moment has kept its policy so far.
                if !self.set_policy(volume, &ownership) {
                    dealt_with.insert(name);
                    continue;
                }
                match ownership {
                    VolumeOwnership::Remove => {
                        going.insert(name);
                    }
                    VolumeOwnership::KeepStorage(reason) => {
                        self.forget(&kind, &name, &reason, &mut dealt_with);
                    }
                }
            }
            let deleted = before.difference(&going).filter(|name| !dealt_with.contains(*name));
            self.done.removed.extend(deleted.map(|name| format!("PersistentVolume {name}")));
            Ok(if going.is_empty() { Check::Done(()) } else { Check::Waiting(()) })
        });
        if let Some(Waited::TimedOut(())) = self.tried("PersistentVolumes", waited) {
            let waited = VOLUME_TIMEOUT.as_secs();
            for name in going {
                self.left(format!(
                    "PersistentVolume {name}: its storage has not been deleted {waited} s after its claim; `kubectl \
                     describe pv {name}` shows why"
                ));
            }
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
            self.watch.report(&format!("the storage of the PersistentVolume {name} is kept: {reason}"));
            self.note_deleted(&format!("{what}, whose storage is kept: {reason}"), deleted);
            dealt_with.insert(name.to_owned());
        }
    }

    /// The contents of snapshots that a restore made. The storage's snapshots are the backup's, and stay.
    fn contents(&mut self, names: &BTreeSet<String>) {
        let kind = self.cluster.global::<VolumeSnapshotContent>();
        for name in names {
            let what = format!("VolumeSnapshotContent {name}");
            match self.tried(&what, kind.get(name)) {
                Some(Some(content)) if ownership::retains(&content) => {
                    let deleted = kind.delete_as_read(&content);
                    self.note_deleted(&what, deleted);
                }
                Some(Some(_)) => {
                    self.left(format!("{what}: its deletion policy is no longer Retain; clean up again"));
                }
                Some(None) => self.done.removed.push(what),
                None => {}
            }
        }
    }
}

/// The volumes of state-lab's namespace, with the decision about each.
fn judged<'a>(
    all: &'a [PersistentVolume],
    namespace: &str,
    claims: &BTreeSet<String>,
) -> Vec<(&'a PersistentVolume, VolumeOwnership)> {
    all.iter()
        .filter_map(|volume| Some((volume, ownership::volume(volume, namespace, claims, all)?)))
        .collect()
}

/// Kubernetes' default for volumes that say nothing is to keep them.
fn reclaim_policy(volume: &PersistentVolume) -> &str {
    let spec = volume.spec.as_ref();
    spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()).unwrap_or("Retain")
}

/// Time limit of the deletion of a namespace that was found before it was deleted.
fn timeout(found: &Namespace) -> Duration {
    let since = found.metadata.deletion_timestamp.as_ref();
    let going_for = since.and_then(|time| Duration::try_from(Timestamp::now().duration_since(time.0)).ok());
    match going_for.is_some_and(|going_for| going_for > NAMESPACE_TIMEOUT) {
        true => STUCK_NAMESPACE_TIMEOUT,
        false => NAMESPACE_TIMEOUT,
    }
}

/// Returns what keeps a namespace from being deleted, as a phrase after a statement.
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
    use crate::cluster::object as read;

    #[test]
    fn what_blocks_a_namespace_is_reported() {
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
