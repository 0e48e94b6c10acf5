//! WAL-G: `backup-fetch` and `wal-fetch`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Asked, Destination, Tool, ToolBackup, argument, call, failed, fetch_through, program, restore_command,
    run_as,
};
use crate::lsn::Lsn;
use crate::program::Program;
use crate::recovery_target::RecoveryTarget;
use crate::server::ServerUser;
use crate::wal_archive::WalArchive;

const PROGRAM: &str = "wal-g";
/// Exit status of `wal-fetch` if the archive lacks the file.
const NOT_FOUND: i32 = 74;

/// Backups by WAL-G.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WalG {
    /// The configuration file; `~/.walg.json` and the environment unless given.
    config: Option<PathBuf>,
}

/// A backup, as `backup-list --detail --json` prints it.
#[derive(Deserialize)]
struct Backup {
    backup_name: String,
    start_time: Option<Timestamp>,
    /// A number, or text.
    finish_lsn: Option<Value>,
    system_identifier: Option<u64>,
}

impl WalG {
    fn options(&self) -> Vec<String> {
        self.config.as_deref().map(|path| vec!["--config".to_owned(), argument(path)]).unwrap_or_default()
    }
}

impl Tool for WalG {
    fn name(&self) -> &'static str {
        PROGRAM
    }

    fn place(&self) -> String {
        "the storage of WAL-G".to_owned()
    }

    fn maps_tablespaces(&self) -> bool {
        false
    }

    fn backups(&self, asked: Asked) -> Result<Option<Vec<ToolBackup>>> {
        let list = program(self, PROGRAM)?.args(["backup-list", "--detail", "--json"]).args(self.options());
        let printed = call(list, "list the backups of WAL-G", hint, asked)?;
        Ok(Some(backups(&printed)?))
    }

    fn restore(&self, backup: &ToolBackup, _: &RecoveryTarget, to: &Destination, asked: Asked) -> Result<()> {
        let fetch = program(self, PROGRAM)?;
        let fetch =
            fetch.args(["backup-fetch", &argument(&to.data), backup.name.as_str()]).args(self.options());
        call(fetch, &format!("restore {} with WAL-G", backup.name), hint, asked).map(drop)
    }

    fn archive(&self, to: &Destination) -> Result<Option<Arc<dyn WalArchive>>> {
        Ok(Some(Arc::new(Archive { options: self.options(), to: to.clone(), user: run_as(self)? })))
    }
}

fn backups(printed: &[u8]) -> Result<Vec<ToolBackup>> {
    let listed: Vec<Backup> =
        serde_json::from_slice(printed).context("failed to read the list of backups that WAL-G printed")?;
    let position = |value: &Value| value.as_u64().map(Lsn).or_else(|| value.as_str()?.parse().ok());
    let backup = |backup: Backup| {
        Ok(ToolBackup {
            name: backup
                .backup_name
                .parse()
                .map_err(anyhow::Error::msg)
                .context("failed to read a backup's name")?,
            started_at: backup.start_time,
            end_lsn: backup.finish_lsn.as_ref().and_then(position),
            system_identifier: backup.system_identifier.map(|identifier| identifier.to_string()),
            tablespaces: Vec::new(),
        })
    };
    let mut backups = listed.into_iter().map(backup).collect::<Result<Vec<_>>>()?;
    backups.sort_by_key(|backup| std::cmp::Reverse(backup.started_at));
    Ok(backups)
}

/// The archive of WAL-G.
#[derive(Debug)]
struct Archive {
    options: Vec<String>,
    to: Destination,
    user: Option<ServerUser>,
}

impl WalArchive for Archive {
    fn place(&self) -> String {
        WalG::default().place()
    }

    fn fetch(&self, file: &str, to: &Path, asked: Asked) -> Result<bool> {
        fetch_through(&self.to.wal, to, |to| {
            let fetch = Program::installed(PROGRAM, self.user.as_ref());
            let ended = fetch.args(["wal-fetch", file, &argument(to)]).args(&self.options).run(&asked)?;
            match ended.status.code() {
                Some(0) => Ok(true),
                Some(NOT_FOUND) => Ok(false),
                _ => Err(failed(&ended, &format!("fetch the WAL file {file} with WAL-G"), hint)),
            }
        })
    }

    fn restore_command(&self) -> String {
        let arguments: Vec<String> = self.options.iter().cloned().chain(["wal-fetch".to_owned()]).collect();
        restore_command(PROGRAM, &arguments, &["%f", "%p"])
    }
}

/// The hint for a message of WAL-G.
fn hint(said: &str) -> Option<&'static str> {
    let known = [
        ("Backup does not exist", "`wal-g backup-list` lists the backups that it has"),
        ("No backups found", "correct `config` of [tools.wal-g], or WAL-G's variables of the environment"),
        ("permission denied", "run state-lab as the user that may read WAL-G's configuration and storage"),
        ("no space left", "set TMPDIR to a directory with more space"),
    ];
    known.iter().find(|(message, _)| said.contains(message)).map(|(_, hint)| *hint)
}
