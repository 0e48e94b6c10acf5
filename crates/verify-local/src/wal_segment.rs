//! Files of WAL segments: their names, and the cluster that the header of one names.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::lsn::Lsn;

/// Length of the header of a segment's first page (`XLogLongPageHeaderData`).
const HEADER_BYTES: usize = 40;
/// Flag of that header (`XLP_LONG_HEADER`).
const LONG_HEADER: u16 = 2;
/// Sizes that PostgreSQL accepts.
const SIZES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 30;

/// What the first page of a segment says of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// System identifier of the cluster.
    pub(super) system_identifier: u64,
    /// Size of each segment.
    pub(super) size: u64,
}

impl SegmentHeader {
    /// Reads the header of a file.
    ///
    /// # Errors
    ///
    /// If it is not a WAL segment of this machine's byte order.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let doing = || format!("failed to read the WAL segment {}", path.display());
        let mut page = [0; HEADER_BYTES];
        File::open(path).and_then(|mut file| file.read_exact(&mut page)).with_context(doing)?;
        let Some(header) = Self::parse(&page) else {
            bail!("{}: it does not begin with the header of a WAL segment", doing())
        };
        Ok(header)
    }

    fn parse(page: &[u8; HEADER_BYTES]) -> Option<Self> {
        let number = |at: usize, length: usize| {
            let mut bytes = [0; 8];
            bytes[..length].copy_from_slice(page.get(at..at + length)?);
            Some(u64::from_le_bytes(bytes))
        };
        let header = Self { system_identifier: number(24, 8)?, size: number(32, 4)? };
        let flags = number(2, 2)?;
        let valid = flags & u64::from(LONG_HEADER) != 0
            && SIZES.contains(&header.size)
            && header.size.is_power_of_two();
        valid.then_some(header)
    }
}

/// Name of the file of a segment, counted from 0.
pub(super) fn name(timeline: u32, number: u64, size: u64) -> String {
    let per_id = (1 << 32) / size;
    format!("{timeline:08X}{:08X}{:08X}", number / per_id, number % per_id)
}

/// Returns whether a file of this name is a segment.
pub(super) fn is_name(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Number of the segment of this name.
pub(super) fn number_of(name: &str, size: u64) -> Option<u64> {
    let part = |range: std::ops::Range<usize>| u64::from_str_radix(name.get(range)?, 16).ok();
    is_name(name).then(|| Some(part(8..16)? * ((1 << 32) / size) + part(16..24)?)).flatten()
}

/// Number of the segment that contains a position.
pub(super) fn number(lsn: Lsn, size: u64) -> u64 {
    lsn.0 / size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_named_as_postgresql_names_them() {
        let sixteen = 16 << 20;
        let of = |text: &str, size| name(1, number(text.parse().unwrap(), size), size);
        assert_eq!(of("0/2000028", sixteen), "000000010000000000000002");
        assert_eq!(of("3/FF000028", sixteen), "0000000100000003000000FF");
        assert_eq!(of("1/100028", 1 << 20), "000000010000000100000001");
    }

    #[test]
    fn segments_are_numbered_and_named_alike() {
        for size in [1 << 20, 16 << 20, 1 << 30] {
            for number in [0, 1, 4_095, 4_096, 70_000] {
                assert_eq!(number_of(&name(7, number, size), size), Some(number), "{size}");
            }
        }
        for other in ["00000002.history", "000000010000000000000002.partial", "x"] {
            assert_eq!(number_of(other, 16 << 20), None);
        }
    }

    #[test]
    fn what_has_no_header_is_no_segment() {
        assert_eq!(SegmentHeader::parse(&[0; HEADER_BYTES]), None);
        let mut page = [0; HEADER_BYTES];
        page[2] = 2;
        page[24] = 7;
        page[34] = 0x10;
        assert_eq!(SegmentHeader::parse(&page), Some(SegmentHeader { system_identifier: 7, size: 1 << 20 }));
        page[34] = 0x11;
        assert_eq!(SegmentHeader::parse(&page), None);
    }
}
