//! Runs of `state-lab` in an environment of their own.

use std::path::Path;
use std::process::{Command, Output};

/// The program in `directory`, with nothing of our own environment that could lead it to a server or a colour.
pub(crate) fn state_lab(directory: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("state-lab"));
    command.env_clear().env("HOME", directory).env("TERM", "dumb").current_dir(directory);
    command
}

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Outcome {
    outcome(&state_lab(directory).args(arguments).output().unwrap())
}

pub(crate) fn outcome(output: &Output) -> Outcome {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    Outcome { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}
