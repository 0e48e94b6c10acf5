//! Sequences: their values are not under any snapshot, so a range is accepted instead of a value.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::table::TableName;

/// The value of a sequence, as the sequence relation shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SequenceValue {
    /// The last value that was handed out, or the first one to be.
    pub last_value: i64,
    /// True if `last_value` has been returned.
    pub is_called: bool,
}

/// A sequence as it was between the snapshot and the end of the copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sequence {
    /// Its name.
    pub name: TableName,
    /// By how much it advances; negative where it descends.
    pub increment: i64,
    /// True if it has the option CYCLE, so that a smaller value is not behind.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cycles: bool,
    /// True if a crash resets it, as it empties the unlogged table that it belongs to (PostgreSQL 15 and later).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unlogged: bool,
    /// The table and column that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owned_by: Option<OwnedBy>,
    /// Right after the snapshot was fixed; `None` where it could not be read.
    pub earliest: Option<SequenceValue>,
    /// After the copy was cut.
    pub latest: Option<SequenceValue>,
    /// Reason why it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// The column that a sequence feeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnedBy {
    /// The table.
    pub table: TableName,
    /// The column.
    pub column: String,
    /// The furthest value in the column under the snapshot, in the sequence's direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub furthest: Option<i64>,
}

/// Increments by which a crash-like restore may find a sequence ahead: PostgreSQL logs 32 values in advance
/// (`SEQ_LOG_VALS` in its `sequence.c`).
pub const LOGGED_AHEAD: i64 = 32;

/// Position of a restored sequence relative to the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Standing {
    /// Within what was accepted.
    Accepted,
    /// The sequence would return values again that were returned before the snapshot.
    Behind,
    /// Further than the source ever was.
    Ahead,
}

impl SequenceValue {
    /// The next value that will be handed out.
    pub fn next(self, increment: i64) -> i128 {
        i128::from(self.last_value) + if self.is_called { i128::from(increment) } else { 0 }
    }
}

impl Sequence {
    /// Returns the position of `restored`; `None` if the source's values could not be read.
    pub fn standing(&self, restored: SequenceValue) -> Option<Standing> {
        let earliest = self.earliest?.next(self.increment);
        let latest = self.latest?.next(self.increment);
        let found = restored.next(self.increment);
        let direction = i128::from(self.increment.signum());
        let slack = i128::from(LOGGED_AHEAD) * i128::from(self.increment);
        Some(if self.cycles && (latest - earliest) * direction < 0 {
            // It wrapped during the copy: both ends of its range are right.
            Standing::Accepted
        } else if (found - earliest) * direction < 0 {
            Standing::Behind
        } else if (found - latest - slack) * direction > 0 {
            Standing::Ahead
        } else {
            Standing::Accepted
        })
    }

    /// Returns whether `restored` would return a value that its column already contains.
    pub fn collides(&self, restored: SequenceValue, furthest: i64) -> bool {
        let direction = i128::from(self.increment.signum());
        !self.cycles && (restored.next(self.increment) - i128::from(furthest)) * direction <= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(last_value: i64) -> SequenceValue {
        SequenceValue { last_value, is_called: true }
    }

    fn sequence(increment: i64, earliest: SequenceValue, latest: SequenceValue) -> Sequence {
        let name = TableName::new("public", "s");
        Sequence {
            name,
            increment,
            cycles: false,
            unlogged: false,
            owned_by: None,
            earliest: Some(earliest),
            latest: Some(latest),
            unreadable: None,
        }
    }

    #[test]
    fn a_sequence_may_stand_between_snapshot_and_copy() {
        let up = sequence(1, called(100), called(110));
        for (value, expected) in [
            (99, Standing::Behind),
            (100, Standing::Accepted),
            (110, Standing::Accepted),
            (142, Standing::Accepted),
            (143, Standing::Ahead),
        ] {
            assert_eq!(up.standing(called(value)), Some(expected), "{value}");
        }
        let down = sequence(-5, called(-100), called(-110));
        assert_eq!(down.standing(called(-95)), Some(Standing::Behind));
        assert_eq!(down.standing(called(-270)), Some(Standing::Accepted));
        assert_eq!(down.standing(called(-275)), Some(Standing::Ahead));
    }

    #[test]
    fn not_called_differs_from_called() {
        let fresh = SequenceValue { last_value: 1, is_called: false };
        let at_one = sequence(1, called(1), called(1));
        assert_eq!(at_one.standing(fresh), Some(Standing::Behind));
        assert_eq!(sequence(1, fresh, fresh).standing(called(34)), Some(Standing::Ahead));
    }

    #[test]
    fn a_collision_is_a_next_value_that_exists() {
        let up = sequence(1, called(10), called(10));
        assert!(up.collides(called(10), 11));
        assert!(!up.collides(called(11), 11));
        assert!(up.collides(SequenceValue { last_value: 11, is_called: false }, 11));
        let down = sequence(-1, called(-10), called(-10));
        assert!(down.collides(called(-10), -11));
        assert!(!down.collides(called(-11), -11));
    }
}
