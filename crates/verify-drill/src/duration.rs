//! Lengths of time as text: `500ms`, `10s`, `7m12s`, `1h30m`, `2d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SpanRelativeTo;
use jiff::fmt::friendly::{Spacing, SpanParser, SpanPrinter};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// A length of time in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    ms: u64,
}

impl Period {
    /// Period of that many milliseconds.
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

    /// To whole seconds, upwards, so that no time is shown shorter than it was.
    pub const fn rounded_up(self) -> Self {
        Self { ms: self.ms.div_ceil(1_000) * 1_000 }
    }
}

impl fmt::Display for Period {
    /// Exactly: every unit that is not zero, the largest first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // jiff prints a duration in hours at most: only a calendar knows how long a day is.
        let (days, rest_ms) = (self.ms / DAY_MS, self.ms % DAY_MS);
        if days > 0 {
            write!(f, "{days}d")?;
        }
        if days == 0 || rest_ms > 0 {
            let printer = SpanPrinter::new().spacing(Spacing::None);
            f.write_str(&printer.unsigned_duration_to_string(&Duration::from_millis(rest_ms)))?;
        }
        Ok(())
    }
}

impl FromStr for Period {
    type Err = String;

    /// Reads jiff's "friendly" format. A day has 24 hours; months and years have no length.
    fn from_str(text: &str) -> Result<Self, String> {
        let span = SpanParser::new().parse_span(text.trim());
        let duration = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
        let period = duration.ok().and_then(|duration| {
            let ms = u64::try_from(duration.as_millis()).ok()?;
            // Part of a millisecond would be lost, and a timeout of 0 often means none.
            (Duration::from_millis(ms) == duration.unsigned_abs()).then_some(Self { ms })
        });
        period.ok_or_else(|| "expected a number with a unit, as in 500ms, 10s, 7m12s, 1h or 2d".to_owned())
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
            "pattern": r"^\s*\d.*[a-z]\s*$",
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
        for (text, ms) in [
            (" 1h 30m ", 5_400_000),
            ("10 s", 10_000),
            ("1.5s", 1_500),
            ("10min", 600_000),
            ("2 days", 172_800_000),
            ("1w", 604_800_000),
        ] {
            assert_eq!(text.parse(), Ok(Period { ms }), "{text}");
        }
        assert_eq!("90s".parse::<Period>().unwrap().to_string(), "1m30s");
        assert_eq!("0s".parse::<Period>().unwrap().to_string(), "0s");
    }

    #[test]
    fn what_has_no_clear_meaning_is_refused() {
        for text in [
            "", " ", "10", "s", "-1s", "1s ago", "5s1m", "1s1s", "5S", "1m 2", "٣s", "1mo", "1y", "1us",
            "PT1S", "0.0001s",
        ] {
            assert!(text.parse::<Period>().is_err(), "{text:?}");
        }
        for text in ["99999999999999999999s", "999999999999999999d"] {
            assert!(text.parse::<Period>().is_err(), "{text} is too long");
        }
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
