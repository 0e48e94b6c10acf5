//! `cleanup`: removes what earlier runs left behind.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::storing::StoreFlag;
use crate::cli::Globals;
use crate::exit::Exit;
use crate::scratch;

/// Remove what earlier runs left behind
///
/// Servers and directories of runs that were killed, restored servers that were kept, and backups that were never
/// finished. Runs that are at work, and whole backups, are left alone.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Cleanup {
    #[command(flatten)]
    store: StoreFlag,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab cleanup
    state-lab cleanup --store /var/backups/state-lab";

impl Cleanup {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let store = self.store.open(&globals.config()?)?;
        let removed: Vec<PathBuf> = scratch::sweep_with_kept().into_iter().chain(store.sweep()).collect();
        let json = serde_json::json!({ "removed": removed });
        globals.terminal().result(&json, |_| match removed.is_empty() {
            true => "nothing was left behind\n".to_owned(),
            false => removed.iter().map(|path| format!("removed: {}\n", path.display())).collect(),
        })?;
        Ok(Exit::PASS)
    }
}
