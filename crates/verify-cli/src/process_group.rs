//! A child together with what it has started: its process group.

use std::process::Child;

use rustix::process::{Pid, Signal, kill_process_group};

/// Sends a signal to a child that leads a group of its own, and to everything that it has started. The child must not
/// have been waited for, so that the group is still its own.
pub(crate) fn signal(child: &Child, signal: Signal) {
    if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
        // One that is gone needs no signal.
        let _ = kill_process_group(group, signal);
    }
}
