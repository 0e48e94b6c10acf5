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
use crate::sketch::Entry;

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
    function: HashFunction,
    key_words: [u32; 8],
    platform: Platform,
    queues: Vec<Queue>,
}

/// A hash function under a key.
struct HashFunction {
    algorithm: HashAlgorithm,
    key: HashKey,
}

/// Rows of the same number of blocks that wait to be hashed together.
struct Queue {
    blocks: usize,
    rows: usize,
    bytes: Vec<u8>,
    /// With their keys; their hashes come at [`Queue::flush`].
    entries: [Entry; BATCH_ROWS],
}

impl RowHasher {
    /// A hasher under `key`.
    pub fn new(algorithm: HashAlgorithm, key: HashKey) -> Self {
        let queue = |blocks| Queue {
            blocks,
            rows: 0,
            bytes: vec![0; BATCH_ROWS * blocks * BLOCK],
            entries: [Entry { hash: [0; 2], key: RowKey::EMPTY }; BATCH_ROWS],
        };
        Self {
            function: HashFunction { algorithm, key },
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
    /// If the bytes are not a tuple of the table.
    #[inline]
    pub fn row(&mut self, layout: &Layout, measure: &mut Measure, tuple: &mut [u8]) -> Result<()> {
        measure.bytes += tuple.len() as u64;
        let Self { function, queues, .. } = self;
        let hash_one = |bytes: &[u8]| function.hash_one(bytes);
        // Without bytes it is malformed, which its key shows.
        let blocks = tuple.len().max(1).div_ceil(BLOCK);
        if blocks > BATCH_BLOCKS_MAX || function.algorithm == HashAlgorithm::Sha256 {
            let key = layout.key(tuple, hash_one)?;
            measure.add(&hash_one(tuple), key);
            return Ok(());
        }
        let queue = &mut queues[blocks - 1];
        // In place. With `Sketch::touch`, rows of 64 bytes take 0.82 of the time that they took with keys that were moved.
        layout.write_key(&mut queue.entries[queue.rows].key, tuple, hash_one)?;
        let slot = &mut queue.bytes[queue.rows * blocks * BLOCK..][..blocks * BLOCK];
        let (used, padding) = slot.split_at_mut(tuple.len());
        used.copy_from_slice(tuple);
        padding.fill(0);
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
        LargeRow::new(layout, self.function.stream(), self.function.stream())
    }

    /// Takes a piece of a large row, which `row` holds in between; after the last one the row's hash, key and size.
    ///
    /// # Errors
    ///
    /// If the bytes are not a tuple of the table.
    pub(crate) fn piece(
        &self,
        row: &mut Option<LargeRow>,
        layout: &Arc<Layout>,
        piece: &[u8],
        last: bool,
    ) -> Result<Option<(RowHash, RowKey, u64)>> {
        let large = row.get_or_insert_with(|| self.large_row(Arc::clone(layout)));
        large.piece(piece)?;
        if !last {
            return Ok(None);
        }
        row.take().map(LargeRow::finish).transpose()
    }

    /// The hash of a whole row by itself.
    pub fn hash_one(&self, tuple: &[u8]) -> RowHash {
        self.function.hash_one(tuple)
    }
}

impl HashFunction {
    fn hash_one(&self, tuple: &[u8]) -> RowHash {
        if self.algorithm == HashAlgorithm::Sha256 {
            return self.stream().finish_with(tuple);
        }
        // Without the state that a stream needs, which costs more than hashing a short row.
        let mut padded = [0; BLOCK * BATCH_BLOCKS_MAX];
        RowHash(
            *match padded.get_mut(..tuple.len()) {
                Some(used) => {
                    used.copy_from_slice(tuple);
                    blake3::keyed_hash(&self.key.0, &padded[..tuple.len().next_multiple_of(BLOCK)])
                }
                None => blake3::keyed_hash(&self.key.0, tuple),
            }
            .as_bytes(),
        )
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
        measure.add_batch(out.as_chunks().0, &mut self.entries[..self.rows]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Names;
    use crate::table::{CellWidth, Column, Encoding, Key, KeySource, Table, TableName};
    use proptest::prelude::*;

    type Fields = Vec<Option<Vec<u8>>>;

    fn tuple(fields: &Fields) -> Vec<u8> {
        let mut bytes = (fields.len() as u16).to_be_bytes().to_vec();
        for field in fields {
            bytes.extend(field.as_ref().map_or(-1, |field| field.len() as i32).to_be_bytes());
            bytes.extend(field.iter().flatten());
        }
        bytes
    }

    fn table(columns: usize, key: &[usize], source: KeySource, float: Option<usize>) -> Table {
        let column = |i| Column {
            encoding: if Some(i) == float { Encoding::Float } else { Encoding::Binary },
            ..Column::binary(&format!("c{i}"), "text")
        };
        Table::new(
            TableName::new("public", "t"),
            (0..columns).map(column).collect(),
            Key { source, columns: key.to_vec() },
        )
    }

    fn hasher(algorithm: HashAlgorithm) -> RowHasher {
        RowHasher::new(algorithm, HashKey([9; 32]))
    }

    fn measured(layout: &Layout, algorithm: HashAlgorithm, rows: &[Vec<u8>]) -> Measure {
        let mut hasher = hasher(algorithm);
        let mut measure = Measure::new(Names::new(layout.width()));
        rows.iter().for_each(|row| hasher.row(layout, &mut measure, &mut row.clone()).unwrap());
        hasher.flush(&mut measure);
        measure.names.sort();
        measure
    }

    fn fields(columns: usize, length_max: usize) -> impl Strategy<Value = Fields> {
        let field = prop::option::of(prop::collection::vec(any::<u8>(), 0..length_max));
        prop::collection::vec(field, columns)
    }

    proptest! {
        #[test]
        fn the_encoding_is_injective(a in fields(3, 4), b in fields(3, 4)) {
            prop_assert_eq!(tuple(&a) == tuple(&b), a == b);
            let hasher = hasher(HashAlgorithm::Blake3);
            prop_assert_eq!(hasher.hash_one(&tuple(&a)) == hasher.hash_one(&tuple(&b)), a == b);
        }

        #[test]
        fn rows_of_any_size_hash_alike_in_batches_alone_and_in_pieces(
            rows in prop::collection::vec(fields(3, 700), 0..40), piece in 1_usize..300, sha in any::<bool>(), key in 0_usize..4,
        ) {
            let algorithm = if sha { HashAlgorithm::Sha256 } else { HashAlgorithm::Blake3 };
            let table = match key {
                3 => table(3, &[0, 1, 2], KeySource::WholeRow, None),
                key => table(3, &[key, (key + 1) % 3][..1 + key % 2], KeySource::PrimaryKey, Some(2)),
            };
            let layout = Arc::new(Layout::new(&table));
            let rows: Vec<Vec<u8>> = rows.iter().map(tuple).collect();
            let batched = measured(&layout, algorithm, &rows);
            let reversed: Vec<Vec<u8>> = rows.iter().rev().cloned().collect();
            prop_assert_eq!(&measured(&layout, algorithm, &reversed), &batched);

            let hasher = hasher(algorithm);
            let mut pieces = Measure::new(Names::new(layout.width()));
            for row in &rows {
                let mut large = hasher.large_row(Arc::clone(&layout));
                row.chunks(piece).for_each(|piece| large.piece(piece).unwrap());
                let (hash, key, bytes) = large.finish().unwrap();
                // Rows that fit a batch are padded there; a row in pieces is always larger than that.
                if row.len() > 1_024 {
                    pieces.add(&hash, key);
                } else {
                    let alone = hasher.hash_one(row);
                    pieces.add(&alone, layout.key(&mut row.clone(), |bytes| hasher.hash_one(bytes)).unwrap());
                }
                pieces.bytes += bytes;
            }
            pieces.names.sort();
            prop_assert_eq!(pieces, batched);
        }

        #[test]
        fn a_tuple_that_is_cut_or_of_another_width_is_refused(row in fields(3, 20), cut in 0_usize..40) {
            let layout = Layout::new(&table(3, &[2], KeySource::PrimaryKey, None));
            let whole = tuple(&row);
            let mut short = whole[..cut.min(whole.len() - 1)].to_vec();
            let mut measure = Measure::new(Names::new(layout.width()));
            prop_assert!(hasher(HashAlgorithm::Blake3).row(&layout, &mut measure, &mut short).is_err());
            let mut wide = tuple(&[row, vec![None]].concat());
            prop_assert!(hasher(HashAlgorithm::Blake3).row(&layout, &mut measure, &mut wide).is_err());
        }
    }

    #[test]
    fn a_batch_is_keyed_blake3_of_the_padded_rows() {
        let layout = Layout::new(&table(1, &[0], KeySource::PrimaryKey, None));
        for length in [0, 1, 57, 58, 59, 200, 1_017, 1_018, 1_019, 3_000] {
            let rows: Vec<Vec<u8>> = (0..40_u8).map(|i| tuple(&vec![Some(vec![i; length])])).collect();
            let mut expected = crate::digest::Digest::default();
            for row in &rows {
                let mut padded = row.clone();
                if row.len() <= 1_024 {
                    padded.resize(row.len().next_multiple_of(64), 0);
                }
                expected.add(&RowHash(*blake3::keyed_hash(&[9; 32], &padded).as_bytes()));
            }
            assert_eq!(measured(&layout, HashAlgorithm::Blake3, &rows).digest, expected, "{length}");
        }
    }

    #[test]
    fn sha256_is_keyed_by_its_first_block() {
        let row = tuple(&vec![Some(b"abc".to_vec())]);
        let block = [&[9; 32][..], &[0; 32], &row].concat();
        let expected = RowHash(sha2::Sha256::digest(&block).into());
        assert_eq!(hasher(HashAlgorithm::Sha256).hash_one(&row), expected);
    }

    #[test]
    fn every_nan_is_one_and_zeros_keep_their_sign() {
        let layout = Layout::new(&table(2, &[0], KeySource::PrimaryKey, Some(1)));
        let digest = |float: &[u8]| {
            let row = tuple(&vec![Some(vec![1]), Some(float.to_vec())]);
            measured(&layout, HashAlgorithm::Blake3, &[row]).digest
        };
        let bits = |bits: u64| digest(&bits.to_be_bytes());
        assert_eq!(bits(0xfff8_0000_0000_0000), bits(0x7ff8_0000_0000_0000));
        assert_ne!(digest(&0.0_f64.to_be_bytes()), digest(&(-0.0_f64).to_be_bytes()));
        assert_ne!(
            digest(&1.0_f64.to_be_bytes()),
            digest(&f64::from_bits(1.0_f64.to_bits() + 1).to_be_bytes())
        );
        assert_eq!(digest(&0xffc0_0000_u32.to_be_bytes()), digest(&0x7fc0_0000_u32.to_be_bytes()));
    }

    #[test]
    fn long_keys_are_carried_as_hashes_and_still_distinguish_rows() {
        let layout = Layout::new(&table(2, &[0], KeySource::PrimaryKey, None));
        let row = |key: u8| tuple(&vec![Some(vec![key; 200]), None]);
        let names = |rows: &[Vec<u8>]| measured(&layout, HashAlgorithm::Blake3, rows).names;
        let difference = names(&[row(1), row(2)]).difference(&names(&[row(2), row(3)])).unwrap();
        assert_eq!(difference.entries.iter().map(|(_, count)| count.abs()).collect::<Vec<_>>(), [1, 1]);
        assert!(difference.entries.iter().all(|(entry, _)| entry.key.is_hashed()));
        assert_eq!(layout.width(), CellWidth::Wide);
    }
}
