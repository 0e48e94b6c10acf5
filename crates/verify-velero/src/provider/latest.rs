//! The newest restorable backup of a database, for nightly restores.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use kube::ResourceExt;

use super::VeleroProvider;
use super::evidence::Evidence;
use crate::velero::backup::Backup;
use crate::velero::label;
use crate::velero::object::Observed;
use verify_drill::backup_name::BackupName;
use verify_drill::watch::Watch;

/// The label of a Backup that names the database: a namespace may have several.
pub(crate) const CLUSTER: &str = "state-lab.dev/cluster";

/// The newest backup that Velero completed and whose record is beside it, of the settings' namespace, cluster and
/// databases.
///
/// # Errors
///
/// If there is none, or none can be chosen. Newer ones that are not restorable, or that lack a database, are reported.
pub(super) fn latest(provider: &VeleroProvider, watch: &Watch<'_>) -> Result<BackupName> {
    let VeleroProvider { settings, open_store } = provider;
    let velero = settings.velero_namespace();
    let cluster = settings.connect()?;
    let evidence = Evidence::open(&cluster, settings, *open_store)?;
    let namespace = settings.namespace_in(&cluster);
    let backups = cluster.of::<Backup>(velero).list("")?;
    let candidates = candidates(&backups, namespace, evidence.name());
    for name in of_cluster(&candidates, settings.cluster.as_deref(), namespace)? {
        let Some(record) = evidence.find_record(name)? else {
            watch.step(&format!("the backup {name} is newer, but has no record"))?;
            continue;
        };
        let holds = |wanted: &&String| record.backup.databases.iter().any(|held| held.name == **wanted);
        if let Some(missing) = settings.databases.iter().find(|wanted| !holds(wanted)) {
            watch
                .step(&format!("the backup {name} is newer, but does not contain the database {missing}"))?;
            continue;
        }
        watch.step(&format!("the newest verifiable backup of {namespace} is {name}"))?;
        return Ok(name.clone());
    }
    None.with_context(|| {
        format!(
            "failed to find a verifiable backup of the namespace {namespace} in {}: create one with `state-lab backup`",
            evidence.store().place()
        )
    })
}

/// A backup, and the database that it is of, where it says so: those that others made do not.
struct Candidate {
    name: BackupName,
    cluster: Option<String>,
}

/// Completed backups of a namespace in a location, the newest first.
fn candidates(backups: &[Backup], namespace: &str, location: &str) -> Vec<Candidate> {
    let of_namespace = |backup: &&Backup| {
        let spec = &backup.spec;
        spec.included_namespaces == [namespace]
            && spec.storage_location.as_deref() == Some(location)
            && backup.observed().phase.is("Completed")
            && backup.metadata.deletion_timestamp.is_none()
    };
    let mut found: Vec<&Backup> = backups.iter().filter(of_namespace).collect();
    found.sort_by_key(|backup| backup.observed().start_timestamp.as_ref().map(|time| time.0));
    let candidate = |backup: &&Backup| {
        Some(Candidate {
            name: backup.name_any().parse().ok()?,
            cluster: backup.labels().get(CLUSTER).cloned(),
        })
    };
    found.iter().rev().filter_map(candidate).collect()
}

/// Returns the backups of one cluster, and those without a cluster: the only one, or that of this name.
fn of_cluster<'a>(
    candidates: &'a [Candidate],
    wanted: Option<&str>,
    namespace: &str,
) -> Result<Vec<&'a BackupName>> {
    let wanted = wanted.map(label::value);
    let known: BTreeSet<&str> = candidates.iter().filter_map(|found| found.cluster.as_deref()).collect();
    if wanted.is_none() && known.len() > 1 {
        bail!(
            "failed to choose a backup: the namespace {namespace} has some of {}; name one with --cluster",
            known.into_iter().collect::<Vec<&str>>().join(", ")
        );
    }
    let of_wanted = |found: &&Candidate| match (&wanted, &found.cluster) {
        (Some(wanted), Some(cluster)) => wanted == cluster,
        _ => true,
    };
    Ok(candidates.iter().filter(of_wanted).map(|found| &found.name).collect())
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
            candidates(&backups, namespace, location).iter().map(|found| found.name.to_string()).collect()
        };
        assert_eq!(names("app", "default"), ["newest", "older", "oldest"]);
        assert_eq!(names("app", "region-b"), ["elsewhere"]);
        assert_eq!(names("billing", "default"), [""; 0]);
    }

    #[test]
    fn of_several_databases_in_a_namespace_one_has_to_be_named() {
        let candidate = |name: &str, cluster: Option<&str>| Candidate {
            name: name.parse().unwrap(),
            cluster: cluster.map(str::to_owned),
        };
        let two = [candidate("b3", Some("pg2")), candidate("b2", Some("pg")), candidate("b1", None)];
        let names = |candidates: &[Candidate], wanted| -> Result<Vec<String>> {
            Ok(of_cluster(candidates, wanted, "app")?.iter().map(ToString::to_string).collect())
        };
        assert_eq!(names(&two, Some("pg")).unwrap(), ["b2", "b1"]);
        assert_eq!(names(&two, Some("pg2")).unwrap(), ["b3", "b1"]);
        assert!(names(&two, None).unwrap_err().to_string().contains("pg, pg2"));
        assert_eq!(names(&two[1..], None).unwrap(), ["b2", "b1"]);
    }
}
