//! Times and durations as people read them.

use jiff::Timestamp;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_its_two_largest_units() {
        let age = |seconds| age(Timestamp::UNIX_EPOCH, Timestamp::from_second(seconds).unwrap());
        assert_eq!([age(-5), age(59), age(725)], ["0 min", "0 min", "12 min"]);
        assert_eq!([age(18_420), age(273_600)], ["5 h 7 min", "3 d 4 h"]);
    }
}
