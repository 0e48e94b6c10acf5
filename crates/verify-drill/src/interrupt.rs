//! The request to stop and clean up: the process's one flag, set by a signal or by whoever loses its caller.
//!
//! Whatever waits has to notice within a second. Sessions with PostgreSQL do by `Settings::with_stop`, child programs by
//! the function that runs them, pauses by [`wait`].

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use verify_core::{Error, ErrorKind};

static ASKED: Mutex<bool> = Mutex::new(false);
static CHANGED: Condvar = Condvar::new();

/// Asks the work to stop. Returns whether it had been asked before.
pub fn ask() -> bool {
    let again = std::mem::replace(&mut *lock(), true);
    CHANGED.notify_all();
    again
}

/// Whether a signal came.
pub fn asked() -> bool {
    *lock()
}

/// Waits so long, or until a signal comes; whether one came.
pub fn wait(period: Duration) -> bool {
    let (asked, _) =
        CHANGED.wait_timeout_while(lock(), period, |asked| !*asked).unwrap_or_else(PoisonError::into_inner);
    *asked
}

/// What work ends with that was interrupted.
pub fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "finish: interrupted")
}

fn lock() -> MutexGuard<'static, bool> {
    ASKED.lock().unwrap_or_else(PoisonError::into_inner)
}
