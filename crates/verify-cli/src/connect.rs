//! From what the command line calls DB to a database that can be measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use verify_core::database::Database;
use verify_core::manifest::Manifest;
use verify_core::postgres::{Connection, Environment, Postgres, SessionOptions, Settings, restored};

use crate::config::Config;
use crate::terminal;
use verify_drill::interrupt;

/// A short statement that takes longer is stuck.
const STATEMENT_TIMEOUT_MS: u32 = 10_000;

/// A database to measure, and what to call it.
pub(crate) struct Target {
    /// `user@host:port/database`.
    pub(crate) place: String,
    settings: Settings,
}

impl Target {
    /// The database of this name; not connected yet.
    pub(crate) fn find(name: &str, config: &Config) -> Result<Self> {
        let settings = Settings::parse(config.conninfo(name)?, &environment())?.with_stop(interrupt::asked);
        Ok(Self::new(settings))
    }

    /// The database that settings lead to; not connected yet.
    pub(crate) fn new(settings: Settings) -> Self {
        Self { place: settings.describe(), settings }
    }

    /// The same on a standby, where one can be used. It is said which server was chosen.
    pub(crate) fn preferring_standby(self) -> Result<Self> {
        let chosen = self.settings.prefer_standby()?;
        let place = chosen.settings.describe();
        match chosen.no_standby {
            None => terminal::print_note(&format!("reading from the standby {place}\n")),
            Some(reason) => {
                terminal::print_note(&format!("reading from {place}, which is not a standby: {reason}\n"));
            }
        }
        Ok(Self { place, settings: chosen.settings })
    }

    /// Settings of the connection.
    pub(crate) fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// The database as it is now.
    pub(crate) fn database(&self) -> Postgres {
        Postgres::new(self.settings.clone())
    }

    /// The database as of a manifest's instant, where the manifest says how to find that again.
    pub(crate) fn database_of(&self, manifest: &Manifest) -> Box<dyn Database> {
        restored(&self.settings, manifest)
    }

    /// A session for few short statements.
    pub(crate) fn connect(&self) -> verify_core::Result<Connection> {
        connect(&self.settings)
    }
}

/// Opens a session for few short statements.
pub(crate) fn connect(settings: &Settings) -> verify_core::Result<Connection> {
    let session = SessionOptions::verification(STATEMENT_TIMEOUT_MS, STATEMENT_TIMEOUT_MS)
        .with("application_name", "state-lab");
    Connection::open(settings, &session)
}

/// The process's environment, for the library, which does not read it.
fn environment() -> Environment {
    // What is not UTF-8 cannot be sent to a server and is left out.
    let variables: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let account = fs::read_to_string("/etc/passwd")
        .ok()
        .and_then(|passwd| account(&passwd, rustix::process::geteuid().as_raw()));
    let (user, home) = account.unzip();
    let home = variables.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from).or(home);
    // Like libpq, the account's name and not USER; that only where there is no account, as in some containers.
    let user = user.or_else(|| variables.get("USER").cloned());
    Environment { variables, home, user }
}

/// Name and home directory of a user.
fn account(passwd: &str, uid: u32) -> Option<(String, PathBuf)> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields[..] {
            [name, _, found, _, _, home, ..] if found.parse() == Ok(uid) => {
                Some((name.to_owned(), PathBuf::from(home)))
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n+::::::\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(account(passwd, 1000), Some(("ann".to_owned(), PathBuf::from("/home/ann"))));
        assert_eq!(account(passwd, 100), None);
    }
}
