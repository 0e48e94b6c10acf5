//! Reason of the wait of a backup or a restore, for progress and for timeouts.
//!
//! Velero waits for hours without a message if a node agent is lost. The wait is reported as the problem that it
//! becomes when state-lab's deadline passes; its hint is for that moment.

use jiff::Timestamp;
use kube::Resource;

use super::backup::Backup;
use super::judge::named;
use super::object::Observed;
use super::phase::Phase;
use super::restore::Restore;
use super::snapshot::VolumeSnapshot;
use super::transfer::{Transfer, moving};
use verify_drill::duration::Period;
use verify_drill::problem::Problem;
use verify_drill::quantity::bytes;

/// Returns what a backup waits for; `None` after it and all of its transfers have finished. `snapshots` are those
/// that it takes, `ahead` are the backups that Velero takes before it.
pub fn backup(
    backup: &Backup,
    transfers: &[Transfer<'_>],
    snapshots: &[VolumeSnapshot],
    ahead: &[Backup],
    now: Timestamp,
) -> Option<Problem> {
    let (object, status) = (named(backup), backup.observed());
    if status.phase.is("Queued") {
        return Some(queued(object, backup, ahead));
    }
    if let Some(waiting) = transfer(transfers, now) {
        return Some(waiting);
    }
    if let Some(waiting) = unready(snapshots, now) {
        return Some(waiting);
    }
    let operations = Operations {
        done: status.backup_item_operations_completed + status.backup_item_operations_failed,
        all: status.backup_item_operations_attempted,
    };
    let items = (status.progress.items_backed_up, status.progress.total_items);
    whole(object, backup, &status.phase, &operations, items, now)
}

/// Returns what a restore waits for; `None` after it and all of its transfers have finished. `ahead` are those that
/// Velero ends before.
pub fn restore(
    restore: &Restore,
    transfers: &[Transfer<'_>],
    ahead: &[Restore],
    now: Timestamp,
) -> Option<Problem> {
    if let Some(waiting) = transfer(transfers, now) {
        return Some(waiting);
    }
    let status = restore.observed();
    if let Some(ahead) = ahead.first().filter(|_| status.phase.untouched()) {
        let what = format!("is New, and waits until the {} has finished", named(ahead));
        return Some(
            Problem::failure(named(restore), what)
                .with_hint("if that one makes no progress either, restart the Velero server"),
        );
    }
    let operations = Operations {
        done: status.restore_item_operations_completed + status.restore_item_operations_failed,
        all: status.restore_item_operations_attempted,
    };
    let items = (status.progress.items_restored, status.progress.total_items);
    whole(named(restore), restore, &status.phase, &operations, items, now)
}

/// Returns whether Velero processes another backup before a queued one: it processes one at a time by default.
pub fn is_backup_ahead(other: &Backup, backup: &Backup) -> bool {
    let status = other.observed();
    other.metadata.name != backup.metadata.name
        && (status.phase.is("InProgress")
            || status.phase.is("ReadyToStart")
            || status.phase.is("Queued") && status.queue_position < backup.observed().queue_position)
}

/// Returns whether Velero finishes another restore before it starts a waiting one, which may have started since it
/// was read.
pub fn is_restore_ahead(other: &Restore, restore: &Restore) -> bool {
    other.metadata.name != restore.metadata.name && other.observed().phase.is("InProgress")
}

fn queued(object: String, backup: &Backup, ahead: &[Backup]) -> Problem {
    let position = backup.observed().queue_position;
    let ahead: Vec<&str> = ahead.iter().filter_map(|other| other.metadata.name.as_deref()).collect();
    if ahead.is_empty() {
        return Problem::failure(
            object,
            format!("is Queued at position {position}, behind no visible backup"),
        )
        .with_hint("a backup that Velero no longer tracks blocks its queue: restart the Velero server");
    }
    Problem::failure(object, format!("is Queued behind {}", ahead.join(", "))).with_hint(
        "if the one ahead makes no progress either, restart the Velero server; that frees its queue",
    )
}

/// A snapshot that the storage has not taken, which Velero waits for.
fn unready(snapshots: &[VolumeSnapshot], now: Timestamp) -> Option<Problem> {
    let snapshot = snapshots.iter().find(|snapshot| !snapshot.ready())?;
    let claim = snapshot.spec.source.persistent_volume_claim_name.as_ref();
    let claim = claim.map(|claim| format!("of the claim {claim} ")).unwrap_or_default();
    let created = snapshot.metadata.creation_timestamp.as_ref().map(|time| elapsed(time.0, now));
    let said =
        snapshot.observed().error.as_ref().map(|error| format!(": {}", error.message)).unwrap_or_default();
    let what = match created {
        Some(time) => format!("{claim}has not been ready for {time}{said}"),
        None => format!("{claim}is not ready{said}"),
    };
    let problem = Problem::failure(named(snapshot), what);
    Some(problem.with_hint("check that the snapshot controller and the storage's CSI driver are running"))
}

/// The transfer that has stood still for longest, of those that have not ended.
fn transfer(transfers: &[Transfer<'_>], now: Timestamp) -> Option<Problem> {
    if !moving(transfers) {
        return None;
    }
    let running = || transfers.iter().filter(|transfer| !transfer.status.phase.ended());
    let oldest = running().min_by_key(|transfer| (rank(&transfer.status.phase), transfer.since()))?;
    let phase = &oldest.status.phase;
    let on = oldest.node.map(|node| format!(" on {node}")).unwrap_or_default();
    let mut what = match oldest.since() {
        Some(since) => format!("has been {phase}{on} for {}", elapsed(since, now)),
        None => format!("is {phase}{on}"),
    };
    let progress = &oldest.status.progress;
    if progress.total_bytes > 0 {
        let [done, total] =
            [progress.bytes_done, progress.total_bytes].map(|number| bytes(number.max(0) as u64));
        what.push_str(&format!(", {done} of {total}"));
    }
    match running().count() - 1 {
        0 => {}
        1 => what.push_str("; another one is in progress"),
        more => what.push_str(&format!("; {more} others are in progress")),
    }
    let problem = Problem::failure(oldest.object.clone(), what);
    Some(match (rank(phase), oldest.node) {
        (Stage::Untouched, None) => {
            problem.with_hint("no node agent accepts it: check the pods of the DaemonSet node-agent")
        }
        (Stage::Untouched | Stage::Preparing, Some(node)) => {
            problem.with_hint(format!("if it remains so, restart the node agent on {node}"))
        }
        (Stage::Preparing, None) => problem.with_hint("if it remains so, restart the node agents"),
        (Stage::Moving, _) => problem,
    })
}

/// Stage of a transfer; the least advanced one is what everything waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Untouched,
    Preparing,
    Moving,
}

fn rank(phase: &Phase) -> Stage {
    if phase.untouched() {
        Stage::Untouched
    } else if phase.is("Accepted") || phase.is("Prepared") {
        Stage::Preparing
    } else {
        Stage::Moving
    }
}

/// Operations of plugins.
struct Operations {
    done: u64,
    all: u64,
}

/// Problem of the backup or restore itself, if no transfer has one.
fn whole<K: Resource<DynamicType = ()>>(
    object: String,
    resource: &K,
    phase: &Phase,
    operations: &Operations,
    (items_done, items): (u64, u64),
    now: Timestamp,
) -> Option<Problem> {
    if phase.ended() {
        return None;
    }
    if phase.untouched() {
        let created = resource.meta().creation_timestamp.as_ref().map(|time| elapsed(time.0, now));
        let is_new = created.map_or("is New".to_owned(), |time| format!("has been New for {time}"));
        return Some(
            Problem::failure(object, format!("{is_new}: Velero has not processed it")).with_hint(
                "check that the Velero server is running, and that the object is in its namespace",
            ),
        );
    }
    let mut what = format!("is {phase}");
    if operations.done < operations.all {
        what.push_str(&format!(", {} of {} plugin operations done", operations.done, operations.all));
    } else if items > 0 {
        what.push_str(&format!(", {items_done} of {items} objects done"));
    }
    Some(Problem::failure(object, what))
}

/// To the second; clocks of two machines may make it less than nothing.
fn elapsed(since: Timestamp, now: Timestamp) -> Period {
    let seconds = u64::try_from(now.as_second() - since.as_second()).unwrap_or(0);
    Period::from_ms(seconds * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::velero::sample;

    fn at(time: &str) -> Timestamp {
        format!("2026-11-21T{time}Z").parse().unwrap()
    }

    fn summary(waiting: Option<Problem>) -> Option<(String, bool)> {
        waiting.map(|problem| (problem.to_string(), problem.hint.is_some()))
    }

    fn some(text: &str, hint: bool) -> Option<(String, bool)> {
        Some((text.to_owned(), hint))
    }

    #[test]
    fn a_backup_names_what_it_waits_for() {
        let table = [
            ("none.1", some("Backup big-1 has been New for 34s: Velero has not processed it", true)),
            ("ReadyToStart.1", some("Backup big-1 is ReadyToStart", false)),
            (
                "WaitingForPluginOperations.1",
                some("Backup move-001 is WaitingForPluginOperations, 0 of 2 plugin operations done", false),
            ),
            ("Finalizing.1", some("Backup big-1 is Finalizing, 15 of 15 objects done", false)),
            ("Completed.1", None),
            ("Failed.1", None),
        ];
        for (name, expected) in table {
            let object: Backup = sample::load(&format!("Backup/{name}"));
            assert_eq!(summary(backup(&object, &[], &[], &[], at("08:24:00"))), expected, "{name}");
        }
    }

    #[test]
    fn a_snapshot_that_is_not_taken_is_named() {
        let object: Backup = sample::load("Backup/InProgress.1");
        let waiting_for = |names: &[&str]| {
            let snapshots: Vec<VolumeSnapshot> =
                names.iter().map(|name| sample::load(&format!("VolumeSnapshot/readyToUse={name}"))).collect();
            summary(backup(&object, &[], &snapshots, &[], at("08:24:00"))).unwrap().0
        };
        let only = waiting_for(&[]);
        assert!(only.starts_with("Backup "), "{only}");
        assert_eq!(waiting_for(&["True.2"]), only);
        assert_eq!(
            waiting_for(&["True.2", "False.1"]),
            "VolumeSnapshot move-001-5bl4k has not been ready for 3m35s"
        );
        let complaint =
            "VolumeSnapshot move-001-b5dxt has not been ready for 3m30s: VolumeSnapshotContent is missing";
        assert_eq!(waiting_for(&["False-error.1"]), complaint);
    }

    #[test]
    fn a_backup_in_the_queue_names_what_is_ahead() {
        let named = |name: &str, sample: &str, position| {
            let mut object: Backup = sample::load(&format!("Backup/{sample}"));
            object.metadata.name = Some(name.to_owned());
            object.status.get_or_insert_default().queue_position = position;
            object
        };
        let own = named("own", "Queued.1", 2);
        let mut ahead = vec![
            own.clone(),
            named("done", "Completed.1", 0),
            named("running", "InProgress.1", 0),
            named("earlier", "Queued.1", 1),
            named("later", "Queued.1", 3),
        ];
        ahead.retain(|other| is_backup_ahead(other, &own));
        let now = at("08:24:00");
        let queued = summary(backup(&own, &[], &[], &ahead, now));
        assert_eq!(queued, some("Backup own is Queued behind running, earlier", true));
        let only = summary(backup(&own, &[], &[], &[], now));
        assert_eq!(only, some("Backup own is Queued at position 2, behind no visible backup", true));
    }

    #[test]
    fn the_transfer_with_the_least_progress_is_reported() {
        let restored: Restore = sample::load("Restore/Completed.1");
        let table: [(&[&str], &str, bool); 5] = [
            (
                &["none.1"],
                "PodVolumeRestore dr-085525-29f28 of volume basebackup of pod dr-085525/pg-0 has been New for 33s",
                true,
            ),
            (
                &["InProgress.1", "Prepared.1", "Completed.1"],
                "PodVolumeRestore dr-085525-29f28 of volume basebackup of pod dr-085525/pg-0 has been Prepared on \
                 worker-2 for 32s; another one is in progress",
                true,
            ),
            (
                &["InProgress.1", "Accepted.1", "Accepted.1"],
                "PodVolumeRestore dr-085525-29f28 of volume basebackup of pod dr-085525/pg-0 has been Accepted on \
                 worker-2 for 32s; 2 others are in progress",
                true,
            ),
            (
                &["InProgress.1"],
                "PodVolumeRestore dr-085525-29f28 of volume basebackup of pod dr-085525/pg-0 has been InProgress \
                 on worker-2 for 31s",
                false,
            ),
            (&["Completed.1", "Failed.1"], "", false),
        ];
        for (names, text, hint) in table {
            let objects: Vec<crate::velero::pod_volume::PodVolumeRestore> =
                names.iter().map(|name| sample::load(&format!("PodVolumeRestore/{name}"))).collect();
            let transfers: Vec<Transfer<'_>> = objects.iter().map(Transfer::from).collect();
            // The restore says Completed, and still has to be waited for.
            let expected = if text.is_empty() { None } else { some(text, hint) };
            assert_eq!(summary(restore(&restored, &transfers, &[], at("08:57:00"))), expected, "{names:?}");
        }
    }

    #[test]
    fn bytes_are_reported_and_time_never_runs_backwards() {
        let object: crate::velero::pod_volume::PodVolumeBackup = sample::load("PodVolumeBackup/Canceling.1");
        let backed_up: Backup = sample::load("Backup/Failed.1");
        let waiting = backup(&backed_up, &[Transfer::from(&object)], &[], &[], at("08:00:00"));
        let text = "PodVolumeBackup big-4-7dpmq of volume d of pod big/big has been Canceling on worker-3 for 0s, \
                    1.1 GiB of 1.1 GiB";
        assert_eq!(summary(waiting), some(text, false));
    }

    #[test]
    fn a_restore_that_was_not_begun_waits_for_the_server() {
        let fresh: Restore = sample::load("Restore/none.1");
        let text = "Restore csi-085525 has been New for 12s: Velero has not processed it";
        assert_eq!(summary(restore(&fresh, &[], &[], at("08:58:00"))), some(text, true));
        let mut ahead: Restore = sample::load("Restore/InProgress.1");
        ahead.metadata.name = Some("earlier".to_owned());
        let behind =
            some("Restore csi-085525 is New, and waits until the Restore earlier has finished", true);
        assert!(is_restore_ahead(&ahead, &fresh));
        assert_eq!(summary(restore(&fresh, &[], &[ahead], at("08:58:00"))), behind);
        let mut begun = fresh.clone();
        begun.status.get_or_insert_default().phase = "InProgress".into();
        assert!(!is_restore_ahead(&begun, &fresh), "it has begun since it was read");
        let ended: Restore = sample::load("Restore/FailedValidation.1");
        assert_eq!(summary(restore(&ended, &[], &[], at("08:58:00"))), None);
    }
}
