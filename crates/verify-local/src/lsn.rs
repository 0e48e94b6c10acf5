//! A position in the write-ahead log.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result};

/// A position in the write-ahead log, in bytes; as text `16/B374D848`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl FromStr for Lsn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let half = |digits: &str| {
            let plain =
                (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        let parsed = text.split_once('/').and_then(|(high, low)| Some((half(high)? << 32) | half(low)?));
        parsed.map(Self).with_context(|| format!("{text:?} is not a WAL position such as 16/B374D848"))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_postgresql_reads_them() {
        for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF", "A/1"] {
            assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
        }
        assert_eq!("16/b374d848".parse::<Lsn>().unwrap(), Lsn(0x16_B374_D848));
        for text in ["", "1", "1/", "/1", "1/2/3", "123456789/0", "+1/0", " 1/0", "0x1/0", "G/0"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }
}
