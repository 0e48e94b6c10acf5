//! SIGINT and SIGTERM: the first asks the work to stop and clean up, a second one ends the process at once.
//!
//! Whatever waits has to notice within a second. Sessions with PostgreSQL do by `Settings::with_stop`, child programs by
//! the function that runs them, pauses by [`wait`].

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{process, thread};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use verify_core::{Error, ErrorKind};

use crate::exit::Exit;
use crate::terminal;

static ASKED: Mutex<bool> = Mutex::new(false);
static CHANGED: Condvar = Condvar::new();

/// Begins to listen; before this a signal ends the process as usual.
pub(crate) fn listen() -> Result<()> {
    // It would end the process; caught, the write that is too long fails, and the error is told.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).context("failed to listen for signals")?;
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("failed to listen for signals")?;
    let wait = move || {
        for _ in signals.forever() {
            let again = std::mem::replace(&mut *lock(), true);
            CHANGED.notify_all();
            if again {
                // What is left behind is found by the next run.
                process::exit(Exit::INTERRUPTED.code());
            }
            terminal::tell("\nstopping; press Ctrl-C again to quit immediately\n");
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).context("failed to start a thread")?;
    Ok(())
}

/// Asks the work to stop, as a signal does.
pub(crate) fn ask() {
    *lock() = true;
    CHANGED.notify_all();
}

/// Whether a signal came.
pub(crate) fn asked() -> bool {
    *lock()
}

/// Waits so long, or until a signal comes; whether one came.
pub(crate) fn wait(period: Duration) -> bool {
    let (asked, _) =
        CHANGED.wait_timeout_while(lock(), period, |asked| !*asked).unwrap_or_else(PoisonError::into_inner);
    *asked
}

/// What work ends with that was asked to stop.
pub(crate) fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "finish: asked to stop")
}

fn lock() -> MutexGuard<'static, bool> {
    ASKED.lock().unwrap_or_else(PoisonError::into_inner)
}
