//! The partial manifest: what one process measured of a database that several share. [`crate::merge`] adds them up.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};
use crate::finding::Verdict;
use crate::manifest::{Header, Manifest, TableEntry};
use crate::not_covered::NotCovered;
use crate::table::TableName;

/// The value of [`Header::format`] in a partial manifest, which no other manifest has: one that lacks rows must not be taken for one.
pub(crate) const PARTIAL_FORMAT: &str = "state-lab-partial-manifest";

/// The number of a part among all parts of a capture, counted from 1: `2/3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartNumber {
    number: u32,
    of: u32,
}

impl PartNumber {
    /// Part `number` of `of`; `None` unless it is one of them.
    pub fn new(number: u32, of: u32) -> Option<Self> {
        (1..=of).contains(&number).then_some(Self { number, of })
    }

    /// The part, from 1.
    pub fn number(self) -> u32 {
        self.number
    }

    /// The number of all parts.
    pub fn of(self) -> u32 {
        self.of
    }

    /// Returns whether it is the part that also measures what is not rows of tables.
    pub(crate) fn is_first(self) -> bool {
        self.number == 1
    }
}

impl FromStr for PartNumber {
    type Err = Error;

    /// Reads `i/n`. An Indexed Job of Kubernetes numbers its pods from 0, so part `0/n` is part `n/n`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let numbers = text.split_once('/').and_then(|(number, of)| Some((decimal(number)?, decimal(of)?)));
        let part = |(number, of)| Self::new(if number == 0 { of } else { number }, of);
        numbers.and_then(part).ok_or_else(|| {
            Error::new(ErrorKind::Settings, "read the number of a part: expected i/n, from 1/n to n/n")
        })
    }
}

/// A number without sign.
fn decimal(digits: &str) -> Option<u32> {
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

impl fmt::Display for PartNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// One part of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct PartialManifest {
    pub(crate) part: PartNumber,
    /// Pages of a chunk.
    pub(crate) chunk_pages: u32,
    /// The tables that one part reads as a whole, sorted.
    pub(crate) uncut: Vec<TableName>,
    /// All tables, with the rows of this part; in the first part also what is not rows.
    pub(crate) manifest: Manifest,
}

impl PartialManifest {
    /// Its number among all parts.
    pub fn part(&self) -> PartNumber {
        self.part
    }

    /// Origin and parameters of the measurement.
    pub fn header(&self) -> &Header {
        &self.manifest.header
    }

    /// The tables, sorted by name, with the rows of this part.
    pub fn tables(&self) -> &[TableEntry] {
        &self.manifest.tables
    }

    /// Objects that this part could not measure.
    pub fn not_covered(&self) -> Vec<NotCovered> {
        self.manifest.not_covered()
    }

    /// Returns the verdict on its coverage, as [`Manifest::verdict`] does.
    pub fn verdict(&self) -> Verdict {
        self.manifest.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_one_of_its_number() {
        assert_eq!("2/3".parse::<PartNumber>().unwrap(), PartNumber::new(2, 3).unwrap());
        assert_eq!("0/3".parse::<PartNumber>().unwrap(), PartNumber::new(3, 3).unwrap());
        assert_eq!(PartNumber::new(2, 3).unwrap().to_string(), "2/3");
        for bad in ["", "1", "4/3", "1/0", "0/0", "+1/3", "1/3/3", "1/ 3", "-1/3", "1/4294967296"] {
            assert!(bad.parse::<PartNumber>().is_err(), "{bad}");
        }
    }
}
