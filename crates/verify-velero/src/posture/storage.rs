//! Pods, volumes, classes and operators' objects as facts.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Endpoints, Pod};
use kube::ResourceExt;
use serde_json::Value;
use verify_doctor::facts::cluster::{
    CnpgCluster, DatabasePod, LonghornVolume, Mount, Quota, SnapshotClass, StorageClass, Volume, VolumeKind,
};
use verify_doctor::{Fact, Missing};

use super::json::{bytes, entry, list, name, number, some_text, text};
use crate::cluster::{PostgresCluster, database_container, is_ready};
use crate::velero::snapshot_class::VELERO_LABEL;

/// The label by which Velero takes snapshots of several claims together.
const GROUP_LABEL: &str = "velero.io/volume-group";

/// The pods of the databases of a namespace; those of one where it is named.
pub(super) fn pods(
    pods: &[Value],
    endpoints: &[Value],
    claims: &[Value],
    only: Option<&str>,
) -> Vec<DatabasePod> {
    let typed = |objects: &[Value]| -> Vec<Pod> {
        objects.iter().filter_map(|object| serde_json::from_value(object.clone()).ok()).collect()
    };
    let endpoints: Vec<Endpoints> =
        endpoints.iter().filter_map(|object| serde_json::from_value(object.clone()).ok()).collect();
    let groups: BTreeMap<String, String> = claims
        .iter()
        .filter_map(|claim| Some((name(claim), entry(claim, "/metadata/labels", GROUP_LABEL)?.to_owned())))
        .collect();
    let clusters = PostgresCluster::among(&typed(pods), &endpoints).into_iter();
    let clusters = clusters.filter(|cluster| only.is_none_or(|only| cluster.name == only));
    clusters
        .flat_map(|cluster| {
            let primary = cluster.primary.clone();
            cluster
                .pods
                .into_iter()
                .map(move |pod| (pod.name_any() == *primary.as_deref().unwrap_or_default(), pod))
        })
        .map(|(is_primary, pod)| database_pod(&pod, is_primary, &groups))
        .collect()
}

fn database_pod(pod: &Pod, is_primary: bool, groups: &BTreeMap<String, String>) -> DatabasePod {
    let volumes = || pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claim = |volume: &str| {
        let volume = volumes().find(|one| one.name == volume)?;
        Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone())
    };
    let mounts =
        database_container(pod).into_iter().flat_map(|container| container.volume_mounts.iter().flatten());
    let mut seen = BTreeSet::new();
    let mounts = mounts.filter(|mount| seen.insert(mount.name.clone())).filter_map(|mount| {
        let claim = claim(&mount.name)?;
        let (volume, path) = (mount.name.clone(), mount.mount_path.clone());
        Some(Mount { volume, group: groups.get(&claim).cloned(), claim, path })
    });
    let annotations = pod.annotations();
    let lax = annotations.iter().filter(|(name, value)| {
        name.ends_with("hook.backup.velero.io/on-error") && value.as_str() == "Continue"
    });
    let copied = annotations.get("backup.velero.io/backup-volumes").map_or("", String::as_str);
    DatabasePod {
        name: pod.name_any(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        is_primary,
        mounts: mounts.collect(),
        copied_as_files: copied
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
        lax_hooks: lax.map(|(name, _)| format!("the hook {}", name.trim_end_matches("/on-error"))).collect(),
    }
}

/// The volumes of these pods. `stats` are the statistics of their nodes' kubelets.
pub(super) fn volumes(
    pods: &[DatabasePod],
    claims: &[Value],
    persistent: &[Value],
    stats: &[Fact<Value>],
    namespace: &str,
) -> Vec<Volume> {
    let mut wanted = BTreeSet::new();
    let mounted = pods.iter().flat_map(|pod| &pod.mounts).map(|mount| &mount.claim);
    let mounted = mounted.filter(|claim| wanted.insert((*claim).clone()));
    mounted
        .filter_map(|claim_name| {
            let claim = claims.iter().find(|claim| name(claim) == *claim_name)?;
            let volume = text(claim, "/spec/volumeName");
            let volume = persistent.iter().find(|object| name(object) == volume);
            Some(Volume {
                claim: claim_name.clone(),
                class: some_text(claim, "/spec/storageClassName"),
                kind: volume.map_or_else(|| VolumeKind::Other("unbound".to_owned()), kind),
                capacity_bytes: bytes(claim, "/status/capacity/storage"),
                used_percent: used_percent(claim_name, stats, namespace),
            })
        })
        .collect()
}

fn kind(volume: &Value) -> VolumeKind {
    let has = |pointer: &str| volume.pointer(pointer).is_some();
    match some_text(volume, "/spec/csi/driver") {
        Some(driver) => VolumeKind::Csi(driver),
        None if has("/spec/hostPath") => VolumeKind::HostPath,
        None if has("/spec/local") => VolumeKind::Local,
        None if has("/spec/nfs") => VolumeKind::Nfs,
        None => VolumeKind::Other("another kind".to_owned()),
    }
}

fn used_percent(claim: &str, stats: &[Fact<Value>], namespace: &str) -> Fact<u64> {
    let found =
        stats.iter().flatten().flat_map(|stats| list(stats, "/pods")).flat_map(|pod| list(pod, "/volume"));
    let own = found.filter(|volume| {
        text(volume, "/pvcRef/name") == claim && text(volume, "/pvcRef/namespace") == namespace
    });
    let percent = own.filter_map(|volume| {
        let (used, total) = (number(volume, "/usedBytes")?, number(volume, "/capacityBytes")?);
        (total > 0).then(|| used.saturating_mul(100).div_ceil(total))
    });
    percent.max().ok_or_else(|| match stats.iter().find_map(|stats| stats.as_ref().err()) {
        Some(missing) => missing.clone(),
        None => Missing::not_applicable("the kubelet reports nothing of this volume"),
    })
}

pub(super) fn snapshot_classes(objects: &[Value]) -> Vec<SnapshotClass> {
    let class = |object: &Value| SnapshotClass {
        name: name(object),
        driver: text(object, "/driver").to_owned(),
        is_labelled: entry(object, "/metadata/labels", VELERO_LABEL).is_some(),
        longhorn_type: some_text(object, "/parameters/type"),
        deletion_policy: text(object, "/deletionPolicy").to_owned(),
    };
    objects.iter().map(class).collect()
}

pub(super) fn storage_classes(objects: &[Value]) -> Vec<StorageClass> {
    let class = |object: &Value| {
        let driver = text(object, "/provisioner").to_owned();
        // The parameters by which these drivers encrypt. That of others is not known; Azure encrypts always.
        let parameter = match driver.as_str() {
            "ebs.csi.aws.com" | "kubernetes.io/aws-ebs" | "driver.longhorn.io" => Some("encrypted"),
            // Rook puts its namespace before it.
            _ if driver.ends_with("rbd.csi.ceph.com") => Some("encrypted"),
            _ => None,
        };
        let encrypted = parameter.map(|name| entry(object, "/parameters", name) == Some("true"));
        StorageClass { name: name(object), driver, encrypted }
    };
    objects.iter().map(class).collect()
}

/// The nodes on which a pod of node-agent is ready.
pub(super) fn agent_nodes(pods: &[Value]) -> BTreeSet<String> {
    let agents = pods.iter().filter(|pod| {
        ["name", "role", "component", "app.kubernetes.io/name"]
            .iter()
            .any(|label| entry(pod, "/metadata/labels", label) == Some("node-agent"))
    });
    let pods = agents.filter_map(|pod| serde_json::from_value::<Pod>(pod.clone()).ok());
    pods.filter(is_ready).filter_map(|pod| pod.spec?.node_name).collect()
}

pub(super) fn longhorn(objects: &[Value]) -> Vec<LonghornVolume> {
    let volume = |object: &Value| LonghornVolume {
        name: name(object),
        claim: some_text(object, "/status/kubernetesStatus/namespace")
            .zip(some_text(object, "/status/kubernetesStatus/pvcName")),
        robustness: text(object, "/status/robustness").to_owned(),
    };
    objects.iter().map(volume).collect()
}

pub(super) fn quotas(objects: &[Value]) -> Vec<Quota> {
    let quota = |object: &Value| {
        let hard = |name: &str| object.pointer("/spec/hard")?.get(name).cloned();
        let claims = hard("persistentvolumeclaims").or_else(|| hard("count/persistentvolumeclaims"));
        Quota {
            name: name(object),
            storage_bytes_max: hard("requests.storage").and_then(|value| bytes(&value, "")),
            claims_max: claims.and_then(|value| bytes(&value, "")),
        }
    };
    objects.iter().map(quota).collect()
}

/// Clusters of CloudNativePG: their archiving, and the archive that each was recovered from.
pub(super) fn cnpg(objects: &[Value], only: Option<&str>) -> Vec<CnpgCluster> {
    let own = objects.iter().filter(|object| only.is_none_or(|only| name(object) == only));
    own.map(|object| {
        let condition =
            list(object, "/status/conditions").iter().find(|one| text(one, "/type") == "ContinuousArchiving");
        let shown = |condition: &Value| {
            (text(condition, "/status").to_owned(), text(condition, "/message").to_owned())
        };
        CnpgCluster {
            name: name(object),
            archiving: condition.map(shown),
            archives_to: archives_to(object),
            recovers_from: recovers_from(object),
        }
    })
    .collect()
}

/// Object store and server name that a cluster archives to, in its specification or by its plug-in.
fn archives_to(cluster: &Value) -> Option<(String, String)> {
    let own_name = name(cluster);
    if let Some(store) = cluster.pointer("/spec/backup/barmanObjectStore") {
        return archive(store, "/destinationPath", &own_name);
    }
    let plugins = list(cluster, "/spec/plugins").iter();
    let parameters = plugins.filter_map(|plugin| plugin.pointer("/parameters"));
    parameters.into_iter().find_map(|parameters| archive(parameters, "/barmanObjectName", &own_name))
}

/// The same of the archive that it was recovered from.
fn recovers_from(cluster: &Value) -> Option<(String, String)> {
    let source = some_text(cluster, "/spec/bootstrap/recovery/source")?;
    let external = list(cluster, "/spec/externalClusters").iter().find(|one| text(one, "/name") == source)?;
    if let Some(store) = external.pointer("/barmanObjectStore") {
        return archive(store, "/destinationPath", &source);
    }
    archive(external.pointer("/plugin/parameters")?, "/barmanObjectName", &source)
}

fn archive(store: &Value, place: &str, default_name: &str) -> Option<(String, String)> {
    let place = some_text(store, place)?.trim_end_matches('/').to_owned();
    Some((place, some_text(store, "/serverName").unwrap_or_else(|| default_name.to_owned())))
}
