//! The provider `local`: PostgreSQL's own programs on this machine.

use anyhow::{Context, Result, bail};
use verify_core::postgres::Settings;
use verify_drill::backup_name::BackupName;
use verify_drill::backup_record::{self, BackupRecord, CopyMethod};
use verify_drill::provider::{
    BackupOrigin, BackupRequest, KeptServer, Provider, Removal, RestoreRequest, RestoreTarget, RestoredCopy,
    StoredAt, TakenBackup,
};
use verify_drill::quantity::bytes;
use verify_drill::watch::Watch;

use super::outcome::Restored;
use super::point_in_time::PointInTime;
use super::scratch;
use super::store::Store;
use super::tools::Command;
use super::{backup, restore_to};

/// Backups in a directory, of servers that this machine reaches.
#[derive(Clone, Debug)]
pub struct LocalProvider {
    /// Store of the backups.
    pub store: Store,
    /// The databases to back up, all of one server. A physical copy holds the others too, without manifests.
    pub databases: Vec<Settings>,
    /// The point in time that backups are recovered to; that of the backup unless given.
    pub point_in_time: Option<PointInTime>,
    /// The commands of a storage system that takes snapshots of the server's volumes.
    pub command: Option<Command>,
}

impl Provider for LocalProvider {
    fn backup(&self, request: &BackupRequest, watch: &Watch<'_>) -> Result<TakenBackup> {
        let record = backup(self, request, watch)?;
        let took = record.ended_at.duration_since(record.started_at);
        Ok(TakenBackup {
            stored: serde_json::to_value(&record).context("failed to write the backup's record")?,
            method: words(&record).to_owned(),
            details: match record.method {
                // Only the storage system knows its size.
                CopyMethod::Snapshot => Vec::new(),
                _ => vec![format!("size: {}, in {:.1} s", bytes(record.bytes), took.as_secs_f64())],
            },
            place: StoredAt::Directory(self.store.path().join(record.name.as_str())),
            record: Some(record),
            problems: Vec::new(),
            complaints: Vec::new(),
            left: Vec::new(),
        })
    }

    fn restore(&self, request: &RestoreRequest, watch: &Watch<'_>) -> Result<RestoredCopy> {
        let restored = restore_to(&self.store, request, self.point_in_time.as_ref(), watch)?;
        let databases = restored.databases.iter().map(|database| database.database().to_owned()).collect();
        let files = restored.report_files.iter().map(|file| file.display().to_string()).collect();
        let origin = self.origin(&restored.record);
        let (reports, kept) = match request.keep {
            true => (restored.reports.clone(), Some(keep(restored)?)),
            false => (restored.reports, None),
        };
        Ok(RestoredCopy {
            databases,
            reports,
            origin,
            target: RestoreTarget::default(),
            report_files: files,
            warnings: Vec::new(),
            left: Vec::new(),
            kept,
        })
    }

    fn latest(&self, _: &Watch<'_>) -> Result<BackupName> {
        bail!(
            "failed to choose a backup: --latest requires Velero; name a backup of this machine with --snapshot"
        )
    }

    fn remove_leftovers(&self, _: &Watch<'_>) -> Result<Removal> {
        let swept = scratch::sweep_with_kept().into_iter().chain(self.store.sweep());
        Ok(Removal { removed: swept.map(|path| path.display().to_string()).collect(), ..Removal::default() })
    }
}

impl LocalProvider {
    fn origin(&self, record: &BackupRecord) -> BackupOrigin {
        let directory = self.store.path().join(record.name.as_str());
        let file = std::fs::read(directory.join(backup_record::FILE)).ok();
        BackupOrigin {
            provider: "local".to_owned(),
            method: words(record).to_owned(),
            location: directory.display().to_string(),
            started_at: record.started_at,
            record_blake3: file.map(|file| backup_record::blake3_of(&file)),
            record_locked_until: None,
        }
    }
}

/// Returns the method of the copy, in words.
fn words(record: &BackupRecord) -> &'static str {
    match record.method {
        CopyMethod::Physical => "physical (base backup)",
        CopyMethod::Logical => "logical (dump)",
        CopyMethod::Snapshot => "volume snapshot",
    }
}

/// Leaves the restored server running; how to connect to it and to remove it.
pub(super) fn keep(restored: Restored) -> Result<KeptServer> {
    let database = restored.databases.first().map_or("postgres", |database| database.database()).to_owned();
    let (conninfo, pid) = (restored.conninfo(&database), restored.server.pid());
    let path = restored.keep()?;
    let note = format!(
        "the restored server is still running, as process {pid}; connect to it with\n    psql \"{conninfo}\"\nstop and \
         remove it with\n    state-lab cleanup\nIts files are in {}",
        path.display()
    );
    Ok(KeptServer { conninfo, note })
}
