//! Sums over the parts in which tables are read.

use crate::database::Obstacle;

/// Sum of the parts of each table; one part that could not be read makes the table unreadable.
pub(crate) struct TableSums<T> {
    sums: Vec<Option<Result<T, Obstacle>>>,
    merge: fn(&mut T, T),
}

impl<T> TableSums<T> {
    /// Sums that begin with what is known of each table without reading it. `merge` adds another part of the same table.
    pub(crate) fn new(
        known: impl Iterator<Item = Option<Result<T, Obstacle>>>,
        merge: fn(&mut T, T),
    ) -> Self {
        Self { sums: known.collect(), merge }
    }

    /// Adds a part of the table in this place.
    pub(crate) fn add(&mut self, index: usize, part: Result<T, Obstacle>) {
        let sum = &mut self.sums[index];
        *sum = Some(match (sum.take(), part) {
            (None, part) => part,
            (Some(Ok(mut sum)), Ok(part)) => {
                (self.merge)(&mut sum, part);
                Ok(sum)
            }
            (Some(Err(obstacle)), _) | (Some(Ok(_)), Err(obstacle)) => Err(obstacle),
        });
    }

    /// The sum so far of the table in this place, if all parts could be read.
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.sums[index].as_ref()?.as_ref().ok()
    }

    /// The sums. A table without a part was not read.
    pub(crate) fn finish(self) -> Vec<Result<T, Obstacle>> {
        let unread = || Err(Obstacle::Unreadable("it was not read".to_owned()));
        self.sums.into_iter().map(|sum| sum.unwrap_or_else(unread)).collect()
    }
}
