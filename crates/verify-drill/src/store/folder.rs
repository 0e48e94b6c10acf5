//! A folder of this machine as a store.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

use super::{Draft, Existing, FileDraft, Head, Object, Store};

/// A directory, whose files are the objects. Links are not followed, and are not objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The store in this directory, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file of an object.
    ///
    /// # Errors
    ///
    /// If the key would lead out of the directory.
    fn file(&self, key: &str) -> Result<PathBuf> {
        let relative = Path::new(key);
        let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
        if key.is_empty() || !inside {
            bail!("failed to use the key {key:?}: it is not a path inside {}", self.path.display());
        }
        Ok(self.path.join(relative))
    }

    /// The directory of a folder.
    fn directory(&self, folder: &str) -> Result<PathBuf> {
        match folder.trim_end_matches('/') {
            "" => Ok(self.path.clone()),
            folder => self.file(folder),
        }
    }

    /// Adds the objects in a directory, whose keys begin with `before`.
    fn add(&self, directory: &Path, before: &str, objects: &mut Vec<Object>) -> Result<()> {
        for entry in entries(directory)? {
            let name = entry.file_name();
            // A name that is not UTF-8 cannot be a key.
            let Some(name) = name.to_str() else { continue };
            let found = match entry.metadata() {
                Ok(found) => found,
                // Another process has finished or removed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| doing("inspect", &entry.path())),
            };
            let key = format!("{before}{name}");
            if found.is_dir() {
                self.add(&entry.path(), &format!("{key}/"), objects)?;
            } else if found.is_file() {
                let modified =
                    timestamp(found.modified()).with_context(|| doing("inspect", &entry.path()))?;
                objects.push(Object { key, size: found.len(), etag: None, modified });
            }
        }
        Ok(())
    }
}

impl Store for Folder {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn read(&self, key: &str, to: &mut dyn Write) -> Result<Option<u64>> {
        let path = self.file(key)?;
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| doing("read", &path)),
        };
        io::copy(&mut file, to).map(Some).with_context(|| doing("read", &path))
    }

    fn head(&self, key: &str) -> Result<Option<Head>> {
        let path = self.file(key)?;
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => Ok(Some(Head {
                size: found.len(),
                modified: timestamp(found.modified()).with_context(|| doing("inspect", &path))?,
                checksums: BTreeMap::new(),
                replication: None,
                locked_until: None,
            })),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| doing("inspect", &path)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let before = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut objects = Vec::new();
        self.add(&self.directory(folder)?, &before, &mut objects)?;
        objects.retain(|object| object.key.starts_with(prefix));
        objects.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(objects)
    }

    fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        let directories = entries(&self.directory(prefix)?)?
            .into_iter()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = directories.collect();
        names.sort();
        Ok(names)
    }

    fn draft(&self, key: &str, existing: Existing) -> Result<Box<dyn Draft>> {
        let path = self.file(key)?;
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .with_context(|| doing("create", directory))?;
        }
        Ok(Box::new(FileDraft::new(&path, existing)?))
    }

    fn delete(&self, key: &str) -> Result<()> {
        let path = self.file(key)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| doing("delete", &path))
            }
            _ => Ok(()),
        }
    }
}

fn entries(directory: &Path) -> Result<Vec<fs::DirEntry>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.collect::<io::Result<_>>().with_context(|| doing("list", directory)),
        // A bucket has no folders without objects either.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| doing("list", directory)),
    }
}

fn timestamp(time: io::Result<SystemTime>) -> Result<Timestamp> {
    Timestamp::try_from(time?).context("the file system gives an impossible time")
}

fn doing(verb: &str, path: &Path) -> String {
    format!("failed to {verb} {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(objects: &[Object]) -> Vec<&str> {
        objects.iter().map(|object| object.key.as_str()).collect()
    }

    #[test]
    fn objects_are_written_once_read_listed_and_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::new(directory.path().join("store"));
        assert_eq!(keys(&folder.list("").unwrap()), <[&str; 0]>::default());
        for key in ["backups/a/x", "backups/a/y/z", "backups/b/x", "other"] {
            folder.put_new(key, key.as_bytes()).unwrap();
        }
        assert!(folder.put_new("other", b"again").unwrap_err().to_string().contains("already exists"));
        assert_eq!(keys(&folder.list("backups/a").unwrap()), ["backups/a/x", "backups/a/y/z"]);
        assert_eq!(keys(&folder.list("backups/").unwrap()).len(), 3);
        assert_eq!(folder.folders("backups/").unwrap(), ["a", "b"]);
        assert_eq!(folder.folders("").unwrap(), ["backups"]);
        assert_eq!(folder.get("other", 5).unwrap().unwrap(), b"other");
        assert!(folder.get("other", 4).is_err());
        assert_eq!(folder.head("other").unwrap().unwrap().size, 5);
        folder.delete("other").unwrap();
        folder.delete("other").unwrap();
        assert_eq!((folder.get("other", 9).unwrap(), folder.head("other").unwrap()), (None, None));
    }

    #[test]
    fn a_key_stays_inside() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::new(directory.path().join("store"));
        std::os::unix::fs::symlink("/etc", directory.path().join("link")).unwrap();
        for key in ["", "/etc/passwd", "../x", "a/../../x", "./x"] {
            assert!(folder.get(key, 9).is_err(), "{key:?}");
            assert!(folder.put_new(key, b"").is_err(), "{key:?}");
        }
        assert_eq!(Folder::new(directory.path()).list("").unwrap(), []);
    }
}
