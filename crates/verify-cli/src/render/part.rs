//! A part of a capture in short.

use std::fmt::Write;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use verify_core::finding::Verdict;
use verify_core::manifest::{Content, TableEntry};
use verify_core::not_covered::NotCovered;
use verify_core::partial::PartialManifest;
use verify_core::report::Instant;

use super::style::Style;
use super::text::{captured, gaps};
use verify_drill::quantity::{bytes, counted};

/// A partial manifest without what only machines need.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PartSummary {
    /// Path of the part.
    path: String,
    /// Its number and that of all parts: `2/3`.
    part: String,
    /// Pass if nothing that belongs to the part is missing from it.
    verdict: Verdict,
    #[serde(flatten)]
    instant: Instant,
    lsn: String,
    /// Rows of this part.
    rows: u64,
    /// Their bytes.
    bytes: u64,
    not_covered: Vec<NotCovered>,
}

impl PartSummary {
    /// The summary of a part, which is at `path`.
    pub(crate) fn new(part: &PartialManifest, path: &Path) -> Self {
        let size = |entry: &TableEntry| match &entry.content {
            Content::Rows { bytes, .. } => *bytes,
            Content::Unreadable(_) | Content::Rewritten(_) | Content::Damaged(_) => 0,
        };
        Self {
            path: path.display().to_string(),
            part: part.part().to_string(),
            verdict: part.verdict(),
            instant: Instant::from(part.header()),
            lsn: part.header().lsn.clone(),
            rows: part.tables().iter().map(TableEntry::rows).sum(),
            bytes: part.tables().iter().map(size).sum(),
            not_covered: part.not_covered(),
        }
    }

    /// Returns pass if all that belongs to the part was measured.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Plain text.
    pub(crate) fn text(&self, style: &Style) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "part {}: {}", self.part, self.path);
        let _ = writeln!(text, "captured: {}", captured(&self.instant));
        let _ = writeln!(text, "holds: {} ({})", counted(self.rows, "row"), bytes(self.bytes));
        gaps(&mut text, &self.not_covered, style);
        text
    }
}
