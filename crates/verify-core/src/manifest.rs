//! The manifest: everything that was measured of a database. [`crate::manifest_file`] is how it is written.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::definition::Definitions;
use crate::digest::{Digest, HashAlgorithm, HashKey};
use crate::heartbeat::Pulse;
use crate::invariant::Evaluated;
use crate::names::Names;
use crate::plan::Plan;
use crate::row::ENCODING_VERSION;
use crate::sequence::Sequence;
use crate::table::{Column, Table, TableName};

/// The value of [`Header::format`].
pub(crate) const FORMAT: &str = "state-lab-manifest";
/// The version of this format.
pub const FORMAT_VERSION: u32 = 3;

/// Measurement of one database under one snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Origin and parameters of the measurement.
    pub header: Header,
    /// The tables, sorted by name.
    pub tables: Vec<TableEntry>,
    /// The sequences, sorted by name.
    pub sequences: Vec<Sequence>,
    /// The definitions of the database's objects.
    pub definitions: Definitions,
    /// The definitions of the cluster's objects.
    pub cluster: Definitions,
    /// The invariants, in the plan's order.
    pub invariants: Vec<Evaluated>,
    /// The newest heartbeat or commit that the snapshot sees.
    pub pulse: Pulse,
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// `state-lab-manifest`.
    pub format: String,
    /// The version of the format.
    pub version: u32,
    /// The version of the canonical row.
    pub encoding: u32,
    /// Hash function for rows.
    pub hash: HashAlgorithm,
    /// The key of the hash, drawn after the snapshot was fixed.
    pub key: HashKey,
    /// The measured database.
    pub source: Source,
    /// `pg_current_snapshot()` of the measured snapshot.
    pub snapshot: String,
    /// The write-ahead log's insert position when the snapshot was fixed.
    pub lsn: String,
    /// The server's clock when the snapshot was fixed.
    #[schemars(with = "String")]
    pub captured_at: Timestamp,
    /// Relation of the snapshot to a backup.
    pub consistency: Consistency,
}

/// The measured database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// `server_version_num`.
    pub server_version: u32,
    /// The cluster's system identifier, empty where the role may not read it.
    pub system_identifier: String,
    /// The database's name.
    pub database: String,
    /// The database's object id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_oid: Option<u32>,
    /// Start time of the server (`pg_postmaster_start_time()`), which distinguishes it from a copy of its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub postmaster_started_at: Option<Timestamp>,
    /// Time since which the server counts its statistics: it counts anew after it has recovered from a crash, which leaves its start time
    /// as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub statistics_since: Option<Timestamp>,
    /// Its encoding.
    pub encoding: String,
    /// Other databases of the same cluster, which this manifest does not cover.
    pub other_databases: Vec<String>,
    /// Foreign tables, whose rows are on another server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign_tables: Vec<TableName>,
    /// Number of prepared transactions of this database that were neither committed nor rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared_transactions: Option<u64>,
}

impl Source {
    /// Returns whether both may have been read from one server, or from copies of its files.
    pub fn may_be_server_of(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.system_identifier, &other.system_identifier);
        ours == theirs || ours.is_empty() || theirs.is_empty()
    }

    /// Returns whether both were read from one database of one running server.
    ///
    /// Another database of the server has another object id, and a copy of the server's files another start time.
    pub fn is_same_database(&self, other: &Self) -> bool {
        let same_cluster = self.may_be_server_of(other);
        // A value that is unknown on one side is no evidence.
        let identity = |source: &Self| source.database_oid.zip(source.postmaster_started_at);
        same_cluster && identity(self).is_some() && identity(self) == identity(other)
    }
}

/// Relation of the manifest's snapshot to a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "mode")]
pub enum Consistency {
    /// One snapshot; exact for a dump that was taken under it, or a source that stood still.
    SharedSnapshot,
    /// One snapshot, which another session had exported; exact for a dump that was taken under it. Sequences, which no snapshot
    /// fixes, were read later than it, and at another time than by the dump.
    ImportedSnapshot,
    /// The snapshot can be read again in a physical copy.
    TimeTravel(Anchor),
    /// One snapshot of a standby; exact for a dump that was taken under it. No transaction kept its row versions.
    StandbySnapshot(Replay),
    /// The snapshot of a standby whose replay was paused until a copy was made, which shows it if it is recovered to
    /// exactly this position.
    PausedStandby(Position),
    /// A copy was cut while nobody could write to the tables of the snapshot, so that it holds exactly their rows.
    Fence(FenceTransaction),
    /// Recovery of a physical copy ended between the commits that the snapshot sees and all others.
    CommitOrder(RecoveryEnd),
}

impl Consistency {
    /// Returns whether the snapshot belongs to a copy of the server's files.
    pub fn is_of_files(&self) -> bool {
        match self {
            Self::SharedSnapshot | Self::ImportedSnapshot | Self::StandbySnapshot(_) => false,
            Self::TimeTravel(_) | Self::PausedStandby(_) | Self::Fence(_) | Self::CommitOrder(_) => true,
        }
    }

    /// The mode's name, as it is written.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SharedSnapshot => "shared-snapshot",
            Self::ImportedSnapshot => "imported-snapshot",
            Self::TimeTravel(_) => "time-travel",
            Self::StandbySnapshot(_) => "standby-snapshot",
            Self::PausedStandby(_) => "paused-standby",
            Self::Fence(_) => "fence",
            Self::CommitOrder(_) => "commit-order",
        }
    }
}

/// The end of a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryEnd {
    /// The write-ahead log was replayed up to this position.
    pub lsn: String,
}

/// The transaction whose locks kept writers out until a copy was cut, and which then committed: a copy in which it is committed was
/// cut later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FenceTransaction {
    /// Its id.
    pub xid: u64,
}

/// Position in the WAL up to which a standby had replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Position {
    /// End of the last record that was replayed.
    pub replay_lsn: String,
}

/// Positions in the WAL around the snapshot of a standby, which sees commits in the order of the WAL.
///
/// `pg_current_snapshot()` lists no transaction in progress on a standby, so its text does not determine what it sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replay {
    /// Replayed before the snapshot was taken: every commit up to here is visible.
    pub from: String,
    /// Replayed after it was taken: no commit is visible that is later than the record that begins here.
    pub to: String,
}

/// Data for reading a snapshot again in a physical copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Anchor {
    /// The transaction that was held open until the copy was cut, so that nothing visible was pruned.
    pub xid: u64,
    /// The database that it was open in; it protects no other.
    pub database_oid: u32,
    /// Sub-transactions in progress, which `pg_current_snapshot()` omits.
    pub subtransactions: Vec<u64>,
}

/// A table's line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TableEntry {
    /// The table, and the encoding of its rows.
    #[serde(flatten)]
    pub table: Table,
    /// The file that held the rows when the snapshot was fixed (`relfilenode`); 0 where it has none.
    pub filenode: u32,
    /// The columns that the catalogue showed, where the rows were read by another table's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns_found: Option<Vec<Column>>,
    /// Measurement of the table, or the reason for its absence.
    pub content: Content,
}

/// Measurement of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Its rows.
    Rows {
        /// Count and sum.
        #[serde(flatten)]
        digest: Digest,
        /// Bytes of the canonical rows.
        bytes: u64,
        /// Names of its rows, to identify them later.
        names: Names,
    },
    /// The table could not be read, for this reason.
    Unreadable(String),
    /// The server found its data damaged when it read them.
    Damaged(String),
    /// The table was truncated, rewritten or dropped during the measurement, so that the rows are not those of the
    /// snapshot.
    Rewritten(String),
}

impl TableEntry {
    /// The table's name.
    pub fn name(&self) -> &TableName {
        &self.table.name
    }

    /// Returns whether its rows were read.
    pub fn is_measured(&self) -> bool {
        matches!(self.content, Content::Rows { .. })
    }

    /// Number of rows that were read; 0 if none could be.
    pub fn rows(&self) -> u64 {
        match &self.content {
            Content::Rows { digest, .. } => digest.rows,
            Content::Unreadable(_) | Content::Damaged(_) | Content::Rewritten(_) => 0,
        }
    }
}

impl Header {
    /// A header of this format and encoding.
    pub fn new(hash: HashAlgorithm, key: HashKey, origin: Origin) -> Self {
        let Origin { source, snapshot, lsn, captured_at, consistency } = origin;
        Self {
            format: FORMAT.to_owned(),
            version: FORMAT_VERSION,
            encoding: ENCODING_VERSION,
            hash,
            key,
            source,
            snapshot,
            lsn,
            captured_at,
            consistency,
        }
    }
}

/// Origin of a snapshot, and how to find it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The database.
    pub source: Source,
    /// `pg_current_snapshot()`.
    pub snapshot: String,
    /// The write-ahead log's insert position.
    pub lsn: String,
    /// The server's clock.
    pub captured_at: Timestamp,
    /// Relation of the snapshot to a backup.
    pub consistency: Consistency,
}

impl Manifest {
    /// The same without what the plan leaves out.
    pub(crate) fn within(&self, plan: &Plan) -> Self {
        fn kept<T: Clone>(plan: &Plan, check: Check, all: &T, nothing: T) -> T {
            if plan.runs(check) { all.clone() } else { nothing }
        }
        let none = || Definitions::Read(Vec::new());
        Self {
            header: self.header.clone(),
            tables: kept(plan, Check::Rows, &self.tables, Vec::new()),
            sequences: kept(plan, Check::Sequences, &self.sequences, Vec::new()),
            definitions: kept(plan, Check::Definitions, &self.definitions, none()),
            cluster: kept(plan, Check::Cluster, &self.cluster, none()),
            invariants: kept(plan, Check::Invariants, &self.invariants, Vec::new()),
            pulse: self.pulse.clone(),
        }
    }

    /// The entry of a table.
    pub fn table(&self, name: &TableName) -> Option<&TableEntry> {
        self.tables.binary_search_by(|entry| entry.name().cmp(name)).ok().map(|i| &self.tables[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(system_identifier: &str, database_oid: Option<u32>, started_at: Option<i64>) -> Source {
        Source {
            server_version: 150_000,
            system_identifier: system_identifier.to_owned(),
            database: "shop".to_owned(),
            database_oid,
            postmaster_started_at: started_at.map(|at| Timestamp::from_microsecond(at).unwrap()),
            statistics_since: None,
            encoding: "UTF8".to_owned(),
            other_databases: Vec::new(),
            foreign_tables: Vec::new(),
            prepared_transactions: None,
        }
    }

    #[test]
    fn only_one_database_of_one_running_server_is_the_same() {
        let ours = source("1", Some(16_384), Some(1));
        for (theirs, expected) in [
            (source("1", Some(16_384), Some(1)), true),
            // A role that may not read the identifier.
            (source("", Some(16_384), Some(1)), true),
            // A physical copy that runs elsewhere, and another database of the server.
            (source("1", Some(16_384), Some(2)), false),
            (source("1", Some(16_385), Some(1)), false),
            (source("2", Some(16_384), Some(1)), false),
            // A manifest that an earlier version wrote.
            (source("1", None, None), false),
        ] {
            assert_eq!(ours.is_same_database(&theirs), expected, "{theirs:?}");
            assert_eq!(theirs.is_same_database(&ours), expected, "{theirs:?}");
        }
        let unknown = source("1", None, None);
        assert!(!unknown.is_same_database(&unknown));
    }

    #[test]
    fn a_manifest_without_the_start_time_is_read() {
        let known = source("1", Some(16_384), Some(1));
        let mut json = serde_json::to_value(&known).unwrap();
        assert_eq!(serde_json::from_value::<Source>(json.clone()).unwrap(), known);
        for field in ["database_oid", "postmaster_started_at"] {
            json.as_object_mut().unwrap().remove(field).unwrap();
        }
        assert_eq!(serde_json::from_value::<Source>(json).unwrap(), source("1", None, None));
    }
}
