//! Locks of files and directories, which the kernel frees however their process ends.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// The lock of a directory or file of a run; `None` when another process, or another holder in ours, has it.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let lock = File::open(path)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
