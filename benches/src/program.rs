//! Other programs.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Runs a program to its end.
///
/// # Errors
///
/// If it cannot be run, or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("failed to run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}
