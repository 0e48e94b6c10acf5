//! Facts of a bucket that holds backups or WAL.

use crate::fact::{Fact, Missing};

/// A bucket, or a folder of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// In words: `BackupStorageLocation default (s3://velero/lab)`.
    pub name: String,
    /// The folder; empty, or with a slash at its end.
    pub prefix: String,
    pub holds: Holds,
    /// Rules that delete objects.
    pub lifecycle: Fact<Vec<ExpirationRule>>,
    /// True if the service encrypts new objects by default.
    pub is_encrypted: Fact<bool>,
    /// True if deleted objects stay as older versions.
    pub is_versioned: Fact<bool>,
    /// True if the bucket has object lock.
    pub is_locked: Fact<bool>,
}

/// Content of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Velero's backups and repositories.
    Backups,
    /// A WAL archive.
    Wal,
}

/// A rule by which the service deletes objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpirationRule {
    pub name: String,
    /// The keys that it is for; empty for all.
    pub prefix: String,
    /// Age of the objects that are deleted; zero where a date is given instead.
    pub days: u32,
}

impl Bucket {
    /// A bucket that could not be examined.
    pub fn unknown(name: String, holds: Holds, why: &Missing) -> Self {
        Self {
            name,
            prefix: String::new(),
            holds,
            lifecycle: Err(why.clone()),
            is_encrypted: Err(why.clone()),
            is_versioned: Err(why.clone()),
            is_locked: Err(why.clone()),
        }
    }
}
