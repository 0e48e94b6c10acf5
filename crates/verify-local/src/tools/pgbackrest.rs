//! pgBackRest: `restore` and `archive-get`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Asked, Destination, Tool, ToolBackup, argument, call, failed, fetch_through, program, restore_command,
    run_as,
};
use crate::program::Program;
use crate::recovery_target::RecoveryTarget;
use crate::server::ServerUser;
use crate::wal_archive::WalArchive;

const PROGRAM: &str = "pgbackrest";
/// Exit status of `archive-get` if the archive lacks the file.
const NOT_FOUND: i32 = 1;

/// Backups by pgBackRest.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PgBackRest {
    /// The stanza.
    stanza: String,
    /// The configuration file; pgBackRest's own default unless given.
    config: Option<PathBuf>,
}

/// A stanza, as `info --output=json` prints it.
#[derive(Deserialize)]
struct Info {
    name: String,
    backup: Vec<Backup>,
    db: Vec<Cluster>,
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    message: String,
}

#[derive(Deserialize)]
struct Backup {
    label: String,
    database: Key,
    /// Absent from a backup of an old version.
    lsn: Option<Positions>,
    timestamp: Times,
}

#[derive(Deserialize)]
struct Positions {
    stop: String,
}

#[derive(Deserialize)]
struct Times {
    start: i64,
}

#[derive(Deserialize, PartialEq, Eq)]
struct Key {
    id: u64,
    #[serde(rename = "repo-key")]
    repository: u64,
}

#[derive(Deserialize)]
struct Cluster {
    #[serde(flatten)]
    key: Key,
    #[serde(rename = "system-id")]
    system_identifier: u64,
}

impl PgBackRest {
    /// Options of every call.
    fn options(&self) -> Vec<String> {
        let config = self.config.as_deref().map(|path| format!("--config={}", argument(path)));
        [Some(format!("--stanza={}", self.stanza)), config].into_iter().flatten().collect()
    }
}

impl Tool for PgBackRest {
    fn name(&self) -> &'static str {
        PROGRAM
    }

    fn place(&self) -> String {
        format!("the stanza {}", self.stanza)
    }

    fn backups(&self, asked: Asked) -> Result<Option<Vec<ToolBackup>>> {
        let doing = "list the backups of pgBackRest";
        let list = program(self, PROGRAM)?.args(self.options()).args(["info", "--output=json"]);
        let printed = call(list, doing, hint, asked)?;
        Ok(Some(backups(&printed, &self.stanza)?))
    }

    fn restore(&self, backup: &ToolBackup, _: &RecoveryTarget, to: &Destination, asked: Asked) -> Result<()> {
        let restore = program(self, PROGRAM)?.args(self.options()).args([
            "restore".to_owned(),
            format!("--set={}", backup.name),
            // state-lab configures the recovery.
            "--type=none".to_owned(),
            format!("--pg1-path={}", argument(&to.data)),
            format!("--tablespace-map-all={}", argument(&to.tablespaces)),
        ]);
        call(restore, &format!("restore {} with pgBackRest", backup.name), hint, asked).map(drop)
    }

    fn archive(&self, to: &Destination) -> Result<Option<Arc<dyn WalArchive>>> {
        let (options, user) = (self.options(), run_as(self)?);
        Ok(Some(Arc::new(Archive { stanza: self.place(), options, to: to.clone(), user })))
    }
}

fn backups(printed: &[u8], stanza: &str) -> Result<Vec<ToolBackup>> {
    let stanzas: Vec<Info> = serde_json::from_slice(printed)
        .context("failed to read the list of backups that pgBackRest printed")?;
    let info = stanzas.into_iter().find(|info| info.name == stanza);
    let info = info.with_context(|| format!("failed to find the stanza {stanza} of pgBackRest"))?;
    if info.backup.is_empty() {
        let text =
            format!("failed to find a backup in the stanza {stanza} of pgBackRest: {}", info.status.message);
        return Err(verify_drill::hint::Hinted::new(
            text,
            "correct `stanza` and `config` of [tools.pgbackrest]; `pgbackrest info` lists the stanzas that it has",
        )
        .into());
    }
    let backup = |backup: Backup| {
        let cluster = info.db.iter().find(|cluster| cluster.key == backup.database);
        Ok(ToolBackup {
            name: backup
                .label
                .parse()
                .map_err(anyhow::Error::msg)
                .context("failed to read a backup's label")?,
            started_at: Timestamp::from_second(backup.timestamp.start).ok(),
            end_lsn: backup.lsn.and_then(|positions| positions.stop.parse().ok()),
            system_identifier: cluster.map(|cluster| cluster.system_identifier.to_string()),
            tablespaces: Vec::new(),
        })
    };
    let mut backups = info.backup.into_iter().map(backup).collect::<Result<Vec<_>>>()?;
    backups.sort_by_key(|backup| std::cmp::Reverse(backup.started_at));
    Ok(backups)
}

/// The archive of a stanza.
#[derive(Debug)]
struct Archive {
    stanza: String,
    options: Vec<String>,
    to: Destination,
    user: Option<ServerUser>,
}

impl Archive {
    fn arguments(&self) -> Vec<String> {
        let data = format!("--pg1-path={}", argument(&self.to.data));
        self.options.iter().cloned().chain([data, "archive-get".to_owned()]).collect()
    }
}

impl WalArchive for Archive {
    fn place(&self) -> String {
        self.stanza.clone()
    }

    fn fetch(&self, file: &str, to: &Path, asked: Asked) -> Result<bool> {
        fetch_through(&self.to.wal, to, |to| {
            let get = Program::installed(PROGRAM, self.user.as_ref()).args(self.arguments());
            let ended = get.args([file.to_owned(), argument(to)]).run(&asked)?;
            match ended.status.code() {
                Some(0) => Ok(true),
                Some(NOT_FOUND) => Ok(false),
                _ => Err(failed(&ended, &format!("fetch the WAL file {file} with pgBackRest"), hint)),
            }
        })
    }

    fn restore_command(&self) -> String {
        restore_command(PROGRAM, &self.arguments(), &["%f", "%p"])
    }
}

/// The hint for a message of pgBackRest.
fn hint(said: &str) -> Option<&'static str> {
    const DAMAGED: &str = "the repository is damaged: run `pgbackrest verify`, do not rely on this backup, and take another one";
    let known = [
        ("is not valid", "`pgbackrest info` lists the backups that have not expired"),
        ("No space left", "set TMPDIR to a directory with more space"),
        ("Permission denied", "run state-lab as the user that owns the repository, usually postgres"),
        ("does not match expected checksum", DAMAGED),
        ("FormatError", DAMAGED),
        // One of the processes that copy files.
        ("raised from local", DAMAGED),
        ("unable to open missing file", "correct `config` of [tools.pgbackrest]"),
        (
            "must be run on the PostgreSQL host",
            "give pgBackRest a configuration without pg1-host, by `config` of [tools.pgbackrest]",
        ),
    ];
    known.iter().find(|(message, _)| said.contains(message)).map(|(_, hint)| *hint)
}
