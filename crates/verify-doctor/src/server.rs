//! What was read of a database server: each part by itself, so that one that may not be read hides no other.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use verify_core::heartbeat::Pulse;

use crate::archive::{ArchiveFiles, Archiver};
use crate::catalogue::{Constraint, Index, OwnedSequence, Tablespace};
use crate::check::{Fact, Missing};
use crate::replication::{PreparedTransaction, Slot};

/// A database server, as one of its databases shows it.
#[derive(Clone, Debug)]
pub struct Server {
    /// `server_version_num`.
    pub version: u32,
    /// The database that was connected to.
    pub database: String,
    /// Whether it is a standby.
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
    /// Whether the role sees all of them.
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
    /// As [`Self::get`], or if it is no number.
    pub fn number(&self, name: &str) -> Result<i64, Missing> {
        let value = self.get(name)?;
        value.parse().map_err(|_| {
            Missing::unknown(format!("the setting {name} is no number"), "a server of PostgreSQL 13 to 18")
        })
    }

    /// Whether a setting is on.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn is_on(&self, name: &str) -> Result<bool, Missing> {
        Ok(self.get(name)? == "on")
    }
}
