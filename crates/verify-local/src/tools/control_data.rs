//! What `pg_controldata` prints of a restored data directory.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::server::Installation;

/// Settings that a standby needs at least as large as its primary had them, and the one without which commit times are
/// lost: the name of the setting, and the line of the program.
const SETTINGS: [(&str, &str); 6] = [
    ("max_connections", "max_connections setting"),
    ("max_worker_processes", "max_worker_processes setting"),
    ("max_wal_senders", "max_wal_senders setting"),
    ("max_prepared_transactions", "max_prepared_xacts setting"),
    ("max_locks_per_transaction", "max_locks_per_xact setting"),
    ("track_commit_timestamp", "track_commit_timestamp setting"),
];

/// The control file of a data directory.
pub(super) struct ControlData {
    lines: BTreeMap<String, String>,
}

impl ControlData {
    pub(super) fn read(installation: &Installation, data: &Path) -> Result<Self> {
        let doing = || format!("failed to read the control file of {}", data.display());
        let mut command = Command::new(installation.program("pg_controldata")?);
        let output =
            command.arg(data).env("LC_ALL", "C").stdin(Stdio::null()).output().with_context(doing)?;
        if !output.status.success() {
            bail!("{}: {}", doing(), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(Self::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    fn parse(printed: &str) -> Self {
        let line = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().to_owned()))
        };
        Self { lines: printed.lines().filter_map(line).collect() }
    }

    pub(super) fn system_identifier(&self) -> &str {
        self.lines.get("Database system identifier").map_or("", String::as_str)
    }

    pub(super) fn settings(&self) -> BTreeMap<String, String> {
        let setting =
            |(name, line): &(&str, &str)| Some(((*name).to_owned(), self.lines.get(*line)?.clone()));
        SETTINGS.iter().filter_map(setting).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_the_names_that_the_server_knows() {
        let control = ControlData::parse(
            "Database system identifier:           7713853750328935126\n\
             max_connections setting:              100\n\
             max_prepared_xacts setting:           5\n\
             track_commit_timestamp setting:       off\n",
        );
        assert_eq!(control.system_identifier(), "7713853750328935126");
        let settings: Vec<_> =
            control.settings().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            settings,
            ["max_connections=100", "max_prepared_transactions=5", "track_commit_timestamp=off"]
        );
    }
}
