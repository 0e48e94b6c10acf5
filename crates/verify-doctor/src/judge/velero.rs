//! Velero's schedules, backups, locations and repositories.

use std::collections::BTreeSet;

use verify_drill::duration::Period;

use crate::check::{Answer, Found};
use crate::fact::{Missing, known};
use crate::facts::Facts;
use crate::facts::cluster::{Schedule, VeleroBackup, VolumeCopy};

const HOUR: Period = Period::from_ms(60 * 60 * 1_000);
/// A repository is maintained late where so many times its interval, and a day, have passed.
const MAINTENANCE_MISSED: u64 = 3;

const fn hours(hours: u64) -> Period {
    Period::from_ms(HOUR.ms() * hours)
}

/// The longest time between two backups of a schedule, half a day later than it says.
fn patience(cron: &str) -> Period {
    match cron.trim() {
        "@monthly" => hours(31 * 24 + 12),
        "@yearly" | "@annually" => hours(366 * 24 + 12),
        "@weekly" => hours(7 * 24 + 12),
        cron => match cron.split_whitespace().collect::<Vec<_>>().as_slice() {
            // CRON_TZ=… before the five fields.
            [.., _, _, day, month, week] => match (*day, *month, *week) {
                ("*" | "?", "*", "*" | "?") => hours(36),
                ("*" | "?", "*", _) => hours(7 * 24 + 12),
                (_, "*", _) => hours(31 * 24 + 12),
                _ => hours(366 * 24 + 12),
            },
            _ => hours(36),
        },
    }
}

fn schedules(facts: &Facts) -> Result<&[Schedule], Missing> {
    let cluster = known(&facts.cluster)?;
    let schedules = known(&cluster.schedules)?;
    if schedules.is_empty() {
        let reason = format!("no Schedule of Velero backs up the namespace {}", cluster.namespace);
        return Err(Missing::not_applicable(reason));
    }
    Ok(schedules)
}

pub(crate) fn no_schedule(facts: &Facts) -> Result<Answer, Missing> {
    let cluster = known(&facts.cluster)?;
    let none = known(&cluster.schedules)?.is_empty();
    Ok(none
        .then(|| Found::new(format!("namespace {}", cluster.namespace), "is in no Schedule of Velero"))
        .into())
}

pub(crate) fn silent_schedules(facts: &Facts) -> Result<Answer, Missing> {
    let mut found = Vec::new();
    for schedule in schedules(facts)? {
        let object = format!("Schedule {}", schedule.name);
        if !schedule.validation_errors.is_empty() {
            let message = format!("is not valid: {}", schedule.validation_errors.join("; "));
            found.push(Found::new(object, message));
            continue;
        }
        let limit = patience(&schedule.cron);
        let (since, what) = match schedule.last_backup_at {
            Some(at) => (at, "made its last backup"),
            None => (schedule.created_at, "has made no backup since it was created"),
        };
        let age = facts.age(since);
        if age > limit {
            let message =
                format!("{what} {} ago; it is to make one as `{}`", age.rounded_up(), schedule.cron);
            found.push(Found::new(object, message));
        }
    }
    Ok(found.into())
}

pub(crate) fn paused_schedules(facts: &Facts) -> Result<Answer, Missing> {
    let paused = schedules(facts)?.iter().filter(|schedule| schedule.paused);
    let found = paused.map(|schedule| Found::new(format!("Schedule {}", schedule.name), "is paused"));
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn short_ttl(facts: &Facts) -> Result<Answer, Missing> {
    let retention = facts.objectives.retention;
    let found = schedules(facts)?.iter().filter_map(|schedule| {
        let object = format!("Schedule {}", schedule.name);
        let ttl = schedule.ttl;
        if let Some(retention) = retention.filter(|retention| ttl < *retention) {
            let message = format!("keeps its backups for {ttl}, and they are needed for {retention}");
            return Some(Found::new(object, message));
        }
        // After two missed runs no backup is left.
        (ttl < patience(&schedule.cron)).then(|| {
            Found::new(
                object,
                format!("keeps its backups for {ttl}: none is left when `{}` is late", schedule.cron),
            )
        })
    });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn lax_hooks(facts: &Facts) -> Result<Answer, Missing> {
    let cluster = known(&facts.cluster)?;
    let (pods, schedules) = (cluster.running()?, known(&cluster.schedules)?);
    let message = |hook: &str| format!("{hook} has on-error Continue");
    let of_pods = pods.iter().flat_map(|pod| {
        pod.lax_hooks.iter().map(|hook| Found::new(format!("pod {}", pod.name), message(hook)))
    });
    let of_schedules = schedules.iter().flat_map(|schedule| {
        let object = format!("Schedule {}", schedule.name);
        schedule.lax_hooks.iter().map(move |hook| Found::new(object.clone(), message(hook)))
    });
    Ok(of_pods.chain(of_schedules).collect::<Vec<_>>().into())
}

/// The newest backup that has finished.
fn newest(facts: &Facts) -> Result<&VeleroBackup, Missing> {
    let backups = known(&known(&facts.cluster)?.backups)?;
    let finished =
        |backup: &&VeleroBackup| ["Completed", "PartiallyFailed", "Failed"].contains(&backup.phase.as_str());
    backups.iter().find(finished).ok_or_else(|| Missing::not_applicable("no backup of Velero has finished"))
}

pub(crate) fn failed_hooks(facts: &Facts) -> Result<Answer, Missing> {
    let newest = newest(facts)?;
    let failed = newest.hooks_failed;
    let found = (failed > 0)
        .then(|| Found::new(format!("Backup {}", newest.name), format!("{failed} of its hooks failed")));
    Ok(found.into())
}

pub(crate) fn incomplete_copies(facts: &Facts) -> Result<Answer, Missing> {
    let newest = newest(facts)?;
    let found = newest.copies.iter().filter_map(|copy| {
        let short = copy.total_bytes.zip(copy.done_bytes).filter(|(total, done)| done != total);
        let what = match (&copy.claim, &copy.pod_volume) {
            (_, Some((pod, volume))) => format!("volume {volume} of pod {pod}"),
            (Some(claim), None) => format!("claim {claim}"),
            (None, None) => "a volume".to_owned(),
        };
        let message = match short {
            Some((total, done)) => format!("copied {done} of {total} bytes of {what}"),
            None if copy.phase != "Completed" => format!("has the copy of {what} as {}", copy.phase),
            None => return None,
        };
        Some(Found::new(format!("Backup {}", newest.name), message))
    });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn missing_volumes(facts: &Facts) -> Result<Answer, Missing> {
    let cluster = known(&facts.cluster)?;
    let pods = cluster.running()?;
    let newest = newest(facts)?;
    match newest.holds(pods) {
        Some(true) => Ok(Answer::default()),
        None => Err(Missing::unknown(
            format!(
                "which volumes the {} snapshots of Backup {} are of is only in its bucket",
                newest.snapshots, newest.name
            ),
            "a bucket that can be read from here",
        )),
        Some(false) => {
            let wanted = pods.iter().find(|pod| pod.is_primary && !pod.mounts.is_empty());
            let wanted = wanted.or_else(|| pods.iter().find(|pod| !pod.mounts.is_empty()));
            let Some(pod) = wanted else {
                return Ok(Found::new(format!("Backup {}", newest.name), "holds no volume").into_answer());
            };
            let claims = newest.lacking(pod).join(", ");
            Ok(Found::new(
                format!("Backup {}", newest.name),
                format!("holds no copy of {claims} of pod {}", pod.name),
            )
            .into_answer())
        }
    }
}

pub(crate) fn live_files(facts: &Facts) -> Result<Answer, Missing> {
    let cluster = known(&facts.cluster)?;
    let pods = cluster.running()?;
    let newest = known(&cluster.backups)?.first();
    let mut found = Vec::new();
    for pod in pods {
        for mount in &pod.mounts {
            let of_this = |copy: &&VolumeCopy| {
                copy.pod_volume
                    .as_ref()
                    .is_some_and(|(of, volume)| *of == pod.name && *volume == mount.volume)
            };
            let copied = newest.and_then(|newest| {
                newest
                    .copies
                    .iter()
                    .find(of_this)
                    .map(|_| format!("was copied as files by Backup {}", newest.name))
            });
            let annotated = pod
                .copied_as_files
                .contains(&mount.volume)
                .then(|| "is annotated to be copied as files".to_owned());
            if let Some(how) = copied.or(annotated) {
                let message =
                    format!("volume {} ({}) {how} while the server writes to it", mount.volume, mount.path);
                found.push(Found::new(format!("pod {}", pod.name), message));
            }
        }
    }
    Ok(found.into())
}

pub(crate) fn unavailable_locations(facts: &Facts) -> Result<Answer, Missing> {
    let locations = known(&known(&facts.cluster)?.locations)?;
    if locations.is_empty() {
        return Ok(Found::new("Velero", "has no BackupStorageLocation").into_answer());
    }
    let found = locations.iter().filter(|location| location.phase != "Available").map(|location| {
        let phase = if location.phase.is_empty() { "not validated" } else { &location.phase };
        let why = if location.message.is_empty() { String::new() } else { format!(": {}", location.message) };
        Found::new(format!("BackupStorageLocation {}", location.name), format!("is {phase}{why}"))
    });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn single_place(facts: &Facts) -> Result<Answer, Missing> {
    let locations = known(&known(&facts.cluster)?.locations)?;
    if locations.is_empty() {
        return Err(Missing::not_applicable("Velero has no BackupStorageLocation"));
    }
    let regions: BTreeSet<_> = locations
        .iter()
        .map(|location| (&location.provider, location.endpoint.as_deref(), location.region.as_deref()))
        .collect();
    let accounts: BTreeSet<_> = locations
        .iter()
        .map(|location| (&location.provider, location.credentials.as_deref(), location.endpoint.as_deref()))
        .collect();
    let names: Vec<&str> = locations.iter().map(|location| location.name.as_str()).collect();
    let found = if locations.len() == 1 {
        Some("is the only one: there is no second copy that Velero knows".to_owned())
    } else if regions.len() == 1 {
        Some("are in one region of one service".to_owned())
    } else if accounts.len() == 1 {
        Some("are reached with the same credentials, which can delete both".to_owned())
    } else {
        None
    };
    Ok(found.map(|message| Found::new(format!("BackupStorageLocation {}", names.join(", ")), message)).into())
}

pub(crate) fn unready_repositories(facts: &Facts) -> Result<Answer, Missing> {
    let repositories = known(&known(&facts.cluster)?.repositories)?;
    let unready = repositories.iter().filter(|repository| repository.phase != "Ready");
    let found = unready.map(|repository| {
        let phase = if repository.phase.is_empty() { "New" } else { &repository.phase };
        let why =
            if repository.message.is_empty() { String::new() } else { format!(": {}", repository.message) };
        Found::new(format!("BackupRepository {}", repository.name), format!("is {phase}{why}"))
    });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn unmaintained_repositories(facts: &Facts) -> Result<Answer, Missing> {
    let repositories = known(&known(&facts.cluster)?.repositories)?;
    let found = repositories.iter().filter_map(|repository| {
        let every = repository.maintenance_every;
        let limit = Period::from_ms(every.ms().saturating_mul(MAINTENANCE_MISSED)).max(hours(24));
        let age = facts.age(repository.maintained_at.unwrap_or(repository.created_at));
        (age > limit).then(|| {
            let message = format!("was not maintained for {}; it is to be every {every}", age.rounded_up());
            Found::new(format!("BackupRepository {}", repository.name), message)
        })
    });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn repository_password(facts: &Facts) -> Result<Answer, Missing> {
    let password = known(&known(&facts.cluster)?.repository_password)?;
    let object = "Secret velero-repo-credentials";
    let found = if password.is_default {
        Some(Found::new(object, "holds the password that is published with Velero"))
    } else if !password.is_managed {
        let message = "is made by nothing outside of this cluster: its password may exist here alone";
        Some(Found::new(object, message).as_notice())
    } else {
        None
    };
    Ok(found.into())
}

/// Major and minor version in an image's tag: `velero/velero:v1.16.2` is (1, 16).
fn version(image: &str) -> Option<(u32, u32)> {
    let tag = image.split('@').next()?.rsplit_once(':')?.1;
    let mut parts = tag.trim_start_matches('v').split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Name of an image, without registry and tag.
fn image_name(image: &str) -> &str {
    let path = image.split('@').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    name.split(':').next().unwrap_or_default()
}

pub(crate) fn plugin_versions(facts: &Facts) -> Result<Answer, Missing> {
    let images = known(&known(&facts.cluster)?.images)?;
    let of =
        |name: &str| images.iter().find(|image| image_name(image) == name).and_then(|image| version(image));
    let Some(velero) = of("velero") else {
        return Err(Missing::unknown(
            "the version of Velero is not in the tag of its image",
            "an image of Velero with its version as tag",
        ));
    };
    let shown = |(major, minor): (u32, u32)| format!("{major}.{minor}");
    let mut found = Vec::new();
    if velero >= (1, 14) && images.iter().any(|image| image_name(image) == "velero-plugin-for-csi") {
        let message = format!("is installed, and is part of Velero {} itself", shown(velero));
        found.push(Found::new("velero-plugin-for-csi", message));
    }
    // Releases of these plug-ins are numbered four behind the Velero that they are made for.
    for plugin in ["velero-plugin-for-aws", "velero-plugin-for-gcp", "velero-plugin-for-microsoft-azure"] {
        if let Some(version) = of(plugin)
            && velero >= (1, 5)
            && version != (1, velero.1 - 4)
        {
            let message = format!(
                "is {}, and Velero is {}, which goes with {}",
                shown(version),
                shown(velero),
                shown((1, velero.1 - 4))
            );
            found.push(Found::new(plugin, message).as_notice());
        }
    }
    Ok(found.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patience_with_a_schedule_is_its_interval_and_half_a_day() {
        for (cron, hours) in [
            ("30 2 * * *", 36),
            ("*/15 * * * *", 36),
            ("@every 6h", 36),
            ("CRON_TZ=Europe/Berlin 0 1 * * *", 36),
            ("0 1 * * 0", 180),
            ("@weekly", 180),
            ("0 1 1 * *", 756),
            ("0 1 1 1 *", 8796),
        ] {
            assert_eq!(patience(cron), super::hours(hours), "{cron}");
        }
    }

    #[test]
    fn versions_are_read_from_images() {
        for (image, name, expected) in [
            ("velero/velero:v1.16.2", "velero", Some((1, 16))),
            (
                "registry:5000/velero/velero-plugin-for-aws:v1.12.0-rc.1",
                "velero-plugin-for-aws",
                Some((1, 12)),
            ),
            ("velero/velero@sha256:abc", "velero", None),
            ("velero/velero:latest", "velero", None),
        ] {
            assert_eq!((image_name(image), version(image)), (name, expected), "{image}");
        }
    }
}
