//! Directory trees: copied without touching the original, measured, made durable.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result};

use verify_drill::interrupt::interrupted;

/// Copies a tree; `to` must not exist. Links are copied as links.
///
/// `std::fs::copy` shares the blocks where the file system can (`copy_file_range`).
pub(super) fn copy(from: &Path, to: &Path, asked: fn() -> bool) -> Result<()> {
    let doing = || format!("failed to copy {} to {}", from.display(), to.display());
    let mode = fs::metadata(from).with_context(doing)?.permissions().mode() & 0o7777;
    // Writable for us until it is filled, whatever the original allows.
    fs::DirBuilder::new().mode(0o700).create(to).with_context(doing)?;
    for entry in fs::read_dir(from).with_context(doing)? {
        if asked() {
            return Err(interrupted().into());
        }
        let entry = entry.with_context(doing)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().with_context(doing)?;
        if kind.is_dir() {
            copy(&source, &target, asked)?;
        } else if kind.is_symlink() {
            fs::read_link(&source).and_then(|link| symlink(link, &target)).with_context(doing)?;
        } else if kind.is_file() {
            fs::copy(&source, &target)
                .with_context(|| format!("failed to copy {} to {}", source.display(), target.display()))?;
        }
    }
    fs::set_permissions(to, fs::Permissions::from_mode(mode | 0o700)).with_context(doing)
}

/// Creates a directory that is closed to other users, unless it is there.
pub(super) fn create_directory(path: &Path) -> Result<()> {
    let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    created.with_context(|| format!("failed to create {}", path.display()))
}

/// Creates a file that is closed to other users.
pub(super) fn create_file(path: &Path) -> Result<File> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    file.with_context(|| format!("failed to create {}", path.display()))
}

/// Writes a new file that is closed to other users.
pub(super) fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    let written = create_file(path)?.write_all(content);
    written.with_context(|| format!("failed to write {}", path.display()))
}

/// The bytes of all files.
pub(super) fn bytes(directory: &Path) -> Result<u64> {
    let doing = || format!("failed to inspect {}", directory.display());
    let mut sum = 0;
    for entry in fs::read_dir(directory).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        let metadata = entry.metadata().with_context(doing)?;
        if metadata.is_dir() {
            sum += bytes(&entry.path())?;
        } else if metadata.is_file() {
            sum += metadata.len();
        }
    }
    Ok(sum)
}

/// Makes all files and names of a tree survive a power failure.
pub(super) fn sync(directory: &Path) -> Result<()> {
    let doing = || format!("failed to make {} durable", directory.display());
    for entry in fs::read_dir(directory).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        let kind = entry.file_type().with_context(doing)?;
        if kind.is_dir() {
            sync(&entry.path())?;
        } else if kind.is_file() {
            File::open(entry.path()).and_then(|file| file.sync_all()).with_context(doing)?;
        }
    }
    sync_directory(directory)
}

/// Makes the names in one directory survive a power failure.
pub(super) fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .with_context(|| format!("failed to make {} durable", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_same_content_and_links() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/b/file"), "content").unwrap();
        symlink("/nowhere", from.join("link")).unwrap();
        copy(&from, &to, || false).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/b/file")).unwrap(), "content");
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/nowhere"));
        assert_eq!((bytes(&to).unwrap(), bytes(&from).unwrap()), (7, 7));
        sync(&to).unwrap();
        assert!(copy(&from, &to, || false).is_err(), "an existing tree is not written into");
    }

    #[test]
    fn a_copy_stops_when_asked() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("file"), "content").unwrap();
        assert!(copy(&from, &to, || true).is_err());
        assert!(!to.join("file").exists());
    }
}
