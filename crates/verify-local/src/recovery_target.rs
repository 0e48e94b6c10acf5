//! The position in the WAL at which recovery of a base backup ends.

use std::fmt;

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

impl RecoveryTarget {
    /// Settings of the recovered server; `end` is the position, where it is known.
    pub(super) fn settings(&self, end: Option<Lsn>) -> Vec<(String, String)> {
        let (name, value, inclusive) = match self {
            Self::Capture(_) | Self::Lsn(_) => match end {
                Some(end) => ("recovery_target_lsn", end.to_string(), false),
                None => return Vec::new(),
            },
            // The server reads times in its own time zone.
            Self::Time(time) => {
                ("recovery_target_time", time.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string(), true)
            }
            Self::Name(name) => ("recovery_target_name", name.clone(), true),
            // Records have the lower half alone.
            Self::BeforeTransaction(xid) => ("recovery_target_xid", (xid & 0xFFFF_FFFF).to_string(), false),
            Self::Latest => return Vec::new(),
        };
        let inclusive = if inclusive { "on" } else { "off" };
        vec![(name.to_owned(), value), ("recovery_target_inclusive".to_owned(), inclusive.to_owned())]
    }
}

impl fmt::Display for RecoveryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capture(manifest) => write!(f, "the capture of {}", manifest.header.captured_at),
            Self::Time(time) => write!(f, "the time {time}"),
            Self::Lsn(lsn) => write!(f, "the WAL position {lsn}"),
            Self::Name(name) => write!(f, "the restore point {:?}", verify_core::table::shown_text(name)),
            Self::BeforeTransaction(xid) => write!(f, "the commit of transaction {xid}"),
            Self::Latest => f.write_str("the end of the WAL archive"),
        }
    }
}
