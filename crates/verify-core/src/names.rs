//! Data of a manifest that identifies lost rows without the source: the list of all rows of a small table, otherwise
//! a sketch and an estimate of the differences that it can resolve.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::key::RowKey;
use crate::row_list::RowList;
use crate::sketch::{Entry, Peeled, Sketch};
use crate::table::CellWidth;

/// A table of at most so many rows keeps its whole list.
pub const LIST_ROWS_MAX: usize = 2_048;
/// The partition size of a manifest's sketch: 6,144 cells name about 2,300 changed rows.
pub const SKETCH_LOG2: u8 = 11;
/// The partition size of one stratum.
const STRATUM_LOG2: u8 = 7;
/// Strata hold the rows whose key hashes to 4, 8, 12, … low zero bits: 1/16, 1/256, 1/4,096, …
const STRATA: u32 = 6;

/// The rows of a table, as far as they can be named later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Every row.
    List {
        /// Width of the stored key.
        width: CellWidth,
        /// The rows, in any order until [`Names::sort`].
        rows: RowList,
    },
    /// A sketch of every row, and smaller ones of samples.
    Sketch(Box<Sketched>),
}

/// A sketch with its strata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketched {
    whole: Sketch,
    strata: Vec<Sketch>,
}

/// Difference of two tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Entries that the left has more often than the right (positive), or less often (negative).
    pub entries: Vec<(Entry, i64)>,
    /// True if these are all differences.
    pub complete: bool,
    /// Estimated total number of differing entries, from the strata, if these are not all.
    pub estimate: Option<u64>,
}

impl Names {
    /// No rows yet; a list that becomes a sketch when it grows.
    pub fn new(width: CellWidth) -> Self {
        Self::List { width, rows: RowList::default() }
    }

    /// No rows yet, in a sketch of 3·2^`log2` cells from the start.
    pub fn sketch(width: CellWidth, log2: u8) -> Self {
        let strata = (0..STRATA).map(|_| Sketch::new(width, STRATUM_LOG2)).collect();
        Self::Sketch(Box::new(Sketched { whole: Sketch::new(width, log2), strata }))
    }

    /// Width of the stored key.
    pub fn width(&self) -> CellWidth {
        match self {
            Self::List { width, .. } => *width,
            Self::Sketch(sketched) => sketched.whole.width(),
        }
    }

    /// Adds a row.
    #[inline]
    pub fn add(&mut self, entry: Entry) {
        match self {
            Self::Sketch(sketched) => sketched.add(&entry),
            Self::List { rows, .. } => {
                rows.push(&entry);
                if rows.rows() > LIST_ROWS_MAX {
                    *self = self.sketched(SKETCH_LOG2);
                }
            }
        }
    }

    /// Adds rows.
    #[inline]
    pub(crate) fn add_batch(&mut self, entries: &[Entry]) {
        match self {
            Self::Sketch(sketched) => {
                sketched.whole.touch(entries);
                entries.iter().for_each(|entry| sketched.add(entry));
            }
            Self::List { .. } => entries.iter().for_each(|entry| self.add(*entry)),
        }
    }

    /// Adds another part of the same table. Which form comes out depends on the rows alone.
    pub fn merge(&mut self, other: Names) {
        match (&mut *self, other) {
            (_, Names::List { rows, .. }) => rows.iter().for_each(|entry| self.add(entry)),
            (Names::Sketch(mine), Names::Sketch(theirs)) => mine.merge(&theirs),
            (Names::List { .. }, theirs) => {
                let mine = std::mem::replace(self, theirs);
                self.merge(mine);
            }
        }
    }

    /// Returns whether the other can be added as it is: its keys have the same width, and two sketches the same size.
    pub(crate) fn fits(&self, other: &Names) -> bool {
        let same_size = match (self, other) {
            (Self::Sketch(mine), Self::Sketch(theirs)) => mine.whole.log2() == theirs.whole.log2(),
            _ => true,
        };
        same_size && self.width() == other.width()
    }

    /// All of several tables; `None` for those that carry keys of different width.
    pub(crate) fn of_all<'n>(mut parts: impl Iterator<Item = &'n Names>) -> Option<Names> {
        let mut all = parts.next()?.clone();
        for part in parts {
            if part.width() != all.width() {
                return None;
            }
            all.merge(part.clone());
        }
        Some(all)
    }

    /// Puts a list into its canonical order.
    pub fn sort(&mut self) {
        if let Self::List { rows, .. } = self {
            rows.sort();
        }
    }

    /// Returns the difference between this table (left) and another (right); `None` if their keys have different
    /// widths.
    pub fn difference(&self, right: &Names) -> Option<Difference> {
        if self.width() != right.width() {
            return None;
        }
        match (self, right) {
            (Self::List { rows: left, .. }, Self::List { rows: right, .. }) => {
                let mut counts = std::collections::BTreeMap::<Entry, i64>::new();
                left.iter().for_each(|entry| *counts.entry(entry).or_default() += 1);
                right.iter().for_each(|entry| *counts.entry(entry).or_default() -= 1);
                counts.retain(|_, count| *count != 0);
                Some(Difference { entries: counts.into_iter().collect(), complete: true, estimate: None })
            }
            (Self::Sketch(left), Self::Sketch(right)) => left.difference(right),
            (Self::List { .. }, Self::Sketch(sketched)) => {
                self.sketched(sketched.whole.log2()).difference(right)
            }
            (Self::Sketch(sketched), Self::List { .. }) => {
                self.difference(&right.sketched(sketched.whole.log2()))
            }
        }
    }

    fn sketched(&self, log2: u8) -> Self {
        let mut names = Self::sketch(self.width(), log2);
        if let Self::List { rows, .. } = self {
            rows.iter().for_each(|entry| names.add(entry));
        }
        names
    }
}

impl Sketched {
    #[inline]
    fn add(&mut self, entry: &Entry) {
        self.whole.add(entry);
        let mut sample = entry.sample(self.whole.width());
        for stratum in &mut self.strata {
            if sample & 0xf != 0 {
                break;
            }
            stratum.add(entry);
            sample >>= 4;
        }
    }

    fn merge(&mut self, other: &Sketched) {
        self.whole.merge(&other.whole);
        for (mine, theirs) in self.strata.iter_mut().zip(&other.strata) {
            mine.merge(theirs);
        }
    }

    fn difference(&self, other: &Sketched) -> Option<Difference> {
        let Peeled { entries, complete } = self.whole.minus(&other.whole)?.peel();
        if complete {
            return Some(Difference { entries, complete, estimate: None });
        }
        for (level, (mine, theirs)) in (1_u32..).zip(self.strata.iter().zip(&other.strata)) {
            let sample = mine.minus(theirs)?.peel();
            if sample.complete {
                let total: u64 = sample.entries.iter().map(|(_, count)| count.unsigned_abs()).sum();
                // The next larger sample did not decode, so it holds more than about half as many rows as it has cells.
                let larger = if level == 1 { self.whole.cells() } else { mine.cells() };
                let at_least = (larger / 2) << (4 * (level - 1));
                let entries = certain(&entries, sample.entries);
                let estimate = Some((total << (4 * level)).max(at_least));
                return Some(Difference { entries, complete, estimate });
            }
        }
        Some(Difference { entries: certain(&entries, Vec::new()), complete, estimate: None })
    }
}

/// Of a table that was not decoded completely, the rows that are certain to be missing, added or changed: all of a
/// sample by key, and those of which both versions were found. Any other row may have a second version that is not among them.
fn certain(found: &[(Entry, i64)], mut sample: Vec<(Entry, i64)>) -> Vec<(Entry, i64)> {
    let keys = |sign: i64| -> HashSet<RowKey> {
        found.iter().filter(|(_, count)| count.signum() == sign).map(|(entry, _)| entry.key).collect()
    };
    let (missing, added) = (keys(1), keys(-1));
    sample
        .extend(found.iter().filter(|(entry, _)| missing.contains(&entry.key) && added.contains(&entry.key)));
    sample.sort_unstable();
    sample.dedup();
    sample
}

/// Form of [`Names`] in a manifest: bytes in base64.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename = "Names")]
pub(crate) enum Written {
    /// Per row 16 bytes of hash, and the key behind its length.
    List { width: CellWidth, entries: String },
    /// Cells of 64-bit little-endian lanes.
    Sketch { width: CellWidth, log2: u8, cells: String, strata: Vec<String> },
}

impl Serialize for Names {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            Self::List { width, rows } => {
                Written::List { width: *width, entries: STANDARD_NO_PAD.encode(rows.as_bytes()) }
            }
            Self::Sketch(sketched) => Written::Sketch {
                width: sketched.whole.width(),
                log2: sketched.whole.log2(),
                cells: STANDARD_NO_PAD.encode(sketched.whole.to_bytes()),
                strata: sketched.strata.iter().map(|part| STANDARD_NO_PAD.encode(part.to_bytes())).collect(),
            },
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(Written::deserialize(deserializer)?)
            .ok_or_else(|| serde::de::Error::custom("malformed list or sketch of rows"))
    }
}

fn read(written: Written) -> Option<Names> {
    let decode = |text: &str| STANDARD_NO_PAD.decode(text).ok();
    match written {
        Written::List { width, entries } => {
            let rows = RowList::from_bytes(decode(&entries)?)?;
            (rows.rows() <= LIST_ROWS_MAX).then_some(Names::List { width, rows })
        }
        Written::Sketch { width, log2, cells, strata } => {
            let whole = Sketch::from_bytes(width, log2, &decode(&cells)?)?;
            let stratum = |text: &String| Sketch::from_bytes(width, STRATUM_LOG2, &decode(text)?);
            let strata = strata.iter().map(stratum).collect::<Option<Vec<_>>>()?;
            Some(Names::Sketch(Box::new(Sketched { whole, strata })))
        }
    }
}

impl JsonSchema for Names {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Names".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Written::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::RowHash;

    fn entry(seed: u64) -> Entry {
        let mut key = RowKey::EMPTY;
        assert!(key.push(Some(&seed.to_be_bytes()), CellWidth::Narrow));
        Entry::new(&RowHash(*blake3::hash(&seed.to_le_bytes()).as_bytes()), key)
    }

    fn names(seeds: impl IntoIterator<Item = u64>) -> Names {
        let mut names = Names::new(CellWidth::Narrow);
        seeds.into_iter().for_each(|seed| names.add(entry(seed)));
        names.sort();
        names
    }

    #[test]
    fn the_form_depends_on_the_rows_alone_however_they_are_split() {
        for rows in [0, 5, 2_048, 2_049, 9_000] {
            let whole = names(0..rows);
            for cut in [0, rows / 3, rows] {
                let mut merged = names(cut..rows);
                merged.merge(names(0..cut));
                merged.sort();
                let text = serde_json::to_string(&merged).unwrap();
                assert_eq!(text, serde_json::to_string(&whole).unwrap(), "{rows} rows cut at {cut}");
                let read: Names = serde_json::from_str(&text).unwrap();
                assert_eq!(
                    read.difference(&whole).unwrap(),
                    Difference { complete: true, ..Difference::default() }
                );
            }
        }
    }

    #[test]
    fn a_list_is_compared_with_a_sketch() {
        let difference = names(0..3_000).difference(&names(0..1_000)).unwrap();
        assert!(difference.complete);
        let mut expected: Vec<_> = (1_000..3_000).map(|seed| (entry(seed), 1)).collect();
        expected.sort_unstable();
        assert_eq!(difference.entries, expected);
    }

    #[test]
    fn beyond_capacity_the_strata_estimate_and_name_a_sample() {
        for lost in [20_000, 300_000] {
            let difference = names(0..500_000).difference(&names(lost..500_000)).unwrap();
            assert!(!difference.complete);
            let estimate = difference.estimate.unwrap();
            assert!(estimate > lost / 2 && estimate < lost * 2, "{estimate} for {lost}");
            let all: std::collections::BTreeSet<_> = (0..lost).map(entry).collect();
            assert!(!difference.entries.is_empty());
            assert!(difference.entries.iter().all(|(entry, count)| *count == 1 && all.contains(entry)));
        }
    }
}
