//! Barman: `recover`, which copies the WAL that follows the backup as well.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use verify_drill::backup_name::BackupName;

use super::{Asked, Destination, Tool, ToolBackup, argument, call, program};
use crate::recovery_target::RecoveryTarget;
use crate::wal_archive::{ArchiveDirectory, WalArchive};

const PROGRAM: &str = "barman";
/// The user that Debian's and EDB's packages create; `barman` refuses to run as another one.
const USER: &str = "barman";
/// Directory in the restored data directory into which `recover` copies the WAL if it is given a target.
const WAL: &str = "barman_wal";
/// Status of a backup that is complete.
const DONE: &str = "DONE";

/// Backups by Barman.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Barman {
    /// The server, by its name in Barman.
    server: String,
    /// The configuration file; Barman's own default unless given.
    config: Option<PathBuf>,
    /// The user that runs Barman (`barman_user`) where state-lab runs as root; barman unless given.
    user: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    backup_id: String,
    status: String,
}

/// A backup, as `show-backup` prints it.
#[derive(Deserialize)]
struct Shown {
    base_backup_information: Information,
    #[serde(default)]
    tablespaces: Vec<Tablespace>,
}

#[derive(Deserialize)]
struct Information {
    begin_time_timestamp: String,
    end_lsn: String,
}

#[derive(Deserialize)]
struct Tablespace {
    name: String,
}

impl Barman {
    /// Options of every call.
    fn options(&self) -> Vec<String> {
        let config = self.config.as_deref().map(argument);
        config.map(|config| vec!["-c".to_owned(), config]).unwrap_or_default()
    }

    /// The answer about the server of a command that prints JSON.
    fn ask<T: for<'de> Deserialize<'de>>(&self, arguments: &[&str], doing: &str, asked: Asked) -> Result<T> {
        let list = program(self, PROGRAM)?.args(self.options()).args(["-f", "json"]).args(arguments);
        let (ended, printed) = list.output(&asked).with_context(|| format!("failed to {doing}"))?;
        let mut answer: Value = serde_json::from_slice(&printed).unwrap_or_default();
        if !ended.status.success() {
            // With JSON the errors are in the answer.
            let errors = answer["_ERROR"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let mut said = errors.collect::<Vec<_>>().join("; ");
            if said.is_empty() {
                said = ended.messages();
            }
            let hint = hint(&said);
            return Err(verify_drill::hint::hinted(format!("failed to {doing}: {said}"), hint));
        }
        let answer = answer[&self.server].take();
        serde_json::from_value(answer)
            .with_context(|| format!("failed to {doing}: Barman's answer is not understood"))
    }
}

impl Tool for Barman {
    fn name(&self) -> &'static str {
        PROGRAM
    }

    fn place(&self) -> String {
        format!("the server {}", self.server)
    }

    fn user(&self) -> Option<&str> {
        Some(self.user.as_deref().unwrap_or(USER))
    }

    fn backups(&self, asked: Asked) -> Result<Option<Vec<ToolBackup>>> {
        let arguments = ["list-backup", &self.server];
        let listed: Vec<Listed> = self.ask(&arguments, "list the backups of Barman", asked)?;
        let whole = listed.into_iter().filter(|listed| listed.status == DONE);
        let backup = |listed: Listed| {
            let name: Result<BackupName, String> = listed.backup_id.parse();
            let name = name.map_err(anyhow::Error::msg).context("failed to read a backup's id")?;
            let (started_at, end_lsn, system_identifier) = (None, None, None);
            Ok(ToolBackup { name, started_at, end_lsn, system_identifier, tablespaces: Vec::new() })
        };
        let mut backups = whole.map(backup).collect::<Result<Vec<_>>>()?;
        // An id is the start of the backup.
        backups.sort_by(|one, other| other.name.cmp(&one.name));
        Ok(Some(backups))
    }

    fn examine(&self, backup: ToolBackup, asked: Asked) -> Result<ToolBackup> {
        let doing = format!("read about {} of Barman", backup.name);
        let shown: Shown = self.ask(&["show-backup", &self.server, backup.name.as_str()], &doing, asked)?;
        let Information { begin_time_timestamp, end_lsn } = shown.base_backup_information;
        let second = begin_time_timestamp.parse().ok();
        Ok(ToolBackup {
            started_at: second.and_then(|second| Timestamp::from_second(second).ok()),
            end_lsn: end_lsn.parse().ok(),
            tablespaces: shown.tablespaces.into_iter().map(|tablespace| tablespace.name).collect(),
            ..backup
        })
    }

    fn restore(
        &self,
        backup: &ToolBackup,
        target: &RecoveryTarget,
        to: &Destination,
        asked: Asked,
    ) -> Result<()> {
        let recover = program(self, PROGRAM)?.args(self.options());
        // Without a target the WAL would be copied into pg_wal.
        let recover = recover.args(["recover", "--no-get-wal"]).args(target_options(target));
        let mapped = backup
            .tablespaces
            .iter()
            .map(|name| format!("--tablespace={name}:{}", argument(&to.tablespaces.join(name))));
        let recover = recover.args(mapped).args([&self.server, backup.name.as_str(), &argument(&to.data)]);
        call(recover, &format!("restore {} with Barman", backup.name), hint, asked).map(drop)
    }

    fn archive(&self, to: &Destination) -> Result<Option<Arc<dyn WalArchive>>> {
        Ok(Some(Arc::new(ArchiveDirectory::open(&to.data.join(WAL))?)))
    }
}

/// The target up to which `recover` copies WAL.
fn target_options(target: &RecoveryTarget) -> Vec<String> {
    let (option, value) = match target {
        RecoveryTarget::Capture(manifest) => ("--target-lsn", manifest.header.lsn.clone()),
        RecoveryTarget::Lsn(lsn) => ("--target-lsn", lsn.to_string()),
        RecoveryTarget::Time(time) => {
            ("--target-time", time.strftime("%Y-%m-%d %H:%M:%S.%6f+00:00").to_string())
        }
        RecoveryTarget::Name(name) => ("--target-name", name.clone()),
        RecoveryTarget::BeforeTransaction(xid) => ("--target-xid", (xid & 0xFFFF_FFFF).to_string()),
        // The default.
        RecoveryTarget::Latest => return Vec::new(),
    };
    vec![option.to_owned(), value]
}

/// The hint for a message of Barman.
fn hint(said: &str) -> Option<&'static str> {
    let known = [
        ("Unknown backup", "`barman list-backup` lists the backups that have not expired"),
        (
            "Unknown server",
            "correct `server` and `config` of [tools.barman]; `barman list-server` lists the servers",
        ),
        ("please run barman as", "run state-lab as that user, or as root with `user` of [tools.barman]"),
        (
            "Failure copying WAL files",
            "the archive lacks a WAL file: look for it on the source, and take another backup, since this one cannot be \
             recovered beyond the gap",
        ),
        ("No space left", "set TMPDIR to a directory with more space"),
        ("Permission denied", "run state-lab as the user that runs Barman"),
    ];
    known.iter().find(|(message, _)| said.contains(message)).map(|(_, hint)| *hint)
}
