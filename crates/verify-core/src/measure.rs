//! Measurement of a table: its digest, its names, its size.

use crate::digest::{Digest, RowHash};
use crate::key::RowKey;
use crate::names::Names;
use crate::sketch::Entry;

/// Collects digest and names of one table from its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Count and sum.
    pub digest: Digest,
    /// List or sketch.
    pub names: Names,
    /// Bytes of the canonical rows.
    pub bytes: u64,
}

impl Measure {
    /// Of no rows.
    pub fn new(names: Names) -> Self {
        Self { digest: Digest::default(), names, bytes: 0 }
    }

    /// Adds another part of the same table.
    pub fn merge(&mut self, other: Measure) {
        self.digest.merge(&other.digest);
        self.names.merge(other.names);
        self.bytes += other.bytes;
    }

    /// Adds one row.
    #[inline]
    pub fn add(&mut self, hash: &RowHash, key: RowKey) {
        self.digest.add(hash);
        self.names.add(Entry::new(hash, key));
    }

    /// Adds rows whose entries have their keys already, but not their hashes.
    #[inline]
    pub(crate) fn add_batch(&mut self, hashes: &[[u8; 32]], entries: &mut [Entry]) {
        for (hash, entry) in hashes.iter().zip(&mut *entries) {
            let hash = RowHash(*hash);
            self.digest.add(&hash);
            entry.hash = Entry::hash_words(&hash);
        }
        self.names.add_batch(entries);
    }
}
