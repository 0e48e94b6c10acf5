//! Taking a backup with Velero: captured, copied, followed to its end, judged, and only then called one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::VeleroProvider;
use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use serde_json::{Value, json};
use verify_core::plan::{Mode, Plan};

use super::agent_call::AgentCall;
use super::basebackup_claim::BasebackupClaim;
use super::claim_state::ClaimState;
use super::evidence::Evidence;
use super::following::{Ended, Followed};
use super::latest::CLUSTER;
use super::method::VeleroMethod;
use super::preflight::{self, OPT_IN, OPT_OUT};
use super::record::{FORMAT, FORMAT_VERSION, Record, Volume};
use super::removal::{self, UNPROVEN};
use super::settings::{ITEM_OPERATION_TIMEOUT, Settings};
use super::source::Source;
use super::sweep::{KeptServers, sweep};
use super::waiting::running;
use crate::agent::{CaptureOrder, Order, StageOrder};
use crate::cluster::{AgentPod, Cluster, Component, LiveRun, Mount, RUN, Run, labels, lease};
use crate::velero::backup::{self, Backup, BackupOrder};
use crate::velero::judge::backup_problems;
use crate::velero::label;
use crate::velero::object::Observed;
use crate::velero::snapshot::VolumeSnapshot;
use crate::velero::volume::ExpectedVolume;
use crate::velero::volume_info;
use verify_drill::backup_name::BackupName;
use verify_drill::backup_record::BackupRecord;
use verify_drill::duration::Period;
use verify_drill::problem::Problem;
use verify_drill::provider::{BackupRequest, StoredAt, TakenBackup};
use verify_drill::watch::Watch;

/// The label that Velero gives a claim in a backup: the VolumeSnapshot that it took of it.
const SNAPSHOT_LABEL: &str = "velero.io/volume-snapshot-name";
/// Mount path of a claim in state-lab's pods.
pub(super) const VOLUME_PATH: &str = "/volume";
/// The store of base backups and dumps on their volume.
const STORE: &str = "state-lab";
/// Time after which the cluster terminates state-lab's pod, even if the caller is lost.
pub(super) const POD_DEADLINE: Duration = Duration::from_secs(24 * 3_600);
const CSI_SNAPSHOT_TIMEOUT: Period = Period::from_ms(10 * 60_000);

/// Takes a backup.
///
/// # Errors
///
/// If it could not be taken, or its result could not be learnt. That Velero ended it badly is not an error.
pub(super) fn backup(
    provider: &VeleroProvider,
    request: &BackupRequest,
    watch: &Watch<'_>,
) -> Result<TakenBackup> {
    let VeleroProvider { settings, open_store } = provider;
    let BackupRequest { name, method, plan } = request;
    let method = match method {
        Some(name) => VeleroMethod::named(name)?,
        None => settings.method.unwrap_or_default(),
    };
    expect_object_name(name)?;
    let velero = settings.velero_namespace();
    let cluster = settings.connect()?;
    let evidence = Evidence::open(&cluster, settings, *open_store)?;
    evidence.expect_free(name)?;
    if cluster.of::<Backup>(velero).get(name.as_str())?.is_some() {
        bail!(
            "failed to start the backup {name}: Velero already has a backup of this name; choose another name"
        );
    }
    watch.step("checking the database and Velero")?;
    let source = Source::find(&cluster, settings, watch)?;
    preflight::check(&cluster, velero, &source, method, settings.basebackup_claim.as_deref())?;
    let claims = cluster.of::<PersistentVolumeClaim>(&source.namespace).list("")?;
    // What could not be removed is no obstacle.
    sweep(&cluster, velero, KeptServers::Spare, watch)?.report_left(watch);
    let run = Run::new();
    let live = LiveRun::begin(&cluster, velero, &run, Component::Backup)?;
    let taking = Taking {
        cluster: &cluster,
        evidence: &evidence,
        source: &source,
        settings,
        method,
        name,
        run: &run,
        live: &live,
        watch,
    };
    let taken = taking.take(plan, &claims);
    if let Err(error) = &taken {
        watch.report(&format!("failed ({error}); removing what was created for the backup"));
    }
    // Also a Backup that was never judged, so that it is not mistaken for one that was.
    let removal = removal::remove(&cluster, velero, &run, watch);
    drop(live);
    if taken.is_err() {
        removal.report_left(watch);
    }
    Ok(TakenBackup { left: removal.left, ..taken? })
}

/// Fails where Kubernetes takes no object of this name (RFC 1123's names of subdomains).
fn expect_object_name(name: &BackupName) -> Result<()> {
    let name = name.as_str();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inner = name.bytes().all(|byte| plain(byte) || byte == b'-' || byte == b'.');
    let ends = name.bytes().next().is_some_and(plain) && name.bytes().last().is_some_and(plain);
    if inner && ends && !name.contains("..") && !name.contains("-.") && !name.contains(".-") {
        return Ok(());
    }
    bail!(
        "failed to start the backup {name}: not a valid name of a Kubernetes object; use lower-case letters, digits, '-' and \
         '.', with a letter or digit at both ends"
    )
}

/// A backup that is being taken.
struct Taking<'a> {
    cluster: &'a Cluster,
    evidence: &'a Evidence,
    source: &'a Source,
    settings: &'a Settings,
    method: VeleroMethod,
    name: &'a BackupName,
    run: &'a Run,
    live: &'a LiveRun,
    watch: &'a Watch<'a>,
}

type Copied = (Ended, BackupRecord, Vec<Vec<u8>>, Volume);

impl Taking<'_> {
    /// Captures and copies the database, and judges what Velero made of it.
    fn take(&self, plan: &Plan, claims: &[PersistentVolumeClaim]) -> Result<TakenBackup> {
        let Self { cluster, evidence, source, method, run, .. } = *self;
        let pod = self.pod()?;
        let (ended, record, files, volume) = match method.is_snapshot() {
            true => self.snapshot(&pod, plan)?,
            false => self.files(&pod, plan)?,
        };
        // Its sessions would hold up the database's vacuum.
        cluster.of::<Pod>(&source.namespace).delete(&pod.name)?;
        let mut problems = backup_problems(&ended.seen(), method.into(), &volume.expected());
        problems.extend(left_out(&ended, &preflight::bystanders(source, claims)));
        let place = StoredAt::Service(format!("{} ({})", evidence.name(), evidence.store().place()));
        let left = Vec::new();
        if problems.iter().any(Problem::is_failure) {
            self.release()?;
            return Ok(TakenBackup {
                record: None,
                stored: Value::Null,
                method: method.words().to_owned(),
                details: Vec::new(),
                place,
                problems,
                complaints: ended.complaints,
                left,
            });
        }
        if self.live.lost() {
            bail!(
                "failed to keep the backup: could not renew this run's lease, so another run may have removed it; check \
                 the API server, and that the role may patch leases (docs/velero.md), then run it \
                 again"
            );
        }
        self.watch.step("storing the manifests beside the backup")?;
        let record = Record {
            format: FORMAT.to_owned(),
            version: FORMAT_VERSION,
            backup: record,
            method,
            run: run.to_string(),
            volume: Volume { labels: volume_labels(method, &ended, &volume, run), ..volume },
            image: source.image.clone(),
            image_pull_secrets: source.image_pull_secrets.clone(),
            account: source.account,
            source_handles: source.handles.clone(),
        };
        evidence.keep(&record, &files)?;
        self.release()?;
        let volume = &record.volume;
        let volume = format!("volume: {}/{} of {}", volume.namespace, volume.claim, volume.pod);
        Ok(TakenBackup {
            stored: serde_json::to_value(&record).context("failed to write the backup's record")?,
            record: Some(record.backup),
            method: method.words().to_owned(),
            details: vec![volume],
            place,
            problems,
            complaints: Vec::new(),
            left,
        })
    }

    /// Takes the label off that lets a later run delete the Backup: it has ended, and what is to be said of it is said.
    fn release(&self) -> Result<()> {
        let verifiable = json!({ "metadata": { "labels": { UNPROVEN: null } } });
        self.cluster.of::<Backup>(self.settings.velero_namespace()).merge(self.name.as_str(), &verifiable)
    }

    /// Starts our pod beside the database.
    fn pod(&self) -> Result<AgentPod> {
        let claim = self.basebackup_claim();
        claim.iter().try_for_each(BasebackupClaim::await_free)?;
        let claim = claim.map(|claim| claim.name.to_owned());
        // Velero copies the files of this pod's volume, or leaves the whole pod out.
        let annotations = claim.iter().map(|claim| (OPT_IN.to_owned(), claim.clone()));
        let pod = AgentPod {
            name: lease::name(self.run),
            namespace: self.source.namespace.clone(),
            run: self.run.clone(),
            component: Component::Backup,
            tool_image: self.settings.image()?.to_owned(),
            image: self.source.image.clone(),
            image_pull_secrets: self.source.image_pull_secrets.clone(),
            account: self.source.account,
            annotations: annotations.collect(),
            mounts: claim.map(|claim| Mount { claim, path: VOLUME_PATH.to_owned() }).into_iter().collect(),
            scratch: None,
            deadline: POD_DEADLINE,
            gated: false,
            placing: None,
            settings: self.settings.pods(),
        };
        self.watch.step("starting a pod beside the database")?;
        let pods = self.cluster.of::<Pod>(&pod.namespace);
        pods.create(&pod.pod())?;
        let claim =
            pod.mounts.first().map(|mount| ClaimState::new(self.cluster, &pod.namespace, &mount.claim));
        if let Err(error) = running(&pods, &pod.name, claim, self.settings.patience(), self.watch) {
            let _ = pods.delete(&pod.name);
            return Err(error);
        }
        Ok(pod)
    }

    fn call(&self, pod: &AgentPod, order: &Order) -> Result<AgentCall<'_>> {
        let pods = self.cluster.of::<Pod>(&pod.namespace);
        AgentCall::start(&pods, &pod.name, order, self.watch)
    }

    /// A storage snapshot of the primary's volume, while the pod keeps the database's snapshots.
    fn snapshot(&self, pod: &AgentPod, plan: &Plan) -> Result<Copied> {
        let plan = plan.clone().with_mode(Mode::TimeTravel);
        let order = CaptureOrder { name: self.name.clone(), access: self.source.access.clone(), plan };
        let call = self.call(pod, &Order::Capture(order))?;
        call.held()?;
        self.begin()?;
        let mut released = false;
        let ended = self.followed().to_the_end(self.evidence, self.watch, |snapshots, backup| {
            call.check()?;
            if !released && (is_cut(snapshots, &self.source.data.claim) || backup.observed().phase.ended()) {
                self.watch.report("the storage snapshot has been taken; ending the database's transaction");
                call.order(&Order::Release)?;
                released = true;
            }
            Ok(())
        })?;
        let (record, files) = call.backup()?;
        let data = &self.source.data;
        let volume = Volume {
            namespace: self.source.namespace.clone(),
            pod: self.source.primary.name_any(),
            volume: data.volume.clone(),
            claim: data.claim.clone(),
            path: data.path.clone(),
            labels: BTreeMap::new(),
        };
        Ok((ended, record, files, volume))
    }

    /// A base backup or a dump on a volume of its own, whose files Velero then copies.
    fn files(&self, pod: &AgentPod, plan: &Plan) -> Result<Copied> {
        let method = match self.method {
            VeleroMethod::FsDump => "logical",
            VeleroMethod::Fs | VeleroMethod::Csi | VeleroMethod::CsiMove => "physical",
        };
        let order = StageOrder {
            name: self.name.clone(),
            access: self.source.access.clone(),
            method: method.to_owned(),
            store: format!("{VOLUME_PATH}/{STORE}").into(),
            plan: plan.clone(),
        };
        let claim = self.basebackup_claim().context("failed to find the claim for base backups")?;
        claim.expect_ours(&pod.name)?;
        let (record, files) = self.call(pod, &Order::Stage(order))?.backup()?;
        self.begin()?;
        let ended = self.followed().to_the_end(self.evidence, self.watch, |_, _| Ok(()))?;
        let volume = Volume {
            namespace: self.source.namespace.clone(),
            pod: pod.name.clone(),
            volume: claim.name.to_owned(),
            claim: claim.name.to_owned(),
            path: STORE.to_owned(),
            labels: BTreeMap::new(),
        };
        Ok((ended, record, files, volume))
    }

    /// The claim that a base backup or a dump is written to.
    fn basebackup_claim(&self) -> Option<BasebackupClaim<'_>> {
        let name = self.settings.basebackup_claim.as_deref().filter(|_| !self.method.is_snapshot())?;
        let Self { cluster, settings, source, watch, .. } = *self;
        Some(BasebackupClaim { cluster, settings, namespace: &source.namespace, name, watch })
    }

    /// Asks Velero for the backup.
    fn begin(&self) -> Result<()> {
        self.watch.step("asking Velero for the backup")?;
        let mut labels = labels(self.run, Component::Backup);
        labels.insert(UNPROVEN.to_owned(), "true".to_owned());
        labels.insert(CLUSTER.to_owned(), label::value(&self.source.cluster.name));
        let mut order = backup::create(BackupOrder {
            name: self.name.to_string(),
            labels,
            included_namespaces: vec![self.source.namespace.clone()],
            storage_location: Some(self.evidence.name().to_owned()),
            ttl: self.settings.ttl(),
            method: self.method.into(),
            csi_snapshot_timeout: CSI_SNAPSHOT_TIMEOUT,
            item_operation_timeout: ITEM_OPERATION_TIMEOUT,
        });
        order.metadata.namespace = Some(self.settings.velero_namespace().to_owned());
        self.cluster.of::<Backup>(self.settings.velero_namespace()).create(&order)?;
        Ok(())
    }

    fn followed(&self) -> Followed<'_> {
        Followed {
            cluster: self.cluster,
            velero: self.settings.velero_namespace(),
            namespace: &self.source.namespace,
            name: self.name.as_str(),
            patience: self.settings.patience(),
        }
    }
}

/// Returns whether the snapshot of a claim has been taken: from here on its source may change.
fn is_cut(snapshots: &[VolumeSnapshot], claim: &str) -> bool {
    let of_claim = |snapshot: &&VolumeSnapshot| {
        snapshot.spec.source.persistent_volume_claim_name.as_deref() == Some(claim)
    };
    snapshots.iter().filter(of_claim).any(VolumeSnapshot::ready)
}

/// The labels by which a restore finds the volume's claim, or its pod, in the backup.
fn volume_labels(
    method: VeleroMethod,
    ended: &Ended,
    volume: &Volume,
    run: &Run,
) -> BTreeMap<String, String> {
    match method.is_snapshot() {
        true => {
            let snapshot = ended.snapshots.get(&volume.claim);
            snapshot.map(|snapshot| (SNAPSHOT_LABEL.to_owned(), snapshot.clone())).into_iter().collect()
        }
        false => [(RUN.to_owned(), run.to_string())].into(),
    }
}

/// Volumes of the application that are in no backup and were not excluded.
fn left_out(ended: &Ended, bystanders: &[ExpectedVolume]) -> Vec<Problem> {
    let missing = bystanders.iter().filter(|volume| {
        volume_info::of(&ended.volumes, volume).and_then(volume_info::VolumeInfo::copy).is_none()
    });
    let problem = |volume: &ExpectedVolume| {
        let ExpectedVolume { namespace, pod, volume: name, .. } = volume;
        // Whether a server runs on the volume is not ours to guess: many images have PostgreSQL in their name.
        Problem::failure(volume.to_string(), "is not in the backup").with_hint(format!(
            "annotate the pod {namespace}/{pod} with {OPT_IN}={name}, or, if a server runs on the volume (a copy of \
             changing files is not restorable) or its data are not needed, with {OPT_OUT}={name}; annotate its template, \
             so that the annotation persists"
        ))
    };
    missing.map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_kubernetes_refuses_is_refused_before_anything_is_made() {
        for (name, fits) in [
            ("nightly-001", true),
            ("a.b-1", true),
            ("Nightly-1", false),
            ("nightly_1", false),
            ("nightly-", false),
            ("a..b", false),
        ] {
            assert_eq!(expect_object_name(&name.parse().unwrap()).is_ok(), fits, "{name}");
        }
    }
}
