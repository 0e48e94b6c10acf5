//! Checks before a backup for what would make it not restorable.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

use super::method::VeleroMethod;
use super::source::Source;
use crate::cluster::{Cluster, is_over};
use crate::velero::snapshot_class::{self, VELERO_LABEL, VolumeSnapshotClass};
use crate::velero::volume::ExpectedVolume;
use verify_drill::problem::Problem;

/// The annotation that opts volumes of a pod into Velero's copying of files, and the one that opts out.
pub(super) const OPT_IN: &str = "backup.velero.io/backup-volumes";
pub(super) const OPT_OUT: &str = "backup.velero.io/backup-volumes-excludes";
/// The label that keeps an object out of all backups.
const EXCLUDED: &str = "velero.io/exclude-from-backup";

/// Everything that is checked.
pub(super) struct Seen<'a> {
    pub(super) source: &'a Source,
    pub(super) method: VeleroMethod,
    /// The claim for base backups.
    pub(super) basebackup_claim: Option<&'a str>,
    pub(super) claims: Vec<PersistentVolumeClaim>,
    pub(super) storage_classes: Vec<StorageClass>,
    pub(super) snapshot_classes: Vec<VolumeSnapshotClass>,
    /// Of Velero's namespace.
    pub(super) deployments: Vec<Deployment>,
    pub(super) daemon_sets: Vec<DaemonSet>,
}

/// Checks, and fails with every reason why a backup would not be restorable.
pub(super) fn check(
    cluster: &Cluster,
    velero: &str,
    source: &Source,
    method: VeleroMethod,
    basebackup_claim: Option<&str>,
) -> Result<()> {
    let snapshots = method.is_snapshot();
    let seen = Seen {
        source,
        method,
        basebackup_claim,
        claims: cluster.of(&source.namespace).list("")?,
        storage_classes: if snapshots { cluster.global().list("")? } else { Vec::new() },
        snapshot_classes: if snapshots { cluster.global().list("")? } else { Vec::new() },
        deployments: cluster.of(velero).list("")?,
        daemon_sets: cluster.of(velero).list("")?,
    };
    let problems = problems(&seen);
    if problems.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = problems.iter().map(Problem::text_with_hint).collect();
    bail!("the backup would not be restorable: {}", texts.join("\n"))
}

/// Every reason why a backup would be worthless.
pub(super) fn problems(seen: &Seen<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(live_files(seen.source));
    problems.extend(server(seen));
    if seen.method.is_snapshot() {
        problems.extend(wal_elsewhere(seen.source));
        problems.extend(no_snapshots(seen));
    } else {
        problems.extend(basebackup_claim(seen));
    }
    if seen.method != VeleroMethod::Csi {
        problems.extend(node_agent(seen));
    }
    problems
}

/// The data directory of a running server, copied file by file.
fn live_files(source: &Source) -> Option<Problem> {
    let of_cluster = source.cluster.pods.iter();
    let opted = of_cluster.filter(|pod| names(pod, OPT_IN).contains(source.data.volume.as_str()));
    let pod = opted.map(ResourceExt::name_any).next()?;
    let what = format!(
        "has the annotation {OPT_IN} for {}, the data directory of a running server: its files would be copied while \
         they change. Such copies were corrupt in 5 tests of 5, although the server started",
        source.data.volume
    );
    Some(Problem::failure(format!("the pod {pod}"), what).with_hint(
        "remove the annotation; --method csi takes a snapshot of the volume, and --method fs copies a base backup from \
         a volume of its own",
    ))
}

/// The volumes that an annotation of a pod names.
fn names<'a>(pod: &'a Pod, annotation: &str) -> BTreeSet<&'a str> {
    let value = pod.annotations().get(annotation).map_or("", String::as_str);
    value.split(',').map(str::trim).filter(|name| !name.is_empty()).collect()
}

fn server(seen: &Seen<'_>) -> Option<Problem> {
    let Some(velero) = seen.deployments.iter().find(|deployment| deployment.name_any() == "velero") else {
        return Some(
            Problem::failure("Velero", "is not installed in that namespace")
                .with_hint("install it, or name its namespace (`velero_namespace` in [velero])"),
        );
    };
    let available = velero.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
    if available == 0 {
        return Some(
            Problem::failure("the Velero server", "does not run")
                .with_hint("check the pods of its Deployment velero"),
        );
    }
    if !seen.method.is_snapshot() {
        return None;
    }
    let template = velero.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let containers = template.into_iter().flat_map(|spec| &spec.containers);
    let arguments: Vec<&String> = containers.flat_map(|container| container.args.iter().flatten()).collect();
    let csi = arguments.iter().any(|argument| argument.contains("EnableCSI"));
    (!csi).then(|| {
        Problem::failure(
            "the Velero server",
            "does not take CSI snapshots: it runs without the feature EnableCSI",
        )
        .with_hint("start it with --features=EnableCSI, or use --method fs")
    })
}

fn node_agent(seen: &Seen<'_>) -> Option<Problem> {
    let agent = seen.daemon_sets.iter().find(|set| set.name_any().starts_with("node-agent"));
    let ready = agent.and_then(|set| set.status.as_ref()).map_or(0, |status| status.number_ready);
    (ready == 0).then(|| {
        Problem::failure("Velero's node agent", "is not running; it copies files and moves snapshots")
            .with_hint("install Velero with --use-node-agent, or check the pods of its DaemonSet node-agent")
    })
}

/// WAL on another volume than the data.
fn wal_elsewhere(source: &Source) -> Option<Problem> {
    let wal = source.wal_elsewhere.as_ref()?;
    let what = format!(
        "has its pg_wal in {wal}, outside the data directory, and snapshots of two volumes are not taken at the same time"
    );
    Some(
        Problem::failure(format!("the pod {}", source.primary.name_any()), what).with_hint("use --method fs"),
    )
}

/// A storage that takes no snapshots, or for which Velero finds no class.
fn no_snapshots(seen: &Seen<'_>) -> Option<Problem> {
    let name = &seen.source.data.claim;
    let object = format!("the claim {name}");
    let claim = seen.claims.iter().find(|claim| claim.name_any() == *name);
    let class = claim.and_then(|claim| claim.spec.as_ref()?.storage_class_name.clone());
    let Some(class) = class else {
        return Some(
            Problem::failure(object, "has no storage class, so no driver takes snapshots of it")
                .with_hint("use --method fs"),
        );
    };
    let class = seen.storage_classes.iter().find(|found| found.name_any() == class);
    let driver = class.map(|class| class.provisioner.as_str()).unwrap_or_default();
    let snapshot_class = snapshot_class::for_driver(&seen.snapshot_classes, driver);
    snapshot_class.is_none().then(|| {
        let what = format!("is on the storage driver {driver:?}, for which there is no VolumeSnapshotClass that Velero uses");
        Problem::failure(object, what).with_hint(format!(
            "create a VolumeSnapshotClass for the driver, with the label {VELERO_LABEL}=true; or use --method fs"
        ))
    })
}

fn basebackup_claim(seen: &Seen<'_>) -> Option<Problem> {
    let missing = "create a claim with enough space for a base backup, which no pod of the application mounts, and set \
                   it as `basebackup_claim` in [velero] or with --basebackup-claim";
    let Some(name) = seen.basebackup_claim else {
        return Some(
            Problem::failure(
                "a claim for base backups",
                "is not configured, and Velero must not copy the files of a running server",
            )
            .with_hint(missing),
        );
    };
    let object = format!("the claim {name}");
    if !seen.claims.iter().any(|claim| claim.name_any() == name) {
        return Some(
            Problem::failure(object, format!("is not in the namespace {}", seen.source.namespace))
                .with_hint(missing),
        );
    }
    let mounting = seen.source.cluster.pods.iter().find(|pod| mounts(pod, name))?;
    let what = format!("belongs to the database: its pod {} mounts it", mounting.name_any());
    Some(Problem::failure(object, what).with_hint(missing))
}

/// Returns whether a pod mounts a claim.
pub(super) fn mounts(pod: &Pod, claim: &str) -> bool {
    claims(pod).any(|(_, mounted)| mounted == claim)
}

/// The volumes of a pod that are claims: the volume's name and the claim's.
fn claims(pod: &Pod) -> impl Iterator<Item = (&str, &str)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| {
        Some((volume.name.as_str(), volume.persistent_volume_claim.as_ref()?.claim_name.as_str()))
    })
}

/// The volumes of the namespace that do not belong to the database, and that are not excluded.
pub(super) fn bystanders(
    source: &Source,
    claims_of_namespace: &[PersistentVolumeClaim],
) -> Vec<ExpectedVolume> {
    let database: BTreeSet<String> = source.cluster.pods.iter().map(ResourceExt::name_any).collect();
    let excluded = |labels: &std::collections::BTreeMap<String, String>| {
        labels.get(EXCLUDED).is_some_and(|value| value == "true")
    };
    // Of a pod that has ended, as a CronJob's, Velero copies no files, whatever its annotations say.
    let others = source
        .pods
        .iter()
        .filter(|pod| !database.contains(&pod.name_any()) && !excluded(pod.labels()) && !is_over(pod));
    let mut volumes = Vec::new();
    for pod in others {
        let left_out = names(pod, OPT_OUT);
        for (volume, claim) in claims(pod) {
            let hidden =
                claims_of_namespace.iter().any(|found| found.name_any() == claim && excluded(found.labels()));
            if !hidden && !left_out.contains(volume) {
                volumes.push(ExpectedVolume {
                    namespace: source.namespace.clone(),
                    pod: pod.name_any(),
                    volume: volume.to_owned(),
                    claim: claim.to_owned(),
                });
            }
        }
    }
    volumes
}
