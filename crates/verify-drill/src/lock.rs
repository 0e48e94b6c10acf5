//! Locks of files and directories, which the kernel frees however their process ends.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// The lock of a directory or file of a run; `None` when another process, or another holder in ours, has it.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let lock = File::open(path)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
