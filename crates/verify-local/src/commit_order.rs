//! The position in the WAL between the commits that a snapshot sees and all others.
//!
//! A commit record is written before its transaction leaves the list of running ones, from which snapshots are taken, so that the
//! order of the records need not be that in which snapshots see them.

use verify_core::postgres::TransactionSnapshot;

use super::lsn::Lsn;

/// A commit of a top-level transaction, as its record in the WAL has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    /// The lower 32 bits of the transaction ID.
    pub(super) xid: u32,
    /// Begin of the record.
    pub(super) lsn: Lsn,
}

/// Finds the position, given the commits of the WAL in any order.
#[derive(Debug)]
pub(super) struct CommitOrder {
    snapshot: TransactionSnapshot,
    /// The insert position right after the snapshot was fixed: every commit that it sees lies before.
    captured: Lsn,
    first_unseen: Option<Commit>,
    last_seen: Option<Commit>,
}

/// Result of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Recovery up to here, this record excluded, replays all commits that the snapshot sees, and no other.
    Before(Lsn),
    /// No such position: the first was committed later in the WAL than the second, and only the first is seen.
    None { seen: Commit, unseen: Commit },
}

impl CommitOrder {
    pub(super) fn new(snapshot: TransactionSnapshot, captured: Lsn) -> Self {
        Self { snapshot, captured, first_unseen: None, last_seen: None }
    }

    pub(super) fn add(&mut self, commit: Commit) {
        if self.snapshot.sees(whole(commit.xid, self.snapshot.xmax)) {
            if self.last_seen.is_none_or(|last| last.lsn < commit.lsn) {
                self.last_seen = Some(commit);
            }
        } else if self.first_unseen.is_none_or(|first| commit.lsn < first.lsn) {
            self.first_unseen = Some(commit);
        }
    }

    /// The position, once all commits before that of the capture were added.
    pub(super) fn position(&self) -> Position {
        match (self.last_seen, self.first_unseen) {
            (Some(seen), Some(unseen)) if unseen.lsn < seen.lsn => Position::None { seen, unseen },
            (_, Some(unseen)) => Position::Before(unseen.lsn.min(self.captured)),
            (_, None) => Position::Before(self.captured),
        }
    }
}

/// The transaction ID with these lower bits that is nearest to `near`.
fn whole(xid: u32, near: u64) -> u64 {
    let distance = xid.wrapping_sub(near as u32).cast_signed();
    near.wrapping_add_signed(i64::from(distance))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn order(snapshot: &str, captured: u64, commits: &[(u32, u64)]) -> Position {
        let mut order = CommitOrder::new(TransactionSnapshot::parse(snapshot).unwrap(), Lsn(captured));
        commits.iter().for_each(|&(xid, lsn)| order.add(Commit { xid, lsn: Lsn(lsn) }));
        order.position()
    }

    #[test]
    fn recovery_ends_at_the_first_commit_that_the_snapshot_does_not_see() {
        let before = |lsn| Position::Before(Lsn(lsn));
        // 12 was still running, 15 not begun.
        let snapshot = "12:15:12,13";
        assert_eq!(order(snapshot, 90, &[]), before(90));
        assert_eq!(order(snapshot, 90, &[(10, 10), (14, 20)]), before(90));
        assert_eq!(order(snapshot, 90, &[(10, 10), (14, 20), (12, 95)]), before(90));
        // Written before the capture, and not seen by it yet.
        assert_eq!(order(snapshot, 90, &[(10, 10), (14, 20), (13, 80)]), before(80));
        assert_eq!(order(snapshot, 90, &[(15, 70), (13, 80)]), before(70));
        let none = Position::None {
            seen: Commit { xid: 14, lsn: Lsn(40) },
            unseen: Commit { xid: 13, lsn: Lsn(30) },
        };
        assert_eq!(order(snapshot, 90, &[(10, 10), (13, 30), (14, 40)]), none);
        assert_eq!(order(snapshot, 90, &[(14, 40), (10, 10), (13, 30), (12, 35)]), none);
    }

    #[test]
    fn transaction_ids_are_completed_across_the_end_of_32_bits() {
        let wrap = 1_u64 << 32;
        assert_eq!(whole(5, wrap + 3), wrap + 5);
        assert_eq!(whole(u32::MAX, wrap + 3), wrap - 1);
        assert_eq!(whole(2, wrap - 2), wrap + 2);
        assert_eq!(whole(7, 9), 7);
    }

    /// Against the definition: replaying all records before the position gives exactly the commits that the snapshot sees.
    #[test]
    fn the_position_parts_the_commits_wherever_one_does() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let (mut parted, mut refused) = (0, 0);
        for _ in 0..5_000 {
            let base = (1_u64 << 32) - 4;
            let (xmin, xmax) = (base + next(4), base + 4 + next(4));
            let xip: BTreeSet<u64> = (xmin..xmax).filter(|_| next(3) == 0).collect();
            let snapshot = TransactionSnapshot { xmin, xmax, xip };
            // Those that are seen lie before the capture, the others anywhere.
            let captured = 500 * 16;
            let mut commits: Vec<(u64, u64)> = Vec::new();
            for xid in base..base + 10 {
                // No two records are in the same place.
                let place = if snapshot.sees(xid) { next(captured / 16) } else { 300 + next(900) };
                let lsn = place * 16 + (xid - base);
                if next(4) != 0 {
                    commits.push((xid, lsn));
                }
            }
            let mut order = CommitOrder::new(snapshot.clone(), Lsn(captured));
            commits.iter().for_each(|&(xid, lsn)| order.add(Commit { xid: xid as u32, lsn: Lsn(lsn) }));
            let parts = |at: u64| commits.iter().all(|&(xid, lsn)| (lsn < at) == snapshot.sees(xid));
            match order.position() {
                Position::Before(at) => {
                    parted += 1;
                    assert!(parts(at.0) && at.0 <= captured, "{snapshot:?} {commits:?} {at}");
                }
                Position::None { .. } => {
                    refused += 1;
                    // A position matters only where a record begins.
                    let any = commits.iter().any(|&(_, lsn)| parts(lsn) || parts(lsn + 1));
                    assert!(!any, "{snapshot:?} {commits:?}");
                }
            }
        }
        assert!(parted > 200 && refused > 200, "{parted} {refused}");
    }
}
