//! Commands that this program was built without.

use std::ffi::OsString;

use anyhow::Result;
use clap::Args;

use crate::exit::Exit;
use crate::lacking;

/// A command that this program was built without, whatever its arguments
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Lacking {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Lacking {
    pub(crate) fn run(self, feature: &str) -> Result<Exit> {
        let Self { arguments: _ } = self;
        Err(lacking::error(feature, "failed to run the command"))
    }
}
