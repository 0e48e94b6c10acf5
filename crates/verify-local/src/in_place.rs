//! Restoring a backup in place, on a volume that state-lab may change.

use std::path::PathBuf;

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use verify_core::manifest::Manifest;
use verify_core::plan::Plan;
use verify_core::postgres::Settings;
use verify_core::timeline::Timeline;

use super::logical_restore;
use super::physical_backup::DATA;
use super::physical_restore::{self, CopiedFiles};
use super::recovery::Stopwatch;
use super::store::StoredBackup;
use crate::scratch::Scratch;
use crate::server::Server;
use verify_drill::backup_record::{BackupRecord, CopyMethod};
use verify_drill::judging::Found;
use verify_drill::watch::Watch;

/// Location of a backup's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// A copy of a data directory.
    DataDirectory(PathBuf),
    /// A store of backups that holds this one.
    Store(PathBuf),
}

/// A server on restored bytes, and what was found in it. The server goes with this value.
pub struct VerifiedCopy {
    // Dropped in this order: the server stops before its directory is removed.
    /// The server.
    pub server: Server,
    /// The directory of its socket, and of its data where they were copied.
    pub scratch: Scratch,
    /// The way to each database, in the record's order.
    pub databases: Vec<Settings>,
    /// Results, in the same order.
    pub found: Vec<Found>,
    /// Duration of each part.
    pub timeline: Timeline,
}

/// Starts a server on a backup and compares it with its manifests.
///
/// # Errors
///
/// If it could not be started, or not be compared. A finding is not an error.
pub fn restore_in_place(
    record: BackupRecord,
    manifests: Vec<Manifest>,
    place: &Place,
    plan: &Plan,
    incident: Timestamp,
    watch: &Watch<'_>,
) -> Result<VerifiedCopy> {
    let mut stopwatch = Stopwatch::start();
    let scratch = Scratch::create("restore")?;
    let (path, data) = match place {
        Place::DataDirectory(data) => (data.clone(), data.clone()),
        Place::Store(store) => {
            let path = store.join(record.name.as_str());
            let data = path.join(DATA);
            (path, data)
        }
    };
    if !path.is_dir() {
        bail!("failed to find the backup: the restored volume contains no {}", path.display());
    }
    let backup = StoredBackup { path, record, manifests };
    let brought_up = match backup.record.method {
        CopyMethod::Logical => logical_restore::restore(&backup, &scratch, plan, &mut stopwatch, watch)?,
        CopyMethod::Physical | CopyMethod::Snapshot => {
            let copy = CopiedFiles { data: &data, tablespaces: &backup.path, scratch: &scratch };
            physical_restore::restore_in_place(&backup, &copy, None, plan, &mut stopwatch, watch)?
        }
    };
    let (server, databases, found) = brought_up.found(&backup, incident);
    Ok(VerifiedCopy { server, scratch, databases, found, timeline: stopwatch.timeline })
}
