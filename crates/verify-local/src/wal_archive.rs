//! Archives of WAL segments: where a restored server fetches the WAL after its base backup.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use anyhow::{Context, Result, bail};
use verify_drill::interrupt::interrupted;

/// An archive of WAL segments.
pub trait WalArchive: fmt::Debug + Send + Sync {
    /// Its place, in words.
    fn place(&self) -> String;

    /// Copies a segment or timeline history file to `to`; `false` if the archive does not have it.
    ///
    /// # Errors
    ///
    /// If it cannot be copied, or `asked` to stop.
    fn fetch(&self, file: &str, to: &Path, asked: fn() -> bool) -> Result<bool>;

    /// The value of `restore_command` of the restored server.
    fn restore_command(&self) -> String;
}

/// A directory, as `archive_command = 'cp %p DIRECTORY/%f'` fills it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveDirectory {
    path: PathBuf,
}

impl ArchiveDirectory {
    /// The archive in `path`.
    ///
    /// # Errors
    ///
    /// If it is not a readable directory, or its name is not UTF-8, so that no setting of a server can contain it.
    pub fn open(path: &Path) -> Result<Self> {
        let doing = || format!("failed to open the WAL archive {}", path.display());
        let path = path.canonicalize().with_context(doing)?;
        fs::read_dir(&path).with_context(doing)?;
        if path.to_str().is_none_or(|name| name.contains(['\n', '\r'])) {
            bail!("{}: its name is not one line of UTF-8", doing());
        }
        Ok(Self { path })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its files.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn files(&self) -> Result<Vec<String>> {
        let doing = || format!("failed to list the WAL archive {}", self.path.display());
        let entries = fs::read_dir(&self.path).with_context(doing)?;
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
        Ok(names.collect::<io::Result<Vec<_>>>().with_context(doing)?.into_iter().flatten().collect())
    }
}

impl WalArchive for ArchiveDirectory {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn fetch(&self, file: &str, to: &Path, asked: fn() -> bool) -> Result<bool> {
        if asked() {
            return Err(interrupted().into());
        }
        let from = self.path.join(file);
        match fs::copy(&from, to) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !from.exists() => Ok(false),
            Err(error) => {
                Err(error).with_context(|| format!("failed to fetch {} from the WAL archive", from.display()))
            }
        }
    }

    fn restore_command(&self) -> String {
        let name = self.path.to_string_lossy();
        format!("cp {}/%f %p", quoted(&name))
    }
}

/// Quotes one word of a `restore_command`, for the shell and for the server, which replaces `%f`, `%p` and `%r`.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''").replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_restore_command_copies_from_a_directory_of_any_name() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["wal", "it's $HOME", "100%f; touch x", "`id` \\ \"q\"", "-rf *"] {
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("SEGMENT"), name).unwrap();
            let archive = ArchiveDirectory::open(&path).unwrap();
            let to = directory.path().join("to");
            let parts: Vec<String> = archive
                .restore_command()
                .split("%%")
                .map(|part| part.replace("%f", "SEGMENT").replace("%p", "to"))
                .collect();
            let ran = Command::new("sh")
                .args(["-c", &parts.join("%")])
                .current_dir(directory.path())
                .status()
                .unwrap();
            assert!(ran.success(), "{name}");
            assert_eq!(fs::read_to_string(&to).unwrap(), name);
            fs::remove_file(&to).unwrap();
            assert!(archive.fetch("SEGMENT", &to, || false).unwrap());
            assert_eq!(fs::read_to_string(&to).unwrap(), name);
            fs::remove_file(&to).unwrap();
            assert!(!archive.fetch("OTHER", &to, || false).unwrap());
            assert!(!to.exists());
            assert!(archive.fetch("SEGMENT", &to, || true).is_err());
        }
    }

    #[test]
    fn what_is_no_directory_is_no_archive() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        for name in ["file", "absent"] {
            let error = ArchiveDirectory::open(&directory.path().join(name)).unwrap_err().to_string();
            assert!(error.starts_with("failed to open the WAL archive"), "{error}");
        }
    }
}
