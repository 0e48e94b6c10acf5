//! Positions of the key and of floats in a table's tuples.

use crate::digest::RowHash;
use crate::error::{Error, ErrorKind, Result};
use crate::key::RowKey;
use crate::table::{CellWidth, Encoding, Key, KeySource, Table};

/// Positions of the key and of floats in a table's tuples.
#[derive(Clone, Debug)]
pub struct Layout {
    pub(crate) columns: usize,
    /// Number of columns to parse: up to the last one that is needed.
    walk: usize,
    pub(crate) key: Key,
    pub(crate) floats: Vec<bool>,
    any_float: bool,
    width: CellWidth,
}

impl Layout {
    /// The layout of a table's rows.
    pub fn new(table: &Table) -> Self {
        let floats: Vec<bool> =
            table.columns.iter().map(|column| column.encoding == Encoding::Float).collect();
        let last_float = floats.iter().rposition(|float| *float).map_or(0, |i| i + 1);
        let last_key = table.key.columns.iter().max().map_or(0, |i| i + 1);
        Self {
            columns: table.columns.len(),
            walk: last_float.max(last_key),
            key: table.key.clone(),
            any_float: floats.contains(&true),
            floats,
            width: table.cell_width(),
        }
    }

    /// Width of the stored key.
    pub fn width(&self) -> CellWidth {
        self.width
    }

    /// The row's key, and its NaNs collapsed. `hash` hashes a key that is too long to carry.
    #[inline]
    pub(crate) fn key(&self, tuple: &mut [u8], hash: impl Fn(&[u8]) -> RowHash) -> Result<RowKey> {
        let mut key = RowKey::EMPTY;
        self.write_key(&mut key, tuple, hash)?;
        Ok(key)
    }

    /// [`Layout::key`], in place of another one.
    #[inline]
    pub(crate) fn write_key(
        &self,
        key: &mut RowKey,
        tuple: &mut [u8],
        hash: impl Fn(&[u8]) -> RowHash,
    ) -> Result<()> {
        if field_count(tuple) != Some(self.columns) {
            return Err(malformed(self.columns));
        }
        // A key of one column is by far the most frequent: one walk, no table of fields.
        if let ([column], false) = (&self.key.columns[..], self.any_float) {
            let mut at = 2;
            for _ in 0..*column {
                at = next_field(tuple, at).ok_or_else(|| malformed(self.columns))?.1;
            }
            let (field, _) = next_field(tuple, at).ok_or_else(|| malformed(self.columns))?;
            let field = field.map(|range| &tuple[range]);
            *key = RowKey::EMPTY;
            if !key.push(field, self.width) {
                *key = RowKey::hashed(&hash(field.unwrap_or_default()));
            }
            return Ok(());
        }
        *key = self.key_of_fields(tuple, hash)?;
        Ok(())
    }

    fn key_of_fields(&self, tuple: &mut [u8], hash: impl Fn(&[u8]) -> RowHash) -> Result<RowKey> {
        let mut fields = Vec::with_capacity(self.walk);
        let mut at = 2;
        for column in 0..self.walk {
            let (field, next) = next_field(tuple, at).ok_or_else(|| malformed(self.columns))?;
            if let (true, Some(range)) = (self.floats[column], &field) {
                collapse_nan(&mut tuple[range.clone()]);
            }
            fields.push(field);
            at = next;
        }
        let bytes = |column: usize| fields[column].clone().map(|range| &tuple[range]);
        let mut key = RowKey::EMPTY;
        if self.key.columns.iter().all(|&column| key.push(bytes(column), self.width)) {
            return Ok(key);
        }
        if self.key.source == KeySource::WholeRow {
            return Ok(RowKey::hashed(&hash(tuple)));
        }
        let mut long = Vec::new();
        for &column in &self.key.columns {
            push_long(&mut long, self.key.columns.len(), bytes(column));
        }
        Ok(RowKey::hashed(&hash(&long)))
    }
}

/// The bytes of a key that is too long to carry: a lone field as it is, several each behind their length.
pub(crate) fn push_long(long: &mut Vec<u8>, fields: usize, field: Option<&[u8]>) {
    let field = field.unwrap_or_default();
    if fields > 1 {
        long.extend((field.len() as u32).to_be_bytes());
    }
    long.extend(field);
}

pub(crate) fn field_count(tuple: &[u8]) -> Option<usize> {
    tuple.first_chunk().map(|bytes| usize::from(u16::from_be_bytes(*bytes)))
}

/// The field whose length is at `at` (`None` for NULL), and the position of the next one's.
#[inline]
pub(crate) fn next_field(tuple: &[u8], at: usize) -> Option<(Option<std::ops::Range<usize>>, usize)> {
    let length = i32::from_be_bytes(*tuple.get(at..)?.first_chunk()?);
    let start = at + 4;
    let Ok(length) = usize::try_from(length) else { return Some((None, start)) };
    let end = start + length;
    (end <= tuple.len()).then_some((Some(start..end), end))
}

/// Gives every NaN the one bit pattern that PostgreSQL's own input function produces.
pub(crate) fn collapse_nan(bytes: &mut [u8]) {
    if let Ok(bytes) = <&mut [u8; 4]>::try_from(&mut *bytes) {
        if f32::from_be_bytes(*bytes).is_nan() {
            *bytes = 0x7fc0_0000_u32.to_be_bytes();
        }
    } else if let Ok(bytes) = <&mut [u8; 8]>::try_from(bytes)
        && f64::from_be_bytes(*bytes).is_nan()
    {
        *bytes = 0x7ff8_0000_0000_0000_u64.to_be_bytes();
    }
}

pub(crate) fn malformed(columns: usize) -> Error {
    Error::new(
        ErrorKind::Protocol,
        format!("read a row of {columns} columns: the server sent a malformed tuple"),
    )
}
