//! The store of signed reports.

use jiff::Timestamp;
use verify_core::finding::Severity;

use super::backup::Proof;
use crate::fact::Fact;

/// The store of signed reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Location of the store.
    pub name: String,
    /// Number of the newest report of a restore of the database, with its result.
    pub newest: Fact<Option<(u64, Proof)>>,
    /// Number and time of the newest run of `restore` that could not be made, if no restore has been made since.
    pub failed: Option<(u64, Timestamp)>,
    /// Problems that `evidence verify` finds.
    pub problems: Fact<Vec<EvidenceProblem>>,
}

/// A problem of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceProblem {
    /// Code of the problem in `evidence verify`.
    pub code: String,
    pub severity: Severity,
    /// Number of the report; `None` for a problem of the whole store.
    pub report: Option<u64>,
    pub message: String,
}
