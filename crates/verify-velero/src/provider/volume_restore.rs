//! VolumeRestore the volume that holds the copy: what Velero is asked for, followed until the Restore and all that moves data
//! for it have ended, and judged.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;

use super::claim_state::ClaimState;
use super::evidence::Evidence;
use super::modifier::Modifier;
use super::record::Record;

use super::settings::{ITEM_OPERATION_TIMEOUT, Settings};
use super::waiting::{Pending, wait};
use crate::cluster::{Cluster, Component, Run, labels, lease};
use crate::velero::artefact::Artefact;
use crate::velero::data_movement::DataDownload;
use crate::velero::judge::{RestoreSeen, restore_problems};
use crate::velero::label;
use crate::velero::object::Observed;
use crate::velero::pod_volume::PodVolumeRestore;
use crate::velero::restore::{self, Restore, RestoreOrder};
use crate::velero::results::{self, Results};
use crate::velero::retry::{Retry, Step};
use crate::velero::snapshot::VolumeSnapshotContent;
use crate::velero::transfer::{moving, transfers};
use crate::velero::volume_info::{self, VolumeInfo};
use crate::velero::waiting;
use verify_drill::interrupt::{self, interrupted};
use verify_drill::problem::Problem;
use verify_drill::until::{Check, Pace, Waited, until};
use verify_drill::watch::Watch;

/// Resources that a restore of a snapshot excludes, so that nothing can run.
const CLAIMS_ONLY: &[&str] = &[
    "persistentvolumeclaims",
    "persistentvolumes",
    "volumesnapshots.snapshot.storage.k8s.io",
    "volumesnapshotcontents.snapshot.storage.k8s.io",
];
/// Resources that a restore of files includes: Velero fills a volume only for a pod that mounts it.
const WITH_POD: &[&str] = &["pods", "persistentvolumeclaims", "persistentvolumes"];

/// State of a Restore that is created again.
const UNSEEN: &str = "is created again: Velero has not yet seen the ConfigMap of its resource modifier";

/// Time limit for the texts of a Restore's errors after its end.
const RESULTS_TIMEOUT: Duration = Duration::from_secs(10);

/// The volume of a backup that is being filled.
pub(super) struct VolumeRestore<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) evidence: &'a Evidence,
    pub(super) settings: &'a Settings,
    pub(super) record: &'a Record,
    pub(super) run: &'a Run,
    /// Namespace of the volume.
    pub(super) namespace: &'a str,
    /// Makes the pod that the volume is for. Velero moves data only into a volume whose node is chosen, and many storage
    /// classes let the first pod choose it: so this is called as soon as there is something to move.
    pub(super) consume: &'a dyn Fn() -> Result<()>,
    pub(super) watch: &'a Watch<'a>,
}

impl VolumeRestore<'_> {
    /// Has Velero fill the volume; what it warns of.
    ///
    /// # Errors
    ///
    /// If the volume was not filled with what the backup holds, with every reason; if nothing moves for too long.
    pub(super) fn to_the_end(&self) -> Result<Vec<Problem>> {
        let name = &self.record.backup.name;
        let volumes = self.evidence.of_backup(name.as_str(), Artefact::VolumeInfos)?;
        let volumes = volumes.with_context(|| {
            format!(
                "failed to find the volumes of the backup {name}: Velero wrote no list of them; it does since 1.13"
            )
        })?;
        let volumes = volume_info::decode(&volumes)?;
        let restore = self.restore()?;
        self.watch.step("waiting for Velero to restore the volume")?;
        self.cluster.of::<Restore>(self.settings.velero_namespace()).create(&restore)?;
        let problems = self.follow(&restore, &volumes)?;
        let (failures, warnings): (Vec<Problem>, Vec<Problem>) =
            problems.into_iter().partition(Problem::is_failure);
        if !failures.is_empty() {
            let texts: Vec<String> = failures.iter().map(Problem::text_with_hint).collect();
            bail!("failed to restore the backup {name}: {}", texts.join("\n"));
        }
        if !self.record.method.is_snapshot() {
            self.remove_holding_pod()?;
        }
        Ok(warnings)
    }

    /// The Restore that Velero is asked for, after the ConfigMap that it names was created.
    fn restore(&self) -> Result<Restore> {
        let (velero, volume) = (self.settings.velero_namespace(), &self.record.volume);
        let backup = self.record.backup.name.to_string();
        let (resources, modifier) = match self.record.method.is_snapshot() {
            true => (CLAIMS_ONLY, None),
            false => (WITH_POD, Some(self.hold_pod_back()?)),
        };
        let mut labels = labels(self.run, Component::Validation);
        labels.insert("state-lab.dev/backup".to_owned(), label::value(&backup));
        let mut object = restore::create(RestoreOrder {
            name: lease::name(self.run),
            labels,
            backup,
            source_namespace: volume.namespace.clone(),
            target_namespace: self.namespace.to_owned(),
            included_resources: resources.iter().map(|&kind| kind.to_owned()).collect(),
            match_labels: volume.labels.clone(),
            modifier,
            item_operation_timeout: ITEM_OPERATION_TIMEOUT,
        });
        object.metadata.namespace = Some(velero.to_owned());
        Ok(object)
    }

    /// Keeps the pod that Velero fills the volume in from starting anything; the name of the ConfigMap that does.
    fn hold_pod_back(&self) -> Result<String> {
        let (velero, volume) = (self.settings.velero_namespace(), &self.record.volume);
        let modifier = Modifier {
            pod: volume.pod.clone(),
            volume: volume.volume.clone(),
            claim: volume.claim.clone(),
            image: self.record.image.clone(),
            settings: self.settings.pods(),
            account: self.record.account,
        };
        let map = self.cluster.of::<ConfigMap>(velero).create(&modifier.config_map(self.run, velero))?;
        Ok(map.name_any())
    }

    /// Waits for the end of the Restore; returns its problems and Velero's warnings.
    fn follow(&self, asked: &Restore, volumes: &[VolumeInfo]) -> Result<Vec<Problem>> {
        let name = asked.name_any();
        let name = name.as_str();
        let selector = label::of_restore(name);
        let velero = self.settings.velero_namespace();
        let restores = self.cluster.of::<Restore>(velero);
        let mut claim = ClaimState::new(self.cluster, self.namespace, &self.record.volume.claim);
        let mut retry = Retry::within(self.settings.patience().duration());
        let pod_volume_restores = self.cluster.of::<PodVolumeRestore>(velero);
        let mut waits = true;
        // A check sends one request for each kind.
        let (restore, files, downloads) = wait(self.settings.patience(), self.watch, || {
            let (restore, mut ahead) = restores.get_with(name, waits)?;
            let step = retry.step(restore.as_ref(), Instant::now());
            match step {
                Step::Remove => drop(restores.delete(name)?),
                Step::Create => drop(restores.create(asked)?),
                Step::Follow | Step::Wait => {}
            }
            if step != Step::Follow {
                let on = Problem::failure(format!("Restore {name}"), UNSEEN);
                return Ok(Check::Waiting(Pending { on, state: UNSEEN.to_owned() }));
            }
            let Some(restore) = restore else {
                bail!("failed to follow the Restore {name}: it was deleted; run it again")
            };
            waits = restore.observed().phase.untouched();
            // One that waits has no transfers yet; as long as those of the restores ahead move, it may wait.
            ahead.retain(|other| waits && waiting::is_restore_ahead(other, &restore));
            let names = ahead.iter().filter_map(|other| other.metadata.name.as_deref());
            let (files, their_files) = match (waits, ahead.is_empty()) {
                (false, _) => (pod_volume_restores.list(&selector)?, Vec::new()),
                (true, false) => (Vec::new(), pod_volume_restores.list(&label::of_restores(names))?),
                (true, true) => (Vec::new(), Vec::new()),
            };
            let downloads = self.cluster.of::<DataDownload>(velero).list(&selector)?;
            if !downloads.is_empty() {
                (self.consume)()?;
            }
            let transfers = transfers(&files, &downloads);
            if restore.observed().phase.ended() && !moving(&transfers) {
                drop(transfers);
                return Ok(Check::Done((restore, files, downloads)));
            }
            let on = waiting::restore(&restore, &transfers, &ahead, Timestamp::now());
            let statuses: Vec<_> = transfers.iter().map(|transfer| &transfer.status).collect();
            let ahead: Vec<_> = ahead.iter().map(|other| other.observed()).collect();
            let their_files: Vec<_> = their_files.iter().map(|files| &files.status).collect();
            let state = serde_json::to_string(&(restore.observed(), statuses, ahead, their_files))?;
            let on = claim.problem().or(on);
            let on = on.unwrap_or_else(|| Problem::failure(format!("Restore {name}"), "is about to finish"));
            Ok(Check::Waiting(Pending { on, state }))
        })?;
        let contents = self.cluster.global::<VolumeSnapshotContent>().list_if_known(&selector)?;
        let results = self.complaints(&restore);
        let seen = RestoreSeen {
            restore: &restore,
            pod_volume_restores: &files,
            downloads: &downloads,
            contents: &contents,
            results: &results,
            volumes,
        };
        Ok(restore_problems(&seen, &self.record.volume.expected()))
    }

    /// Velero's errors: they are deleted with the Restore. It decides nothing that its objects do not decide as well.
    fn complaints(&self, restore: &Restore) -> Results {
        let name = restore.name_any();
        let read = |artefact| self.evidence.of_restore(&name, artefact);
        // Velero may write it a moment after the Restore has ended.
        let results = until(RESULTS_TIMEOUT, Pace::REMOTE, interrupt::asked, || {
            let packed = read(Artefact::Results);
            let results = packed.and_then(|packed| packed.map(|packed| results::decode(&packed)).transpose());
            Ok::<_, Infallible>(match results {
                Ok(Some(results)) => Check::Done(results),
                _ if !has_texts(restore) => Check::Done(Results::default()),
                Ok(None) => Check::Waiting(None),
                Err(error) => Check::Waiting(Some(error)),
            })
        });
        match results {
            Ok(Waited::Done(results)) => results,
            Ok(Waited::TimedOut(None)) => Results::of_log(read(Artefact::Logs)),
            Ok(Waited::TimedOut(Some(error))) => Results::of_log(Err(error)),
            Ok(Waited::Stopped) => Results::of_log(Err(interrupted().into())),
        }
    }

    /// The pod that Velero needed to fill the volume has done its work.
    fn remove_holding_pod(&self) -> Result<()> {
        let pods = self.cluster.of::<Pod>(self.namespace);
        for pod in pods.list("")? {
            pods.delete(&pod.name_any())?;
        }
        wait(self.settings.patience(), self.watch, || {
            Ok(match pods.list("")?.first() {
                None => Check::Done(()),
                Some(pod) => {
                    let on = Problem::failure(format!("the pod {}", pod.name_any()), "is being removed");
                    Check::Waiting(Pending { on, state: String::new() })
                }
            })
        })
    }
}

/// Returns whether Velero has texts for the result of this Restore. It has none for one that never began.
fn has_texts(restore: &Restore) -> bool {
    let status = restore.observed();
    status.errors > 0 || !(status.phase.is("Completed") || status.phase.is("FailedValidation"))
}
