//! Facts of a database server: each part by itself, so that one that may not be read hides no other.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use verify_core::heartbeat::Pulse;

use crate::fact::{Fact, Missing};

/// A database server, as one of its databases shows it.
#[derive(Clone, Debug)]
pub struct Server {
    /// `server_version_num`.
    pub version: u32,
    /// The database that was connected to.
    pub database: String,
    /// True if it is a standby.
    pub in_recovery: bool,
    /// The server's clock when it was read.
    pub read_at: Timestamp,
    /// The cluster's system identifier.
    pub system_identifier: Fact<u64>,
    pub settings: Settings,
    pub archiver: Fact<Archiver>,
    /// The files of the WAL archive.
    pub archive_files: Fact<ArchiveFiles>,
    /// The value of `archive-push-queue-max` of pgBackRest, if it is set.
    pub archive_queue_max: Fact<Option<String>>,
    pub slots: Fact<Vec<Slot>>,
    /// Number of standbys that stream from it.
    pub standbys: Fact<u64>,
    pub prepared: Fact<Vec<PreparedTransaction>>,
    /// Unlogged tables, with their schema.
    pub unlogged: Fact<Vec<String>>,
    pub indexes: Fact<Vec<Index>>,
    pub constraints: Fact<Vec<Constraint>>,
    /// Sequences that feed a column.
    pub sequences: Fact<Vec<OwnedSequence>>,
    pub tablespaces: Fact<Vec<Tablespace>>,
    pub pulse: Fact<Pulse>,
    /// Enabled subscriptions.
    pub subscriptions: Fact<Vec<String>>,
    /// Active jobs of `pg_cron`.
    pub cron_jobs: Fact<Vec<String>>,
    /// Foreign servers, with their wrapper.
    pub foreign_servers: Fact<Vec<String>>,
    /// Collations whose version is no longer the one that indexes were built with.
    pub collations: Fact<Vec<String>>,
    /// Versions of the collations in the operating system, by provider and locale.
    pub collation_versions: Fact<BTreeMap<String, String>>,
    /// Extensions of the database, by name, with their versions.
    pub extensions: Fact<BTreeMap<String, String>>,
}

impl Server {
    /// Major version.
    pub fn major(&self) -> u32 {
        self.version / 10_000
    }
}

/// The settings that the role may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// By name, in the units of `pg_settings`.
    pub values: BTreeMap<String, String>,
    /// The names of those that this session set for itself.
    pub of_session: BTreeSet<String>,
    /// True if the role sees all of them.
    pub all_visible: bool,
}

impl Settings {
    /// The value of a setting.
    ///
    /// # Errors
    ///
    /// If the role may not see it, or the version does not have it.
    pub fn get(&self, name: &str) -> Result<&str, Missing> {
        match self.values.get(name) {
            Some(value) => Ok(value),
            None if self.all_visible => {
                Err(Missing::not_applicable(format!("this version of PostgreSQL has no setting {name}")))
            }
            None => Err(Missing::unknown(
                format!("the role may not see the setting {name}"),
                "GRANT pg_read_all_settings",
            )),
        }
    }

    /// The value of a whole number.
    ///
    /// # Errors
    ///
    /// As [`Self::get`], or if it is not a number.
    pub fn number(&self, name: &str) -> Result<i64, Missing> {
        let value = self.get(name)?;
        value.parse().map_err(|_| {
            Missing::unknown(format!("the setting {name} is not a number"), "a server of PostgreSQL 13 to 18")
        })
    }

    /// Returns whether a setting is on.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn is_on(&self, name: &str) -> Result<bool, Missing> {
        Ok(self.get(name)? == "on")
    }
}

/// `pg_stat_archiver`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archiver {
    pub archived: u64,
    pub last_archived_file: Option<String>,
    pub last_archived_at: Option<Timestamp>,
    pub failed: u64,
    pub last_failed_file: Option<String>,
    pub last_failed_at: Option<Timestamp>,
}

impl Archiver {
    /// Returns whether its latest attempt failed.
    pub fn is_failing(&self) -> bool {
        self.last_failed_at.is_some() && self.last_failed_at > self.last_archived_at
    }
}

/// The names of the files in a WAL archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveFiles {
    /// The archive, in words.
    pub place: String,
    pub names: Vec<String>,
    /// `wal_segment_size` of the server.
    pub segment_bytes: u64,
}

/// A replication slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub name: String,
    /// `reserved`, `extended`, `unreserved` or `lost`; none where it reserves no WAL.
    pub wal_status: Option<String>,
    pub active: bool,
    /// WAL that it holds back, in bytes.
    pub held_bytes: Option<u64>,
}

/// A transaction that was prepared for a two-phase commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedTransaction {
    pub id: String,
    pub database: String,
    pub prepared_at: Timestamp,
}

/// An index that is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// With its schema.
    pub name: String,
    /// Its table, with its schema.
    pub table: String,
    /// True if a session holds the lock of CREATE INDEX CONCURRENTLY on the table, so that it may be under construction.
    pub maybe_building: bool,
}

/// A constraint that was not checked against the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    pub name: String,
    /// Its table, with its schema.
    pub table: String,
    /// True if the server checks it on writes.
    pub enforced: bool,
}

/// A sequence that feeds a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedSequence {
    /// With its schema.
    pub name: String,
    /// The table and the column.
    pub column: String,
    /// The value that it returns next, and the greatest (for a descending one the least) of the column; or why they could
    /// not be read, and the grant that is missing.
    pub values: Result<SequenceValues, (String, String)>,
}

/// The values of a sequence and its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceValues {
    pub next: i128,
    /// The furthest value of the column, in the direction of the sequence; none where it is empty.
    pub furthest: Option<i128>,
    pub increment: i64,
}

/// A tablespace outside the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tablespace {
    pub name: String,
    pub location: String,
}
