//! Velero's objects as facts.

use std::collections::BTreeMap;

use serde_json::Value;
use verify_doctor::facts::cluster::{
    CopyMethod, Location, Repository, RepositoryPassword, Schedule, VeleroBackup, VolumeCopy,
};
use verify_drill::duration::Period;

use super::json::{created_at, duration, entry, flag, list, name, number, some_text, text, texts, time};
use crate::provider::CLUSTER;
use crate::velero::volume_info::{HeldCopy, VolumeInfo};

/// Velero keeps backups for so long unless they say otherwise.
const TTL: Period = Period::from_ms(30 * 24 * 60 * 60 * 1_000);
/// A repository is maintained so often unless it says otherwise.
const MAINTENANCE: Period = Period::from_ms(60 * 60 * 1_000);
/// In Velero's source: `pkg/repository/keys`.
const PUBLISHED_PASSWORD: &str = "static-passw0rd";
/// Prefixes of labels and annotations of what makes Secrets from outside of a cluster.
const MAKERS: [&str; 7] = [
    "reconcile.external-secrets.io",
    "external-secrets.io",
    "sealedsecrets.bitnami.com",
    "kustomize.toolkit.fluxcd.io",
    "helm.toolkit.fluxcd.io",
    "argocd.argoproj.io",
    "secrets-store.csi.k8s.io",
];

/// Returns whether a template or specification of a backup includes a namespace.
fn includes(spec: &Value, namespace: &str) -> bool {
    let (included, excluded) = (texts(spec, "/includedNamespaces"), texts(spec, "/excludedNamespaces"));
    let is_in = |names: &[&str]| names.iter().any(|name| *name == namespace || *name == "*");
    (included.is_empty() || is_in(&included)) && !is_in(&excluded)
}

/// The schedules that back up a namespace.
pub(super) fn schedules(objects: &[Value], namespace: &str) -> Vec<Schedule> {
    let own = objects.iter().filter(|object| {
        object.pointer("/spec/template").is_some_and(|template| includes(template, namespace))
    });
    own.map(|object| Schedule {
        name: name(object),
        cron: text(object, "/spec/schedule").to_owned(),
        paused: flag(object, "/spec/paused"),
        created_at: created_at(object),
        last_backup_at: time(object, "/status/lastBackup"),
        ttl: duration(object, "/spec/template/ttl").filter(|ttl| ttl.ms() > 0).unwrap_or(TTL),
        validation_errors: texts(object, "/status/validationErrors").into_iter().map(str::to_owned).collect(),
        lax_hooks: lax_hooks(object, namespace),
    })
    .collect()
}

/// Hooks of a schedule for a namespace after whose failure the backup goes on.
fn lax_hooks(schedule: &Value, namespace: &str) -> Vec<String> {
    let hooks =
        list(schedule, "/spec/template/hooks/resources").iter().filter(|hook| includes(hook, namespace));
    hooks
        .filter(|hook| {
            let each = ["/pre", "/post"].into_iter().flat_map(|phase| list(hook, phase));
            each.into_iter().any(|hook| text(hook, "/exec/onError") == "Continue")
        })
        .map(|hook| format!("the hook {}", text(hook, "/name")))
        .collect()
}

/// The backups of a namespace, the newest first.
pub(super) fn backups(
    objects: &[Value],
    pod_volume_backups: &[Value],
    uploads: &[Value],
    namespace: &str,
    only: Option<&str>,
) -> Vec<VeleroBackup> {
    let mut copies = BTreeMap::<&str, Vec<VolumeCopy>>::new();
    for object in pod_volume_backups.iter().filter(|object| text(object, "/spec/pod/namespace") == namespace)
    {
        let claim = entry(object, "/metadata/annotations", "velero.io/pvc-name");
        let pod_volume = (text(object, "/spec/pod/name").to_owned(), text(object, "/spec/volume").to_owned());
        let copy = copy(object, claim, Some(pod_volume), CopyMethod::Files);
        copies.entry(backup_of(object)).or_default().push(copy);
    }
    for object in uploads.iter().filter(|object| text(object, "/spec/sourceNamespace") == namespace) {
        let claim = Some(text(object, "/spec/sourcePVC"));
        copies.entry(backup_of(object)).or_default().push(copy(
            object,
            claim,
            None,
            CopyMethod::MovedSnapshot,
        ));
    }
    // A backup by state-lab names its database, since a namespace may have several.
    let is_of_other = |object: &Value| {
        let of = entry(object, "/metadata/labels", CLUSTER);
        of.zip(only).is_some_and(|(of, only)| of != crate::velero::label::value(only))
    };
    let own = objects.iter().filter(|object| {
        object.pointer("/spec").is_none_or(|spec| includes(spec, namespace)) && !is_of_other(object)
    });
    let mut backups: Vec<VeleroBackup> = own
        .map(|object| VeleroBackup {
            name: name(object),
            phase: text(object, "/status/phase").to_owned(),
            started_at: time(object, "/status/startTimestamp"),
            errors: number(object, "/status/errors").unwrap_or_default(),
            warnings: number(object, "/status/warnings").unwrap_or_default(),
            hooks_failed: number(object, "/status/hookStatus/hooksFailed").unwrap_or_default(),
            snapshots: number(object, "/status/csiVolumeSnapshotsCompleted").unwrap_or_default(),
            ttl: duration(object, "/spec/ttl").unwrap_or(TTL),
            is_of_state_lab: entry(object, "/metadata/labels", "app.kubernetes.io/managed-by")
                == Some("state-lab"),
            // A label holds no more than 63 characters.
            copies: copies.remove(crate::velero::label::value(&name(object)).as_str()).unwrap_or_default(),
            proof: None,
        })
        .collect();
    backups.sort_by_key(|backup| std::cmp::Reverse(backup.started_at));
    backups
}

/// The label of the backup that a copy belongs to.
fn backup_of(object: &Value) -> &str {
    entry(object, "/metadata/labels", "velero.io/backup-name").unwrap_or_default()
}

fn copy(
    object: &Value,
    claim: Option<&str>,
    pod_volume: Option<(String, String)>,
    method: CopyMethod,
) -> VolumeCopy {
    VolumeCopy {
        claim: claim.filter(|claim| !claim.is_empty()).map(str::to_owned),
        pod_volume,
        method,
        phase: text(object, "/status/phase").to_owned(),
        done_bytes: number(object, "/status/progress/bytesDone"),
        total_bytes: number(object, "/status/progress/totalBytes"),
    }
}

/// The volumes of a namespace that a backup's own list shows, for those that no object in the cluster does.
pub(super) fn listed(volumes: &[VolumeInfo], namespace: &str) -> Vec<VolumeCopy> {
    let own = volumes.iter().filter(|volume| volume.pvc_namespace == namespace);
    own.filter_map(|volume| {
        let method = match volume.copy()? {
            HeldCopy::Files(_) => CopyMethod::Files,
            HeldCopy::Moved(_) => CopyMethod::MovedSnapshot,
            HeldCopy::Snapshot(_) => CopyMethod::LocalSnapshot,
        };
        Some(VolumeCopy {
            claim: Some(volume.pvc_name.clone()),
            pod_volume: None,
            method,
            phase: "Completed".to_owned(),
            done_bytes: None,
            total_bytes: None,
        })
    })
    .collect()
}

pub(super) fn locations(objects: &[Value]) -> Vec<Location> {
    let location = |object: &Value| Location {
        name: name(object),
        is_default: flag(object, "/spec/default"),
        phase: text(object, "/status/phase").to_owned(),
        message: text(object, "/status/message").to_owned(),
        provider: text(object, "/spec/provider").trim_start_matches("velero.io/").to_owned(),
        bucket: text(object, "/spec/objectStorage/bucket").to_owned(),
        region: some_text(object, "/spec/config/region"),
        endpoint: some_text(object, "/spec/config/s3Url"),
        credentials: some_text(object, "/spec/credential/name"),
    };
    objects.iter().map(location).collect()
}

/// The repositories of a namespace's volumes.
pub(super) fn repositories(objects: &[Value], namespace: &str) -> Vec<Repository> {
    let own = objects.iter().filter(|object| text(object, "/spec/volumeNamespace") == namespace);
    own.map(|object| Repository {
        name: name(object),
        namespace: namespace.to_owned(),
        phase: text(object, "/status/phase").to_owned(),
        message: text(object, "/status/message").to_owned(),
        created_at: created_at(object),
        maintained_at: time(object, "/status/lastMaintenanceTime"),
        maintenance_every: duration(object, "/spec/maintenanceFrequency")
            .filter(|every| every.ms() > 0)
            .unwrap_or(MAINTENANCE),
    })
    .collect()
}

/// Facts of the Secret of all repositories; its password is not among them.
pub(super) fn repository_password(secret: &Value) -> RepositoryPassword {
    let published = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, PUBLISHED_PASSWORD);
    let names = ["/metadata/labels", "/metadata/annotations"]
        .into_iter()
        .filter_map(|map| secret.pointer(map)?.as_object());
    let made =
        names.flat_map(serde_json::Map::keys).any(|name| MAKERS.iter().any(|maker| name.starts_with(maker)));
    RepositoryPassword {
        is_default: entry(secret, "/data", "repository-password") == Some(published.as_str()),
        is_managed: made || !list(secret, "/metadata/ownerReferences").is_empty(),
    }
}

/// The images of Velero's server and its plug-ins, from the Deployments of its namespace.
pub(super) fn images(deployments: &[Value]) -> Vec<String> {
    let is_server = |object: &&Value| {
        let containers = list(object, "/spec/template/spec/containers");
        containers.iter().any(|container| {
            texts(container, "/command").iter().any(|word| word.ends_with("/velero"))
                || text(container, "/name") == "velero"
        })
    };
    let each = deployments.iter().filter(is_server).flat_map(|object| {
        ["/spec/template/spec/containers", "/spec/template/spec/initContainers"]
            .into_iter()
            .flat_map(|pointer| list(object, pointer))
    });
    each.filter_map(|container| some_text(container, "/image")).collect()
}
