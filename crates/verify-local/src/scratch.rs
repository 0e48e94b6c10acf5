//! Temporary directories that belong to a run, and end with it: at its end, at Ctrl-C, or at the next run's start.
//!
//! A directory is locked (flock on the directory itself) as long as the process that made it lives. The kernel frees
//! the lock however the process ends, so a directory whose lock is free belongs to an aborted run. Before a directory
//! is removed, every PostgreSQL server whose data directory is in it is stopped.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, io};

use anyhow::{Context, Result, bail};
use rustix::process::geteuid;

use verify_drill::lock::try_lock;
use verify_drill::process_group;
use verify_drill::until::never;

use crate::server::{self, ServerUser};

/// The scratch directories of this process: path and lock.
static LIVE: Mutex<Vec<(PathBuf, File)>> = Mutex::new(Vec::new());

/// Marks a directory that its run was asked to keep.
const KEPT: &str = "kept";

/// File of a command that has to succeed before its directory is removed: program and arguments, as JSON.
const REMOVAL: &str = "removal.json";
/// Time limit of that command.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(600);

/// A removal races with servers and threads that still write; it is tried as often as this.
const REMOVE_ATTEMPTS: u32 = 5;

/// A directory that is removed, with the servers in it, when this value goes.
///
/// As root it belongs to root, and the user that servers run as may enter it; give that user directories of its own
/// in it with [`server::create_server_dir`].
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Creates `state-lab-UID/PURPOSE-PID-RANDOM` in the system's temporary directory.
    pub fn create(purpose: &str) -> Result<Self> {
        let root = root();
        let root_lock = lock_root(&root)?;
        let path = tempfile::Builder::new()
            .prefix(&format!("{purpose}-{}-", std::process::id()))
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(&root)
            .with_context(|| format!("failed to create a directory in {}", root.display()))?
            .keep();
        let lock = try_lock(&path)
            .with_context(|| format!("failed to lock {}", path.display()))?
            .with_context(|| format!("{} is locked by another process", path.display()))?;
        live().push((path.clone(), lock));
        let scratch = Self { path };
        scratch.open_to_server_user()?;
        drop(root_lock);
        Ok(scratch)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the directory, and the servers in it, for inspection; returns its path.
    ///
    /// No [`sweep`] removes it, [`sweep_with_kept`] does.
    pub fn keep(self) -> Result<PathBuf> {
        let mark = self.path.join(KEPT);
        fs::write(&mark, "").with_context(|| format!("failed to write {}", mark.display()))?;
        live().retain(|(path, _)| *path != self.path);
        Ok(self.path.clone())
    }

    /// Has `command`, a program and its arguments, run before the directory is removed, by this run or the next.
    pub(crate) fn remove_with(&self, command: &[String]) -> Result<()> {
        let path = self.path.join(REMOVAL);
        let doing = || format!("failed to write {}", path.display());
        fs::write(&path, serde_json::to_vec(command).with_context(doing)?).with_context(doing)
    }

    fn open_to_server_user(&self) -> Result<()> {
        server::server_user()?.map_or(Ok(()), |user| self.open_to(&user))
    }

    /// Lets a user enter, instead of the one before.
    pub(crate) fn open_to(&self, user: &ServerUser) -> Result<()> {
        let open = || {
            chown(&self.path, None, Some(user.gid))?;
            fs::set_permissions(&self.path, fs::Permissions::from_mode(0o710))
        };
        open().with_context(|| format!("failed to open {} to the user `{}`", self.path.display(), user.name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let entry = {
            let mut live = live();
            live.iter().position(|(path, _)| *path == self.path).map(|index| live.swap_remove(index))
        };
        if let Some((path, _lock)) = entry {
            // What cannot be removed now is found by the next sweep.
            let _ = remove(&path);
        }
    }
}

/// Removes every scratch directory of this process, as when it is interrupted; returns those that it removed.
///
/// Directories that a later [`Scratch`] makes are its own again.
pub fn remove_all() -> Vec<PathBuf> {
    let entries = std::mem::take(&mut *live());
    entries.into_iter().filter_map(|(path, _lock)| remove(&path).is_ok().then_some(path)).collect()
}

/// Removes the leftovers of aborted runs of this user; returns the directories that it removed.
pub fn sweep() -> Vec<PathBuf> {
    sweep_in(&root(), Kept::Leave)
}

/// Removes the leftovers of aborted runs of this user, and what they were asked to keep.
pub fn sweep_with_kept() -> Vec<PathBuf> {
    sweep_in(&root(), Kept::Remove)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Leave,
    Remove,
}

fn sweep_in(root: &Path, kept: Kept) -> Vec<PathBuf> {
    dead_runs(root, kept)
        .into_iter()
        .filter_map(|(path, _lock)| remove(&path).is_ok().then_some(path))
        .collect()
}

/// The directories of aborted runs, each with its lock, so that of two sweeps one has it.
fn dead_runs(root: &Path, kept: Kept) -> Vec<(PathBuf, File)> {
    if !root.is_dir() {
        return Vec::new();
    }
    // No other run is between creating and locking a directory while this is held.
    let Ok(_root_lock) = lock_root(root) else { return Vec::new() };
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| kept == Kept::Remove || !path.join(KEPT).exists())
        .filter_map(|path| try_lock(&path).ok().flatten().map(|lock| (path, lock)))
        .collect()
}

/// Stops the servers in `directory`, then removes it.
fn remove(directory: &Path) -> Result<()> {
    let mut attempt = 1;
    loop {
        server::stop_servers_below(directory)?;
        run_removal(directory)?;
        match fs::remove_dir_all(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if attempt == REMOVE_ATTEMPTS => {
                return Err(error).with_context(|| format!("failed to remove {}", directory.display()));
            }
            Err(_) => attempt += 1,
        }
    }
}

/// Runs the command that a run left for its removal.
fn run_removal(directory: &Path) -> Result<()> {
    let path = directory.join(REMOVAL);
    let Ok(text) = fs::read(&path) else { return Ok(()) };
    let doing = || format!("failed to run the command of {}", path.display());
    let command: Vec<String> = serde_json::from_slice(&text).with_context(doing)?;
    let (program, arguments) = command.split_first().with_context(doing)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().with_context(doing)?;
    let status = process_group::wait(&mut child, REMOVAL_TIMEOUT, never).with_context(doing)?;
    match status {
        Some(status) if status.success() => {
            fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))
        }
        Some(status) => bail!("{}: {program}: {status}", doing()),
        None => {
            process_group::end(&mut child, process_group::TERM_TIMEOUT);
            bail!("{}: {program} ran longer than {} s", doing(), REMOVAL_TIMEOUT.as_secs())
        }
    }
}

fn root() -> PathBuf {
    env::temp_dir().join(format!("state-lab-{}", geteuid().as_raw()))
}

/// Creates the directory of all our runs when absent, and locks it until the result is dropped.
fn lock_root(root: &Path) -> Result<File> {
    // Others may enter it when we are root: the server's user has to. They cannot list it.
    let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
    match fs::DirBuilder::new().mode(mode).create(root) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| {
                format!(
                    "failed to create {}; set TMPDIR to a directory that you can write to",
                    root.display()
                )
            });
        }
        _ => {}
    }
    // The temporary directory is open to all users: another one may have created this name first.
    let metadata =
        fs::symlink_metadata(root).with_context(|| format!("failed to inspect {}", root.display()))?;
    if !metadata.is_dir() || metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
        bail!(
            "{} is not owned solely by this user; remove it, or set TMPDIR to another directory",
            root.display()
        );
    }
    let lock = File::open(root).with_context(|| format!("failed to open {}", root.display()))?;
    lock.lock().with_context(|| format!("failed to lock {}", root.display()))?;
    Ok(lock)
}

fn live() -> MutexGuard<'static, Vec<(PathBuf, File)>> {
    // The list is whole after every statement, also when a thread panicked with it.
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}
