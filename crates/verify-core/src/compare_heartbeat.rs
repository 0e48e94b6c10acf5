//! Comparison of the heartbeat.

use crate::compare::ComparisonDraft;
use crate::finding::{Code, Finding};
use crate::heartbeat;
use crate::manifest::Manifest;
use crate::table::TableName;

impl ComparisonDraft<'_> {
    pub(crate) fn pulse(&mut self, source: &Manifest, restored: &Manifest) {
        if let Some(age) = source.pulse.stale() {
            let message = format!(
                "its writer had been silent for {} s when the source was captured, so it cannot bound the recovery point",
                age.as_secs()
            );
            self.findings.push(
                Finding::new(Code::HeartbeatStale, "heartbeat", message)
                    .with_hint("run `state-lab heartbeat run` for the source"),
            );
        }
        let table = restored.table(&TableName::new(heartbeat::SCHEMA, heartbeat::TABLE));
        // That it could not be read is said of the table.
        let unread = table.is_some_and(|entry| !entry.is_measured());
        if source.pulse.beat.is_some() && restored.pulse.beat.is_none() && !unread {
            self.find(Code::HeartbeatMissing, "heartbeat", "the heartbeat of the source is missing");
        }
    }
}
