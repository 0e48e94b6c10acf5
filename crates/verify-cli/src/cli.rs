//! The command line: global flags, the verbs, and what the process ends with.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Config;
use crate::exit::Exit;
use crate::terminal::{self, Terminal};
use crate::{commands, failure, interrupt, scratch};

/// Parses the command line, runs the command, tells errors, and says how the process is to end.
pub fn main() -> Exit {
    let Cli { globals, command } = Cli::parse();
    let run = || {
        interrupt::listen()?;
        command.run(&globals)
    };
    match run() {
        Ok(exit) => exit,
        Err(error) => {
            let exit = failure::exit(&error, interrupt::asked());
            if exit == Exit::INTERRUPTED {
                scratch::remove_all();
            }
            terminal::tell(&failure::describe(&error, exit));
            exit
        }
    }
}

/// Proves that a restored PostgreSQL database is the one that was backed up: every row, key and sequence.
#[derive(Parser)]
#[command(name = "state-lab", version, disable_help_subcommand = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
DB is a libpq connection string or URI, or the name of a [databases.NAME] table in state-lab.toml.
The PG* variables, ~/.pgpass and service files work as in libpq; \"\" stands for these alone.
PATH is a file, or s3://bucket/key.

Exit status:
    0  pass
    1  fail: data differ, a check found damage, an invariant broke, or an objective was missed
    2  could not run: usage, configuration, connection
    3  inconclusive: nothing differs, but not everything could be checked
  130  interrupted; what had been made is removed

EXAMPLES:
    state-lab capture postgresql://backup@db/shop -o shop.manifest
    state-lab verify shop.manifest postgresql://postgres@restored/shop";

/// Flags that every command takes.
#[derive(Args, Clone, Debug)]
pub struct Globals {
    /// What to print on standard output
    #[arg(long, global = true, value_enum, default_value_t = Output::Text, value_name = "FORM", help_heading = GLOBAL)]
    pub output: Output,
    /// Whether to colour; auto colours on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN", help_heading = GLOBAL)]
    pub color: Colour,
    /// Show no progress
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub quiet: bool,
    /// Name every row that is known to differ, not only the first 20 of a finding
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub verbose: bool,
    /// The configuration file [default: state-lab.toml, where there is one]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub config: Option<PathBuf>,
}

const GLOBAL: &str = "Global options";

/// What goes to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// One JSON document, and nothing else
    Json,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal
    Auto,
    /// Also into files and pipes
    Always,
    /// Nowhere
    Never,
}

impl Globals {
    /// The configuration.
    pub(crate) fn config(&self) -> Result<Config> {
        Config::load(self.config.as_deref())
    }

    /// Where output goes.
    pub(crate) fn terminal(&self) -> Terminal {
        let Self { output, color, quiet, verbose, config: _ } = self;
        Terminal::new(*output, *color, *quiet, *verbose)
    }

    /// Tells a step on standard error.
    pub(crate) fn tell(&self, doing: &str) {
        if !self.quiet {
            terminal::tell(&format!("{doing}\n"));
        }
    }
}

#[derive(Subcommand)]
enum Command {
    Demo(commands::demo::Demo),
    Capture(commands::capture::Capture),
    Verify(commands::verify::Verify),
    Compare(commands::compare::Compare),
    Show(commands::show::Show),
    Heartbeat(commands::heartbeat::Heartbeat),
    Backup(commands::backup::Backup),
    Restore(commands::restore::Restore),
    Failover(commands::failover::Failover),
    Replicas(commands::replicas::Replicas),
    Cleanup(commands::cleanup::Cleanup),
    Bench(commands::bench::Bench),
    Completions(commands::completions::Completions),
    #[command(hide = true)]
    Agent(commands::agent::Agent),
}

impl Command {
    fn run(self, globals: &Globals) -> Result<Exit> {
        match self {
            Self::Demo(command) => command.run(globals),
            Self::Capture(command) => command.run(globals),
            Self::Verify(command) => command.run(globals),
            Self::Compare(command) => command.run(globals),
            Self::Show(command) => command.run(globals),
            Self::Heartbeat(command) => command.run(globals),
            Self::Backup(command) => command.run(globals),
            Self::Restore(command) => command.run(globals),
            Self::Failover(command) => command.run(globals),
            Self::Replicas(command) => command.run(globals),
            Self::Cleanup(command) => command.run(globals),
            Self::Bench(command) => command.run(globals),
            Self::Completions(command) => command.run::<Cli>(),
            Self::Agent(command) => command.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
