//! Parts shared by commands that work on backups: the store's flag, the output of steps and of leftovers.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::config::Config;
use crate::evidence::Evidence;
use crate::globals::Globals;
use crate::progress::Progress;
use crate::terminal;
use verify_drill::interrupt;
use verify_drill::watch::{Event, Watch};
use verify_local::Store;

/// Flag for the store of backups.
#[derive(Args, Clone, Debug)]
pub(crate) struct StoreFlag {
    /// The directory of backups [default: that of the configuration, else ~/.local/share/state-lab/backups]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl StoreFlag {
    /// The flag with this value.
    #[cfg(any(feature = "serve", feature = "drill"))]
    pub(crate) fn of(store: Option<PathBuf>) -> Self {
        Self { store }
    }

    /// The directory of the store: the flag's, else the configuration's, else the user's.
    pub(crate) fn path(&self, config: &Config) -> Result<PathBuf> {
        self.store.as_deref().or(config.store()).map_or_else(Store::default_path, |path| Ok(path.to_owned()))
    }

    /// Returns whether the command line or the configuration names a store.
    pub(crate) fn is_given(&self, config: &Config) -> bool {
        self.store.is_some() || config.store().is_some()
    }

    /// The store: the flag's, else the configuration's, else the user's.
    pub(crate) fn open(&self, config: &Config) -> Result<Store> {
        Store::open(&self.path(config)?)
    }
}

/// Does work whose progress and steps are shown.
pub(crate) fn watched<T>(
    globals: &Globals,
    doing: &str,
    evidence: Option<&Evidence>,
    work: impl FnOnce(&Watch<'_>) -> Result<T>,
) -> Result<T> {
    let progress = globals.terminal().progress(doing);
    work(&Watch { sink: &|event| show(event, &progress, evidence), asked: interrupt::asked })
}

/// Does work whose steps are shown, and which measures nothing.
pub(crate) fn with_steps<T>(
    globals: &Globals,
    evidence: Option<&Evidence>,
    work: impl FnOnce(&Watch<'_>) -> Result<T>,
) -> Result<T> {
    let progress = globals.terminal().steps();
    work(&Watch { sink: &|event| show(event, &progress, evidence), asked: interrupt::asked })
}

fn show(event: Event, progress: &Progress, evidence: Option<&Evidence>) {
    if let Some(evidence) = evidence {
        evidence.note(&event);
    }
    progress.show(event);
}

/// Reports objects that could not be removed.
pub(crate) fn report_left(left: &[String]) {
    for object in left {
        terminal::print_note(&format!("not removed: {object}\n"));
    }
    if !left.is_empty() {
        terminal::print_note("`state-lab cleanup` tries again\n");
    }
}
