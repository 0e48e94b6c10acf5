//! Problems of a restore, regardless of its phase.

use super::finished::{Finished, transfer};
use super::named;
use crate::velero::data_movement::DataDownload;
use crate::velero::object::Observed;
use crate::velero::pod_volume::PodVolumeRestore;
use crate::velero::restore::Restore;
use crate::velero::results::Results;
use crate::velero::snapshot::VolumeSnapshotContent;
use crate::velero::transfer::transfers;
use crate::velero::volume::ExpectedVolume;
use crate::velero::volume_info::{self, HeldCopy, VolumeInfo};
use verify_drill::problem::Problem;

/// A restore that has ended, and what belongs to it.
#[derive(Clone, Copy, Debug)]
pub struct RestoreSeen<'a> {
    /// The restore.
    pub restore: &'a Restore,
    /// Its restores of pods' volumes, by its label.
    pub pod_volume_restores: &'a [PodVolumeRestore],
    /// Its restores of claims, by its label.
    pub downloads: &'a [DataDownload],
    /// The snapshots that it restored from, by its label.
    pub contents: &'a [VolumeSnapshotContent],
    /// The texts of its errors and warnings; empty where they could not be had.
    pub results: &'a Results,
    /// Volumes that the backup contains.
    pub volumes: &'a [VolumeInfo],
}

/// Returns the problems of this restore; no failure if it restored this volume, once, from the very
/// snapshot that the backup holds, and where it was asked to.
pub fn restore_problems(seen: &RestoreSeen<'_>, volume: &ExpectedVolume) -> Vec<Problem> {
    let (restore, status) = (seen.restore, seen.restore.observed());
    let outcome = Finished {
        object: named(restore),
        phase: &status.phase,
        validation_errors: &status.validation_errors,
        failure_reason: &status.failure_reason,
        hooks: &status.hook_status,
        operations_attempted: status.restore_item_operations_attempted,
        operations_failed: status.restore_item_operations_failed,
        errors: status.errors,
        warnings: status.warnings,
        results: seen.results,
    };
    let mut problems = outcome.problems();
    problems.extend(transfers(seen.pod_volume_restores, seen.downloads).iter().filter_map(transfer));
    problems.extend(unfilled(seen, volume));
    problems.extend(outcome.complaints());
    problems
}

/// An object that fills a volume, in the terms in which they are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Filled<'a> {
    /// Origin of the data.
    source: &'a str,
    /// The namespace that it goes to.
    namespace: &'a str,
}

impl<'a> RestoreSeen<'a> {
    /// Returns the target namespace of a namespace.
    fn target(&self, namespace: &'a str) -> &'a str {
        self.restore.spec.namespace_mapping.get(namespace).map_or(namespace, String::as_str)
    }

    /// All objects that fill this volume, in the way in which a copy of this kind is restored.
    fn fillings(&self, volume: &ExpectedVolume, copy: HeldCopy<'_>) -> Vec<Filled<'a>> {
        match copy {
            HeldCopy::Files(_) => {
                let own = self.pod_volume_restores.iter().map(|object| &object.spec).filter(|spec| {
                    spec.source_namespace == volume.namespace
                        && spec.pod.name == volume.pod
                        && spec.volume == volume.volume
                });
                own.map(|spec| Filled { source: &spec.snapshot_id, namespace: &spec.pod.namespace }).collect()
            }
            HeldCopy::Moved(_) => {
                let own = self.downloads.iter().map(|object| &object.spec).filter(|spec| {
                    spec.source_namespace == volume.namespace && spec.target_volume.pvc == volume.claim
                });
                own.map(|spec| Filled { source: &spec.snapshot_id, namespace: &spec.target_volume.namespace })
                    .collect()
            }
            // A content does not name the claim, only its snapshot.
            HeldCopy::Snapshot(handle) => {
                let own = self.contents.iter().filter(|content| content.handle() == Some(handle));
                own.filter_map(|content| {
                    let namespace = &content.spec.volume_snapshot_ref.namespace;
                    Some(Filled { source: content.handle()?, namespace })
                })
                .collect()
            }
        }
    }
}

/// Returns why an expected volume was not restored with the data of the backup.
fn unfilled(seen: &RestoreSeen<'_>, volume: &ExpectedVolume) -> Option<Problem> {
    let object = volume.to_string();
    let Some(copy) = volume_info::of(seen.volumes, volume).and_then(VolumeInfo::copy) else {
        return Some(
            Problem::failure(object, "was not restored: the backup does not contain its data")
                .with_hint("an empty volume is created instead; use a backup that contains it"),
        );
    };
    let target = seen.target(&volume.namespace);
    let what = match seen.fillings(volume, copy).as_slice() {
        [] => format!("was not restored: there is no {}", kind(copy)),
        [only] if only.source != copy.name() => {
            format!("was restored from snapshot {}, but the backup contains {}", only.source, copy.name())
        }
        [only] if only.namespace != target => {
            format!("was restored into namespace {}, but {target} was requested", only.namespace)
        }
        [_] => return None,
        several => {
            format!("was restored by {} objects of kind {}, one over the other", several.len(), kind(copy))
        }
    };
    Some(Problem::failure(object, what).with_hint(
        "an existing claim is not restored: restore into a new namespace, and check that no volume of an earlier \
         restore is left with the policy Retain",
    ))
}

/// Returns the kind that restores such a copy.
const fn kind(copy: HeldCopy<'_>) -> &'static str {
    match copy {
        HeldCopy::Files(_) => "PodVolumeRestore",
        HeldCopy::Moved(_) => "DataDownload",
        HeldCopy::Snapshot(_) => "VolumeSnapshotContent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::velero::judge::{RestoreSeen, restore_problems};
    use crate::velero::sample;
    use verify_drill::problem::Weight;

    /// A restore of one volume, with nothing wrong but the warning that real ones have.
    struct Case {
        restore: Restore,
        pod_volume_restores: Vec<PodVolumeRestore>,
        downloads: Vec<DataDownload>,
        contents: Vec<VolumeSnapshotContent>,
        results: Results,
        volumes: Vec<VolumeInfo>,
        volume: ExpectedVolume,
    }

    impl Case {
        fn of(claim: &str, target: &str) -> Self {
            let mut restore: Restore = sample::load("Restore/Completed.1");
            restore.spec.namespace_mapping = [("app".to_owned(), target.to_owned())].into();
            Self {
                restore,
                pod_volume_restores: Vec::new(),
                downloads: Vec::new(),
                contents: Vec::new(),
                results: Results::default(),
                volumes: serde_json::from_str(sample::VOLUME_INFOS).unwrap(),
                volume: sample::expected_volume("app", claim),
            }
        }

        fn files() -> Self {
            let filled = vec![sample::load("PodVolumeRestore/Completed.1")];
            Self { pod_volume_restores: filled, ..Self::of("basebackup", "dr-085525") }
        }

        fn moved() -> Self {
            let mut filled: DataDownload = sample::load("DataDownload/Completed.1");
            filled.spec.source_namespace = "app".to_owned();
            filled.spec.target_volume.pvc = "moved".to_owned();
            Self { downloads: vec![filled], ..Self::of("moved", "move-085525") }
        }

        fn snapshot() -> Self {
            let contents = vec![sample::load("VolumeSnapshotContent/readyToUse=True.1")];
            Self { contents, ..Self::of("local", "csivalidate") }
        }

        fn with(mut self, damage: impl FnOnce(&mut Self)) -> Self {
            damage(&mut self);
            self
        }

        fn problems(&self) -> Vec<Problem> {
            let seen = RestoreSeen {
                restore: &self.restore,
                pod_volume_restores: &self.pod_volume_restores,
                downloads: &self.downloads,
                contents: &self.contents,
                results: &self.results,
                volumes: &self.volumes,
            };
            restore_problems(&seen, &self.volume)
        }

        fn failures(&self) -> Vec<String> {
            self.problems().iter().filter(|problem| problem.is_failure()).map(Problem::to_string).collect()
        }
    }

    #[test]
    fn healthy_restores_have_their_warning_and_nothing_else() {
        for case in [Case::files(), Case::moved(), Case::snapshot()] {
            let warning = Problem {
                weight: Weight::Warning,
                ..Problem::failure("Restore csi-085525", "has 1 warning")
                    .with_hint("read the text in its log")
            };
            assert_eq!(case.problems(), [warning], "{}", case.volume);
            assert_eq!(
                case.with(|case| case.restore.status.get_or_insert_default().warnings = 0).problems(),
                []
            );
        }
    }

    #[test]
    fn completed_is_not_believed() {
        let files = "volume basebackup of pod app/pg-0 (claim app/basebackup)";
        let table = [
            // Seen when the namespace existed, and when the backup's hook had failed.
            (
                Case::files().with(|case| case.pod_volume_restores.clear()),
                format!("{files} was not restored: there is no PodVolumeRestore"),
            ),
            (
                Case::moved().with(|case| case.downloads.clear()),
                "volume moved of pod app/pg-0 (claim app/moved) was not restored: there is no DataDownload".to_owned(),
            ),
            (
                Case::snapshot().with(|case| case.contents.clear()),
                "volume local of pod app/pg-0 (claim app/local) was not restored: there is no VolumeSnapshotContent"
                    .to_owned(),
            ),
            (
                Case::files().with(|case| case.pod_volume_restores[0].spec.volume = "data".to_owned()),
                format!("{files} was not restored: there is no PodVolumeRestore"),
            ),
            (
                Case::files().with(|case| case.pod_volume_restores[0].spec.pod.name = "pg-1".to_owned()),
                format!("{files} was not restored: there is no PodVolumeRestore"),
            ),
            (
                Case::files().with(|case| case.pod_volume_restores[0].spec.snapshot_id = "older".to_owned()),
                format!(
                    "{files} was restored from snapshot older, but the backup contains a5a4bf59e09ee8a2018b67ad17ab1ec2"
                ),
            ),
            (
                Case::files().with(|case| case.restore.spec.namespace_mapping.clear()),
                format!("{files} was restored into namespace dr-085525, but app was requested"),
            ),
            (
                Case::files().with(|case| case.pod_volume_restores.extend(case.pod_volume_restores.clone())),
                format!("{files} was restored by 2 objects of kind PodVolumeRestore, one over the other"),
            ),
            // A volume that was not in the backup comes back as a fresh, empty one.
            (
                Case::files().with(|case| case.volumes.retain(|info| info.pvc_name != "basebackup")),
                format!("{files} was not restored: the backup does not contain its data"),
            ),
        ];
        for (case, expected) in table {
            assert_eq!(case.failures(), [expected]);
        }
    }

    #[test]
    fn a_volume_restore_that_failed_has_its_cause_and_a_hint() {
        let case = Case::files().with(|case| {
            case.restore = sample::load("Restore/PartiallyFailed.1");
            case.pod_volume_restores = vec![sample::load("PodVolumeRestore/Failed.1")];
        });
        let problems = case.problems();
        let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(texts.len(), 4, "{texts:?}");
        assert_eq!(texts[0], "Restore miss-085525 finished as PartiallyFailed");
        let start = "PodVolumeRestore miss-085525-tccd6 of volume basebackup of pod miss-085525/pg-0 finished as Failed on \
                    worker-2: data path restore failed: ";
        assert!(texts[1].starts_with(start) && texts[1].ends_with("BLOB not found"), "{}", texts[1]);
        assert!(problems[1].hint.as_deref().is_some_and(|hint| hint.contains("restore an older backup")));
        assert_eq!(texts[2..], ["Restore miss-085525 has 1 error", "Restore miss-085525 has 1 warning"]);
    }

    #[test]
    fn a_volume_restore_that_has_not_finished_is_a_problem_whatever_the_restore_says() {
        let case = Case::files().with(|case| {
            case.pod_volume_restores = vec![sample::load("PodVolumeRestore/Prepared.1")];
        });
        let text = "PodVolumeRestore dr-085525-29f28 of volume basebackup of pod dr-085525/pg-0 has not finished: \
                    it is Prepared on worker-2";
        assert_eq!(case.failures(), [text]);
    }

    #[test]
    fn a_restore_that_never_began_says_why() {
        let case = Case::files().with(|case| {
            case.restore = sample::load("Restore/FailedValidation.1");
            case.pod_volume_restores.clear();
        });
        let text = "Restore ghost-r1 finished as FailedValidation: Error retrieving backup: can't find backup velero/nothere: \
                    Backup.velero.io \"nothere\" not found";
        let unfilled = "volume basebackup of pod app/pg-0 (claim app/basebackup) was not restored: there is no \
                        PodVolumeRestore";
        assert_eq!(case.failures(), [text, unfilled]);
    }
}
