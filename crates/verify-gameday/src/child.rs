//! Programs that a drill runs: argument lists without a shell, with a time limit and bounded output.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use verify_drill::process_group;

/// More output is not kept.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;
/// Lines of standard error that are kept for an explanation, the last ones.
const LINES_MAX: usize = 5;
/// Time to clean up after the request to end.
const GRACE: Duration = Duration::from_secs(120);

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit status; none if a signal ended it.
    pub status: Option<i32>,
    pub stdout: Vec<u8>,
    /// The last lines of standard error.
    pub said: Vec<String>,
    /// Reason for its end, if it did not end by itself.
    pub ended: Option<Ended>,
}

/// Reason for the end of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Not finished within its time limit.
    Late,
    /// The drill is to stop.
    Stopped,
}

/// Runs a program to its end, for at most `within`. It is asked to end by SIGTERM, and killed if it does not.
///
/// # Errors
///
/// If it cannot be started.
pub fn run(
    program: &str,
    arguments: &[String],
    within: Duration,
    asked: impl Fn() -> bool,
    line: &(dyn Fn(&str) + Sync),
) -> Result<Finished> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Of its own, so that Ctrl-C reaches the drill alone, which then ends it.
    command.process_group(0);
    let mut child = command.spawn().with_context(|| format!("failed to run {program}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let read = scope.spawn(move || {
            let mut bytes = Vec::new();
            // What cannot be read shows in the document that is missing.
            let _ = stdout.map(|from| from.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes));
            bytes
        });
        let said = scope.spawn(move || {
            let mut said: Vec<String> = Vec::new();
            for text in
                stderr.map(|from| BufReader::new(from).lines()).into_iter().flatten().map_while(Result::ok)
            {
                line(&text);
                said.push(text);
                let surplus = said.len().saturating_sub(LINES_MAX);
                said.drain(..surplus);
            }
            said
        });
        let doing = || format!("failed to wait for {program}");
        let ended = match process_group::wait(&mut child, within, &asked).with_context(doing)? {
            Some(_) => None,
            None if asked() => Some(Ended::Stopped),
            None => Some(Ended::Late),
        };
        if ended.is_some() {
            process_group::end(&mut child, GRACE);
        }
        let status = child.wait().with_context(doing)?.code();
        let (stdout, said) = (read.join().unwrap_or_default(), said.join().unwrap_or_default());
        Ok(Finished { status, stdout, said, ended })
    })
}
