//! What commands that work on a store of backups share: its flag, their steps, their first line when they fail.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::cli::{Globals, Output};
use crate::config::Config;
use crate::exit::Exit;
use crate::progress::Progress;
use crate::provider::local::Store;
use crate::terminal;

/// Where backups are.
#[derive(Args)]
pub(crate) struct StoreFlag {
    /// The directory of backups [default: that of the configuration, else ~/.local/share/state-lab/backups]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl StoreFlag {
    /// The store: the flag's, else the configuration's, else the user's.
    pub(crate) fn open(&self, config: &Config) -> Result<Store> {
        match self.store.as_deref().or(config.store()) {
            Some(path) => Store::open(path),
            None => Store::open(&Store::default_path()?),
        }
    }
}

/// Tells a step on standard error.
pub(crate) fn tell_step(globals: &Globals, doing: &str) {
    if !globals.quiet {
        terminal::tell(&format!("{doing}\n"));
    }
}

/// The same of work whose progress is shown, which says nothing of the step.
pub(crate) fn tell_step_of(progress: &Progress, globals: &Globals, doing: &str) {
    progress.pause();
    tell_step(globals, doing);
}

/// Tells what could not be removed again.
pub(crate) fn tell_left(left: &[String]) {
    for object in left {
        terminal::tell(&format!("not removed: {object}\n"));
    }
    if !left.is_empty() {
        terminal::tell("`state-lab cleanup` tries again\n");
    }
}

/// Runs work whose first line of output says whether it could be done.
pub(crate) fn with_status(
    field: &str,
    globals: &Globals,
    work: impl FnOnce() -> Result<Exit>,
) -> Result<Exit> {
    work().inspect_err(|_| {
        // The error itself is told on standard error.
        let _ = terminal::print(&match globals.output {
            Output::Text => format!("{field}: failed\n"),
            Output::Json => format!("{{\"{field}\": \"failed\"}}\n"),
        });
    })
}
