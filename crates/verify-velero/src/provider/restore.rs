//! Restoring a backup into a namespace of state-lab, where only state-lab starts on its data, and verifying it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Namespace, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use serde_json::json;
use verify_core::manifest::Manifest;
use verify_core::report::Report;
use verify_core::timeline::{Milestone, Timeline};

use super::VeleroProvider;
use super::agent_call::AgentCall;
use super::announcement::announce;
use super::backup::{POD_DEADLINE, VOLUME_PATH};
use super::claim_state::ClaimState;
use super::evidence::Evidence;
use super::method::VeleroMethod;
use super::place::Place;
use super::record::Record;
use super::removal;
use super::settings::Settings;
use super::storage::handle;
use super::sweep::{KeptServers, sweep};
use super::volume_restore::VolumeRestore;
use super::waiting::{Pending, running, wait};
use crate::agent::{Order, RestoreOrder, Verified};
use crate::cluster::{AgentPod, Cluster, Component, KEPT, LiveRun, Mount, RUN, Run, lease, refusal_hint};
use crate::velero::backup::Backup;
use crate::velero::object::Observed;
use verify_drill::judging::{Found, Judging};
use verify_drill::problem::Problem;
use verify_drill::provider::{Isolation, KeptServer, RestoreRequest, RestoreTarget, RestoredCopy};
use verify_drill::report_file::{write_metrics, write_reports};
use verify_drill::until::Check;
use verify_drill::watch::Watch;

/// Restores a backup and verifies it inside the cluster. What was made for it is removed in the end.
///
/// # Errors
///
/// If it could not be restored, or not be compared. A finding is not an error.
pub(super) fn restore(
    provider: &VeleroProvider,
    request: &RestoreRequest,
    watch: &Watch<'_>,
) -> Result<RestoredCopy> {
    let VeleroProvider { settings, open_store } = provider;
    let name = &request.name;
    let velero = settings.velero_namespace();
    let cluster = settings.connect()?;
    // What could not be removed is no obstacle.
    sweep(&cluster, velero, KeptServers::Spare, watch)?.report_left(watch);
    let (clock, started_at) = (Instant::now(), Timestamp::now());
    let evidence = Evidence::open(&cluster, settings, *open_store)?;
    watch.step("reading the record of the backup")?;
    let record = evidence.record(name)?;
    let (files, manifests) = evidence.manifests(&record)?;
    let backup = check_backup(&cluster, velero, &evidence, &record)?;
    let run = Run::new();
    let live = LiveRun::begin(&cluster, velero, &run, Component::Validation)?;
    let restoring = Restoring {
        cluster: &cluster,
        evidence: &evidence,
        settings,
        request,
        record: &record,
        run: &run,
        watch,
        clock,
    };
    let restored = restoring.restore(&files, &manifests, Timeline::new(started_at));
    announce(&cluster, &backup, &run, &restored, watch);
    if restored.as_ref().is_ok_and(|restored| restored.kept.is_some()) {
        // Without a lease it would count as the leftovers of an aborted run.
        let kept = json!({ "metadata": { "labels": { KEPT: "true" } } });
        cluster.global::<Namespace>().merge(&Place::of(&run).name(), &kept)?;
        live.end()?;
        return restored;
    }
    watch.report(&match &restored {
        Ok(_) => "removing what was created for the restore".to_owned(),
        Err(error) => format!("failed ({error}); removing what was created for the restore"),
    });
    let removal = removal::remove(&cluster, velero, &run, watch);
    drop(live);
    if restored.is_err() {
        removal.report_left(watch);
    }
    let restored = restored?;
    Ok(RestoredCopy { left: removal.left, ..restored })
}

/// Fails unless the Backup that Velero would restore is the one that was verified, in this location.
fn check_backup(cluster: &Cluster, velero: &str, evidence: &Evidence, record: &Record) -> Result<Backup> {
    let name = record.backup.name.as_str();
    let Some(backup) = cluster.of::<Backup>(velero).get(name)? else {
        bail!(
            "failed to find the Backup {name} in the namespace {velero}, although it is in {}: Velero synchronises the \
             location once a minute; wait, or check the BackupStorageLocation {}",
            evidence.store().place(),
            evidence.name()
        );
    };
    let location = backup.spec.storage_location.as_deref().unwrap_or_default();
    if location != evidence.name() {
        bail!(
            "failed to restore {name} from {}: Velero has it as a backup of the location {location}, and would read that \
             one. Restore it in a cluster whose Velero has {} alone, or delete the Backup object here (`kubectl -n {velero} \
             delete backups.velero.io {name}` does not change the bucket) while {location} is unreachable",
            evidence.name(),
            evidence.name()
        );
    }
    if backup.labels().get(RUN) != Some(&record.run) {
        bail!(
            "failed to restore {name}: the Backup is not the one of the record, but another one of the same name; delete it \
             (`kubectl -n {velero} delete backups.velero.io {name}` does not change the bucket), and Velero synchronises the \
             one in {}",
            evidence.store().place()
        );
    }
    if !backup.observed().phase.is("Completed") {
        bail!(
            "failed to restore {name}: the Backup is {} and no longer Completed; `velero -n {velero} backup describe \
             {name}` shows why",
            backup.observed().phase
        );
    }
    Ok(backup)
}

/// A restore that is being made.
struct Restoring<'a> {
    cluster: &'a Cluster,
    evidence: &'a Evidence,
    settings: &'a Settings,
    request: &'a RestoreRequest,
    record: &'a Record,
    run: &'a Run,
    watch: &'a Watch<'a>,
    clock: Instant,
}

impl Restoring<'_> {
    fn restore(
        &self,
        files: &[Vec<u8>],
        manifests: &[Manifest],
        mut timeline: Timeline,
    ) -> Result<RestoredCopy> {
        self.watch.step("creating an isolated namespace")?;
        let place = Place::of(self.run);
        place.create(self.cluster)?;
        let namespace = place.name();
        timeline.reach(Milestone::Prepared, self.clock.elapsed());
        let has_job = Cell::new(false);
        let create_job = || {
            if !has_job.get() {
                self.create_job(&namespace)?;
                has_job.set(true);
            }
            Ok(())
        };
        let warnings = self.volume_restore(&namespace, &create_job).to_the_end()?;
        timeline.reach(Milestone::Fetched, self.clock.elapsed());
        create_job()?;
        let pod = self.await_pod(&namespace)?;
        self.check_volumes(&place)?;
        timeline.reach(Milestone::Started, self.clock.elapsed());
        let before = self.clock.elapsed();
        let Verified { timeline: of_agent, found, conninfo } =
            self.verify(&namespace, &pod, files, timeline.started_at)?;
        // The bytes were there before: what the agent does until it begins to recover them is part of that.
        for reached in of_agent.reached.iter().filter(|reached| reached.milestone != Milestone::Fetched) {
            timeline.reach(reached.milestone, before + Duration::from_millis(reached.after_ms));
        }
        let judging = Judging {
            record: &self.record.backup,
            manifests,
            timeline: &timeline,
            duration_ms: u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX),
            objectives: self.request.objectives,
        };
        let in_place = |found: Found| {
            let place = format!("{} in the pod {namespace}/{pod}", found.place);
            Found { place, ..found }
        };
        let reports = judging.reports(found.into_iter().map(in_place));
        let databases: Vec<String> =
            self.record.backup.databases.iter().map(|database| database.name.clone()).collect();
        let report_files = self.keep_reports(&reports, &databases);
        let kept = conninfo.map(|conninfo| {
            let note = format!(
                "the restored server is still running; connect to it with\n    kubectl -n {namespace} exec -it {pod} -- psql \
                 \"{conninfo}\"\nremove it with\n    state-lab cleanup"
            );
            KeptServer { conninfo, note }
        });
        let warnings = warnings.iter().map(|warning| format!("Velero warns: {warning}")).collect();
        Ok(RestoredCopy {
            databases,
            reports,
            origin: self.evidence.origin(self.record),
            target: self.target(namespace),
            report_files,
            warnings,
            left: Vec::new(),
            kept,
        })
    }

    /// Place of the copy, in which the agent has verified it: its pod has passed the gate before.
    fn target(&self, namespace: String) -> RestoreTarget {
        let context = self.settings.context.clone().or_else(Cluster::current_context);
        RestoreTarget { context, namespace: Some(namespace), isolation: Isolation::ConnectionsFailed }
    }

    fn volume_restore<'a>(
        &'a self,
        namespace: &'a str,
        consume: &'a dyn Fn() -> Result<()>,
    ) -> VolumeRestore<'a> {
        let Self { cluster, evidence, record, run, watch, .. } = *self;
        VolumeRestore { cluster, evidence, settings: self.settings, record, run, namespace, consume, watch }
    }

    /// Creates state-lab's job on the volume. Its pod waits for the volume, and does nothing before the first order.
    fn create_job(&self, namespace: &str) -> Result<()> {
        let volume = &self.record.volume;
        let pod = AgentPod {
            name: lease::name(self.run),
            namespace: namespace.to_owned(),
            run: self.run.clone(),
            component: Component::Validation,
            tool_image: self.settings.image()?.to_owned(),
            image: self.record.image.clone(),
            // They are the application's, and stay with it.
            image_pull_secrets: Vec::new(),
            account: self.record.account,
            mounts: vec![Mount { claim: volume.claim.clone(), path: VOLUME_PATH.to_owned() }],
            // What a dump is loaded into has to have room, and only the volume is known to have it.
            scratch: (self.record.method == VeleroMethod::FsDump).then(|| VOLUME_PATH.to_owned()),
            annotations: std::collections::BTreeMap::new(),
            deadline: POD_DEADLINE,
            gated: true,
            placing: None,
            settings: self.settings.pods(),
        };
        self.watch.step("starting a pod on the restored volume")?;
        self.cluster.of::<Job>(namespace).create(&pod.job())?;
        Ok(())
    }

    /// Waits until the pod of our job runs; its name.
    fn await_pod(&self, namespace: &str) -> Result<String> {
        let pods = self.cluster.of::<Pod>(namespace);
        let patience = self.settings.patience();
        let name = wait(patience, self.watch, || {
            if let Some(pod) = pods.list(&self.run.selector())?.first() {
                return Ok(Check::Done(pod.name_any()));
            }
            let refusal = self.refusal(namespace);
            let hint = refusal.as_deref().and_then(refusal_hint).unwrap_or(
                "check what restricts new pods there: admission webhooks, and quotas and limits that are created in \
                 every new namespace",
            );
            let what = refusal.map_or_else(|| "has no pod".to_owned(), |why| format!("has no pod: {why}"));
            let on = Problem::failure(format!("the job {}", lease::name(self.run)), what).with_hint(hint);
            Ok(Check::Waiting(Pending { on, state: String::new() }))
        })?;
        let claim = ClaimState::new(self.cluster, namespace, &self.record.volume.claim);
        running(&pods, &name, Some(claim), patience, self.watch)?;
        Ok(name)
    }

    /// Returns why the cluster creates no pod for the Job, if it reports it and the account may read it.
    fn refusal(&self, namespace: &str) -> Option<String> {
        let events = self.cluster.of::<Event>(namespace).list("").ok()?;
        let refusals = events.into_iter().filter(|event| event.reason.as_deref() == Some("FailedCreate"));
        refusals.filter_map(|event| event.message).next_back()
    }

    /// Has the agent bring the copy up, and measure it.
    fn verify(
        &self,
        namespace: &str,
        pod: &str,
        files: &[Vec<u8>],
        started_at: Timestamp,
    ) -> Result<Verified> {
        let RestoreRequest { plan, incident, keep, .. } = self.request;
        let path = match self.record.volume.path.as_str() {
            "" => VOLUME_PATH.to_owned(),
            path => format!("{VOLUME_PATH}/{path}"),
        };
        let order = RestoreOrder {
            record: self.record.backup.clone(),
            place: match self.record.method.is_snapshot() {
                true => verify_local::Place::DataDirectory(path.into()),
                false => verify_local::Place::Store(path.into()),
            },
            plan: plan.clone(),
            incident: incident.unwrap_or(started_at),
            keep: *keep,
        };
        let pods = self.cluster.of::<Pod>(namespace);
        let order = Order::Restore(Box::new(order));
        let call = AgentCall::start(&pods, pod, &order, self.watch)?;
        call.send_manifests(files)?;
        call.verified()
    }

    /// Fails if a volume that was bound is, or may be, one of the source's: PostgreSQL must never start on that.
    fn check_volumes(&self, place: &Place) -> Result<()> {
        let hint = format!(
            "`velero -n {} backup describe {} --details` lists the volumes that the backup has copies of",
            self.settings.velero_namespace(),
            self.record.backup.name
        );
        if let Some(foreign) = place.foreign_volumes(self.cluster)?.first() {
            bail!("failed to use the restored volume: {foreign}. Nothing was started on it; {hint}");
        }
        let namespace = place.name();
        let namespace = namespace.as_str();
        let claim = &self.record.volume.claim;
        let found = self.cluster.of::<PersistentVolumeClaim>(namespace).get(claim)?;
        let volume = found.and_then(|claim| claim.spec?.volume_name);
        let volume = volume.with_context(|| format!("failed to find the volume of the claim {claim}"))?;
        let found = self.cluster.global::<PersistentVolume>().get(&volume)?;
        let handle = found.as_ref().and_then(handle);
        if handle.as_ref().is_none_or(|handle| self.record.source_handles.contains(handle)) {
            bail!(
                "failed to use the restored volume {volume}: it is, or may be, the source's own volume, which Velero \
                 restores unchanged if it has no copy of it. Nothing was started on it; {hint}"
            );
        }
        Ok(())
    }

    fn keep_reports(&self, reports: &[Report], databases: &[String]) -> Vec<String> {
        if self.evidence.is_read_only() {
            self.watch.report("the report is not stored: the location is read only");
            return Vec::new();
        }
        let (name, now) = (&self.request.name, Timestamp::now());
        let (store, folder) = (self.evidence.store(), Evidence::folder(name));
        if let Err(error) = write_metrics(store, &folder, name, databases, reports, now) {
            self.watch.report(&format!("the metrics were not stored: {error:#}"));
        }
        match write_reports(store, &folder, databases, reports, now) {
            Ok(keys) => keys.iter().map(|key| format!("{}/{key}", store.place())).collect(),
            Err(error) => {
                // It takes nothing away from the verdict.
                self.watch.report(&format!("the report was not stored: {error:#}"));
                Vec::new()
            }
        }
    }
}
