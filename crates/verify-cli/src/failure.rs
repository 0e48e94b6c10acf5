//! Errors at the edge: how they are classified, printed, and what the process ends with.

use std::fmt::Write;

use verify_core::table::shown_text;
use verify_drill::failure::{Failure, Kind, Known, file_hint, is_interruption, within};

use crate::config::Invalid;
use crate::exit::Exit;
use crate::render::{Ink, Style};
use crate::terminal::Unwritten;

/// Exit status of the process after this error.
pub(crate) fn exit(error: &anyhow::Error, asked: bool) -> Exit {
    if is_interruption(error) || asked { Exit::INTERRUPTED } else { Exit::COULD_NOT_RUN }
}

/// The report of an error with which the process ends in this way.
pub(crate) fn of(error: &anyhow::Error, exit: Exit) -> Failure {
    match exit {
        Exit::INTERRUPTED => Failure::interruption(error),
        _ => Failure::of(error, recognise),
    }
}

/// Recognises the errors of the program and of the crates that it was built with.
fn recognise(error: &anyhow::Error) -> Option<Known> {
    if let Some(unwritten) = error.chain().find_map(|cause| cause.downcast_ref::<Unwritten>()) {
        let remedy =
            file_hint(&unwritten.0).unwrap_or("connect standard output to a reader that reads all of it");
        let hint = format!("{remedy}; everything that the run created is kept");
        return Some(Known { kind: Kind::Output, hint: Some(hint) });
    }
    if within::<Invalid>(error) {
        return Some(Known { kind: Kind::Configuration, hint: None });
    }
    #[cfg(feature = "s3")]
    if let Some(known) = verify_s3::recognise(error) {
        return Some(known);
    }
    #[cfg(feature = "velero")]
    if let Some(known) = verify_velero::recognise(error) {
        return Some(known);
    }
    None
}

/// The report of a command line that cannot be understood.
pub(crate) fn of_usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let cause = paragraph.strip_prefix("error: ").unwrap_or(paragraph).trim().to_owned();
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: ")).map(str::to_owned);
    let hint =
        tip.or_else(|| Some("`state-lab --help` and `state-lab COMMAND --help` list the options".to_owned()));
    Failure { kind: Kind::Usage, sqlstate: None, causes: vec![cause], hint }
}

/// The report in words: a line for the error, one for each cause, and one for the hint.
pub(crate) fn text(failure: &Failure, style: &Style) -> String {
    if failure.kind == Kind::Interrupted {
        return "interrupted\n".to_owned();
    }
    let mut text = String::new();
    for (depth, cause) in failure.causes.iter().enumerate() {
        let head = if depth == 0 { style.paint(Ink::Bad, "error") } else { "  because".to_owned() };
        let _ = writeln!(text, "{head}: {}", shown_lines(cause));
    }
    if let Some(hint) = &failure.hint {
        let _ = writeln!(text, "{}: {}", style.paint(Ink::Good, "hint"), shown_text(hint));
    }
    text
}

/// Printable text, whose further lines are indented so that none passes for a line of state-lab's own.
fn shown_lines(text: &str) -> String {
    text.lines().map(shown_text).collect::<Vec<_>>().join("\n    ")
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
