//! A list of rows in the form in which a manifest writes it.

use crate::key::RowKey;
use crate::sketch::Entry;

/// Rows as bytes: per row 16 bytes of hash, and the key behind its length.
///
/// A capture keeps the rows of all small tables until its end, and an [`Entry`] has room for the longest key: 104 bytes
/// where an integer as key needs 22.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowList {
    rows: usize,
    bytes: Vec<u8>,
}

impl RowList {
    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Appends a row.
    pub(crate) fn push(&mut self, entry: &Entry) {
        self.rows += 1;
        entry.hash.iter().for_each(|word| self.bytes.extend(word.to_le_bytes()));
        self.bytes.extend(entry.key.as_bytes());
    }

    /// The rows in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (entry, tail) = first(rest)?;
            rest = tail;
            Some(entry)
        })
    }

    /// Puts the rows into their canonical order.
    pub(crate) fn sort(&mut self) {
        let mut entries: Vec<Entry> = self.iter().collect();
        entries.sort_unstable();
        let mut sorted = Self { rows: 0, bytes: Vec::with_capacity(self.bytes.len()) };
        entries.iter().for_each(|entry| sorted.push(entry));
        *self = sorted;
    }

    /// The bytes of all rows.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads the bytes of all rows; `None` if they are malformed.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let (mut rows, mut rest) = (0, &bytes[..]);
        while !rest.is_empty() {
            (_, rest) = first(rest)?;
            rows += 1;
        }
        Some(Self { rows, bytes })
    }
}

/// The first row and the bytes behind it.
fn first(bytes: &[u8]) -> Option<(Entry, &[u8])> {
    let (first, rest) = bytes.split_first_chunk()?;
    let (second, rest) = rest.split_first_chunk()?;
    let (key, rest) = RowKey::from_bytes(rest)?;
    Some((Entry { hash: [u64::from_le_bytes(*first), u64::from_le_bytes(*second)], key }, rest))
}
