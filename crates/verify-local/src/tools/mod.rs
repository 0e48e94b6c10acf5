//! Backups that other tools made: restored by the tool itself, with its own configuration, then verified here.
//!
//! One file a tool. [`Tool`] is the seam; `command` serves every tool that has no file.

mod barman;
mod command;
mod control_data;
mod links;
mod pgbackrest;
mod provider;
mod restore;
mod wal_g;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::Timestamp;
use verify_drill::backup_name::BackupName;
use verify_drill::hint::hinted;

use super::program::{Ended, Program};
use crate::lsn::Lsn;
use crate::recovery_target::RecoveryTarget;
use crate::server::{self, ServerUser};
use crate::wal_archive::{WalArchive, quoted};

pub use barman::Barman;
pub use command::Command;
pub use pgbackrest::PgBackRest;
pub use provider::ToolProvider;
pub use wal_g::WalG;

/// A function that returns whether to stop.
type Asked = fn() -> bool;

/// A backup tool that is installed on this machine.
pub trait Tool: Send + Sync {
    /// Its name, as `--with` takes it.
    fn name(&self) -> &'static str;

    /// Place of its backups, in words.
    fn place(&self) -> String;

    /// The user of the operating system that runs it where state-lab runs as root: the one of PostgreSQL unless given.
    fn user(&self) -> Option<&str> {
        None
    }

    /// Returns whether it restores tablespaces below the destination, not to where they were on the source.
    fn maps_tablespaces(&self) -> bool {
        true
    }

    /// Its restorable backups, the newest first; `None` if it cannot list them.
    ///
    /// # Errors
    ///
    /// If the tool fails.
    fn backups(&self, asked: Asked) -> Result<Option<Vec<ToolBackup>>>;

    /// A listed backup with what its own listing adds.
    ///
    /// # Errors
    ///
    /// If the tool fails.
    fn examine(&self, backup: ToolBackup, asked: Asked) -> Result<ToolBackup> {
        let _ = asked;
        Ok(backup)
    }

    /// Restores the files of a backup, so that recovery can continue at least to `target`.
    ///
    /// # Errors
    ///
    /// If the tool fails.
    fn restore(
        &self,
        backup: &ToolBackup,
        target: &RecoveryTarget,
        to: &Destination,
        asked: Asked,
    ) -> Result<()>;

    /// The archive of WAL that continues the backups.
    ///
    /// # Errors
    ///
    /// If the tool cannot be called.
    fn archive(&self, to: &Destination) -> Result<Option<Arc<dyn WalArchive>>>;

    /// The command that removes what [`Tool::restore`] creates outside of the destination: program and arguments. It is
    /// run after success, failure and interruption, or by the next run.
    fn removal(&self, backup: &ToolBackup, to: &Destination) -> Option<Vec<String>> {
        let _ = (backup, to);
        None
    }
}

/// A backup of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolBackup {
    /// Its name, which the tool gave it.
    pub name: BackupName,
    /// Start of the backup.
    pub started_at: Option<Timestamp>,
    /// Position in the WAL from which on the backup is consistent.
    pub end_lsn: Option<Lsn>,
    /// The cluster.
    pub system_identifier: Option<String>,
    /// Names of its tablespaces, where the tool needs them for a restore.
    pub tablespaces: Vec<String>,
}

/// Directories to restore into, empty and owned by the user that runs the tool.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The data directory.
    pub data: PathBuf,
    /// Parent of the tablespaces.
    pub tablespaces: PathBuf,
    /// Files of WAL, on their way.
    pub wal: PathBuf,
}

/// A user of the operating system that a tool runs as; `None` for the one that runs state-lab.
fn run_as(tool: &dyn Tool) -> Result<Option<ServerUser>> {
    match (server::server_user()?, tool.user()) {
        (Some(_), Some(name)) => {
            let user = server::user(name)?;
            let text = || format!("failed to run {}: the user {name} does not exist", tool.name());
            user.with_context(text).map(Some)
        }
        (user, _) => Ok(user),
    }
}

/// A program of a tool.
fn program(tool: &dyn Tool, name: &str) -> Result<Program> {
    Ok(Program::installed(name, run_as(tool)?.as_ref()))
}

/// Runs a program of a tool; what it printed, or the error with the hint that `hint` has for its messages.
fn call(
    program: Program,
    doing: &str,
    hint: fn(&str) -> Option<&'static str>,
    asked: Asked,
) -> Result<Vec<u8>> {
    let (ended, printed) = program.output(&asked).with_context(|| format!("failed to {doing}"))?;
    if ended.status.success() { Ok(printed) } else { Err(failed(&ended, doing, hint)) }
}

fn failed(ended: &Ended, doing: &str, hint: fn(&str) -> Option<&'static str>) -> anyhow::Error {
    let text = format!("failed to {doing} ({}): {}", ended.status, ended.messages());
    hinted(text, hint(&ended.said))
}

/// The argument of a path.
fn argument(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Has `get` fetch a file of WAL into a directory that the tool may write to, and moves it to its place.
fn fetch_through(directory: &Path, to: &Path, get: impl FnOnce(&Path) -> Result<bool>) -> Result<bool> {
    let fetched = directory.join("fetched");
    let found = get(&fetched)?;
    if found {
        fs::rename(&fetched, to).with_context(|| format!("failed to move a WAL file to {}", to.display()))?;
    }
    Ok(found)
}

/// A `restore_command` of PostgreSQL, which a shell runs: the program with its arguments, then the server's own placeholders.
fn restore_command(program: &str, arguments: &[String], placeholders: &[&str]) -> String {
    let arguments = [program].into_iter().chain(arguments.iter().map(String::as_str)).map(quoted);
    let placeholders = placeholders.iter().map(|placeholder| format!("\"{placeholder}\""));
    arguments.chain(placeholders).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_command_is_safe_from_the_shell_and_from_the_server() {
        let command =
            restore_command("tool", &["--config=/a b/$x'y".to_owned(), "100%f".to_owned()], &["%f", "%p"]);
        assert_eq!(command, r#"'tool' '--config=/a b/$x'\''y' '100%%f' "%f" "%p""#);
    }
}
