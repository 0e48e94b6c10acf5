//! Removal of everything that a run made in a cluster, and of the leftovers of aborted runs.
//!
//! One failure does not stop the rest. Nothing is touched that has not our labels, but for what our own backups and
//! restores bring about: Velero's transfers, which are cancelled, and cluster-wide objects, on which [`super::ownership`]
//! decides. The run's lease goes last, and only if all else is deleted, so that the next sweep goes on with what is left.

mod namespace;
mod velero_objects;

use anyhow::Result;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use verify_drill::provider::Removal;
use verify_drill::watch::Watch;

pub(super) use super::ownership::UNPROVEN;
use crate::cluster::{Cluster, Namespaced, Run, lease};
use crate::velero::restore::Restore;

/// Removes everything that a run made: its own at its end, or a dead one's. `watch` gets a line for what takes time.
pub(super) fn remove(cluster: &Cluster, velero_namespace: &str, run: &Run, watch: &Watch<'_>) -> Removal {
    let mut work = Work { cluster, velero_namespace, run, watch, done: Removal::default() };
    work.everything();
    work.done
}

/// Returns whether an object has been deleted, and waits for its finalizers only.
fn is_going(object: &impl ResourceExt) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// Returns whether an object is in a validation namespace. It has the labels of the run that was backed up if it was
/// restored, and goes with the namespace in any case.
pub(super) fn is_restored(object: &impl ResourceExt) -> bool {
    object.namespace().is_some_and(|namespace| namespace.starts_with("state-lab-"))
}

/// The removal of one run.
struct Work<'a> {
    cluster: &'a Cluster,
    velero_namespace: &'a str,
    run: &'a Run,
    watch: &'a Watch<'a>,
    done: Removal,
}

impl Work<'_> {
    fn everything(&mut self) {
        // What works for us ends before what it works with.
        self.own::<Job>(None);
        self.own::<Pod>(None);
        self.end_restores();
        self.own::<Restore>(Some(self.velero_namespace));
        self.own::<ConfigMap>(Some(self.velero_namespace));
        self.end_place();
        self.await_restores_gone();
        self.backups();
        if self.done.is_whole() {
            self.lease();
        }
    }

    /// Removes our own objects of a kind, in one namespace or in all.
    fn own<K: Namespaced>(&mut self, namespace: Option<&str>) {
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
            self.note_deleted(&format!("{what} {within}/{name}"), deleted);
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

    /// Returns the result of a request; an error is reported, and the work continues.
    fn tried<T>(&mut self, what: &str, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.left(format!("{what}: {error:#}"));
                None
            }
        }
    }

    fn note_deleted(&mut self, what: &str, deleted: Result<bool>) {
        // Another client may have been faster.
        if self.tried(what, deleted) == Some(true) {
            self.done.removed.push(what.to_owned());
        }
    }

    fn left(&mut self, what: String) {
        self.done.left.push(what);
    }
}
