//! Flags that every command takes.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ColorChoice};

use crate::config::Config;
use crate::progress::Form;
use crate::terminal::{Output, Terminal};

/// Flags that every command takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Globals {
    /// Format of standard output
    #[arg(long, global = true, value_enum, default_value_t = Output::Text, value_name = "FORM", help_heading = GLOBAL)]
    pub(crate) output: Output,
    /// When to use colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN", help_heading = GLOBAL)]
    pub(crate) color: ColorChoice,
    /// Form of progress on standard error; auto: a bar on a terminal, else lines
    #[arg(long, global = true, value_enum, default_value_t = Form::Auto, value_name = "FORM", help_heading = GLOBAL)]
    pub(crate) progress: Form,
    /// Print no progress
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub(crate) quiet: bool,
    /// List every row that is known to differ, not only the first 20 of a finding
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub(crate) verbose: bool,
    /// Configuration file [default: state-lab.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub(crate) config: Option<PathBuf>,
    /// Use the configuration of this server, a [servers.NAME] table. Its name replaces {server} in all arguments
    #[arg(long, global = true, value_name = "NAME", help_heading = GLOBAL)]
    pub(crate) server: Option<String>,
    /// Run the command for each [servers.NAME] of the configuration, one after another, whatever becomes of the others; the exit
    /// status is the worst: 1, then 2, then 3
    #[arg(long, global = true, conflicts_with = "server", help_heading = GLOBAL)]
    pub(crate) all_servers: bool,
}

const GLOBAL: &str = "Global options";

impl Globals {
    /// The configuration.
    pub(crate) fn config(&self) -> Result<Config> {
        Config::load(self.config.as_deref(), self.server.as_deref())
    }

    /// Terminal settings of the global options.
    pub(crate) fn terminal(&self) -> Terminal {
        let Self { output, color, progress, quiet, verbose, config: _, server: _, all_servers: _ } = self;
        Terminal::new(*output, *color, progress.mode(*quiet), *verbose)
    }
}
