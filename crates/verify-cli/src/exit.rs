//! Exit statuses of the process.

use std::fmt;
use std::process::ExitCode;

use verify_core::finding::Verdict;

/// An exit code. The numbers are part of the interface and do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Exit(u8);

/// All of them, the worse the later.
const WORSE: [Exit; 5] = [Exit::PASS, Exit::INCONCLUSIVE, Exit::COULD_NOT_RUN, Exit::FAIL, Exit::INTERRUPTED];

impl Exit {
    /// Everything that was to be checked was checked, and matches; or the command succeeded.
    pub const PASS: Self = Self(0);
    /// Data differ, a check found damage, an invariant broke, or an objective (RTO, RPO) was missed.
    pub const FAIL: Self = Self(1);
    /// Could not run: usage, configuration, connection, file.
    pub const COULD_NOT_RUN: Self = Self(2);
    /// Inconclusive: nothing that was checked differs, but not everything could be checked.
    pub const INCONCLUSIVE: Self = Self(3);
    /// SIGINT or SIGTERM ended it, and what it had made is removed.
    pub const INTERRUPTED: Self = Self(130);

    /// The status of several runs together: an interruption counts most, then a failure, then a run that could not be made, then one
    /// that is inconclusive. Where nothing was run, nothing passed.
    pub fn worst(exits: impl IntoIterator<Item = Self>) -> Self {
        let place = |exit: &Self| WORSE.iter().position(|known| known == exit);
        exits.into_iter().max_by_key(place).unwrap_or(Self::COULD_NOT_RUN)
    }

    /// The status with which a run of state-lab ended. A signal, and a status that it does not end with, are those of a run that could not
    /// be made.
    pub fn of_run(code: Option<i32>) -> Self {
        WORSE.into_iter().find(|known| Some(known.code()) == code).unwrap_or(Self::COULD_NOT_RUN)
    }

    /// As a number.
    pub fn code(self) -> i32 {
        self.0.into()
    }
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::PASS,
            Verdict::Fail => Self::FAIL,
            Verdict::Inconclusive => Self::INCONCLUSIVE,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::PASS => "pass",
            Self::FAIL => "fail",
            Self::INCONCLUSIVE => "inconclusive",
            Self::INTERRUPTED => "interrupted",
            _ => "could not run",
        })
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_several_runs_counts_and_nothing_is_no_pass() {
        for (exits, expected) in [
            (&[0, 0][..], 0),
            (&[0, 3], 3),
            (&[3, 2, 0], 2),
            (&[1, 2, 3, 0], 1),
            (&[1, 130, 2], 130),
            (&[0, 101], 2),
            (&[], 2),
        ] {
            let of_runs = exits.iter().map(|&code| Exit::of_run(Some(code)));
            assert_eq!(Exit::worst(of_runs), Exit::of_run(Some(expected)), "{exits:?}");
        }
        assert_eq!(Exit::of_run(None), Exit::COULD_NOT_RUN);
    }
}
