//! From what was found in restored databases to their reports.

use serde::{Deserialize, Serialize};
use verify_core::compare::Comparison;
use verify_core::heartbeat::Rpo;
use verify_core::manifest::Manifest;
use verify_core::report::{Circumstances, Instant, Objectives, Recovery, Report, Side};
use verify_core::timeline::Timeline;

use crate::backup_record::BackupRecord;

/// Data shared by all reports of a restore.
pub struct Judging<'a> {
    pub record: &'a BackupRecord,
    /// In the record's order.
    pub manifests: &'a [Manifest],
    pub timeline: &'a Timeline,
    pub duration_ms: u64,
    pub objectives: Objectives,
}

/// Result of one restored database.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// Location of the database: `user@host:port/database`.
    pub place: String,
    pub comparison: Comparison,
    pub rpo: Option<Rpo>,
}

impl Judging<'_> {
    /// The reports of all databases, in the record's order.
    pub fn reports(&self, found: impl IntoIterator<Item = Found>) -> Vec<Report> {
        found.into_iter().enumerate().map(|(index, found)| self.report(index, found)).collect()
    }

    fn report(&self, index: usize, found: Found) -> Report {
        let Found { place, mut comparison, rpo } = found;
        let manifest = &self.manifests[index];
        // The manifest of each names the others, which this restore covers too.
        self.record.databases.iter().for_each(|other| comparison.database_was_compared(&other.name));
        let source = Side {
            place: self.record.databases[index].place.clone(),
            database: Some(manifest.header.source.clone()),
        };
        let circumstances = Circumstances {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.timeline.started_at,
            duration_ms: self.duration_ms,
            source,
            restored: Some(Side { place, database: None }),
            manifest: Some(Instant::from(&manifest.header)),
        };
        let recovery = Recovery { rto: self.timeline.rto(), rpo, objectives: self.objectives };
        Report::new(circumstances, comparison, recovery)
    }
}
