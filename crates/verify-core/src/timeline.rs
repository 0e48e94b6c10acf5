//! The drill's clock: named instants, and the recovery time that they amount to.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The times of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Milestone {
    /// The place to restore into is ready, without network access.
    Prepared,
    /// The backup's bytes are where the server will run.
    Fetched,
    /// The processes that will start the server are running beside the files.
    Started,
    /// The server has recovered to a consistent state.
    Recovered,
    /// The server takes reads and writes.
    Ready,
    /// Every row was compared. A physical copy is read before it takes writes, a dump's after.
    Compared,
    /// The rows are verified. The checks that follow are not part of the recovery: the database is in use by then.
    Verified,
}

/// Start of a drill, and the milestones after it.
///
/// Durations come from a monotonic clock, so that a wall clock that jumps cannot shorten them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timeline {
    /// By the wall clock.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// Milestones, in milliseconds after the start.
    pub reached: Vec<Reached>,
}

/// A milestone and its distance from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reached {
    /// The milestone.
    pub milestone: Milestone,
    /// Milliseconds after the start.
    pub after_ms: u64,
}

/// The recovery time, and which part of it was spent on what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rto {
    /// From the start to the verdict, in milliseconds.
    pub total_ms: u64,
    /// The time up to each milestone since the one before.
    pub parts: Vec<Reached>,
}

impl Timeline {
    /// A drill that began at `started_at`.
    pub fn new(started_at: Timestamp) -> Self {
        Self { started_at, reached: Vec::new() }
    }

    /// Records that a milestone was reached.
    pub fn reach(&mut self, milestone: Milestone, after: Duration) {
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.reached.push(Reached { milestone, after_ms });
    }

    /// The recovery time; `None` before the verdict is there.
    pub fn rto(&self) -> Option<Rto> {
        let total_ms = self.reached.iter().find(|reached| reached.milestone == Milestone::Verified)?.after_ms;
        let mut before = 0;
        let parts = self.reached.iter().map(|reached| {
            let part = reached.after_ms.saturating_sub(before);
            before = reached.after_ms;
            Reached { milestone: reached.milestone, after_ms: part }
        });
        Some(Rto { total_ms, parts: parts.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_add_up_to_the_whole() {
        let mut timeline = Timeline::new(Timestamp::UNIX_EPOCH);
        assert_eq!(timeline.rto(), None);
        for (milestone, ms) in [
            (Milestone::Fetched, 100),
            (Milestone::Recovered, 350),
            (Milestone::Ready, 350),
            (Milestone::Verified, 900),
        ] {
            timeline.reach(milestone, Duration::from_millis(ms));
        }
        let rto = timeline.rto().unwrap();
        assert_eq!(rto.parts.iter().map(|part| part.after_ms).collect::<Vec<_>>(), [100, 250, 0, 550]);
        assert_eq!(rto.total_ms, 900);
    }
}
