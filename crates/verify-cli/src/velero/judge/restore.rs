//! Every reason why a restore is no success, whatever its phase says.

use super::named;
use super::outcome::{Outcome, texts, transfer};
use crate::velero::data_movement::DataDownload;
use crate::velero::pod_volume::PodVolumeRestore;
use crate::velero::problem::{Problem, Weight};
use crate::velero::restore::Restore;
use crate::velero::results::Results;
use crate::velero::snapshot::VolumeSnapshotContent;
use crate::velero::transfer::Transfer;
use crate::velero::volume::{ExpectedVolume, ExpectedVolumes};
use crate::velero::volume_info::{self, Copy, VolumeInfo};

/// A restore that has ended, and what belongs to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestoreSeen<'a> {
    /// The restore.
    pub(crate) restore: &'a Restore,
    /// Its fillings of pods' volumes, by its label.
    pub(crate) pod_volume_restores: &'a [PodVolumeRestore],
    /// Its fillings of claims, by its label.
    pub(crate) downloads: &'a [DataDownload],
    /// The snapshots that it restored from, by its label.
    pub(crate) contents: &'a [VolumeSnapshotContent],
    /// The texts of its errors and warnings; empty where they could not be had.
    pub(crate) results: &'a Results,
    /// What the backup holds of each volume.
    pub(crate) volumes: &'a [VolumeInfo],
}

/// Every reason why this restore is no success; none that decides if it filled every expected volume, once, from the
/// very snapshot that the backup holds, and where it was asked to.
pub(crate) fn restore_problems(seen: &RestoreSeen<'_>, expected: &ExpectedVolumes) -> Vec<Problem> {
    let (restore, status) = (seen.restore, &seen.restore.status);
    let object = named(restore);
    let outcome = Outcome {
        object: object.clone(),
        phase: &status.phase,
        validation_errors: &status.validation_errors,
        failure_reason: &status.failure_reason,
        hooks: &status.hook_status,
        operations_attempted: status.restore_item_operations_attempted,
        operations_failed: status.restore_item_operations_failed,
    };
    let mut problems = outcome.problems();
    problems.extend(seen.transfers().iter().filter_map(transfer));
    problems.extend(expected.volumes.iter().filter_map(|volume| unfilled(seen, volume)));
    problems.extend(texts(&object, Weight::Failure, status.errors, &seen.results.errors));
    problems.extend(texts(&object, Weight::Warning, status.warnings, &seen.results.warnings));
    problems
}

/// An object that fills a volume, in the terms in which they are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Filling<'a> {
    /// Where the data comes from.
    source: &'a str,
    /// The namespace that it goes to.
    namespace: &'a str,
}

impl<'a> RestoreSeen<'a> {
    /// All that moves data for it.
    pub(crate) fn transfers(&self) -> Vec<Transfer<'a>> {
        let files = self.pod_volume_restores.iter().map(Transfer::from);
        files.chain(self.downloads.iter().map(Transfer::from)).collect()
    }

    /// Where the volumes of a namespace go.
    fn target(&self, namespace: &'a str) -> &'a str {
        self.restore.spec.namespace_mapping.get(namespace).map_or(namespace, String::as_str)
    }

    /// All objects that fill this volume, in the way in which a copy of this kind is restored.
    fn fillings(&self, volume: &ExpectedVolume, copy: Copy<'_>) -> Vec<Filling<'a>> {
        match copy {
            Copy::Files(_) => {
                let own = self.pod_volume_restores.iter().map(|object| &object.spec).filter(|spec| {
                    spec.source_namespace == volume.namespace
                        && spec.pod.name == volume.pod
                        && spec.volume == volume.volume
                });
                own.map(|spec| Filling { source: &spec.snapshot_id, namespace: &spec.pod.namespace })
                    .collect()
            }
            Copy::Moved(_) => {
                let own = self.downloads.iter().map(|object| &object.spec).filter(|spec| {
                    spec.source_namespace == volume.namespace && spec.target_volume.pvc == volume.claim
                });
                own.map(|spec| Filling {
                    source: &spec.snapshot_id,
                    namespace: &spec.target_volume.namespace,
                })
                .collect()
            }
            // A content does not name the claim, only its snapshot.
            Copy::Snapshot(handle) => {
                let own = self.contents.iter().filter(|content| content.handle() == Some(handle));
                own.filter_map(|content| {
                    let namespace = &content.spec.volume_snapshot_ref.namespace;
                    Some(Filling { source: content.handle()?, namespace })
                })
                .collect()
            }
        }
    }
}

/// Why an expected volume was not filled with the data that the backup holds.
fn unfilled(seen: &RestoreSeen<'_>, volume: &ExpectedVolume) -> Option<Problem> {
    let object = volume.to_string();
    let Some(copy) = volume_info::of(seen.volumes, volume).and_then(VolumeInfo::copy) else {
        return Some(
            Problem::failure(object, "was not restored: the backup does not hold its data")
                .way_out("what comes up in its place is an empty volume; take a backup that holds it"),
        );
    };
    let target = seen.target(&volume.namespace);
    let what = match seen.fillings(volume, copy).as_slice() {
        [] => format!("was not restored: there is no {}", kind(copy)),
        [only] if only.source != copy.name() => {
            format!("was filled from snapshot {}, where the backup holds {}", only.source, copy.name())
        }
        [only] if only.namespace != target => {
            format!("was restored into namespace {}, where {target} was asked for", only.namespace)
        }
        [_] => return None,
        several => {
            format!("was filled by {} objects of kind {}, one over the other", several.len(), kind(copy))
        }
    };
    Some(Problem::failure(object, what).way_out(
        "what is there already is not filled: restore into a new namespace, and see that no volume of an earlier \
         restore is left with the policy Retain",
    ))
}

/// What restores a copy of this kind.
const fn kind(copy: Copy<'_>) -> &'static str {
    match copy {
        Copy::Files(_) => "PodVolumeRestore",
        Copy::Moved(_) => "DataDownload",
        Copy::Snapshot(_) => "VolumeSnapshotContent",
    }
}
