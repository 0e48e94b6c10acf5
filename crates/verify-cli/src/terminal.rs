//! Destinations of output: results to standard output, everything else to standard error.

use std::fmt;
use std::io::{self, Write};

use anstream::AutoStream;
use anstream::stream::RawStream;
use anyhow::{Context, Result};
use clap::{ColorChoice, ValueEnum};

use crate::framing::Document;
use crate::progress::{Mode, Progress};
use crate::render::Style;

/// Format of standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Plain text
    Text,
    /// One JSON document
    Json,
}

/// The two streams, and how to write on them.
#[derive(Clone, Debug)]
pub(crate) struct Terminal {
    output: Output,
    style: Style,
    progress: Mode,
}

impl Terminal {
    pub(crate) fn new(output: Output, colour: ColorChoice, progress: Mode, verbose: bool) -> Self {
        let colour = coloured(colour, &io::stdout());
        let style = if verbose { Style { rows_max: usize::MAX, ..Style::plain() } } else { Style::plain() };
        Self { output, style: Style { colour, ..style }, progress }
    }

    /// Prints a result: as `text` makes it, or as JSON. Where standard output cannot be written, the first lines of
    /// the text, which hold the verdict, go to standard error.
    pub(crate) fn result(&self, result: &impl Document, text: impl FnOnce(&Style) -> String) -> Result<()> {
        let text = text(&self.style);
        let printed = match self.output {
            Output::Text => print(&text),
            Output::Json => {
                let json = result.to_json().context("failed to write the result as JSON")?;
                print(&format!("{json}\n"))
            }
        };
        if printed.is_err() {
            let head = text.lines().take_while(|line| !line.is_empty());
            print_note(&head.map(|line| format!("{line}\n")).collect::<String>());
        }
        printed
    }

    /// How text is set.
    #[cfg(feature = "report")]
    pub(crate) fn style(&self) -> Style {
        self.style
    }

    /// Progress display of work that measures.
    pub(crate) fn progress(&self, doing: &str) -> Progress {
        Progress::new(doing, self.progress)
    }

    /// Progress display of work that has steps alone.
    pub(crate) fn steps(&self) -> Progress {
        Progress::of_steps(self.progress)
    }
}

/// Prints a note on standard error, if that is open.
pub(crate) fn print_note(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Returns whether to colour output to a stream; `auto` follows NO_COLOR, CLICOLOR and TERM as clap's own messages
/// do.
fn coloured(colour: ColorChoice, stream: &impl RawStream) -> bool {
    match colour {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => AutoStream::choice(stream) != anstream::ColorChoice::Never,
    }
}

/// Style of an error on standard error.
pub(crate) fn error_style(colour: ColorChoice) -> Style {
    Style { colour: coloured(colour, &io::stderr()), ..Style::plain() }
}

/// Writes to standard output. A pipe whose reader has left is an error too: part of a result must not pass for the whole.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Unwritten)?)
}

/// Standard output could not be written.
#[derive(Debug)]
pub(crate) struct Unwritten(pub(crate) io::Error);

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed to write to standard output")
    }
}

impl std::error::Error for Unwritten {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}
