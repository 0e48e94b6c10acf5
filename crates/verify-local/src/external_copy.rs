//! The captures of an external copy, such as a volume snapshot.

use anyhow::{Result, bail};
use jiff::Timestamp;
use verify_core::plan::Plan;
use verify_core::postgres::Settings;

use super::physical_backup;
use super::survey::Survey;
use verify_drill::backup_name::BackupName;
use verify_drill::backup_record::{BackupRecord, CopyMethod, DatabaseRecord, FORMAT, FORMAT_VERSION};
use verify_drill::watch::Watch;

/// Captures databases of one server while `copy` waits until somebody has cut a copy of its whole data directory; the
/// record of it, and the files of the manifests in the record's order.
///
/// `copy` is called when every snapshot is fixed, and gets the function that asks whether to stop.
///
/// # Errors
///
/// If a database cannot be captured, or `copy` fails; or if the server keeps files outside its data directory, which
/// a snapshot of one volume does not hold.
pub fn capture_around(
    name: &BackupName,
    databases: &[Settings],
    plan: &Plan,
    watch: &Watch<'_>,
    copy: impl FnOnce(&dyn Fn() -> bool) -> Result<()>,
) -> Result<(BackupRecord, Vec<Vec<u8>>)> {
    let started_at = Timestamp::now();
    let survey = Survey::of(databases)?;
    if survey.is_standby {
        bail!(
            "failed to prepare a volume snapshot: the server is a standby; name its primary, or use a base backup"
        );
    }
    if let Some(tablespace) = survey.tablespaces.first() {
        bail!(
            "failed to prepare a volume snapshot: the server has a tablespace in {}, outside its data directory, and \
             snapshots of two volumes are not taken at the same time; use a base backup",
            tablespace.location
        );
    }
    let captured = physical_backup::hold(&survey, plan, watch, copy)?;
    let (mut records, mut files) = (Vec::new(), Vec::new());
    for (captured, database) in captured.into_iter().zip(&survey.databases) {
        let (record, file) = DatabaseRecord::of(database.describe(), &captured.manifest)?;
        records.push(DatabaseRecord { unproven: captured.unproven, ..record });
        files.push(file);
    }
    let record = BackupRecord {
        format: FORMAT.to_owned(),
        version: FORMAT_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        name: name.clone(),
        method: CopyMethod::Snapshot,
        copied_by: survey.server.major,
        started_at,
        ended_at: Timestamp::now(),
        // Only the storage system knows.
        bytes: 0,
        server: survey.server,
        databases: records,
    };
    Ok((record, files))
}
