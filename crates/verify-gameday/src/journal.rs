//! The journal: what is still to be undone, on disk before the fault is injected. It is locked while its drill runs, so that one
//! without a lock is of a drill that was killed.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use verify_drill::lock::try_lock;

use crate::file::{Step, Undo};

/// Actions that are to be undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Title of the drill.
    pub title: String,
    /// The context of the kubeconfig.
    pub context: Option<String>,
    /// The drill file's directory, to which files are relative.
    pub directory: PathBuf,
    /// Faults that were, or were about to be, injected: the oldest first.
    pub faults: Vec<PendingUndo>,
    /// The rollbacks of the file.
    pub rollbacks: Vec<Step>,
    /// Values that steps saved, which rollbacks use.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
}

/// The undo of one fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingUndo {
    /// Name of the step that injects it.
    pub step: String,
    /// The undo.
    pub undo: Undo,
    /// The objects that `delete` deletes, as text.
    pub objects: Option<String>,
}

/// The journal of a drill that runs.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    _lock: File,
    pub pending: Pending,
}

impl Journal {
    /// Begins the journal of a drill.
    ///
    /// # Errors
    ///
    /// If it cannot be written: then nothing may be injected.
    pub fn begin(directory: &Path, pending: Pending, now: Timestamp) -> Result<Self> {
        let doing = || format!("failed to create a journal in {}", directory.display());
        DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(doing)?;
        let name = format!("{}-{}", now.as_nanosecond(), std::process::id());
        let lock_path = directory.join(format!("{name}.lock"));
        File::create_new(&lock_path).with_context(doing)?;
        let lock = try_lock(&lock_path).with_context(doing)?.with_context(doing)?;
        let journal = Self { path: directory.join(format!("{name}.json")), _lock: lock, pending };
        journal.write()?;
        Ok(journal)
    }

    /// Writes what is pending, durably.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self) -> Result<()> {
        let doing = || format!("failed to write {}", self.path.display());
        let text = serde_json::to_vec_pretty(&self.pending).with_context(doing)?;
        let draft = self.path.with_extension("draft");
        let mut file = File::create(&draft).with_context(doing)?;
        file.write_all(&text).and_then(|()| file.sync_all()).with_context(doing)?;
        fs::rename(&draft, &self.path).with_context(doing)?;
        if let Some(directory) = self.path.parent() {
            File::open(directory).and_then(|directory| directory.sync_all()).with_context(doing)?;
        }
        Ok(())
    }

    /// Removes the journal: nothing is left to be undone.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn end(self) -> Result<()> {
        let doing = || format!("failed to remove {}", self.path.display());
        fs::remove_file(&self.path).with_context(doing)?;
        fs::remove_file(self.path.with_extension("lock")).with_context(doing)
    }
}

/// The journals of drills that were killed, each now owned by this process.
///
/// # Errors
///
/// If they cannot be listed or read: nothing may be injected beside a fault of which nothing is known.
pub fn orphans(directory: &Path) -> Result<Vec<Journal>> {
    let doing = || format!("failed to read the journals in {}", directory.display());
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory).with_context(doing)? {
        paths.push(entry.with_context(doing)?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut orphans = Vec::new();
    for path in paths {
        let Some(lock) = try_lock(&path.with_extension("lock")).with_context(doing)? else { continue };
        let text = fs::read(&path).with_context(doing)?;
        let pending = serde_json::from_slice(&text).with_context(|| {
            format!("failed to read {}: undo its faults by hand, then remove it", path.display())
        })?;
        orphans.push(Journal { path, _lock: lock, pending });
    }
    Ok(orphans)
}
