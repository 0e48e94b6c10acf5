//! `completions`: a script that makes a shell complete the command line.

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::exit::Exit;
use crate::globals::Globals;
use crate::terminal;
use crate::terminal::Output;
use verify_drill::hint::Hinted;

/// Print a shell completion script
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab completions bash > /etc/bash_completion.d/state-lab
    state-lab completions zsh > ~/.zfunc/_state-lab";

impl Completions {
    pub(crate) fn run<C: CommandFactory>(self, globals: &Globals) -> Result<Exit> {
        if globals.output == Output::Json {
            return Err(Hinted::new(
                "failed to print completions: a script cannot be printed as JSON",
                "remove --output json",
            )
            .into());
        }
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut C::command(), "state-lab", &mut script);
        terminal::print(&String::from_utf8(script).context("failed to write the script as UTF-8")?)?;
        Ok(Exit::PASS)
    }
}
