//! Lengths of time as Velero's fields take them.

use verify_drill::duration::Period;

/// In the notation of Go's `time.ParseDuration`, which knows no days.
pub(super) fn go_duration(period: Period) -> String {
    let (seconds, ms) = (period.ms() / 1_000, period.ms() % 1_000);
    if ms == 0 { format!("{seconds}s") } else { format!("{}ms", period.ms()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_in_seconds() {
        for (text, expected) in [("30d", "2592000s"), ("10m", "600s"), ("1s500ms", "1500ms"), ("0s", "0s")] {
            assert_eq!(go_duration(text.parse().unwrap()), expected);
        }
    }
}
