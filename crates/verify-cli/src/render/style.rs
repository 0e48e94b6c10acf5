//! Verbosity and colour of output.

use anstyle::AnsiColor;
use verify_core::finding::{Severity, Verdict};

/// Verbosity and colour of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// True for coloured output.
    pub colour: bool,
    /// At most this many rows of a finding, and gaps, are shown, and five times as many findings.
    pub rows_max: usize,
    /// A row is cut to so many characters.
    pub chars_max: usize,
}

/// A sentence is cut to so many characters: it may quote a server.
const SENTENCE_CHARS_MAX: usize = 1_000;

/// A sentence, printable; whatever it quotes cannot flood the terminal.
pub(super) fn sentence(text: &str) -> String {
    shown(text, SENTENCE_CHARS_MAX)
}

fn shown(text: &str, chars_max: usize) -> String {
    let shown = verify_core::table::shown_text(text);
    match shown.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

/// Meaning of a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Good,
    Bad,
    Doubtful,
    Faint,
}

impl Style {
    /// 20 rows of 160 characters, no colour.
    pub const fn plain() -> Self {
        Self { colour: false, rows_max: 20, chars_max: 160 }
    }

    pub(crate) fn paint(&self, ink: Ink, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let style = match ink {
            Ink::Good => AnsiColor::Green.on_default().bold(),
            Ink::Bad => AnsiColor::Red.on_default().bold(),
            Ink::Doubtful => AnsiColor::Yellow.on_default().bold(),
            Ink::Faint => anstyle::Style::new().dimmed(),
        };
        format!("{style}{text}{style:#}")
    }

    /// Text from a database, printable and not wider than a row may be.
    pub(crate) fn cut(&self, text: &str) -> String {
        shown(text, self.chars_max)
    }
}

impl From<Verdict> for Ink {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Good,
            Verdict::Fail => Self::Bad,
            Verdict::Inconclusive => Self::Doubtful,
        }
    }
}

impl From<Severity> for Ink {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Fail => Self::Bad,
            Severity::Inconclusive => Self::Doubtful,
            Severity::Notice => Self::Faint,
        }
    }
}
