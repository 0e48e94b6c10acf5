//! A child together with what it has started: its process group.

use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a child may take to end by itself once it is to stop.
const TERM_TIMEOUT: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(10);

/// Sends a signal to a child that leads a group of its own, and to everything that it has started. The child must not
/// have been waited for, so that the group is still its own.
pub fn signal(child: &Child, signal: Signal) {
    if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
        // One that is gone needs no signal.
        let _ = kill_process_group(group, signal);
    }
}

/// Asks a child and its helpers to end, and kills those that do not.
pub fn end(child: &mut Child) {
    signal(child, Signal::TERM);
    let deadline = Instant::now() + TERM_TIMEOUT;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(POLL);
    }
    signal(child, Signal::KILL);
    let _ = child.wait();
}
