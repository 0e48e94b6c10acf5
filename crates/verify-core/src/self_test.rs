//! Evidence that a set-up sees damage: what was damaged on purpose, and what was seen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::table::TableName;

/// Damage done to copies of tables, in a database of state-lab's own on the restored server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SelfTest {
    /// Seed of the choice of tables, rows and columns.
    pub seed: u64,
    /// What was damaged.
    pub damages: Vec<Damage>,
}

/// One damage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Damage {
    /// Kind of damage.
    pub kind: DamageKind,
    /// The table that was copied.
    pub table: TableName,
    /// True if the comparison found it.
    pub seen: bool,
}

/// Kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DamageKind {
    /// A row was deleted.
    RowLost,
    /// A row was inserted.
    RowAdded,
    /// A value was set to NULL.
    RowChanged,
    /// An index was dropped.
    IndexDropped,
}

impl DamageKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RowLost, Self::RowAdded, Self::RowChanged, Self::IndexDropped];

    /// Description.
    pub fn text(self) -> &'static str {
        match self {
            Self::RowLost => "a row was deleted",
            Self::RowAdded => "a row was inserted",
            Self::RowChanged => "a value was set to NULL",
            Self::IndexDropped => "an index was dropped",
        }
    }
}

impl SelfTest {
    /// Number of damages that were seen.
    pub fn seen(&self) -> usize {
        self.damages.iter().filter(|damage| damage.seen).count()
    }
}

/// A sequence of numbers from a seed (SplitMix64, by Sebastiano Vigna).
pub(crate) struct Choice(pub(crate) u64);

impl Choice {
    /// A number below `count`, which must not be zero.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % count as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_they_fill_their_range() {
        let numbers = |seed| {
            let mut choice = Choice(seed);
            (0..200).map(|_| choice.below(7)).collect::<Vec<_>>()
        };
        let first = numbers(1);
        assert_eq!(first, numbers(1));
        assert_ne!(first, numbers(2));
        assert!((0..7).all(|number| first.contains(&number)) && first.iter().all(|number| *number < 7));
    }
}
