//! The recovery point's bound against the truth: the acknowledged writes, and those that the restored copy still has.

use std::collections::HashSet;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::writers::Acknowledged;

/// State of the acknowledged writes after the restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Loss {
    /// Acknowledged writes that the restored copy has.
    pub(crate) restored: u64,
    /// Acknowledged writes that are newer than the backup, hence lost.
    pub(crate) lost: u64,
    /// Writes that the copy lacks although later ones of the same writer are there; a backup never does that.
    pub(crate) holes: u64,
    /// Time from the acknowledgement of the newest restored write to the incident, in milliseconds.
    pub(crate) last_restored_ms: Option<u64>,
    /// Time from the acknowledgement of the oldest lost write to the incident, in milliseconds: the true loss.
    pub(crate) first_lost_ms: Option<u64>,
}

impl Loss {
    /// Sorts the acknowledged writes into restored and lost. `restored` holds the ids that the copy has;
    /// of `writers` writers, each counts its ids in steps of that number.
    pub(crate) fn of(
        acknowledged: &[Acknowledged],
        restored: &HashSet<i64>,
        writers: i64,
        incident: Timestamp,
    ) -> Self {
        // Rounded up: a loss is not to look smaller than it was.
        let before = |at: Timestamp| {
            let us = incident.duration_since(at).as_micros().max(0);
            u64::try_from(us).unwrap_or(u64::MAX).div_ceil(1_000)
        };
        let (there, lost): (Vec<_>, Vec<_>) =
            acknowledged.iter().partition(|write| restored.contains(&write.id));
        let newest = |writer: i64| restored.iter().copied().filter(|id| id % writers == writer).max();
        let newest: Vec<Option<i64>> = (0..writers).map(newest).collect();
        let hole = |write: &&&Acknowledged| {
            usize::try_from(write.id % writers).is_ok_and(|writer| newest[writer] > Some(write.id))
        };
        Self {
            restored: there.len() as u64,
            lost: lost.len() as u64,
            holes: lost.iter().filter(hole).count() as u64,
            last_restored_ms: there.iter().map(|write| write.at).max().map(before),
            first_lost_ms: lost.iter().map(|write| write.at).min().map(before),
        }
    }

    /// Returns whether a bound in milliseconds covers every lost write.
    pub(crate) fn is_within(&self, bound_ms: u64) -> bool {
        self.holes == 0 && self.first_lost_ms.is_none_or(|lost| lost <= bound_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap()
    }

    /// Writes 0 to 5 of two writers, 100 ms apart from each other.
    fn acknowledged() -> Vec<Acknowledged> {
        (0..6).map(|id| Acknowledged { id, at: at(id * 100) }).collect()
    }

    #[test]
    fn the_true_loss_begins_with_the_first_lost_write() {
        let loss = Loss::of(&acknowledged(), &HashSet::from([0, 1, 2]), 2, at(600));
        let expected =
            Loss { restored: 3, lost: 3, holes: 0, last_restored_ms: Some(400), first_lost_ms: Some(300) };
        assert_eq!(loss, expected);
        assert!(loss.is_within(300));
        assert!(!loss.is_within(299));
    }

    #[test]
    fn a_fraction_of_a_millisecond_counts_as_a_whole_one() {
        let at = |us: i64| Timestamp::from_microsecond(us).unwrap();
        let loss = Loss::of(&[Acknowledged { id: 0, at: at(1_000) }], &HashSet::new(), 1, at(301_001));
        assert_eq!(loss.first_lost_ms, Some(301));
    }

    #[test]
    fn a_hole_is_never_within_any_bound() {
        // Writer 0 wrote 0, 2 and 4; the copy has 4 and lacks 2.
        let loss = Loss::of(&acknowledged(), &HashSet::from([0, 1, 4]), 2, at(600));
        assert_eq!((loss.lost, loss.holes), (3, 1));
        assert!(!loss.is_within(u64::MAX));
    }

    #[test]
    fn unacknowledged_writes_are_no_loss() {
        let loss = Loss::of(&acknowledged(), &(0..9).collect(), 2, at(600));
        assert_eq!((loss.restored, loss.lost, loss.first_lost_ms), (6, 0, None));
        assert!(loss.is_within(0));
    }
}
