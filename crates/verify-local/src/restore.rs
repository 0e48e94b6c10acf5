//! Restoring a backup without network access, comparing it with its manifests, and measuring RTO and RPO.

use std::path::{Path, PathBuf};

use anyhow::Result;
use jiff::Timestamp;
use verify_core::compare::Comparison;
use verify_core::finding::Verdict;
use verify_core::heartbeat::{Pulse, Rpo};
use verify_core::postgres::Settings;
use verify_core::report::Report;

use super::outcome::Restored;
use super::physical_restore::BroughtUp;
use super::point_in_time::{PointInTime, Recovery};
use super::recovery::{self, Stopwatch};
use super::store::{Store, StoredBackup};
use super::{logical_restore, physical_restore};
use crate::scratch::{self, Scratch};
use crate::server::Server;
use verify_drill::backup_record::{BackupRecord, CopyMethod};
use verify_drill::hint::Hinted;
use verify_drill::judging::{Found, Judging};
use verify_drill::provider::RestoreRequest;
use verify_drill::report_file::write_reports;
use verify_drill::store::Folder;
use verify_drill::watch::Watch;

/// Restores a backup into a server on this machine and verifies it.
///
/// # Errors
///
/// If it could not be restored, or not be compared. A finding is not an error.
pub fn restore(store: &Store, request: &RestoreRequest, watch: &Watch<'_>) -> Result<Restored> {
    restore_to(store, request, None, watch)
}

/// The same with recovery to a point in time.
///
/// # Errors
///
/// As for [`restore`], and if base backup, archive and target do not fit together.
pub fn restore_to(
    store: &Store,
    request: &RestoreRequest,
    point_in_time: Option<&PointInTime>,
    watch: &Watch<'_>,
) -> Result<Restored> {
    let RestoreRequest { name, plan, .. } = request;
    for swept in scratch::sweep().into_iter().chain(store.sweep()) {
        watch.step(&format!("removed leftovers of an earlier run: {}", swept.display()))?;
    }
    let mut stopwatch = Stopwatch::start();
    let backup = store.find(name)?;
    let recovery = point_in_time.map(|wanted| Recovery::prepare(wanted, &backup, watch)).transpose()?;
    let backup = match &recovery {
        Some(recovery) => recovery.backup(backup)?,
        None => backup,
    };
    let scratch = Scratch::create("restore")?;
    let brought_up = match backup.record.method {
        CopyMethod::Physical => {
            physical_restore::restore(&backup, &scratch, recovery.as_ref(), plan, &mut stopwatch, watch)?
        }
        CopyMethod::Logical => logical_restore::restore(&backup, &scratch, plan, &mut stopwatch, watch)?,
        CopyMethod::Snapshot => return Err(needs_command(&backup)),
    };
    let path = backup.path.clone();
    let mut restored = judge(backup, brought_up, scratch, recovery.as_ref(), request, &stopwatch);
    match keep_reports(&path, &restored.record, &restored.reports) {
        Ok(files) => restored.report_files = files,
        // A store that is read only, as evidence should be, takes nothing away from the verdict.
        Err(error) => watch.report(&format!("the report was not stored: {error:#}")),
    }
    Ok(restored)
}

/// A snapshot of a volume is where the storage system keeps it.
fn needs_command(backup: &StoredBackup) -> anyhow::Error {
    let name = &backup.record.name;
    let manifest = backup.record.databases.first().map(|database| backup.path.join(&database.manifest));
    let manifest = manifest.unwrap_or_else(|| backup.path.clone());
    Hinted::new(
        format!("failed to restore {name}: it is a snapshot of a volume, of which only the manifests are in this store"),
        format!(
            "state-lab restore --with command --snapshot {name} --manifest {} (docs/tools.md)",
            manifest.display()
        ),
    )
    .into()
}

/// Judges what was found in a restored copy. Its reports are in no file yet.
pub(super) fn judge(
    backup: StoredBackup,
    brought_up: BroughtUp,
    scratch: Scratch,
    recovery: Option<&Recovery<'_>>,
    request: &RestoreRequest,
    stopwatch: &Stopwatch,
) -> Restored {
    let replayed = brought_up.replayed.clone();
    let incident = request.incident.unwrap_or(stopwatch.timeline.started_at);
    let (server, databases, found) = brought_up.found(&backup, incident);
    let judging = Judging {
        record: &backup.record,
        manifests: &backup.manifests,
        timeline: &stopwatch.timeline,
        duration_ms: stopwatch.elapsed_ms(),
        objectives: request.objectives,
    };
    let mut reports = judging.reports(found);
    if let Some(recovery) = recovery {
        reports.iter_mut().for_each(|report| recovery.note(report, &replayed));
    }
    let StoredBackup { record, manifests, .. } = backup;
    Restored { server, scratch, record, manifests, databases, reports, report_files: Vec::new() }
}

impl BroughtUp {
    /// The server, the ways to its databases, and what was found in each.
    pub(super) fn found(
        self,
        backup: &StoredBackup,
        incident: Timestamp,
    ) -> (Server, Vec<Settings>, Vec<Found>) {
        let Self { server, databases, comparisons, pulses, replayed: _ } = self;
        let rpos = recovery_points(backup, &comparisons, &pulses, incident);
        let found = comparisons.into_iter().zip(rpos).zip(&databases);
        let found =
            found.map(|((comparison, rpo), database)| Found { place: database.describe(), comparison, rpo });
        let found = found.collect();
        (server, databases, found)
    }
}

/// Returns the lost time of each database, if known: from the contents of the copy, and from the time of the capture
/// if the comparison passed.
fn recovery_points(
    backup: &StoredBackup,
    comparisons: &[Comparison],
    pulses: &[Pulse],
    incident: Timestamp,
) -> Vec<Option<Rpo>> {
    let clock = backup.record.server.clock;
    let verified = backup.manifests.iter().zip(comparisons).map(|(manifest, comparison)| {
        (comparison.verdict() == Verdict::Pass).then_some(manifest.header.captured_at)
    });
    if backup.record.method == CopyMethod::Logical {
        let rpo = |(pulse, verified)| recovery::rpo_of_dump(pulse, verified, incident, clock);
        return pulses.iter().zip(verified).map(rpo).collect();
    }
    // All databases of a physical copy were recovered to the same position, so the latest evidence counts for each.
    let verified: Vec<Option<Timestamp>> = verified.collect();
    let latest = verified.iter().copied().max().flatten();
    verified.iter().map(|own| Rpo::derive(pulses, own.and(latest), incident, clock)).collect()
}

/// Stores the reports beside the backup.
fn keep_reports(path: &Path, record: &BackupRecord, reports: &[Report]) -> Result<Vec<PathBuf>> {
    let names: Vec<String> = record.databases.iter().map(|database| database.name.clone()).collect();
    let keys = write_reports(&Folder::new(path), "", &names, reports, Timestamp::now())?;
    Ok(keys.into_iter().map(|key| path.join(key)).collect())
}
