//! The newest backup of a database that something proves: what a nightly restore takes.

use anyhow::{Context, Result};
use kube::ResourceExt;

use super::evidence::Evidence;
use super::settings::Settings;
use crate::cluster::Cluster;
use crate::provider::Watch;
use crate::provider::local::BackupName;
use crate::velero::backup::Backup;

/// The newest backup of the settings' namespace that Velero completed and whose record lies beside it.
///
/// # Errors
///
/// If there is none. Newer ones that nothing proves are told.
pub(crate) fn latest(settings: &Settings, watch: &Watch<'_>) -> Result<BackupName> {
    let velero = settings.velero_namespace();
    let cluster = Cluster::connect(settings.context.as_deref())?;
    let evidence = Evidence::open(&cluster, velero, settings.location.as_deref())?;
    let namespace = settings.namespace.as_deref().unwrap_or_else(|| cluster.default_namespace());
    let backups = cluster.of::<Backup>(velero).list("")?;
    for name in candidates(&backups, namespace, evidence.name()) {
        if evidence.has_record(&name)? {
            watch.step(&format!("the newest proven backup of {namespace} is {name}"))?;
            return Ok(name);
        }
        watch.step(&format!("the backup {name} is newer, and nothing proves it"))?;
    }
    None.with_context(|| {
        format!(
            "failed to find a proven backup of the namespace {namespace} in {}: `state-lab backup` makes one",
            evidence.bucket().location()
        )
    })
}

/// Completed backups of a namespace in a location, the newest first.
fn candidates(backups: &[Backup], namespace: &str, location: &str) -> Vec<BackupName> {
    let of_namespace = |backup: &&Backup| {
        let spec = &backup.spec;
        spec.included_namespaces == [namespace]
            && spec.storage_location.as_deref() == Some(location)
            && backup.status.phase.is("Completed")
            && backup.metadata.deletion_timestamp.is_none()
    };
    let mut found: Vec<&Backup> = backups.iter().filter(of_namespace).collect();
    found.sort_by_key(|backup| backup.status.start_timestamp.as_ref().map(|time| time.0));
    found.iter().rev().filter_map(|backup| backup.name_any().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_newest_completed_one_of_the_namespace_comes_first() {
        let backup = |name: &str, changes: Value| -> Backup {
            let mut object = json!({
                "metadata": { "name": name },
                "spec": { "includedNamespaces": ["app"], "storageLocation": "default" },
                "status": { "phase": "Completed", "startTimestamp": "2026-11-20T02:17:00Z" },
            });
            for (path, value) in changes.as_object().unwrap() {
                *object.pointer_mut(path).unwrap() = value.clone();
            }
            serde_json::from_value(object).unwrap()
        };
        let backups = [
            backup("older", json!({})),
            backup("newest", json!({ "/status/startTimestamp": "2026-11-21T02:17:00Z" })),
            backup("oldest", json!({ "/status/startTimestamp": "2026-11-19T02:17:00Z" })),
            backup("failed", json!({ "/status/phase": "PartiallyFailed" })),
            backup("elsewhere", json!({ "/spec/storageLocation": "region-b" })),
            backup("of-another", json!({ "/spec/includedNamespaces": ["shop"] })),
            backup("of-both", json!({ "/spec/includedNamespaces": ["app", "shop"] })),
        ];
        let names = |namespace, location| -> Vec<String> {
            candidates(&backups, namespace, location).iter().map(ToString::to_string).collect()
        };
        assert_eq!(names("app", "default"), ["newest", "older", "oldest"]);
        assert_eq!(names("app", "region-b"), ["elsewhere"]);
        assert_eq!(names("billing", "default"), [""; 0]);
    }
}
