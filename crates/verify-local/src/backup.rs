//! Taking a backup: copy and manifests of the same instant, kept whole or not at all.

use super::LocalProvider;
use super::physical_backup::{self, Captured};
use super::program::Program;
use super::store::StoredBackup;
use super::survey::Survey;
use super::{logical_backup, logical_restore, snapshot_backup, tree};
use anyhow::{Result, bail};
use jiff::Timestamp;
use verify_drill::backup_record::{BackupRecord, CopyMethod, FORMAT, FORMAT_VERSION};
use verify_drill::provider::BackupRequest;
use verify_drill::watch::Watch;

/// Takes a backup.
///
/// # Errors
///
/// If anything of it could not be taken, or a dump could not be restored. Then nothing of it is left.
pub fn backup(provider: &LocalProvider, request: &BackupRequest, watch: &Watch<'_>) -> Result<BackupRecord> {
    let LocalProvider { store, databases, point_in_time: _, command } = provider;
    let BackupRequest { name, method, plan } = request;
    let method = method.as_deref().map(copy_method).transpose()?;
    let draft = store.begin(name)?;
    let started_at = Timestamp::now();
    let survey = Survey::of(databases)?;
    let (method, reason) = survey.method(method)?;
    if let Some(reason) = reason {
        watch.step(&format!("taking a logical backup, because {reason}"))?;
    }
    let (program, captured) = match method {
        CopyMethod::Physical => {
            (Some("pg_basebackup"), physical_backup::copy(&survey, plan, draft.path(), watch)?)
        }
        CopyMethod::Logical => {
            let manifests = logical_backup::copy(&survey, plan, draft.path(), watch)?;
            let verifiable = |manifest| Captured { manifest, unproven: None };
            (Some("pg_dump"), manifests.into_iter().map(verifiable).collect())
        }
        CopyMethod::Snapshot => (None, snapshot_backup::take(&survey, name, command.as_ref(), plan, watch)?),
    };
    let copied_by = match program {
        Some(program) => Program::find(program, survey.server.major)?.major(),
        None => survey.server.major,
    };
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
    if method == CopyMethod::Logical {
        logical_restore::rehearse(&backup, watch)?;
    }
    watch.step("syncing the backup to disk")?;
    draft.keep(&backup.record)?;
    Ok(backup.record)
}

/// The method of this name.
fn copy_method(name: &str) -> Result<CopyMethod> {
    match name {
        "physical" => Ok(CopyMethod::Physical),
        "logical" => Ok(CopyMethod::Logical),
        "snapshot" => Ok(CopyMethod::Snapshot),
        _ => bail!(
            "failed to choose a method: {name} is not of this machine; --provider local takes physical, logical or snapshot"
        ),
    }
}
