//! The directory that keeps backups.

use std::convert::Infallible;
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use verify_core::manifest::Manifest;

use super::backup_draft::BackupDraft;
use verify_drill::backup_name::BackupName;
use verify_drill::backup_record::{self, BackupRecord};
use verify_drill::hint::Hinted;
use verify_drill::lock::try_lock;
use verify_drill::store::Folder;
use verify_drill::until::{Check, Pace, Waited, never, until};

/// Parts the name of a backup in the making from the number of its process.
const PARTIAL: &str = ".partial-";
/// Time limit of the attempts to remove a directory, and the pauses between them.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A directory of backups.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

/// A backup whose manifests are whole.
#[derive(Debug)]
pub struct StoredBackup {
    /// Its directory.
    pub path: PathBuf,
    /// Record of the backup.
    pub record: BackupRecord,
    /// The manifests of its databases, in the record's order.
    pub manifests: Vec<Manifest>,
}

impl Store {
    /// The store in `path`, created when absent, closed to other users.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub fn open(path: &Path) -> Result<Self> {
        let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        let absolute = created.and_then(|()| path.canonicalize());
        let path =
            absolute.with_context(|| format!("failed to open the store of backups {}", path.display()))?;
        Ok(Self { path })
    }

    /// Directory of backups by default: `$XDG_DATA_HOME/state-lab/backups`, or below `~/.local/share`.
    ///
    /// # Errors
    ///
    /// If there is no home directory.
    pub fn default_path() -> Result<PathBuf> {
        let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let data = data.or_else(|| Some(std::env::home_dir()?.join(".local/share")));
        let data =
            data.context("failed to find a directory for backups: there is no home directory; set --store")?;
        Ok(data.join("state-lab/backups"))
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all whole backups, sorted.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub fn names(&self) -> Result<Vec<BackupName>> {
        let mut names: Vec<BackupName> = self
            .entries()?
            .into_iter()
            .filter(|path| path.join(backup_record::FILE).is_file())
            .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// A backup whose every manifest is the one that was written.
    ///
    /// # Errors
    ///
    /// If there is none of this name, or if its record or a manifest is cut or changed.
    pub fn find(&self, name: &BackupName) -> Result<StoredBackup> {
        let path = self.path.join(name.as_str());
        if !path.is_dir() {
            let known: Vec<String> = self.names()?.iter().map(ToString::to_string).collect();
            let known = if known.is_empty() { "no backups".to_owned() } else { known.join(", ") };
            return Err(Hinted::new(
                format!("failed to find the backup {name}: {} has {known}", self.path.display()),
                "correct --snapshot or --store; for a backup by Velero, run it in the directory of the state-lab.toml \
                 with its [velero] table, or set --provider velero",
            )
            .into());
        }
        let record = BackupRecord::read(&path)?;
        record.expect_manifests(name)?;
        let (_, manifests) = record.manifests(&Folder::new(&path), "")?;
        Ok(StoredBackup { path, record, manifests })
    }

    /// Removes unfinished backups of aborted runs; returns what it removed.
    pub fn sweep(&self) -> Vec<PathBuf> {
        // No other run is between creating and locking a directory while this is held.
        let Ok(_root) = self.lock() else { return Vec::new() };
        let partial = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with('.') && name.contains(PARTIAL)
        };
        let entries = self.entries().unwrap_or_default().into_iter().filter(partial);
        entries.filter(|path| try_lock(path).ok().flatten().is_some_and(|_lock| remove(path))).collect()
    }

    /// Begins a backup, and removes unfinished ones of aborted runs.
    pub(super) fn begin(&self, name: &BackupName) -> Result<BackupDraft<'_>> {
        self.sweep();
        let _root = self.lock()?;
        let target = self.path.join(name.as_str());
        if fs::symlink_metadata(&target).is_ok() {
            let text = format!("failed to start the backup {name}: {} already exists", target.display());
            return Err(Hinted::new(text, "choose another name: a backup is never replaced").into());
        }
        let path = tempfile::Builder::new()
            .prefix(&format!(".{name}{PARTIAL}{}-", std::process::id()))
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(&self.path)
            .with_context(|| format!("failed to write to the store {}", self.path.display()))?
            .keep();
        let lock = try_lock(&path)
            .with_context(|| format!("failed to lock {}", path.display()))?
            .with_context(|| format!("{} is locked by another process", path.display()))?;
        Ok(BackupDraft::new(self, name, path, lock))
    }

    /// Keeps other runs from creating, naming and removing backups until the result is dropped.
    pub(super) fn lock(&self) -> Result<File> {
        let doing = || format!("failed to lock the store {}", self.path.display());
        let file = File::open(&self.path).with_context(doing)?;
        file.lock().with_context(doing)?;
        Ok(file)
    }

    fn entries(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.path);
        let entries = entries.with_context(|| format!("failed to list the store {}", self.path.display()))?;
        Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
    }
}

/// Removes a directory into which a program of the aborted run may still write, for a moment.
fn remove(directory: &Path) -> bool {
    let removed = until(REMOVE_TIMEOUT, Pace::LOCAL, never, || {
        Ok::<_, Infallible>(fs::remove_dir_all(directory).map_or_else(Check::Waiting, Check::Done))
    });
    matches!(removed, Ok(Waited::Done(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_in_the_making_is_not_listed_and_goes_unless_it_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let name: BackupName = "nightly".parse().unwrap();
        let draft = store.begin(&name).unwrap();
        let partial = draft.path().to_owned();
        assert_eq!(store.sweep(), Vec::<PathBuf>::new(), "an active run's backup is spared");
        assert_eq!(store.names().unwrap(), []);
        drop(draft);
        assert!(!partial.exists());
        let left = store.path().join(".nightly.partial-1-x");
        fs::create_dir_all(left.join("data")).unwrap();
        assert_eq!(store.sweep(), [left]);
    }

    #[test]
    fn a_name_that_is_taken_and_one_that_is_not_there_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        fs::create_dir(directory.path().join("taken")).unwrap();
        let taken = store.begin(&"taken".parse().unwrap()).err().unwrap().to_string();
        assert!(taken.ends_with("already exists"), "{taken}");
        let absent = store.find(&"absent".parse().unwrap()).unwrap_err().to_string();
        assert!(absent.contains("has no backups"), "{absent}");
    }
}
