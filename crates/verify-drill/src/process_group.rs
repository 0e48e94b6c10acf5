//! A child together with what it has started: its process group.

use std::io;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use crate::until::{Check, Pace, Waited, never, until};
use rustix::process::{Pid, Signal, kill_process_group};

/// Time for a child that has nothing to clean up to terminate by itself.
pub const TERM_TIMEOUT: Duration = Duration::from_millis(500);

/// Sends a signal to a child that leads a group of its own, and to everything that it has started. The child must not
/// have been waited for, so that the group is still its own.
pub fn signal(child: &Child, signal: Signal) {
    if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
        // One that has ended needs no signal.
        let _ = kill_process_group(group, signal);
    }
}

/// Waits until a child has ended, for as long as `timeout` and until it is to stop. Returns its status; none while it runs.
pub fn wait(child: &mut Child, timeout: Duration, stop: impl Fn() -> bool) -> io::Result<Option<ExitStatus>> {
    let waited = until(timeout, Pace::LOCAL, stop, || {
        io::Result::Ok(child.try_wait()?.map_or(Check::Waiting(()), Check::Done))
    })?;
    Ok(match waited {
        Waited::Done(status) => Some(status),
        Waited::TimedOut(()) | Waited::Stopped => None,
    })
}

/// Asks a child and its helpers to end, and kills those that do not within `grace`.
pub fn end(child: &mut Child, grace: Duration) {
    signal(child, Signal::TERM);
    if !matches!(wait(child, grace, never), Ok(None)) {
        return;
    }
    signal(child, Signal::KILL);
    let _ = child.wait();
}
