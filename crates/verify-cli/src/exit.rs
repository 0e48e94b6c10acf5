//! Exit statuses of the process.

use std::process::ExitCode;

use verify_core::finding::Verdict;

/// An exit code. The numbers are part of the interface and do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Exit(u8);

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

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}
