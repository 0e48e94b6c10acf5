//! Places that keep backups' evidence: a folder of this machine, or a bucket.
//!
//! An object is written whole or not at all, and never replaces another one unless asked to.

mod address;
mod credentials;
mod file_draft;
mod folder;
mod location;
mod tables;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use anyhow::Result;
use jiff::Timestamp;

pub use address::Address;
pub use credentials::{Credentials, Secret, credentials, environment_has_credentials};
pub use file_draft::{FileDraft, refuse_remote};
pub use folder::Folder;
pub use location::{Location, RetainMode};
pub use tables::{RegionTable, S3Table};

/// A place that keeps objects. Keys are relative to it, with slashes between folders.
pub trait Store: fmt::Debug + Send + Sync {
    /// Location of the store: `s3://bucket/prefix at https://minio.example:9000`, or a directory.
    fn place(&self) -> String;

    /// Copies the content of an object to `to`, and returns its length; nothing where there is no such object.
    fn read(&self, key: &str, to: &mut dyn Write) -> Result<Option<u64>>;

    /// Returns what is known of an object without reading it; `None` if the object does not exist.
    fn head(&self, key: &str) -> Result<Option<Head>>;

    /// All objects whose keys begin with `prefix`, sorted by key.
    fn list(&self, prefix: &str) -> Result<Vec<Object>>;

    /// The names of the folders in the folder `prefix`, which ends with a slash or is empty; sorted, without slashes.
    fn folders(&self, prefix: &str) -> Result<Vec<String>>;

    /// Begins an object, before the work that makes its content: a place that cannot be written to costs no hour of
    /// reading.
    fn draft(&self, key: &str, existing: Existing) -> Result<Box<dyn Draft>>;

    /// Removes an object; where the store keeps versions, the older ones stay.
    fn delete(&self, key: &str) -> Result<()>;

    /// The content of an object of at most `bytes_max`; nothing where there is no such object.
    fn get(&self, key: &str, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let mut content = Limited { content: Vec::new(), bytes_max };
        Ok(self.read(key, &mut content)?.map(|_| content.content))
    }

    /// Writes an object that must not be there yet.
    fn put_new(&self, key: &str, content: &[u8]) -> Result<()> {
        self.draft(key, Existing::Refuse)?.keep(&mut |to| Ok(to.write_all(content)?))
    }
}

/// Opens the store of a location. The program decides which kinds of stores it can open.
pub type OpenStore = fn(&Location) -> Result<Box<dyn Store>>;

/// An object in the making; nothing of it is left unless it is kept.
pub trait Draft: fmt::Debug {
    /// Writes the content, and gives the object its name once all of it is stored.
    fn keep(self: Box<Self>, write: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<()>;
}

/// Policy for an existing file. A manifest may be the only evidence of an old backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    Refuse,
    Replace,
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The key below the prefix of the store.
    pub key: String,
    /// In bytes.
    pub size: u64,
    /// ETag of the content; it need not be a hash of it.
    pub etag: Option<String>,
    /// Modification time; a replica may have that of its original.
    pub modified: Timestamp,
}

/// Properties of an object that are known without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// In bytes.
    pub size: u64,
    /// Modification time.
    pub modified: Timestamp,
    /// Checksums of the whole object, in Base64.
    pub checksums: BTreeMap<Checksum, String>,
    /// `x-amz-replication-status`: PENDING, COMPLETED or FAILED at the source, REPLICA at the copy.
    pub replication: Option<String>,
    /// Time until which an object lock keeps it; `None` if no lock is known.
    pub locked_until: Option<Timestamp>,
}

/// A kind of checksum, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checksum {
    /// SHA-256
    Sha256,
    /// SHA-1
    Sha1,
    /// CRC-64/NVME
    Crc64Nvme,
    /// CRC-32C
    Crc32C,
    /// CRC-32
    Crc32,
}

/// Takes no more than it may.
struct Limited {
    content: Vec<u8>,
    bytes_max: u64,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.content.len() + bytes.len()) as u64 > self.bytes_max {
            return Err(io::Error::other(format!("it is longer than {} bytes", self.bytes_max)));
        }
        self.content.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
