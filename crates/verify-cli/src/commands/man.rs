//! `man`: the manual pages, for packages.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};

use crate::exit::Exit;

/// Write the manual pages into a directory
#[derive(Args)]
pub(crate) struct Man {
    /// An existing directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    pub(crate) fn run<C: CommandFactory>(self) -> Result<Exit> {
        clap_mangen::generate_to(C::command(), &self.directory)
            .with_context(|| format!("failed to write the manual pages into {}", self.directory.display()))?;
        Ok(Exit::PASS)
    }
}
