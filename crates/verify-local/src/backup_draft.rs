//! A backup that is being written: under a hidden name until it is complete, and deleted if it never is.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use verify_core::manifest::Manifest;

use super::store::Store;
use super::tree;
use verify_drill::backup_name::BackupName;
use verify_drill::backup_record::{self, BackupRecord, DatabaseRecord, MANIFESTS};

/// A directory that is removed when this value goes, unless it was kept.
pub(super) struct BackupDraft<'a> {
    store: &'a Store,
    name: BackupName,
    path: PathBuf,
    /// Held as long as the run lives; see [`Store::sweep`].
    _lock: File,
    kept: bool,
}

impl<'a> BackupDraft<'a> {
    pub(super) fn new(store: &'a Store, name: &BackupName, path: PathBuf, lock: File) -> Self {
        Self { store, name: name.clone(), path, _lock: lock, kept: false }
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Stores a manifest; gives what the record says of it.
    pub(super) fn add_manifest(&self, place: String, manifest: &Manifest) -> Result<DatabaseRecord> {
        let directory = self.path.join(MANIFESTS);
        tree::create_directory(&directory)?;
        let (record, bytes) = DatabaseRecord::of(place, manifest)?;
        tree::write_file(&self.path.join(&record.manifest), &bytes)?;
        Ok(record)
    }

    /// Gives the backup its name, once all of it is on disk.
    pub(super) fn keep(mut self, record: &BackupRecord) -> Result<PathBuf> {
        let path = self.path.join(backup_record::FILE);
        let text = serde_json::to_vec_pretty(record).context("failed to write the backup's record")?;
        tree::write_file(&path, &text)?;
        tree::sync(&self.path)?;
        let target = self.store.path().join(self.name.as_str());
        let _root = self.store.lock()?;
        if target.exists() {
            bail!("failed to keep the backup: {} was created meanwhile", target.display());
        }
        fs::rename(&self.path, &target)
            .with_context(|| format!("failed to give the backup its name {}", target.display()))?;
        self.kept = true;
        tree::sync_directory(self.store.path())?;
        Ok(target)
    }
}

impl Drop for BackupDraft<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is found by the next sweep.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
