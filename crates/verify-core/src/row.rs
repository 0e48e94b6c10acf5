//! From the bytes of rows to digest and names: hashing many rows at a time, and finding each row's key.
//!
//! The canonical row is the tuple of PostgreSQL's binary COPY format, columns sorted by name: a field
//! count, then each field behind its length (−1 for NULL), so that equal bytes mean equal rows. A row
//! of up to 1,024 bytes is padded with zeros to whole 64-byte blocks and hashed together with 15 others
//! in one call of BLAKE3's multi-input function; a longer one by itself.

use std::sync::Arc;

use blake3::IncrementCounter;
use blake3::platform::{Platform, words_from_le_bytes_32};
use sha2::Digest as _;

use crate::digest::{HashAlgorithm, HashKey, RowHash};
use crate::error::Result;
use crate::key::RowKey;
use crate::large_row::LargeRow;
use crate::layout::Layout;
use crate::measure::Measure;

/// The version of the canonical row and its hash; manifests of another are not comparable.
pub const ENCODING_VERSION: u32 = 1;

const BLOCK: usize = 64;
/// Rows of up to so many blocks are hashed in batches: one BLAKE3 chunk.
const BATCH_BLOCKS_MAX: usize = 16;
/// Rows in a batch: the widest SIMD that BLAKE3 has.
const BATCH_ROWS: usize = 16;

// BLAKE3's domain flags (section 2.2 of its paper), which the crate keeps to itself.
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 1 << 1;
const ROOT: u8 = 1 << 3;
const KEYED_HASH: u8 = 1 << 4;

/// Hashes the rows of one table after another, in batches.
pub struct RowHasher {
    algorithm: HashAlgorithm,
    key: HashKey,
    key_words: [u32; 8],
    platform: Platform,
    queues: Vec<Queue>,
}

/// Rows of the same number of blocks that wait to be hashed together.
struct Queue {
    blocks: usize,
    rows: usize,
    bytes: Vec<u8>,
    keys: [RowKey; BATCH_ROWS],
}

impl RowHasher {
    /// A hasher under `key`.
    pub fn new(algorithm: HashAlgorithm, key: HashKey) -> Self {
        let queue = |blocks| Queue {
            blocks,
            rows: 0,
            bytes: vec![0; BATCH_ROWS * blocks * BLOCK],
            keys: [RowKey::EMPTY; BATCH_ROWS],
        };
        Self {
            algorithm,
            key,
            key_words: words_from_le_bytes_32(&key.0),
            platform: Platform::detect(),
            queues: (1..=BATCH_BLOCKS_MAX).map(queue).collect(),
        }
    }

    /// Adds a row to `measure`, now or at [`RowHasher::flush`].
    ///
    /// NaNs of float columns are collapsed in place.
    ///
    /// # Errors
    ///
    /// If the bytes are no tuple of the table.
    #[inline]
    pub fn row(&mut self, layout: &Layout, measure: &mut Measure, tuple: &mut [u8]) -> Result<()> {
        measure.bytes += tuple.len() as u64;
        let key = layout.key(tuple, |bytes| self.hash_one(bytes))?;
        let blocks = tuple.len().div_ceil(BLOCK);
        if blocks > BATCH_BLOCKS_MAX || self.algorithm == HashAlgorithm::Sha256 {
            measure.add(&self.hash_one(tuple), key);
            return Ok(());
        }
        let queue = &mut self.queues[blocks - 1];
        let slot = &mut queue.bytes[queue.rows * blocks * BLOCK..][..blocks * BLOCK];
        let (used, padding) = slot.split_at_mut(tuple.len());
        used.copy_from_slice(tuple);
        padding.fill(0);
        queue.keys[queue.rows] = key;
        queue.rows += 1;
        if queue.rows == BATCH_ROWS {
            queue.flush(self.platform, &self.key_words, measure);
        }
        Ok(())
    }

    /// Hashes what still waits; before another table's rows come.
    pub fn flush(&mut self, measure: &mut Measure) {
        for queue in self.queues.iter_mut().filter(|queue| queue.rows > 0) {
            queue.flush(self.platform, &self.key_words, measure);
        }
    }

    /// A row too large for the read buffer, to be fed in pieces.
    pub fn large_row(&self, layout: Arc<Layout>) -> LargeRow {
        LargeRow::new(layout, self.stream(), self.stream())
    }

    /// The hash of a whole row by itself.
    pub fn hash_one(&self, tuple: &[u8]) -> RowHash {
        self.stream().finish_with(tuple)
    }

    fn stream(&self) -> Stream {
        match self.algorithm {
            HashAlgorithm::Blake3 => Stream::Blake3(Box::new(blake3::Hasher::new_keyed(&self.key.0))),
            HashAlgorithm::Sha256 => {
                // The key fills the first block; tuples are self-delimiting, so prefixing it is a sound
                // keyed hash (no tuple is a prefix of another).
                let mut hasher = sha2::Sha256::new();
                hasher.update(self.key.0);
                hasher.update([0; 32]);
                Stream::Sha256(Box::new(hasher))
            }
        }
    }
}

impl Queue {
    fn flush(&mut self, platform: Platform, key: &[u32; 8], measure: &mut Measure) {
        let mut out = [0; BATCH_ROWS * 32];
        match self.blocks {
            1 => self.hash_many::<64>(platform, key, &mut out),
            2 => self.hash_many::<128>(platform, key, &mut out),
            3 => self.hash_many::<192>(platform, key, &mut out),
            4 => self.hash_many::<256>(platform, key, &mut out),
            5 => self.hash_many::<320>(platform, key, &mut out),
            6 => self.hash_many::<384>(platform, key, &mut out),
            7 => self.hash_many::<448>(platform, key, &mut out),
            8 => self.hash_many::<512>(platform, key, &mut out),
            9 => self.hash_many::<576>(platform, key, &mut out),
            10 => self.hash_many::<640>(platform, key, &mut out),
            11 => self.hash_many::<704>(platform, key, &mut out),
            12 => self.hash_many::<768>(platform, key, &mut out),
            13 => self.hash_many::<832>(platform, key, &mut out),
            14 => self.hash_many::<896>(platform, key, &mut out),
            15 => self.hash_many::<960>(platform, key, &mut out),
            _ => self.hash_many::<1024>(platform, key, &mut out),
        }
        for (hash, key) in out.as_chunks::<32>().0.iter().zip(&self.keys[..self.rows]) {
            measure.add(&RowHash(*hash), *key);
        }
        self.rows = 0;
    }

    fn hash_many<const N: usize>(&self, platform: Platform, key: &[u32; 8], out: &mut [u8]) {
        let rows = &self.bytes.as_chunks::<N>().0[..self.rows];
        let mut inputs = [&[0; N]; BATCH_ROWS];
        for (input, row) in inputs.iter_mut().zip(rows) {
            *input = row;
        }
        platform.hash_many(
            &inputs[..self.rows],
            key,
            0,
            IncrementCounter::No,
            KEYED_HASH,
            CHUNK_START,
            CHUNK_END | ROOT,
            out,
        );
    }
}

/// A row's hash in the making.
pub(crate) enum Stream {
    Blake3(Box<blake3::Hasher>),
    Sha256(Box<sha2::Sha256>),
}

impl Stream {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// The hash of one whole row: what fits a batch is padded as it would be there.
    pub(crate) fn finish_with(mut self, tuple: &[u8]) -> RowHash {
        self.update(tuple);
        let padding = tuple.len().next_multiple_of(BLOCK) - tuple.len();
        if tuple.len() <= BLOCK * BATCH_BLOCKS_MAX && matches!(self, Self::Blake3(_)) {
            self.update(&[0; BLOCK][..padding]);
        }
        self.finish()
    }

    pub(crate) fn finish(self) -> RowHash {
        RowHash(match self {
            Self::Blake3(hasher) => *hasher.finalize().as_bytes(),
            Self::Sha256(hasher) => hasher.finalize().into(),
        })
    }
}
