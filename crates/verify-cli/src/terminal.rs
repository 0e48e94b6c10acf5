//! Where output goes: results to standard output, everything else to standard error.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cli::{Colour, Output};
use crate::progress::{Mode, Progress};
use crate::render::Style;

/// The two streams, and how to write on them.
#[derive(Clone, Debug)]
pub(crate) struct Terminal {
    output: Output,
    style: Style,
    quiet: bool,
}

impl Terminal {
    pub(crate) fn new(output: Output, colour: Colour, quiet: bool, verbose: bool) -> Self {
        let colour = match colour {
            Colour::Always => true,
            Colour::Never => false,
            // https://no-color.org: any value but the empty one.
            Colour::Auto => {
                io::stdout().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        };
        let style = if verbose { Style { rows_max: usize::MAX, ..Style::plain() } } else { Style::plain() };
        Self { output, style: Style { colour, ..style }, quiet }
    }

    /// Prints a result: as `text` makes it, or as JSON.
    pub(crate) fn result(&self, result: &impl Serialize, text: impl FnOnce(&Style) -> String) -> Result<()> {
        match self.output {
            Output::Text => print(&text(&self.style)),
            Output::Json => {
                let json =
                    serde_json::to_string_pretty(result).context("failed to write the result as JSON")?;
                print(&format!("{json}\n"))
            }
        }
    }

    /// Where the events of a capture go.
    pub(crate) fn progress(&self, doing: &str) -> Progress {
        let mode = match self.quiet {
            true => Mode::Silent,
            false if io::stderr().is_terminal() => Mode::Bar,
            false => Mode::Lines,
        };
        Progress::new(doing, mode)
    }
}

/// Tells something besides the result. Where standard error is closed there is nobody to tell.
pub(crate) fn tell(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes to standard output. A reader that has seen enough, as `head` has, is no error: the verdict stands.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("failed to write to standard output"),
    }
}
