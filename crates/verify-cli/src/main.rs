//! The binary `state-lab`: parse, run, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    state_lab::cli::main().into()
}
