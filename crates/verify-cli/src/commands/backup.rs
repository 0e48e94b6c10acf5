//! `backup`: a copy of databases with the manifests that prove it.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::measuring::{Effort, Hash};
use super::storing::{self, StoreFlag};
use crate::cli::Globals;
use crate::connect::Target;
use crate::exit::Exit;
use crate::interrupt;
use crate::provider::Watch;
use crate::provider::local::{self, BackupName, BackupRequest};
use crate::render::restore;
use crate::terminal;

/// Back databases up, with manifests of the same instant
///
/// A physical backup copies the whole server with pg_basebackup, while one open transaction a database keeps the
/// manifest's row versions; the role needs REPLICATION and SELECT. A logical backup dumps each database under the
/// snapshot that its manifest was captured under; the role needs SELECT. Either is kept whole or not at all.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Backup {
    /// What to call it: letters, digits, dots, dashes and underscores
    #[arg(long, value_name = "NAME")]
    name: BackupName,
    /// How to copy [default: physical where role and server allow it, else logical]
    #[arg(long, value_enum, value_name = "METHOD")]
    method: Option<Method>,
    /// The hash of the rows
    #[arg(long, value_enum, default_value = "blake3")]
    hash: Hash,
    #[command(flatten)]
    store: StoreFlag,
    #[command(flatten)]
    effort: Effort,
    /// The databases, all of one server: connection strings, URIs, or names from the configuration
    #[arg(value_name = "DB", default_value = "")]
    databases: Vec<String>,
}

/// How to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    /// The whole server, with pg_basebackup
    Physical,
    /// Each database, with pg_dump
    Logical,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab backup --name nightly-001 postgresql://backup@db/shop
    state-lab backup --name nightly-001 --method logical --jobs 4 shop billing
    state-lab restore --snapshot nightly-001";

impl From<Method> for local::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Physical => Self::Physical,
            Method::Logical => Self::Logical,
        }
    }
}

impl Backup {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        storing::with_status("backup_status", globals, || self.back_up(globals))
    }

    fn back_up(self, globals: &Globals) -> Result<Exit> {
        let Self { name, method, hash, store, effort, databases } = self;
        let config = globals.config()?;
        let targets = databases.iter().map(|database| Ok(Target::find(database, &config)?.settings()));
        let request = BackupRequest {
            store: store.open(&config)?,
            name,
            method: method.map(Into::into),
            databases: targets.collect::<Result<_>>()?,
            plan: effort.plan(&config, hash.into()),
        };
        let progress = globals.terminal().progress("backing up");
        let on_step = |doing: &str| storing::tell_step(globals, doing);
        let watch =
            Watch { on_event: &|event| progress.take(event), on_step: &on_step, asked: interrupt::asked };
        let record = local::backup(&request, &watch)?;
        drop(progress);
        let place: PathBuf = request.store.path().join(record.name.as_str());
        let json = serde_json::json!({ "backup_status": "success", "path": place, "backup": record });
        let place = place.to_string_lossy();
        globals.terminal().result(&json, |style| restore::backup(&record, &place, style))?;
        if let Some(database) = record.databases.iter().find(|database| database.unproven.is_some()) {
            terminal::tell(&format!("the backup of {} is whole, yet cannot be proven\n", database.name));
            return Ok(Exit::INCONCLUSIVE);
        }
        Ok(Exit::PASS)
    }
}
