//! The request to stop and clean up: the process's one flag, set by a signal, or when the caller is lost.
//!
//! Whatever waits has to notice within a second. Sessions with PostgreSQL do by `Settings::with_stop`, child programs by
//! the function that runs them, waits and pauses by [`until`](crate::until).

use std::sync::atomic::{AtomicBool, Ordering};

use verify_core::{Error, ErrorKind};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Asks the work to stop. Returns whether it had been asked before.
pub fn ask() -> bool {
    ASKED.swap(true, Ordering::Relaxed)
}

/// Returns whether a signal has arrived.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Error of interrupted work.
pub fn interrupted() -> Error {
    Error::new(ErrorKind::Cancelled, "finish: interrupted")
}
