//! Files that are written whole or not at all.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use super::{Draft, Existing};
use crate::failure::chain;
use crate::hint::Hinted;
use crate::lock::try_lock;

/// Prefix and suffix of the names of drafts.
const PREFIX: &str = ".state-lab-";
const SUFFIX: &str = ".part";

/// A file that is being written, beside its place, readable by its owner alone; deleted unless it is kept.
#[derive(Debug)]
pub struct FileDraft {
    path: PathBuf,
    file: NamedTempFile,
    existing: Existing,
}

impl FileDraft {
    pub fn new(path: &Path, existing: Existing) -> Result<Self> {
        let doing = || format!("failed to write {}", path.display());
        refuse_remote(path).with_context(doing)?;
        // A link stays, and what it points to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match fs::metadata(&path) {
            Ok(found) if !found.is_file() => bail!("{}: it is not a regular file", doing()),
            Ok(_) if existing == Existing::Refuse => {
                let hint = "choose another name, or replace it with --force";
                return Err(Hinted::new(format!("{}: it already exists", doing()), hint).into());
            }
            _ => {}
        }
        if path.file_name().is_none() {
            bail!("{}: it is not the name of a file", doing());
        }
        sweep(directory(&path));
        let file = create_locked(directory(&path)).map_err(|error| uncreated(directory(&path), error))?;
        Ok(Self { path, file, existing })
    }
}

impl Draft for FileDraft {
    /// Writes the content, makes sure that it is on disk, and gives the file its name.
    fn keep(mut self: Box<Self>, write: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<()> {
        let doing = format!("failed to write {}", self.path.display());
        let mut to = BufWriter::new(self.file.as_file_mut());
        write(&mut to).and_then(|()| Ok(to.flush()?)).map_err(|error| unfinished(error, &doing))?;
        drop(to);
        self.file.as_file().sync_all().map_err(|error| unfinished(error.into(), &doing))?;
        let named = match self.existing {
            Existing::Replace => self.file.persist(&self.path),
            Existing::Refuse => self.file.persist_noclobber(&self.path),
        };
        named.map_err(|error| error.error).with_context(|| doing.clone())?;
        // Only then does the name survive a crash, too.
        File::open(directory(&self.path)).and_then(|directory| directory.sync_all()).with_context(|| doing)
    }
}

/// The error of a directory in which no file can be made.
fn uncreated(directory: &Path, error: io::Error) -> anyhow::Error {
    let doing = format!("failed to create a file in {}", directory.display());
    match error.kind() {
        io::ErrorKind::NotFound => {
            let hint = format!("create the directory first: `mkdir -p {}`", directory.display());
            Hinted::new(doing, hint).because(error).into()
        }
        _ => anyhow::Error::new(error).context(doing),
    }
}

/// The error of a file that could not be finished, and which is removed again.
fn unfinished(error: anyhow::Error, doing: &str) -> anyhow::Error {
    let full =
        |cause: &io::Error| matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let error = if chain(&error).filter_map(|cause| cause.downcast_ref()).any(full) {
        error.context("there is not enough space for it; nothing of it was left behind")
    } else {
        error
    };
    error.context(doing.to_owned())
}

/// A draft whose lock is held as long as this process has it open.
fn create_locked(directory: &Path) -> io::Result<NamedTempFile> {
    loop {
        // tempfile gives the file mode 0600.
        let file = tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).tempfile_in(directory)?;
        // Where another run's sweep came before the lock, the name is deleted or will be.
        match file.as_file().try_lock() {
            Ok(()) if file.path().exists() => return Ok(file),
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Removes the drafts of aborted runs: the kernel releases a lock however a process ends.
fn sweep(directory: &Path) {
    // What cannot be listed or opened is not ours to remove.
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let draft = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
    for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(draft)) {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && let Ok(Some(_lock)) = try_lock(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// `https://…` is not a file, and a directory `https:` is never meant.
pub fn refuse_remote(path: &Path) -> Result<()> {
    match path.to_str().and_then(|text| text.split_once("://")) {
        Some((scheme, _)) => bail!("{scheme}:// is not supported here; give a file or s3://bucket/key"),
        None => Ok(()),
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn write(path: &Path, existing: Existing, text: &str) -> Result<()> {
        Box::new(FileDraft::new(path, existing)?).keep(&mut |to| Ok(to.write_all(text.as_bytes())?))
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_written_whole_for_its_owner_alone_and_never_over_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        write(&path, Existing::Refuse, "one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = format!("{:#}", write(&path, Existing::Refuse, "two").unwrap_err());
        assert!(refused.ends_with("m: it already exists"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        write(&path, Existing::Replace, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(names(directory.path()), ["m"]);
    }

    #[test]
    fn a_file_that_came_meanwhile_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        let draft = Box::new(FileDraft::new(&path, Existing::Refuse).unwrap());
        fs::write(&path, "theirs").unwrap();
        draft.keep(&mut |to| Ok(to.write_all(b"ours")?)).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert_eq!(names(directory.path()), ["m"]);
    }

    #[test]
    fn nothing_is_left_of_a_file_that_was_not_finished() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        fs::write(&path, "old").unwrap();
        let draft = Box::new(FileDraft::new(&path, Existing::Replace).unwrap());
        draft
            .keep(&mut |to| {
                to.write_all(&[0; 1 << 20])?;
                bail!("the connection broke")
            })
            .unwrap_err();
        assert_eq!(
            (fs::read_to_string(&path).unwrap(), names(directory.path())),
            ("old".into(), vec!["m".into()])
        );
    }

    #[test]
    fn a_file_for_which_there_is_no_room_says_that_nothing_was_left_and_is_right() {
        let directory = tempfile::tempdir().unwrap();
        let draft = Box::new(FileDraft::new(&directory.path().join("m"), Existing::Refuse).unwrap());
        let full = draft.keep(&mut |_| Err(io::Error::from(io::ErrorKind::StorageFull).into())).unwrap_err();
        let text = format!("{full:#}");
        assert!(
            text.ends_with(
                "there is not enough space for it; nothing of it was left behind: no storage space"
            ),
            "{text}"
        );
        assert_eq!(names(directory.path()), <[&str; 0]>::default());
        let draft = Box::new(FileDraft::new(&directory.path().join("m"), Existing::Refuse).unwrap());
        let other = draft.keep(&mut |_| bail!("the connection broke")).unwrap_err();
        assert!(!format!("{other:#}").contains("no room"), "{other:#}");
    }

    #[test]
    fn what_a_dead_run_left_goes_with_the_next_and_a_living_draft_stays() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(".state-lab-dead00.part"), "half").unwrap();
        let living = Box::new(FileDraft::new(&directory.path().join("a"), Existing::Refuse).unwrap());
        write(&directory.path().join("b"), Existing::Refuse, "b").unwrap();
        living.keep(&mut |to| Ok(to.write_all(b"a")?)).unwrap();
        let mut left = names(directory.path());
        left.sort();
        assert_eq!(left, ["a", "b"]);
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("m"), directory.path().join("latest"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write(&link, Existing::Replace, "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn places_that_are_no_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        for (path, reason) in [
            (directory.path().to_owned(), "it is not a regular file"),
            (PathBuf::from("/dev/null"), "it is not a regular file"),
            (PathBuf::from("gs://bucket/key"), "gs:// is not supported here; give a file or s3://bucket/key"),
            (directory.path().join("none/m"), "No such file or directory"),
            (PathBuf::from(""), "it is not the name of a file"),
        ] {
            let refused = format!("{:#}", FileDraft::new(&path, Existing::Replace).unwrap_err());
            assert!(refused.contains(reason), "{}: {refused}", path.display());
        }
    }
}
