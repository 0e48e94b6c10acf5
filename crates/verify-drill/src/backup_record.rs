//! `backup.json`: what was backed up, when and how, and the hashes of the manifests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use verify_core::finding::Verdict;
use verify_core::heartbeat::ClockOffset;
use verify_core::manifest::{Manifest, TableEntry};
use verify_core::not_covered::NotCovered;

use crate::backup_name::{BackupName, file_safe};
use crate::store::Store;

/// The record's file in the directory of a backup.
pub const FILE: &str = "backup.json";
/// The manifests' directory in that of a backup.
pub const MANIFESTS: &str = "manifests";
pub const FORMAT: &str = "state-lab-backup";
pub const FORMAT_VERSION: u32 = 1;

/// Half a MiB for a large table.
const MANIFEST_BYTES_MAX: u64 = 8 << 30;

/// Method of the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CopyMethod {
    /// A base backup of the whole server, with `pg_basebackup`.
    Physical,
    /// A dump of each database, with `pg_dump`.
    Logical,
    /// A snapshot of the volume of the whole server's data directory.
    Snapshot,
}

/// Record of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRecord {
    pub format: String,
    pub version: u32,
    /// The version of the tool that made it.
    pub tool_version: String,
    /// Its name.
    pub name: BackupName,
    /// Method of the copy.
    pub method: CopyMethod,
    /// The major version of the program that copied, which a dump needs to be read again.
    pub copied_by: u32,
    /// Start of the backup, by this machine's clock.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// Completion of the copy, by this machine's clock.
    #[schemars(with = "String")]
    pub ended_at: Timestamp,
    /// The bytes of the copy's files.
    pub bytes: u64,
    /// The server that it was taken of.
    pub server: ServerRecord,
    /// The databases that have manifests, in the order in which they were asked for.
    pub databases: Vec<DatabaseRecord>,
}

/// The server that a backup was taken of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerRecord {
    /// `server_version`, as text.
    pub version: String,
    /// The major version.
    pub major: u32,
    /// A superuser of it, as whom a physical copy is read.
    pub superuser: String,
    /// Lead of its clock over this machine's.
    pub clock: ClockOffset,
    /// The settings without which a physical copy does not start, or forgets its commit times.
    pub settings: BTreeMap<String, String>,
    /// The settings without which extensions of the dumps cannot be created: what has to be preloaded, and for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub preloading: BTreeMap<String, String>,
}

/// A database that has a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseRecord {
    /// Its name.
    pub name: String,
    /// `user@host:port/database`.
    pub place: String,
    /// The manifest's file, relative to the backup's directory.
    pub manifest: String,
    /// The BLAKE3 of that file, in hexadecimal.
    pub blake3: String,
    /// Number of tables in the manifest.
    pub tables: u64,
    /// Number of rows.
    pub rows: u64,
    /// Reason why a restore cannot confirm the snapshot, if known in advance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven: Option<String>,
    /// Objects of the database that could not be measured, so that no restore can verify them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_covered: Vec<NotCovered>,
}

impl DatabaseRecord {
    /// Returns the record's entry for a manifest, and the bytes of its file.
    pub fn of(place: String, manifest: &Manifest) -> Result<(Self, Vec<u8>)> {
        let mut bytes = Vec::new();
        manifest.write(&mut bytes)?;
        let name = manifest.header.source.database.clone();
        let record = Self {
            place,
            manifest: format!("{MANIFESTS}/{}.manifest", file_safe(&name)),
            name,
            blake3: blake3_of(&bytes),
            tables: manifest.tables.len() as u64,
            rows: manifest.tables.iter().map(TableEntry::rows).sum(),
            unproven: None,
            not_covered: match manifest.verdict() {
                Verdict::Pass => Vec::new(),
                Verdict::Fail | Verdict::Inconclusive => manifest.not_covered(),
            },
        };
        Ok((record, bytes))
    }

    /// Reads the manifest that `bytes` are to be.
    ///
    /// # Errors
    ///
    /// If they are not the ones that were written with the backup.
    pub fn open(&self, bytes: &[u8]) -> Result<Manifest> {
        if blake3_of(bytes) != self.blake3 {
            bail!(
                "failed to use the manifest of {}: it is not the one that was written with the backup, and a modified \
                 manifest cannot be used",
                self.name
            );
        }
        Manifest::read(bytes).with_context(|| format!("failed to read the manifest of {}", self.name))
    }
}

impl BackupRecord {
    /// Reads the record in the directory of a backup.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let doing = || format!("failed to read {}", path.display());
        let text = fs::read(&path).with_context(doing)?;
        let Version { format, version } = serde_json::from_slice(&text).with_context(doing)?;
        if format != FORMAT {
            bail!("{}: it is not the record of a backup", doing());
        }
        if version != FORMAT_VERSION {
            bail!("{}: it is of version {version}; use the state-lab that wrote it", doing());
        }
        serde_json::from_slice(&text).with_context(doing)
    }

    /// The manifests, each the one that was written with the backup, and the bytes of their files; in the order of the
    /// databases. `folder` ends with a slash or is empty.
    ///
    /// # Errors
    ///
    /// If one of them cannot be read, or is truncated or modified.
    pub fn manifests(&self, store: &dyn Store, folder: &str) -> Result<(Vec<Vec<u8>>, Vec<Manifest>)> {
        let read = self.databases.iter().map(|database| {
            let key = format!("{folder}{}", database.manifest);
            let absent = || format!("failed to find the manifest {key} in {}", store.place());
            let file = store.get(&key, MANIFEST_BYTES_MAX)?.with_context(absent)?;
            let manifest = database.open(&file)?;
            Ok((file, manifest))
        });
        Ok(read.collect::<Result<Vec<_>>>()?.into_iter().unzip())
    }

    /// Fails where the record that was found as `name` has no manifest.
    pub fn expect_manifests(&self, name: &BackupName) -> Result<()> {
        if self.databases.is_empty() {
            bail!("failed to use the backup {name}: it has no manifest, so it cannot be verified");
        }
        Ok(())
    }
}

/// The BLAKE3 of a file, in hexadecimal.
pub fn blake3_of(file: &[u8]) -> String {
    blake3::hash(file).to_hex().to_string()
}

#[derive(Deserialize)]
struct Version {
    format: String,
    version: u32,
}
