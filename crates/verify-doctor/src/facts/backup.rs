//! Stored backups, whoever made them, and the restores that proved them.

use jiff::Timestamp;
use verify_core::finding::Verdict;

use crate::fact::Fact;

/// A place that holds backups: a store of this machine, or Velero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub name: String,
    /// The backups that hold this database, in any order.
    pub backups: Fact<Vec<Backup>>,
}

/// A backup, whoever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    pub name: String,
    pub started_at: Timestamp,
    pub state: State,
    /// The bytes of its data, where they are known.
    pub bytes: Option<u64>,
    pub content: Content,
    /// The newest attempt to restore and verify it.
    pub proof: Option<Proof>,
}

/// How a backup ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Good,
    /// Complete, with complaints.
    Complained(String),
    /// Not restorable as a whole.
    Bad(String),
    Running,
}

/// What a backup is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The files of the whole server, in a store of their own.
    Server,
    /// Dumps of databases.
    Dumps {
        /// Whether roles and other globals are with them.
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
    /// Whether it can be restored, with complaints or without.
    pub fn is_restorable(&self) -> bool {
        matches!(self.state, State::Good | State::Complained(_))
    }
}
