//! Taking a backup: copy and manifests of the same instant, kept whole or not at all.

use anyhow::{Result, bail};
use jiff::Timestamp;
use verify_core::plan::Plan;
use verify_core::postgres::Settings;

use super::physical_backup::{self, Captured};
use super::program::Program;
use super::store::{Store, StoredBackup};
use super::survey::Survey;
use super::{logical_backup, logical_restore, tree};
use verify_drill::backup_name::BackupName;
use verify_drill::backup_record::{BackupRecord, FORMAT, FORMAT_VERSION, Method};
use verify_drill::watch::Watch;

/// What to back up, and how.
#[derive(Clone, Debug)]
pub struct BackupRequest {
    /// Where it goes.
    pub store: Store,
    /// What it is called there.
    pub name: BackupName,
    /// How it is taken; unless given, physical where the role and the server allow it.
    pub method: Option<Method>,
    /// The databases to capture, all of one server. A physical copy holds the others too, unproven.
    pub databases: Vec<Settings>,
    /// How they are measured. Its mode is the method's.
    pub plan: Plan,
}

/// Takes a backup.
///
/// # Errors
///
/// If anything of it could not be taken, or a dump could not be restored. Then nothing of it is left.
pub fn backup(request: &BackupRequest, watch: &Watch<'_>) -> Result<BackupRecord> {
    let BackupRequest { store, name, method, databases, plan } = request;
    let draft = store.begin(name)?;
    let started_at = Timestamp::now();
    let survey = Survey::of(databases)?;
    let (method, reason) = survey.method(*method)?;
    if let Some(reason) = reason {
        watch.step(&format!("taking a logical backup, because {reason}"))?;
    }
    let (program, captured) = match method {
        Method::Physical => ("pg_basebackup", physical_backup::copy(&survey, plan, draft.path(), watch)?),
        Method::Logical => {
            let manifests = logical_backup::copy(&survey, plan, draft.path(), watch)?;
            let proven = |manifest| Captured { manifest, unproven: None };
            ("pg_dump", manifests.into_iter().map(proven).collect())
        }
        Method::Snapshot => bail!("failed to back up: the local provider takes no volume snapshots"),
    };
    let copied_by = Program::find(program, survey.server.major)?.major();
    let ended_at = Timestamp::now();
    let bytes = tree::bytes(draft.path())?;
    let mut records = Vec::new();
    for (Captured { manifest, unproven }, database) in captured.iter().zip(&survey.databases) {
        let record = draft.add_manifest(database.describe(), manifest)?;
        records.push(verify_drill::backup_record::DatabaseRecord { unproven: unproven.clone(), ..record });
    }
    let record = BackupRecord {
        format: FORMAT.to_owned(),
        version: FORMAT_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        name: name.clone(),
        method,
        copied_by,
        started_at,
        ended_at,
        bytes,
        server: survey.server,
        databases: records,
    };
    let backup = StoredBackup { path: draft.path().to_owned(), record, manifests: Vec::new() };
    if method == Method::Logical {
        logical_restore::rehearse(&backup, watch)?;
    }
    watch.step("syncing the backup to disk")?;
    draft.keep(&backup.record)?;
    Ok(backup.record)
}
