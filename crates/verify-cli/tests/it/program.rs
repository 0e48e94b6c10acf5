//! Runs of `state-lab` in an environment of their own.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The program in `directory`, without variables of this process's environment that name a server or a colour.
pub(crate) fn state_lab(directory: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("state-lab"));
    command.env_clear().env("HOME", directory).env("TERM", "dumb").current_dir(directory);
    command
}

/// Result of a run of the program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RunResult {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn run(directory: &Path, arguments: &[&str]) -> RunResult {
    outcome(&state_lab(directory).args(arguments).output().unwrap())
}

pub(crate) fn outcome(output: &Output) -> RunResult {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    RunResult { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A run that goes on; it ends with the test, whatever becomes of that.
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(Some(command.spawn().unwrap()))
    }

    /// Waits until it ends.
    pub(crate) fn outcome(mut self) -> RunResult {
        outcome(&self.0.take().unwrap().wait_with_output().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.0.as_ref().unwrap()), signal).unwrap();
    }

    pub(crate) fn end(self, signal: Signal) -> RunResult {
        self.signal(signal);
        self.outcome()
    }

    /// The same, which must take no longer than a second; twice that on a busy machine.
    pub(crate) fn end_at_once(self, signal: Signal) -> RunResult {
        let began = Instant::now();
        let outcome = self.end(signal);
        assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}: {outcome:?}", began.elapsed());
        outcome
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
