//! Stored backups of any tool, and the restores that verified them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use verify_core::finding::Verdict;
use verify_core::report::Report;

use crate::fact::Fact;

/// A place that holds backups: a store of this machine, or Velero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub name: String,
    /// The backups that hold this database, in any order.
    pub backups: Fact<Vec<Backup>>,
    /// Error of reading the reports of restores, if any.
    pub reports: Fact<()>,
}

/// A backup of any tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    pub name: String,
    pub started_at: Timestamp,
    pub state: State,
    /// The bytes of its data, where they are known.
    pub bytes: Option<u64>,
    pub content: Content,
    /// Method and content: sizes are compared only with others of the same kind.
    pub kind: String,
    /// The newest attempt to restore and verify it.
    pub proof: Option<Proof>,
}

/// Result of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Good,
    /// Complete, with complaints.
    Complained(String),
    /// Not restorable as a whole.
    Bad(String),
    Running,
}

/// Content of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The files of the whole server, in a store of their own.
    Server,
    /// Dumps of databases.
    Dumps {
        /// True if roles and other globals are with them.
        globals: bool,
    },
    /// A snapshot that is only in the storage of its volume.
    LocalSnapshot,
}

/// A restore that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    pub at: Timestamp,
    pub verdict: Verdict,
}

impl Backup {
    /// Returns whether it can be restored, with complaints or without.
    pub fn is_restorable(&self) -> bool {
        matches!(self.state, State::Good | State::Complained(_))
    }
}

impl Proof {
    /// The newest restore of a database among reports; where none is named, the worst of the newest of each.
    pub fn newest(reports: &[Report], database: Option<&str>) -> Option<Self> {
        let mut newest = BTreeMap::<&str, Self>::new();
        for report in reports {
            let of = report.source.database.as_ref().map_or("", |source| source.database.as_str());
            if database.is_some_and(|database| database != of) {
                continue;
            }
            let proof = Self { at: report.started_at, verdict: report.verdict() };
            let known = newest.entry(of).or_insert(proof);
            if proof.at > known.at {
                *known = proof;
            }
        }
        let verdict = newest.values().map(|proof| proof.verdict).max()?;
        Some(Self { at: newest.values().map(|proof| proof.at).min()?, verdict })
    }
}
