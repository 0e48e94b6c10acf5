//! Division of the tables among the parts of a capture, which several processes read under one snapshot.
//!
//! The processes do not talk to each other, and what each sees of a table's size differs: rows are written meanwhile, and VACUUM truncates
//! empty pages at the end. So the division depends on nothing but what all of them see alike, the names under the snapshot:
//!
//! - A table that can be read by ranges of pages is cut into chunks of a fixed number of pages. Chunk `k` belongs to part
//!   `(hash(schema, name) + k) mod n`: the chunks of a large table go round, and small tables, which have one, are spread by the hash.
//! - Every part reads its own chunks up to the table's size as it sees it. Rows that the snapshot sees do not move, and lie in pages that
//!   were there when it was taken; such a page is not truncated away while the snapshot is held. So each process sees at least those
//!   pages, and each of them is read by exactly one part. What one process sees beyond them holds no row of the snapshot.
//! - A range ends where its chunk ends. Only a table that fits into one chunk is read as a whole, which is faster: the pages beyond
//!   the first chunk that it may have by then hold no row of the snapshot.
//! - Other tables are one chunk: before PostgreSQL 14, materialized views, large objects, and tables whose size is not known since
//!   they could not be locked. A partial manifest lists them, so that parts that decided differently are not added up.

use crate::database::Found;
use crate::partial::PartNumber;
use crate::table::TableName;
use crate::work::Pages;

/// Pages of a chunk: 64 MiB of the usual 8 KiB, which is worth a query of its own.
pub const CHUNK_PAGES: u32 = 8_192;

/// The number of pages that `part` reads of a table of `pages` pages, if it is cut into chunks of `chunk_pages`.
pub fn pages_of_part(name: &TableName, pages: u32, part: PartNumber, chunk_pages: u32) -> u64 {
    let length = |chunk: u32| u64::from(chunk_pages.min(pages - chunk * chunk_pages));
    chunks_of_part(name, pages.div_ceil(chunk_pages), part).map(length).sum()
}

/// The chunks that belong to a part.
fn chunks_of_part(name: &TableName, chunks: u32, part: PartNumber) -> impl Iterator<Item = u32> + use<> {
    let of = usize::try_from(part.of()).unwrap_or(usize::MAX);
    (first_chunk(name, part)..chunks).step_by(of)
}

/// Ranges of a table that one part reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// The ranges, in order; none if all rows belong to other parts.
    pub ranges: Vec<Pages>,
    /// Estimated bytes of these.
    pub bytes: u64,
}

impl Share {
    /// The share of `part` in a table, which is cut into chunks of `chunk_pages` if it can be.
    pub(crate) fn new(found: &Found, part: PartNumber, chunk_pages: u32) -> Self {
        let chunks = found.pages.map_or(1, |pages| pages.div_ceil(chunk_pages).max(1));
        let range = |chunk: u32| {
            let from = chunk * chunk_pages;
            (chunks > 1).then(|| (from, from.checked_add(chunk_pages)))
        };
        let ranges: Vec<Pages> = chunks_of_part(&found.table.name, chunks, part).map(range).collect();
        let bytes = found.bytes_estimate / u64::from(chunks) * ranges.len() as u64;
        Self { ranges, bytes }
    }
}

/// The first chunk of a table that belongs to a part.
fn first_chunk(name: &TableName, part: PartNumber) -> u32 {
    let of = u64::from(part.of());
    let chunk = (u64::from(part.number() - 1) + of - stable_hash(name) % of) % of;
    u32::try_from(chunk).unwrap_or(u32::MAX)
}

/// A hash that is the same on every machine, in every version.
fn stable_hash(name: &TableName) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.schema.as_bytes()).update(&[0]).update(name.name.as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::{Key, KeySource, Table};

    fn found(name: &str, pages: Option<u32>) -> Found {
        let table = Table::new(
            TableName::new("public", name),
            Vec::new(),
            Key { source: KeySource::WholeRow, columns: Vec::new() },
        );
        Found { table, bytes_estimate: 0, pages, filenode: 1, unreadable: None, finds_keys: false }
    }

    fn reads(share: &Share, page: u32) -> usize {
        let within = |range: &&Pages| match range {
            None => true,
            Some((from, to)) => *from <= page && to.is_none_or(|to| page < to),
        };
        share.ranges.iter().filter(within).count()
    }

    proptest! {
        /// Each process sees the table in another size, and at least the pages that the snapshot sees.
        #[test]
        fn each_page_of_the_snapshot_is_read_once(
            name in "[a-z]{1,8}",
            pages in 0_u32..60,
            grown in prop::collection::vec(0_u32..60, 1..6),
            chunk_pages in 1_u32..20,
        ) {
            let of = grown.len() as u32;
            let share = |(i, grown): (usize, &u32)| {
                let part = PartNumber::new(i as u32 + 1, of).unwrap();
                Share::new(&found(&name, Some(pages + grown)), part, chunk_pages)
            };
            let shares: Vec<Share> = grown.iter().enumerate().map(share).collect();
            for page in 0..pages {
                prop_assert_eq!(shares.iter().map(|share| reads(share, page)).sum::<usize>(), 1);
            }
        }
    }

    #[test]
    fn a_table_that_cannot_be_cut_belongs_to_one_part() {
        let shares =
            (1..=3).map(|number| Share::new(&found("t", None), PartNumber::new(number, 3).unwrap(), 1));
        let ranges: Vec<Vec<Pages>> = shares.map(|share| share.ranges).collect();
        assert_eq!(ranges.iter().flatten().collect::<Vec<_>>(), [&None], "{ranges:?}");
    }

    /// Parts may be of different versions of this program, on different machines.
    #[test]
    fn the_hash_never_changes() {
        assert_eq!(stable_hash(&TableName::new("public", "orders")), 0xd45e_be79_6515_3d04);
    }

    #[test]
    fn the_largest_table_has_a_last_chunk() {
        let share = Share::new(&found("t", Some(u32::MAX)), PartNumber::new(1, 1).unwrap(), CHUNK_PAGES);
        assert_eq!(
            (share.ranges.len(), share.ranges.last()),
            (1 << 19, Some(&Some((u32::MAX - 8_191, None))))
        );
    }
}
