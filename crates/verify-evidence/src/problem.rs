//! Problems of stored evidence: data with a stable code, never an error.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use verify_core::finding::Severity;

/// A problem of a store of reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[must_use]
pub struct Problem {
    /// Code of the problem.
    pub code: Code,
    /// Effect on the verdict.
    pub severity: Severity,
    /// Number of the report; absent if the problem is that of the whole store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Description of the problem, one sentence.
    pub message: String,
}

/// Code of a problem. The meaning of a code never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Code {
    /// The store has no report at all.
    #[serde(rename = "store.empty")]
    StoreEmpty,
    /// An object belongs to no report.
    #[serde(rename = "store.foreign-object")]
    StoreForeignObject,
    /// No allowed signers were given, so no signature was verified.
    #[serde(rename = "signers.none")]
    SignersNone,
    /// A number has no report: it was deleted, or its writer was killed.
    #[serde(rename = "report.missing")]
    ReportMissing,
    /// A report is not one of state-lab, or not of a version that it reads.
    #[serde(rename = "report.unreadable")]
    ReportUnreadable,
    /// A report is not the one that was signed.
    #[serde(rename = "report.modified")]
    ReportModified,
    /// The verdict of a report does not follow from its findings.
    #[serde(rename = "report.verdict")]
    ReportVerdict,
    /// The verdict of a document of this kind could not be derived from its findings.
    #[serde(rename = "report.verdict-not-derived")]
    ReportVerdictNotDerived,
    /// A report lacks a signature.
    #[serde(rename = "signature.missing")]
    SignatureMissing,
    /// A signature was modified, or its key is not allowed for this name, purpose and time.
    #[serde(rename = "signature.refused")]
    SignatureRefused,
    /// The signed statement does not match the report.
    #[serde(rename = "signature.disagrees")]
    SignatureDisagrees,
    /// A report was moved or copied: its own number is not that of its place.
    #[serde(rename = "chain.moved")]
    ChainMoved,
    /// The report before this one is not the one that it follows: one of them was replaced.
    #[serde(rename = "chain.broken")]
    ChainBroken,
    /// Two reports follow the same one.
    #[serde(rename = "chain.forked")]
    ChainForked,
    /// A report was stored before the one that it follows, or before its run ended.
    #[serde(rename = "time.backwards")]
    TimeBackwards,
    /// The expected report is not in the store: the newest reports were deleted, or replaced.
    #[serde(rename = "head.missing")]
    HeadMissing,
}

impl Code {
    /// The severity of a problem with this code. Evidence that was tampered with fails; where something is missing, it is
    /// inconclusive.
    pub fn severity(self) -> Severity {
        match self {
            Self::ReportModified
            | Self::ReportVerdict
            | Self::SignatureRefused
            | Self::SignatureDisagrees
            | Self::ChainMoved
            | Self::ChainBroken
            | Self::ChainForked
            | Self::TimeBackwards
            | Self::HeadMissing => Severity::Fail,
            Self::StoreEmpty
            | Self::SignersNone
            | Self::ReportMissing
            // One that was modified has no valid signature either; one of a later version has.
            | Self::ReportUnreadable
            | Self::SignatureMissing => Severity::Inconclusive,
            Self::StoreForeignObject | Self::ReportVerdictNotDerived => Severity::Notice,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl Problem {
    pub(crate) fn new(code: Code, sequence: impl Into<Option<u64>>, message: impl Into<String>) -> Self {
        Self { code, severity: code.severity(), sequence: sequence.into(), message: message.into() }
    }
}
