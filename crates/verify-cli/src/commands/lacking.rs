//! Commands that this program was built without.

use std::ffi::OsString;

use anyhow::Result;
use clap::Args;

use crate::exit::Exit;
use crate::lacking;

/// A command of the feature `velero`, whatever its arguments
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Lacking {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Lacking {
    pub(crate) fn run(self) -> Result<Exit> {
        let Self { arguments: _ } = self;
        Err(lacking::error("velero", "failed to run the command"))
    }
}
