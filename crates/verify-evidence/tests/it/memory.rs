//! A store in memory, whose writes can be made to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Mutex;

use anyhow::{Result, bail};
use jiff::Timestamp;
use verify_drill::store::{Draft, Existing, Head, Object, Store};

#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// End of the keys that cannot be written.
    pub(crate) refused: Option<&'static str>,
}

impl Memory {
    pub(crate) fn take(&self, key: &str) -> Vec<u8> {
        self.objects.lock().unwrap().remove(key).unwrap()
    }

    pub(crate) fn set(&self, key: &str, content: impl Into<Vec<u8>>) {
        self.objects.lock().unwrap().insert(key.to_owned(), content.into());
    }

    pub(crate) fn content(&self, key: &str) -> Vec<u8> {
        self.objects.lock().unwrap()[key].clone()
    }

    /// Renames a folder.
    pub(crate) fn rename(&self, from: &str, to: &str) {
        let mut objects = self.objects.lock().unwrap();
        let keys: Vec<String> = objects.keys().filter(|key| key.starts_with(from)).cloned().collect();
        for key in keys {
            let content = objects.remove(&key).unwrap();
            objects.insert(key.replacen(from, to, 1), content);
        }
    }

    pub(crate) fn remove(&self, prefix: &str) {
        self.objects.lock().unwrap().retain(|key, _| !key.starts_with(prefix));
    }

    pub(crate) fn copy(&self) -> Self {
        Self { objects: Mutex::new(self.objects.lock().unwrap().clone()), refused: None }
    }
}

impl Store for Memory {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn read(&self, key: &str, to: &mut dyn Write) -> Result<Option<u64>> {
        match self.objects.lock().unwrap().get(key) {
            None => Ok(None),
            Some(content) => {
                to.write_all(content)?;
                Ok(Some(content.len() as u64))
            }
        }
    }

    fn head(&self, _: &str) -> Result<Option<Head>> {
        bail!("not needed")
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let object = |(key, content): (&String, &Vec<u8>)| Object {
            key: key.clone(),
            size: content.len() as u64,
            etag: None,
            modified: Timestamp::UNIX_EPOCH,
        };
        let objects = self.objects.lock().unwrap();
        Ok(objects.iter().filter(|(key, _)| key.starts_with(prefix)).map(object).collect())
    }

    fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        let objects = self.objects.lock().unwrap();
        let folder = |key: &String| Some(key.strip_prefix(prefix)?.split_once('/')?.0.to_owned());
        let folders: BTreeSet<String> = objects.keys().filter_map(folder).collect();
        Ok(folders.into_iter().collect())
    }

    fn draft(&self, _: &str, _: Existing) -> Result<Box<dyn Draft>> {
        bail!("not needed")
    }

    fn delete(&self, _: &str) -> Result<()> {
        bail!("not needed")
    }

    fn put_new(&self, key: &str, content: &[u8]) -> Result<()> {
        if self.refused.is_some_and(|end| key.ends_with(end)) {
            bail!("the disk is full");
        }
        let mut objects = self.objects.lock().unwrap();
        if objects.contains_key(key) {
            bail!("{key} already exists");
        }
        objects.insert(key.to_owned(), content.to_owned());
        Ok(())
    }
}
