//! A row that is larger than the read buffer: it is hashed piece by piece, so that memory stays constant.

use std::sync::Arc;

use crate::digest::RowHash;
use crate::error::Result;
use crate::key::RowKey;
use crate::layout::{Layout, collapse_nan, field_count, malformed, push_long};
use crate::row::Stream;
use crate::table::KeySource;

/// A row that arrives in pieces because it is larger than the read buffer: memory stays constant.
pub struct LargeRow {
    layout: Arc<Layout>,
    stream: Stream,
    key_stream: Stream,
    /// Bytes of the piece in front that are not a whole header or small field yet.
    pending: Vec<u8>,
    column: Option<usize>,
    /// Bytes of the current field still to come, once its header is read.
    field: Option<usize>,
    keys: Vec<Option<Option<Vec<u8>>>>,
    bytes: u64,
}

/// Key fields and floats are held whole up to this size; more of a key than this is hashed as its prefix.
const HELD_BYTES_MAX: usize = 64 * 1024;

impl LargeRow {
    pub(crate) fn new(layout: Arc<Layout>, stream: Stream, key_stream: Stream) -> Self {
        let keys = vec![None; layout.columns];
        Self { layout, stream, key_stream, pending: Vec::new(), column: None, field: None, keys, bytes: 0 }
    }

    /// The next piece of the tuple.
    ///
    /// # Errors
    ///
    /// If the bytes are not a tuple of the table.
    pub fn piece(&mut self, mut piece: &[u8]) -> Result<()> {
        self.bytes += piece.len() as u64;
        while !piece.is_empty() {
            piece = match self.field {
                None => self.header(piece)?,
                Some(left) => self.contents(piece, left),
            };
        }
        Ok(())
    }

    /// Collects the field count or a field's length.
    fn header<'p>(&mut self, piece: &'p [u8]) -> Result<&'p [u8]> {
        let wanted = if self.column.is_none() { 2 } else { 4 };
        let (head, rest) = piece.split_at(piece.len().min(wanted - self.pending.len()));
        self.pending.extend(head);
        if self.pending.len() < wanted {
            return Ok(rest);
        }
        self.stream.update(&self.pending);
        if let Some(column) = self.column {
            let length = self.pending.first_chunk().map_or(0, |bytes| i32::from_be_bytes(*bytes));
            if column >= self.layout.columns {
                return Err(malformed(self.layout.columns));
            }
            match usize::try_from(length) {
                Ok(length) if length > 0 => self.field = Some(length),
                Ok(_) => self.end_field(column, Some(Vec::new())),
                Err(_) => self.end_field(column, None),
            }
        } else if field_count(&self.pending) == Some(self.layout.columns) {
            self.column = Some(0);
        } else {
            return Err(malformed(self.layout.columns));
        }
        self.pending.clear();
        Ok(rest)
    }

    /// Streams a field's bytes, holding those of keys and floats.
    fn contents<'p>(&mut self, piece: &'p [u8], left: usize) -> &'p [u8] {
        let column = self.column.unwrap_or_default();
        let (now, rest) = piece.split_at(piece.len().min(left));
        let float = self.layout.floats[column];
        if float || self.layout.key.columns.contains(&column) {
            let room = HELD_BYTES_MAX.saturating_sub(self.pending.len());
            self.pending.extend(&now[..now.len().min(room)]);
        }
        if !float {
            self.stream.update(now);
        }
        self.field = (left > now.len()).then_some(left - now.len());
        if self.field.is_none() {
            let mut held = std::mem::take(&mut self.pending);
            if float {
                collapse_nan(&mut held);
                self.stream.update(&held);
            }
            self.end_field(column, Some(held));
        }
        rest
    }

    fn end_field(&mut self, column: usize, held: Option<Vec<u8>>) {
        if self.layout.key.columns.contains(&column) && self.layout.key.source != KeySource::WholeRow {
            self.keys[column] = Some(held);
        }
        self.column = Some(column + 1);
    }

    /// The row's hash, key and size in bytes.
    ///
    /// # Errors
    ///
    /// If the tuple was cut.
    pub fn finish(self) -> Result<(RowHash, RowKey, u64)> {
        if self.column != Some(self.layout.columns) || self.field.is_some() || !self.pending.is_empty() {
            return Err(malformed(self.layout.columns));
        }
        let hash = self.stream.finish();
        let mut key = RowKey::EMPTY;
        let fields: Vec<Option<&[u8]>> = self
            .layout
            .key
            .columns
            .iter()
            .map(|&i| self.keys[i].as_ref().and_then(Option::as_deref))
            .collect();
        let whole = self.layout.key.source == KeySource::WholeRow;
        if whole {
            key = RowKey::hashed(&hash);
        } else if !fields.iter().all(|field| key.push(*field, self.layout.width())) {
            let mut long = Vec::new();
            fields.iter().for_each(|field| push_long(&mut long, fields.len(), *field));
            key = RowKey::hashed(&self.key_stream.finish_with(&long));
        }
        Ok((hash, key, self.bytes))
    }
}
