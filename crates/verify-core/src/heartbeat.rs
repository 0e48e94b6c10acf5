//! The heartbeat: one row a second from the server's own clock, from which the recovery point is read.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The schema of the heartbeat's table and sequence.
pub const SCHEMA: &str = "state_lab";
/// The heartbeat's table.
pub const TABLE: &str = "heartbeat";
/// The sequence behind its ids.
pub const SEQUENCE: &str = "heartbeat_id_seq";

/// One row of the heartbeat table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Beat {
    /// Monotone.
    pub id: i64,
    /// `clock_timestamp()` of the server.
    #[schemars(with = "String")]
    pub written_at: Timestamp,
    /// The write-ahead log's insert position.
    pub lsn: String,
    /// Name of the writer.
    pub writer: String,
    /// Interval of the writer, in milliseconds.
    pub interval_ms: i64,
}

/// The newest evidence of life in a database, and the server's clock when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pulse {
    /// The newest beat, where there is a heartbeat table with rows.
    pub beat: Option<Beat>,
    /// Time of the last commit, if the server tracks it.
    #[schemars(with = "Option<String>")]
    pub last_commit: Option<Timestamp>,
    /// The server's clock when this was read.
    #[schemars(with = "String")]
    pub read_at: Timestamp,
}

/// A heartbeat that missed so many beats is dead.
const MISSED_BEATS_MAX: i64 = 5;

impl Pulse {
    /// Age of the newest beat, if it is older than its writer's interval allows.
    pub fn stale(&self) -> Option<Duration> {
        let beat = self.beat.as_ref()?;
        let age = self.read_at.duration_since(beat.written_at);
        let allowed = beat.interval_ms.saturating_mul(MISSED_BEATS_MAX).max(2_000);
        (age.as_millis() > i128::from(allowed)).then(|| age.unsigned_abs())
    }
}

/// Source of a recovery point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The last commit timestamp (`track_commit_timestamp`).
    LastCommit,
    /// The newest row of the heartbeat table.
    Heartbeat,
    /// The time of the capture, if the verification passed: every row as of it is present.
    Capture,
}

/// The recovery point: an upper bound on the time whose writes were lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rpo {
    /// Writes older than the incident by more than this, in milliseconds, are recovered.
    pub at_most_ms: u64,
    /// The error bar that is contained in `at_most_ms`: the uncertainty between the clocks.
    pub clock_error_ms: u64,
    /// Source of the recovery point.
    pub evidence: Evidence,
    /// The latest time known to be recovered, by the source's clock.
    #[schemars(with = "String")]
    pub recovered_until: Timestamp,
    /// Time at which the database was lost.
    #[schemars(with = "String")]
    pub incident: Timestamp,
}

/// Lead of the source's clock over this machine's, with its uncertainty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClockOffset {
    /// Milliseconds that the source's clock is ahead.
    pub ahead_ms: i64,
    /// Half the round trip in which it was read.
    pub error_ms: u64,
}

impl Rpo {
    /// Returns the bound, from the latest of what restored databases, all recovered to one position, still hold, and
    /// the time of the capture, which counts only if its rows were verified.
    ///
    /// `incident` is by our clock and moved onto the source's by `offset`. `None` where nothing is known, or where a
    /// clock jumped, so that the incident is before what was recovered.
    pub fn derive(
        restored: &[Pulse],
        verified_capture: Option<Timestamp>,
        incident: Timestamp,
        offset: ClockOffset,
    ) -> Option<Self> {
        let capture = verified_capture.map(|at| (at, Evidence::Capture));
        let held = restored.iter().flat_map(|pulse| {
            let beat = pulse.beat.as_ref().map(|beat| (beat.written_at, Evidence::Heartbeat));
            [beat, pulse.last_commit.map(|at| (at, Evidence::LastCommit))]
        });
        let known = held.chain([capture]).flatten();
        let (recovered_until, evidence) = known.max_by_key(|(until, _)| *until)?;
        // Rounded up: a bound must not be a fraction too small.
        let lost_us = incident.duration_since(recovered_until).as_micros();
        let lost = (lost_us + 999).div_euclid(1_000) + i128::from(offset.ahead_ms);
        let at_most = lost + i128::from(offset.error_ms);
        let at_most_ms = u64::try_from(at_most).ok()?;
        Some(Self { at_most_ms, clock_error_ms: offset.error_ms, evidence, recovered_until, incident })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn pulse(beat: Option<i64>, commit: Option<i64>, read: i64) -> Pulse {
        let beat = beat.map(|second| Beat {
            id: 1,
            written_at: at(second),
            lsn: "0/1".into(),
            writer: "w".into(),
            interval_ms: 1_000,
        });
        Pulse { beat, last_commit: commit.map(at), read_at: at(read) }
    }

    #[test]
    fn a_heartbeat_is_stale_after_five_missed_beats() {
        assert_eq!(pulse(Some(0), None, 5).stale(), None);
        assert_eq!(pulse(Some(0), None, 6).stale(), Some(Duration::from_secs(6)));
        assert_eq!(pulse(None, None, 6).stale(), None);
    }

    #[test]
    fn the_bound_takes_the_latest_evidence_and_the_clocks_error() {
        let offset = ClockOffset { ahead_ms: 200, error_ms: 3 };
        let derive = |beat, commit, offset| {
            Rpo::derive(&[pulse(beat, commit, 100)], Some(at(5)), at(20), offset)
                .map(|rpo| (rpo.at_most_ms, rpo.evidence))
        };
        assert_eq!(derive(Some(10), Some(12), offset), Some((8_203, Evidence::LastCommit)));
        assert_eq!(derive(Some(13), Some(12), ClockOffset::default()), Some((7_000, Evidence::Heartbeat)));
        assert_eq!(derive(Some(4), None, ClockOffset::default()), Some((15_000, Evidence::Capture)));
        assert_eq!(derive(None, None, ClockOffset::default()), Some((15_000, Evidence::Capture)));
    }

    #[test]
    fn a_clock_that_jumped_gives_no_bound() {
        let ahead = pulse(Some(3_600), None, 0);
        assert_eq!(Rpo::derive(&[ahead], Some(at(0)), at(20), ClockOffset::default()), None);
    }

    #[test]
    fn without_a_verified_capture_only_what_the_copies_hold_counts() {
        let derive = |pulses: &[Pulse]| {
            Rpo::derive(pulses, None, at(20), ClockOffset::default())
                .map(|rpo| (rpo.at_most_ms, rpo.evidence))
        };
        let (nothing, beat, commit) =
            (pulse(None, None, 100), pulse(Some(3), None, 100), pulse(None, Some(7), 100));
        assert_eq!(derive(std::slice::from_ref(&nothing)), None);
        assert_eq!(derive(&[nothing.clone(), beat.clone()]), Some((17_000, Evidence::Heartbeat)));
        assert_eq!(derive(&[beat, nothing, commit]), Some((13_000, Evidence::LastCommit)));
    }
}
