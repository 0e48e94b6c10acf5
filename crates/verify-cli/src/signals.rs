//! SIGINT and SIGTERM: the first asks the work to stop and clean up, a second one ends the process at once.

use std::sync::Arc;
use std::{process, thread};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use verify_drill::interrupt;

use crate::exit::Exit;
use crate::terminal;

/// Begins to listen; before this a signal ends the process as usual.
pub(crate) fn listen() -> Result<()> {
    // It would end the process; caught, the write that is too long fails, and the error is reported.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).context("failed to listen for signals")?;
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("failed to listen for signals")?;
    let wait = move || {
        for _ in signals.forever() {
            if interrupt::ask() {
                // What is left behind is found by the next run.
                process::exit(Exit::INTERRUPTED.code());
            }
            terminal::print_note("\nstopping; press Ctrl-C again to quit immediately\n");
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).context("failed to start a thread")?;
    Ok(())
}
