//! The sketch: an invertible Bloom lookup table that names the rows in which two tables differ.
//!
//! After Eppstein, Goodrich, Uyeda and Varghese, "What's the difference?" (SIGCOMM 2011), with sums
//! in the prime field of 2⁶¹−1 instead of XOR, so that a row that is present six times too often
//! divides out. Subtract two sketches, and the cells that hold one row alone give it away; taking it
//! out of its other cells frees more ("peeling"). Three partitions decode completely up to about 0.78
//! entries a cell; beyond that partly.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::digest::RowHash;
use crate::key::RowKey;
use crate::table::CellWidth;

/// The Mersenne prime in whose field cells add.
const P: u64 = (1 << 61) - 1;
/// Partitions of the table: every entry is in one cell of each.
const PARTITIONS: usize = 3;
/// The largest partition, as a power of two: 3 million narrow cells are 201 MB.
pub const PARTITION_LOG2_MAX: u8 = 20;

/// Fewer cache lines than this are not worth another thread.
const LINES_MIN: usize = 8_192;
/// Nor are fewer cells that may hold one entry alone; the check takes longer than adding.
const CELLS_MIN: usize = 1_024;

/// A row as the sketch sees it: 122 bits of its hash, and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// The first two words of the row's hash, 61 bits each.
    pub hash: [u64; 2],
    /// Key of the row.
    pub key: RowKey,
}

impl Entry {
    /// The entry of a row.
    #[inline]
    pub fn new(hash: &RowHash, key: RowKey) -> Self {
        Self { hash: Self::hash_words(hash), key }
    }

    /// The part of a row's hash that an entry has.
    #[inline]
    pub(crate) fn hash_words(hash: &RowHash) -> [u64; 2] {
        let word = |i: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&hash.0[8 * i..8 * i + 8]);
            let limb = u64::from_le_bytes(bytes) >> 3;
            if limb == P { 0 } else { limb }
        };
        [word(0), word(1)]
    }

    /// Pseudo-random bits of the key alone: both versions of a changed row have the same.
    #[inline]
    pub(crate) fn sample(&self, width: CellWidth) -> u64 {
        match width {
            CellWidth::Narrow => mixed(0, &self.key.limbs::<4>()),
            CellWidth::Wide => mixed(0, &self.key.limbs::<12>()),
        }
    }

    /// The entry's cell within partition `part` of 2^`log2` cells: the leading bits of a slice of the hash.
    #[inline]
    fn cell(hash: u64, part: usize, log2: u8) -> usize {
        let slice = (hash >> (41 - 20 * part)) & 0xf_ffff;
        (part << log2) + (slice >> (PARTITION_LOG2_MAX - log2)) as usize
    }
}

/// One cache line of a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(align(64))]
struct Line([u64; 8]);

/// An invertible Bloom lookup table of 3·2^`log2` cells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sketch {
    width: CellWidth,
    log2: u8,
    lines: Vec<Line>,
}

/// Result of peeling: entries with their count on the left minus that on the right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peeled {
    /// The entries, sorted, none with count 0.
    pub entries: Vec<(Entry, i64)>,
    /// True if the sketch is empty after peeling: these are all the differences.
    pub complete: bool,
}

impl Sketch {
    /// An empty sketch of 3·2^`log2` cells.
    ///
    /// # Panics
    ///
    /// If `log2` is over [`PARTITION_LOG2_MAX`].
    pub fn new(width: CellWidth, log2: u8) -> Self {
        assert!(log2 <= PARTITION_LOG2_MAX);
        Self { width, log2, lines: vec![Line([0; 8]); (PARTITIONS << log2) * width.lines()] }
    }

    /// The smallest size whose capacity holds `entries` with room to spare, capped at the largest.
    pub fn log2_for(entries: u64) -> u8 {
        (4..PARTITION_LOG2_MAX).find(|&log2| entries <= 2 << log2).unwrap_or(PARTITION_LOG2_MAX)
    }

    /// Number of lanes of a cell, and width of its key.
    pub fn width(&self) -> CellWidth {
        self.width
    }

    /// Number of cells.
    pub fn cells(&self) -> u64 {
        (PARTITIONS << self.log2) as u64
    }

    /// The size of a partition, as a power of two.
    pub fn log2(&self) -> u8 {
        self.log2
    }

    /// Adds an entry.
    #[inline]
    pub fn add(&mut self, entry: &Entry) {
        match self.width {
            CellWidth::Narrow => self.add_lanes::<8, 4, 1>(entry),
            CellWidth::Wide => self.add_lanes::<16, 12, 2>(entry),
        }
    }

    /// Reads the cells to which entries will be added, so that the processor waits for all of them at once.
    #[inline]
    pub(crate) fn touch(&self, entries: &[Entry]) {
        let lines = self.width.lines();
        let counts = entries.iter().flat_map(|entry| {
            (0..PARTITIONS).map(|part| self.lines[Entry::cell(entry.hash[0], part, self.log2) * lines].0[0])
        });
        std::hint::black_box(counts.fold(0, std::ops::BitXor::bitxor));
    }

    #[inline]
    fn add_lanes<const LANES: usize, const LIMBS: usize, const LINES: usize>(&mut self, entry: &Entry) {
        let value = lanes::<LANES, LIMBS>(entry);
        for part in 0..PARTITIONS {
            let at = Entry::cell(entry.hash[0], part, self.log2) * LINES;
            for (line, chunk) in self.lines[at..at + LINES].iter_mut().zip(value.as_chunks::<8>().0) {
                for (sum, lane) in line.0.iter_mut().zip(chunk) {
                    // Partly reduced: always below 2⁶¹ + 8, so that the next addition cannot overflow.
                    let added = *sum + lane;
                    *sum = (added & P) + (added >> 61);
                }
            }
        }
    }

    /// Adds another part of the same table. Of sketches of different sizes, the sum has the smaller one's.
    ///
    /// # Panics
    ///
    /// If the two differ in width.
    pub fn merge(&mut self, other: &Sketch) {
        assert_eq!(self.width, other.width);
        let log2 = self.log2.min(other.log2);
        if log2 < self.log2 {
            *self = self.folded(log2).into_owned();
        }
        for (mine, theirs) in self.words_mut().zip(other.folded(log2).words()) {
            *mine = (*mine + theirs) % P;
        }
    }

    /// Returns the entries of this table that the other lacks, minus those of the other that this one lacks.
    ///
    /// Sketches of different sizes are compared at the smaller one's; `None` if their widths differ.
    pub fn minus(&self, other: &Sketch) -> Option<Sketch> {
        if self.width != other.width {
            return None;
        }
        let log2 = self.log2.min(other.log2);
        let (left, right) = (self.folded(log2), other.folded(log2));
        let minus = |(left, right): (&Line, &Line)| {
            Line(std::array::from_fn(|lane| reduced(reduced(left.0[lane]) + P - reduced(right.0[lane]))))
        };
        let lines = left.lines.par_iter().zip(&right.lines).with_min_len(LINES_MIN).map(minus).collect();
        Some(Sketch { width: self.width, log2, lines })
    }

    /// The same entries in fewer cells: a cell's index is the leading bits of a hash, so neighbours add.
    fn folded(&self, log2: u8) -> Cow<'_, Sketch> {
        if log2 == self.log2 {
            return Cow::Borrowed(self);
        }
        let ratio = 1 << (self.log2 - log2);
        let lines = self.width.lines();
        let mut folded = Sketch::new(self.width, log2);
        for (i, line) in self.lines.iter().enumerate() {
            let (cell, part) = (i / lines, i % lines);
            for (sum, lane) in folded.lines[cell / ratio * lines + part].0.iter_mut().zip(line.0) {
                *sum = reduced(*sum + reduced(lane));
            }
        }
        Cow::Owned(folded)
    }

    /// Takes out every entry that can be decoded, until none is left or the rest hide each other.
    pub fn peel(self) -> Peeled {
        match self.width {
            CellWidth::Narrow => self.peel_lanes::<8, 4, 1>(),
            CellWidth::Wide => self.peel_lanes::<16, 12, 2>(),
        }
    }

    /// In rounds, so that the cells of one are examined together: in which order entries are taken out changes nothing.
    fn peel_lanes<const LANES: usize, const LIMBS: usize, const LINES: usize>(mut self) -> Peeled {
        let mut entries: Vec<(Entry, i64)> = Vec::new();
        let mut pending: Vec<usize> = (0..PARTITIONS << self.log2).collect();
        // A sketch of rows gives at most one entry a cell; a forged one must not keep us here for ever.
        let mut budget = 2 * pending.len();
        while !pending.is_empty() && budget > 0 {
            let cells = pending.par_iter().with_min_len(CELLS_MIN);
            let mut alone: Vec<(Entry, i64)> =
                cells.filter_map(|&cell| self.pure::<LANES, LIMBS, LINES>(cell)).collect();
            // One that is alone in two of its cells is taken out once.
            alone.par_sort_unstable();
            alone.dedup_by_key(|(entry, _)| *entry);
            alone.truncate(budget);
            budget -= alone.len();
            let log2 = self.log2;
            let in_a_row = if alone.len() < CELLS_MIN { PARTITIONS } else { 1 };
            let partitions = self.lines.par_chunks_mut(LINES << log2).with_min_len(in_a_row);
            partitions.enumerate().for_each(|(part, lines)| {
                for (entry, count) in &alone {
                    let cell = Entry::cell(entry.hash[0], part, log2) - (part << log2);
                    take::<LANES, LIMBS>(&mut lines[cell * LINES..][..LINES], entry, *count);
                }
            });
            pending = (0..PARTITIONS)
                .flat_map(|part| alone.iter().map(move |(entry, _)| Entry::cell(entry.hash[0], part, log2)))
                .collect();
            entries.extend(alone);
        }
        entries.par_sort_unstable();
        entries.dedup_by(|(entry, count), (before, sum)| {
            let same = entry == before;
            *sum += if same { *count } else { 0 };
            same
        });
        entries.retain(|(_, count)| *count != 0);
        let complete = self.words().all(|word| word % P == 0);
        Peeled { entries, complete }
    }

    /// The one entry of a cell that holds copies of a single entry, and how many.
    fn pure<const LANES: usize, const LIMBS: usize, const LINES: usize>(
        &self,
        cell: usize,
    ) -> Option<(Entry, i64)> {
        let lines = &self.lines[cell * LINES..][..LINES];
        let sum = |lane: usize| reduced(lines[lane / 8].0[lane % 8]);
        let count = signed(sum(0));
        if count == 0 || count.unsigned_abs() > 1 << 40 {
            return None;
        }
        let inverse = inverse(sum(0));
        let value: [u64; LANES] = std::array::from_fn(|lane| multiply(sum(lane), inverse));
        let entry = Entry { hash: [value[1], value[2]], key: RowKey::from_limbs(&value[4..])? };
        let here = Entry::cell(entry.hash[0], cell >> self.log2, self.log2) == cell;
        (here && lanes::<LANES, LIMBS>(&entry) == value).then_some((entry, count))
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        self.lines.iter().flat_map(|line| line.0)
    }

    fn words_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        self.lines.iter_mut().flat_map(|line| &mut line.0)
    }

    /// The cells, fully reduced, little-endian: equal tables give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.words().flat_map(|word| (word % P).to_le_bytes()).collect()
    }

    /// The sketch whose [`Sketch::to_bytes`] these are.
    pub fn from_bytes(width: CellWidth, log2: u8, bytes: &[u8]) -> Option<Self> {
        if log2 > PARTITION_LOG2_MAX || bytes.len() != (PARTITIONS << log2) * width.lines() * 64 {
            return None;
        }
        let mut sketch = Sketch::new(width, log2);
        for (word, chunk) in sketch.words_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*chunk);
            if *word >= P {
                return None;
            }
        }
        Some(sketch)
    }
}

impl CellWidth {
    const fn lines(self) -> usize {
        match self {
            Self::Narrow => 1,
            Self::Wide => 2,
        }
    }
}

/// Lanes that an entry adds to a cell: one, its hash, a check that is not a linear function of the others, its key.
#[inline]
fn lanes<const LANES: usize, const LIMBS: usize>(entry: &Entry) -> [u64; LANES] {
    let limbs = entry.key.limbs::<LIMBS>();
    let mut lanes = [0; LANES];
    lanes[0] = 1;
    lanes[1] = entry.hash[0];
    lanes[2] = entry.hash[1];
    lanes[3] = check(entry.hash, &limbs);
    lanes[4..].copy_from_slice(&limbs);
    lanes
}

/// A non-linear function of hash and key.
#[inline]
fn check(hash: [u64; 2], limbs: &[u64]) -> u64 {
    let check = mixed(mix(hash[0] ^ 0xa076_1d64_78bd_642f, hash[1] ^ 0xe703_7ed1_a0b4_28db), limbs) & P;
    if check == P { 0 } else { check }
}

#[inline]
fn mixed(seed: u64, limbs: &[u64]) -> u64 {
    let pairs = limbs.as_chunks::<2>().0.iter();
    pairs.fold(seed, |state, pair| {
        mix(state ^ pair[0] ^ 0x8ebc_6af0_9c88_c6e3, pair[1] ^ 0x5899_65cc_7537_4cc3)
    })
}

/// A multiplication folded onto itself, as in wyhash.
#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Takes an entry out of a cell as often as it is in there.
fn take<const LANES: usize, const LIMBS: usize>(cell: &mut [Line], entry: &Entry, count: i64) {
    let factor = residue(-count);
    let value = lanes::<LANES, LIMBS>(entry);
    for (line, chunk) in cell.iter_mut().zip(value.as_chunks::<8>().0) {
        for (sum, lane) in line.0.iter_mut().zip(chunk) {
            *sum = reduced(reduced(*sum) + multiply(*lane, factor));
        }
    }
}

/// The residue of any word. 2⁶¹ is 1 in this field, so that the bits above add to those below.
#[inline]
fn reduced(word: u64) -> u64 {
    let sum = (word & P) + (word >> 61);
    if sum >= P { sum - P } else { sum }
}

/// Of two residues.
#[inline]
fn multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    reduced((product as u64 & P) + (product >> 61) as u64)
}

/// Of a residue that is not 0.
fn inverse(a: u64) -> u64 {
    // A row is most often there once more, or once less.
    if a == 1 || a == P - 1 {
        return a;
    }
    // Fermat: a^(P−2).
    let (mut result, mut base, mut exponent) = (1, a, P - 2);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = multiply(result, base);
        }
        base = multiply(base, base);
        exponent >>= 1;
    }
    result
}

fn signed(residue: u64) -> i64 {
    if residue > P / 2 { residue as i64 - P as i64 } else { residue as i64 }
}

fn residue(count: i64) -> u64 {
    count.rem_euclid(P as i64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(seed: u64, width: CellWidth) -> Entry {
        let hash = RowHash(*blake3::hash(&seed.to_le_bytes()).as_bytes());
        let mut key = RowKey::EMPTY;
        assert!(key.push(Some(&seed.to_be_bytes()), width));
        Entry::new(&hash, key)
    }

    fn sketch(entries: &[(u64, u8)], width: CellWidth, log2: u8) -> Sketch {
        let mut sketch = Sketch::new(width, log2);
        for &(seed, count) in entries {
            (0..count).for_each(|_| sketch.add(&entry(seed, width)));
        }
        sketch
    }

    proptest! {
        #[test]
        fn peeling_gives_exactly_the_difference(
            shared in prop::collection::vec((0_u64..1 << 40, 1_u8..4), 0..200),
            left in prop::collection::vec((1_u64 << 41..1 << 42, 1_u8..7), 0..30),
            right in prop::collection::vec((1_u64 << 43..1 << 44, 1_u8..7), 0..30),
            wide in any::<bool>(), left_log2 in 11_u8..13, right_log2 in 11_u8..13,
        ) {
            let width = if wide { CellWidth::Wide } else { CellWidth::Narrow };
            let both = |own: &[(u64, u8)]| [&shared[..], own].concat();
            let a = sketch(&both(&left), width, left_log2);
            let b = sketch(&both(&right), width, right_log2);
            let peeled = a.minus(&b).unwrap().peel();
            let mut expected = std::collections::BTreeMap::<Entry, i64>::new();
            for (seed, count) in left { *expected.entry(entry(seed, width)).or_default() += i64::from(count); }
            for (seed, count) in right { *expected.entry(entry(seed, width)).or_default() -= i64::from(count); }
            prop_assert!(peeled.complete);
            prop_assert_eq!(peeled.entries, expected.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn bytes_and_merge_are_exact(
            left in prop::collection::vec((any::<u64>(), 1_u8..4), 0..50),
            right in prop::collection::vec((any::<u64>(), 1_u8..4), 0..50),
            (left_log2, right_log2) in prop_oneof![Just((5, 5)), Just((5, 7)), Just((8, 5))],
        ) {
            let mut merged = sketch(&left, CellWidth::Narrow, left_log2);
            merged.merge(&sketch(&right, CellWidth::Narrow, right_log2));
            let whole = sketch(&[left, right].concat(), CellWidth::Narrow, 5);
            let bytes = whole.to_bytes();
            prop_assert_eq!(merged.to_bytes(), &bytes[..]);
            prop_assert_eq!(Sketch::from_bytes(CellWidth::Narrow, 5, &bytes).unwrap().to_bytes(), &bytes[..]);
            prop_assert!(Sketch::from_bytes(CellWidth::Narrow, 5, &bytes[1..]).is_none());
        }
    }

    proptest! {
        /// The cells of a manifest may be anything: it is a file that somebody else may have written.
        #[test]
        fn any_cells_are_subtracted_and_peeled(
            cells in prop::collection::vec(prop_oneof![Just(0), Just(P - 1), 0..P, 0_u64..4], 2 * 3 * 4 * 8),
            rows in prop::collection::vec((any::<u64>(), 1_u8..4), 0..5),
        ) {
            let bytes: Vec<u8> = cells.iter().flat_map(|lane| lane.to_le_bytes()).collect();
            let cells = bytes.len() / 2;
            let read = |bytes: &[u8]| Sketch::from_bytes(CellWidth::Narrow, 2, bytes);
            if let (Some(ours), Some(theirs)) = (read(&bytes[..cells]), read(&bytes[cells..])) {
                let mut merged = ours.clone();
                merged.merge(&theirs);
                for other in [theirs, sketch(&rows, CellWidth::Narrow, 2), merged] {
                    let peeled = ours.minus(&other).unwrap().peel();
                    prop_assert!(peeled.entries.len() <= 3 * 4, "more entries than cells");
                }
            }
        }
    }

    #[test]
    fn bytes_of_another_size_are_no_sketch() {
        for (width, other) in [(CellWidth::Narrow, CellWidth::Wide), (CellWidth::Wide, CellWidth::Narrow)] {
            let bytes = Sketch::new(width, 1).to_bytes();
            assert_eq!(Sketch::from_bytes(width, 1, &bytes).unwrap().to_bytes(), bytes);
            for (width, log2, bytes) in
                [(other, 1, &bytes[..]), (width, 2, &bytes), (width, 1, &bytes[8..]), (width, 1, &[])]
            {
                assert!(Sketch::from_bytes(width, log2, bytes).is_none());
            }
        }
        assert!(Sketch::from_bytes(CellWidth::Narrow, PARTITION_LOG2_MAX + 1, &[]).is_none());
    }

    #[test]
    fn beyond_its_capacity_it_says_so_and_names_no_wrong_row() {
        let width = CellWidth::Narrow;
        let mut sketch = Sketch::new(width, 6);
        (0..400).for_each(|seed| sketch.add(&entry(seed, width)));
        let peeled = sketch.peel();
        assert!(!peeled.complete);
        let real: std::collections::BTreeSet<Entry> = (0..400).map(|seed| entry(seed, width)).collect();
        assert!(peeled.entries.iter().all(|(entry, count)| *count == 1 && real.contains(entry)));
    }

    #[test]
    fn it_decodes_up_to_three_quarters_of_its_cells() {
        let width = CellWidth::Narrow;
        for trial in 0..20_u64 {
            let mut sketch = Sketch::new(width, 10);
            (0..2_300).for_each(|seed| sketch.add(&entry(trial << 32 | seed, width)));
            let peeled = sketch.peel();
            assert!(peeled.complete && peeled.entries.len() == 2_300, "trial {trial}");
        }
    }

    #[test]
    fn sizes_hold_what_they_are_for() {
        assert_eq!(Sketch::log2_for(0), 4);
        assert_eq!(Sketch::log2_for(2_048), 10);
        assert_eq!(Sketch::log2_for(2_049), 11);
        assert_eq!(Sketch::log2_for(u64::MAX), PARTITION_LOG2_MAX);
    }
}
