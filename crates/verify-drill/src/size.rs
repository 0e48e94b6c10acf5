//! Numbers of bytes as text: `64KiB`, `50MiB`, `2GiB`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

const UNITS: [(&str, u32); 5] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("B", 0)];

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    bytes: u64,
}

impl Size {
    /// So many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self { bytes }
    }

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.bytes
    }
}

impl fmt::Display for Size {
    /// Exactly, in the largest unit of which it is a multiple.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |shift: &u32| self.bytes > 0 && self.bytes.trailing_zeros() >= *shift;
        let largest = UNITS.iter().filter(|(_, shift)| whole(shift)).max_by_key(|(_, shift)| *shift);
        let (unit, shift) = largest.copied().unwrap_or(("B", 0));
        write!(f, "{}{unit}", self.bytes >> shift)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let parse = || {
            let (unit, shift) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
            let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            number.checked_mul(1 << shift)
        };
        let size = parse().map(Self::from_bytes);
        size.ok_or_else(|| "expected a whole number with a unit, as in 512KiB, 50MiB or 2GiB".to_owned())
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A number of bytes: 512KiB, 50MiB, 2GiB.",
            "pattern": r"^\s*\d+\s*([KMGT]i)?B\s*$",
            "examples": ["50MiB", "2GiB"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read_and_shown_again() {
        for (text, bytes) in [
            ("0B", 0),
            ("1000B", 1_000),
            ("64KiB", 65_536),
            ("50MiB", 52_428_800),
            ("2GiB", 1 << 31),
            ("3TiB", 3 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Size { bytes }), "{text}");
            assert_eq!(Size { bytes }.to_string(), text);
        }
        assert_eq!(" 2 GiB".parse(), Ok(Size { bytes: 2 << 30 }));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "50", "MiB", "-1MiB", "1.5MiB", "50MB", "50M", "20000000TiB", "1 MiB/s"] {
            text.parse::<Size>().expect_err(text);
        }
    }
}
