//! Waits: the one loop that polls until a condition is met, and the one pause. Nothing else sleeps.

use std::thread;
use std::time::{Duration, Instant};

/// Interval at which a pause calls `stop`.
const STOP_POLL: Duration = Duration::from_millis(50);

/// Interval between two checks: a tenth of the time that has passed, within these bounds.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub least: Duration,
    pub most: Duration,
}

impl Pace {
    /// Processes, files and servers on this machine.
    pub const LOCAL: Self = Self { least: Duration::from_millis(5), most: Duration::from_millis(50) };
    /// API servers, and servers on other machines.
    pub const REMOTE: Self = Self { least: Duration::from_secs(1), most: Duration::from_secs(2) };

    fn pause(self, waited: Duration) -> Duration {
        (waited / 10).clamp(self.least, self.most)
    }
}

/// Result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check<T, S> {
    /// The condition is met.
    Done(T),
    /// The condition is not met; this is the current state.
    Waiting(S),
}

/// Result of a wait.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited<T, S> {
    /// The condition is met.
    Done(T),
    /// The timeout passed first; this was the state at the last check.
    TimedOut(S),
    /// `stop` returned true.
    Stopped,
}

/// Polls until the condition is met, at least once, for at most `timeout`. `stop` says whether to stop; it is called
/// before every check and during the pauses.
///
/// # Errors
///
/// The first error of a check.
pub fn until<T, S, E>(
    timeout: Duration,
    pace: Pace,
    stop: impl Fn() -> bool,
    mut check: impl FnMut() -> Result<Check<T, S>, E>,
) -> Result<Waited<T, S>, E> {
    let began = Instant::now();
    while !stop() {
        let state = match check()? {
            Check::Done(done) => return Ok(Waited::Done(done)),
            Check::Waiting(state) => state,
        };
        let waited = began.elapsed();
        let Some(left) = timeout.checked_sub(waited).filter(|left| !left.is_zero()) else {
            return Ok(Waited::TimedOut(state));
        };
        pause(pace.pause(waited).min(left), &stop);
    }
    Ok(Waited::Stopped)
}

/// The `stop` of a wait that only its timeout ends, as in a clean-up after a signal.
pub fn never() -> bool {
    false
}

/// Pauses for `period`, or until `stop` returns true. Returns whether it did.
pub fn pause(period: Duration, stop: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if stop() {
            return true;
        }
        let left = period.saturating_sub(began.elapsed());
        if left.is_zero() {
            return false;
        }
        thread::sleep(left.min(STOP_POLL));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;

    const QUICK: Pace = Pace { least: Duration::from_millis(1), most: Duration::from_millis(2) };
    const LONG: Duration = Duration::from_secs(60);

    fn counting(until_done: u32) -> impl FnMut() -> Result<Check<u32, u32>, Infallible> {
        let mut checks = 0;
        move || {
            checks += 1;
            Ok(if checks == until_done { Check::Done(checks) } else { Check::Waiting(checks) })
        }
    }

    #[test]
    fn a_wait_ends_when_the_condition_is_met_the_time_is_over_or_it_is_stopped() {
        assert_eq!(until(LONG, QUICK, never, counting(3)), Ok(Waited::Done(3)));
        assert_eq!(until(Duration::ZERO, QUICK, never, counting(1)), Ok(Waited::Done(1)));
        assert_eq!(until(Duration::ZERO, QUICK, never, counting(9)), Ok(Waited::TimedOut(1)));
        let Ok(Waited::TimedOut(checks)) = until(Duration::from_millis(20), QUICK, never, counting(u32::MAX))
        else {
            panic!("it has no end")
        };
        assert!((2..=21).contains(&checks), "{checks}");
        assert_eq!(until(LONG, QUICK, || true, counting(1)), Ok(Waited::Stopped));
        assert_eq!(until(LONG, QUICK, never, || Err::<Check<(), ()>, _>("no answer")), Err("no answer"));
    }

    #[test]
    fn a_pause_notices_within_a_moment_that_it_is_to_stop() {
        let (began, asked) = (Instant::now(), Cell::new(0));
        let stop = || asked.replace(asked.get() + 1) == 2;
        assert!(pause(LONG, stop));
        assert!(began.elapsed() < LONG / 2);
        assert!(!pause(Duration::from_millis(1), never));
    }

    #[test]
    fn pauses_grow_with_the_time_that_has_passed() {
        let pauses = [0, 5, 12, 15, 20, 600].map(|s| Pace::REMOTE.pause(Duration::from_secs(s)).as_millis());
        assert_eq!(pauses, [1_000, 1_000, 1_200, 1_500, 2_000, 2_000]);
    }
}
