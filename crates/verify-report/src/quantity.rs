//! Times and durations as people read them.

use jiff::Timestamp;
use verify_drill::duration::Period;

const DAY_S: i64 = 86_400;
const HOUR_S: i64 = 3_600;

/// `2026-11-21 03:17 UTC`
pub fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// The time since `at`: `3 d 4 h`, `5 h 7 min`, `12 min`.
pub fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs().max(0);
    let (days, hours, minutes) = (seconds / DAY_S, seconds % DAY_S / HOUR_S, seconds % HOUR_S / 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min"),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// `7m12s`, rounded up to a second; below ten seconds, to a tenth.
pub fn duration(ms: u64) -> String {
    let tenths = ms.div_ceil(100);
    if tenths < 100 {
        format!("{}.{}s", tenths / 10, tenths % 10)
    } else {
        Period::from_ms(ms).rounded_up().to_string()
    }
}

/// Milliseconds as seconds: `1.234`.
pub fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_its_two_largest_units() {
        let age = |seconds| age(Timestamp::UNIX_EPOCH, Timestamp::from_second(seconds).unwrap());
        assert_eq!([age(-5), age(59), age(725)], ["0 min", "0 min", "12 min"]);
        assert_eq!([age(18_420), age(273_600)], ["5 h 7 min", "3 d 4 h"]);
    }

    #[test]
    fn a_duration_is_never_less_than_it_was() {
        assert_eq!([duration(0), duration(1), duration(9_901)], ["0.0s", "0.1s", "10s"]);
        assert_eq!(duration(431_001), "7m12s");
    }
}
