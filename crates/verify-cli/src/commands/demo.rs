//! `demo`: the whole drill on throw-away servers of this machine.

use anyhow::Result;
use clap::Args;

use crate::demo::story::{self, Narrator};
use crate::exit::Exit;
use crate::globals::Globals;
use crate::terminal;

/// Destroy a database and verify its restore, on temporary servers of this machine
///
/// Needs only an installed PostgreSQL server, writes only below the temporary directory, and leaves nothing behind.
/// A shop is loaded, used by clients, backed up meanwhile, killed and deleted; the restored copy is verified row by
/// row, and the lost time and writes are compared with the clients' records. Then the copy is damaged in six small
/// ways, each of which must be found.
///
/// Exit status 0 means that all results were as expected.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Demo {
    /// Major version of PostgreSQL, 13 to 18 [default: the newest on this machine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(13..=18))]
    major: Option<u32>,
    /// Keep the restored and damaged copy running, and print how to connect to it
    #[arg(long)]
    keep: bool,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab demo
    state-lab demo --major 16 --keep";

impl Demo {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let Self { major, keep } = self;
        let installation = story::installation(major)?;
        let say = |line: &str| {
            if !globals.quiet {
                terminal::print_note(line);
            }
        };
        let (outcome, restored) = story::play(&installation, &Narrator::new(&say))?;
        globals.terminal().result(&outcome, |style| outcome.text(style))?;
        if keep {
            let conninfo = restored.conninfo(story::DATABASE);
            let path = restored.keep()?;
            terminal::print_note(&format!(
                "the damaged copy is still running in {}; inspect it with\n    psql \"{conninfo}\"\nand remove it with\n    \
                 state-lab cleanup\n",
                path.display()
            ));
        }
        Ok(outcome.verdict.into())
    }
}
