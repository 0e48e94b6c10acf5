//! The position in the WAL at which recovery of a base backup ends.

use jiff::Timestamp;
use verify_core::manifest::Manifest;

use super::lsn::Lsn;

/// The position in the WAL at which recovery of a base backup ends.
#[derive(Clone, Debug, PartialEq)]
pub enum RecoveryTarget {
    /// The snapshot of a manifest, by the order of commits in the WAL.
    Capture(Box<Manifest>),
    /// Before the first transaction that committed after this time.
    Time(Timestamp),
    /// This position.
    Lsn(Lsn),
    /// A named restore point.
    Name(String),
    /// Before the commit of this transaction.
    BeforeTransaction(u64),
    /// The end of the archive.
    Latest,
}
