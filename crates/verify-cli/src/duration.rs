//! Lengths of time as people write them: `500ms`, `10s`, `7m12s`, `1h30m`, `2d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// Units, the largest first, in milliseconds.
const UNITS_MS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A length of time in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    ms: u64,
}

impl Period {
    /// So many milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self { ms }
    }

    /// In milliseconds.
    pub const fn ms(self) -> u64 {
        self.ms
    }

    /// In milliseconds, where PostgreSQL takes a 32-bit number; what is longer becomes the longest.
    pub fn ms_u32(self) -> u32 {
        u32::try_from(self.ms).unwrap_or(i32::MAX as u32).min(i32::MAX as u32)
    }

    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.ms)
    }

    /// To whole seconds, upwards, so that no time is told shorter than it was.
    pub const fn rounded_up(self) -> Self {
        Self { ms: self.ms.div_ceil(1_000) * 1_000 }
    }
}

impl fmt::Display for Period {
    /// Exactly: every unit that is not zero, the largest first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ms == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.ms;
        for (unit, unit_ms) in UNITS_MS {
            if rest >= unit_ms {
                write!(f, "{}{unit}", rest / unit_ms)?;
                rest %= unit_ms;
            }
        }
        Ok(())
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || "expected a number with a unit, as in 500ms, 10s, 7m12s, 1h or 2d".to_owned();
        let too_long = || "it is too long".to_owned();
        let mut rest = text.trim();
        let mut units = UNITS_MS.iter();
        let mut ms = 0_u64;
        if rest.is_empty() {
            return Err(malformed());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            // Each unit at most once, the larger before the smaller.
            let (_, unit_ms) = units.find(|(name, _)| *name == unit).ok_or_else(malformed)?;
            if number.is_empty() {
                return Err(malformed());
            }
            let number: u64 = number.parse().map_err(|_| too_long())?;
            ms = number.checked_mul(*unit_ms).and_then(|more| ms.checked_add(more)).ok_or_else(too_long)?;
            rest = tail.trim_start();
        }
        Ok(Self { ms })
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Period {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A length of time: 500ms, 10s, 7m12s, 1h, 2d.",
            "pattern": r"^\s*(?=\d)(\d+d\s*)?(\d+h\s*)?(\d+m\s*)?(\d+s\s*)?(\d+ms\s*)?$",
            "examples": ["10m", "5s", "7m12s"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read_and_shown_again() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("7m12s", 432_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("1d1h1m1s1ms", 90_061_001),
        ] {
            assert_eq!(text.parse(), Ok(Period { ms }), "{text}");
            assert_eq!(Period { ms }.to_string(), text);
        }
        assert_eq!(" 1h 30m ".parse(), Ok(Period { ms: 5_400_000 }));
        assert_eq!("90s".parse::<Period>().unwrap().to_string(), "1m30s");
        assert_eq!("0s".parse::<Period>().unwrap().to_string(), "0s");
    }

    #[test]
    fn what_has_no_clear_meaning_is_refused() {
        for text in ["", " ", "10", "s", "10 s", "1.5s", "-1s", "5s1m", "1s1s", "10min", "5S", "1m 2", "٣s"]
        {
            assert!(text.parse::<Period>().is_err(), "{text:?}");
        }
        assert_eq!("99999999999999999999s".parse::<Period>(), Err("it is too long".to_owned()));
        assert_eq!("999999999999999999d".parse::<Period>(), Err("it is too long".to_owned()));
    }

    #[test]
    fn rounding_never_shortens() {
        for (ms, shown) in
            [(0, "0s"), (1, "1s"), (1_000, "1s"), (299_001, "5m"), (300_000, "5m"), (300_001, "5m1s")]
        {
            assert_eq!(Period { ms }.rounded_up().to_string(), shown, "{ms}");
        }
    }

    #[test]
    fn a_server_never_gets_more_than_it_takes() {
        assert_eq!(Period { ms: 10_000 }.ms_u32(), 10_000);
        assert_eq!(Period { ms: 1 << 31 }.ms_u32(), i32::MAX as u32);
        assert_eq!(Period { ms: 1 << 40 }.ms_u32(), i32::MAX as u32);
    }
}
