//! Any other tool, by commands of the configuration: one restores, one removes, one fetches WAL.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Deserialize;
use verify_drill::backup_name::BackupName;

use super::{Asked, Destination, Tool, ToolBackup, argument, failed};
use crate::program::Program;
use crate::recovery_target::RecoveryTarget;
use crate::wal_archive::WalArchive;

/// Backups of any tool. In the arguments, `{backup}` is the name of `--snapshot`, `{directory}` the data directory to
/// restore into, `{file}` the name of a WAL file, and `{path}` where to put it. No shell runs the commands.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Takes a snapshot of the volumes of the running server under the name `{backup}`, for `backup --method snapshot`: program and
    /// arguments. Nobody can write until it has ended, for which it has 10 s.
    snapshot: Option<Arguments>,
    /// Restores a backup into `{directory}`, an empty directory: program and arguments.
    restore: Arguments,
    /// Removes what `restore` created elsewhere, after success, failure and interruption: program and arguments.
    remove: Option<Arguments>,
    /// Fetches the WAL file `{file}` to `{path}`: program and arguments. Exit status 1 means that the archive lacks the
    /// file.
    wal: Option<Arguments>,
}

/// A program and its arguments.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<String>")]
#[schemars(with = "Vec<String>")]
struct Arguments {
    program: String,
    arguments: Vec<String>,
}

/// Exit status of `wal` if the archive lacks the file.
const NOT_FOUND: i32 = 1;

impl TryFrom<Vec<String>> for Arguments {
    type Error = &'static str;

    fn try_from(list: Vec<String>) -> Result<Self, Self::Error> {
        let mut list = list.into_iter();
        let program = list
            .next()
            .filter(|program| !program.is_empty())
            .ok_or("expected a program and its arguments")?;
        Ok(Self { program, arguments: list.collect() })
    }
}

impl Arguments {
    /// The arguments with values for their placeholders.
    fn filled(&self, values: &[(&str, &str)]) -> Vec<String> {
        let fill = |argument: &String| {
            // Each argument is one placeholder or contains some; a value is never searched again.
            let mut filled = String::new();
            let mut rest = argument.as_str();
            while let Some(start) = rest.find('{') {
                filled.push_str(&rest[..start]);
                rest = &rest[start..];
                let found = values.iter().find(|(name, _)| rest.starts_with(name));
                let (value, length) = found.map_or(("{", 1), |(name, value)| (*value, name.len()));
                filled.push_str(value);
                rest = &rest[length..];
            }
            filled + rest
        };
        self.arguments.iter().map(fill).collect()
    }

    fn program(&self, values: &[(&str, &str)]) -> Program {
        Program::installed(&self.program, None).args(self.filled(values))
    }
}

impl Command {
    /// The program that takes a snapshot of the running server.
    pub(crate) fn snapshot(&self, name: &BackupName) -> Option<Program> {
        Some(self.snapshot.as_ref()?.program(&[("{backup}", name.as_str())]))
    }
}

impl Tool for Command {
    fn name(&self) -> &'static str {
        "command"
    }

    fn place(&self) -> String {
        format!("the command {}", self.restore.program)
    }

    fn backups(&self, _: Asked) -> Result<Option<Vec<ToolBackup>>> {
        Ok(None)
    }

    fn restore(&self, backup: &ToolBackup, _: &RecoveryTarget, to: &Destination, asked: Asked) -> Result<()> {
        let directory = argument(&to.data);
        let values = [("{backup}", backup.name.as_str()), ("{directory}", &directory)];
        let restore = self.restore.program(&values);
        super::call(
            restore,
            &format!("restore {} with {}", backup.name, self.restore.program),
            |_| None,
            asked,
        )
        .map(drop)
    }

    fn archive(&self, _: &Destination) -> Result<Option<Arc<dyn WalArchive>>> {
        let archive = |wal: &Arguments| Arc::new(Archive(wal.clone())) as Arc<dyn WalArchive>;
        Ok(self.wal.as_ref().map(archive))
    }

    fn removal(&self, backup: &ToolBackup, to: &Destination) -> Option<Vec<String>> {
        let remove = self.remove.as_ref()?;
        let directory = argument(&to.data);
        let values = [("{backup}", backup.name.as_str()), ("{directory}", &directory)];
        Some([remove.program.clone()].into_iter().chain(remove.filled(&values)).collect())
    }
}

/// An archive that a command fetches from.
#[derive(Debug)]
struct Archive(Arguments);

impl WalArchive for Archive {
    fn place(&self) -> String {
        format!("of {}", self.0.program)
    }

    fn fetch(&self, file: &str, to: &Path, asked: Asked) -> Result<bool> {
        let ended = self.0.program(&[("{file}", file), ("{path}", &argument(to))]).run(&asked)?;
        match ended.status.code() {
            Some(0) => Ok(true),
            Some(NOT_FOUND) => Ok(false),
            _ => Err(failed(&ended, &format!("fetch the WAL file {file} with {}", self.0.program), |_| None)),
        }
    }

    fn restore_command(&self) -> String {
        let (file, path) = ("\u{1}", "\u{2}");
        let arguments = self.0.filled(&[("{file}", file), ("{path}", path)]);
        let command = super::restore_command(&self.0.program, &arguments, &[]);
        // Out of the quotes around them, since the server replaces them by names that need none.
        command.replace(file, "%f").replace(path, "%p")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_nothing_else() {
        let list =
            ["tool", "--to={directory}", "{backup}", "{other}{", "{backup}{directory}"].map(str::to_owned);
        let arguments = Arguments::try_from(list.to_vec()).unwrap();
        let filled = arguments.filled(&[("{backup}", "{directory}"), ("{directory}", "/d")]);
        assert_eq!(filled, ["--to=/d", "{directory}", "{other}{", "{directory}/d"]);
        assert!(Arguments::try_from(Vec::new()).is_err());
        let list = ["fetch", "s3://bucket/{file}", "{path}", "100%"].map(str::to_owned);
        let archive = Archive(Arguments::try_from(list.to_vec()).unwrap());
        assert_eq!(archive.restore_command(), "'fetch' 's3://bucket/%f' '%p' '100%%'");
    }
}
