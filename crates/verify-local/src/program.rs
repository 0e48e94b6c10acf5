//! PostgreSQL's client programs as children: connected through their environment alone, stoppable, with captured output.

use std::io::{BufRead, BufReader, Read, Seek};
use std::ops::ControlFlow;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use verify_core::postgres::{Settings, connection_variables};
use verify_core::table::shown_text;

use super::patience::PATIENCE;
use crate::server::{Installation, ServerUser, client_program};
use verify_drill::interrupt::interrupted;
use verify_drill::process_group;

/// Only so much of what a program said is kept: the end, where it says why it gave up.
const SAID_BYTES_MAX: usize = 16 << 10;

/// A program to run.
pub(super) struct Program {
    name: String,
    major: u32,
    command: Command,
}

/// The longest output of a program that is read; a longer one is truncated.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;

/// Result of a program.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// The end of what it wrote to standard error.
    pub(super) said: String,
}

impl Program {
    /// The oldest program that serves `major`: a newer `pg_dump` writes what an older `pg_restore` does not read, and a
    /// newer `pg_restore` sends what an older server does not know.
    pub(super) fn find(name: &'static str, major: u32) -> Result<Self> {
        let installed = Installation::find_all().into_iter().filter(|installed| installed.major >= major);
        let found = installed.filter_map(|installed| Some((installed.major, installed.program(name).ok()?)));
        let (major, path) = match found.min_by_key(|(major, _)| *major) {
            Some(found) => found,
            None => {
                let path = client_program(name, major)?;
                (major_of(&path)?, path)
            }
        };
        let mut command = quiet(Command::new(path));
        for variable in connection_variables() {
            command.env_remove(variable);
        }
        Ok(Self { name: name.to_owned(), major, command })
    }

    /// A program of the PATH, or with a path of its own, in the environment of state-lab; `user` runs it if there is one.
    pub(super) fn installed(name: &str, user: Option<&ServerUser>) -> Self {
        let mut command = quiet(Command::new(name));
        if let Some(user) = user {
            // Our own working directory may be closed to that user.
            command.uid(user.uid).gid(user.gid).current_dir("/");
            command.env("HOME", &user.home).env("USER", &user.name).env("LOGNAME", &user.name);
        }
        Self { name: name.to_owned(), major: 0, command }
    }

    /// Its major version.
    pub(super) fn major(&self) -> u32 {
        self.major
    }

    /// Returns whether a program of exactly the same release is in its directory.
    pub(super) fn has_beside(&self, name: &str) -> bool {
        let own = Path::new(self.command.get_program());
        release_of(own).is_ok_and(|ours| release_of(&own.with_file_name(name)).is_ok_and(|its| its == ours))
    }

    /// Connects it to a database. Passwords go into its environment, where other users cannot see them.
    pub(super) fn connect(mut self, settings: &Settings) -> Self {
        // libpq has no variables for these.
        let patience = PATIENCE.map(|(name, value)| format!("{name}={value}")).join(" ");
        let command = self.command.env("PGAPPNAME", "state-lab");
        let (mut options, variables): (Vec<_>, Vec<_>) =
            settings.child_environment().into_iter().partition(|(name, _)| name == "PGOPTIONS");
        // pg_dump switches the database's timeout off only with its second statement.
        let mut options = options.pop().map_or_else(String::new, |(_, options)| options + " ");
        options.push_str("-c statement_timeout=0");
        command.envs(variables).env("PGOPTIONS", options);
        command.arg(format!("--dbname={patience}"));
        self
    }

    pub(super) fn args<S: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sends its standard output to a new file.
    pub(super) fn write_to(mut self, path: &Path) -> Result<Self> {
        let file = super::tree::create_file(path)?;
        self.command.stdout(file);
        Ok(self)
    }

    /// Runs it to its end, and insists on success.
    pub(super) fn succeed(self, stop: &dyn Fn() -> bool) -> Result<()> {
        let name = self.name.clone();
        let ended = self.run(stop)?;
        if !ended.status.success() {
            bail!("{name} failed ({}): {}", ended.status, ended.messages());
        }
        Ok(())
    }

    /// Runs it to its end, or until it is to stop, or until `line`, which gets every line of its output, breaks.
    pub(super) fn run_by_line(
        mut self,
        stop: &dyn Fn() -> bool,
        mut line: impl FnMut(&str) -> ControlFlow<()> + Send,
    ) -> Result<Ended> {
        let (reader, writer) = std::io::pipe().context("failed to make a pipe")?;
        self.command.stdout(writer);
        thread::scope(|scope| {
            scope.spawn(move || {
                // A program whose output is read no further ends when it writes more.
                for read in BufReader::new(reader).lines() {
                    let Ok(read) = read else { return };
                    if line(&read).is_break() {
                        return;
                    }
                }
            });
            self.run(stop)
        })
    }

    /// Runs it to its end, or until it is to stop, and returns what it printed as well.
    pub(super) fn output(mut self, stop: &dyn Fn() -> bool) -> Result<(Ended, Vec<u8>)> {
        let mut file = tempfile::tempfile().context("failed to create a file for the output of a program")?;
        self.command.stdout(file.try_clone().context("failed to share the file of a program's output")?);
        let ended = self.run(stop)?;
        let mut printed = Vec::new();
        file.rewind()
            .and_then(|()| file.take(OUTPUT_BYTES_MAX).read_to_end(&mut printed))
            .context("failed to read the output of a program")?;
        Ok((ended, printed))
    }

    /// Runs it to its end, or until it is to stop.
    pub(super) fn run(mut self, stop: &dyn Fn() -> bool) -> Result<Ended> {
        let mut child = self
            .command
            .spawn()
            .with_context(|| format!("failed to run {}", self.command.get_program().to_string_lossy()))?;
        let stderr = child.stderr.take();
        thread::scope(|scope| {
            let said = scope.spawn(|| stderr.map(end_of).unwrap_or_default());
            let status = process_group::wait(&mut child, Duration::MAX, stop);
            if !matches!(status, Ok(Some(_))) {
                process_group::end(&mut child, process_group::TERM_TIMEOUT);
            }
            let said = said.join().unwrap_or_default();
            let status = status.with_context(|| format!("failed to poll {}", self.name))?;
            Ok(Ended { status: status.ok_or_else(interrupted)?, said })
        })
    }
}

impl Ended {
    /// The last line with an error, else the last one.
    pub(super) fn last_error(&self) -> &str {
        let lines = || self.said.lines().rev().map(str::trim).filter(|line| !line.is_empty());
        let error =
            lines().find(|line| ["error:", "FATAL:", "ERROR:"].iter().any(|word| line.contains(word)));
        error.or(lines().next()).unwrap_or("it printed nothing")
    }

    /// Its messages, on one line.
    pub(super) fn messages(&self) -> String {
        match self.said.as_str() {
            "" => "it printed nothing".to_owned(),
            said => {
                said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
            }
        }
    }
}

/// The major version that a program says it has.
/// A command without input, that prints nothing but its messages, which stay readable by us whatever the user's language. Its
/// own process group: a Ctrl-C in the terminal is for us, and we stop the program in our own order.
fn quiet(mut command: Command) -> Command {
    command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.process_group(0);
    command
}

fn major_of(program: &Path) -> Result<u32> {
    let release = release_of(program)?;
    let digits = release.find(|c: char| !c.is_ascii_digit()).unwrap_or(release.len());
    let major = release[..digits].parse();
    major.with_context(|| format!("failed to find the version of {}", program.display()))
}

/// The release that a program says it is of: `15.18 (Debian 15.18-1)`.
fn release_of(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").env("LC_ALL", "C").output();
    let output = output.with_context(|| format!("failed to run {} --version", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let release = text.split_once("(PostgreSQL) ").map(|(_, release)| release.trim());
    Ok(release.unwrap_or_default().to_owned())
}

/// The last bytes of a stream, printable.
fn end_of(mut stream: impl Read) -> String {
    let mut kept = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        kept.extend_from_slice(&piece[..length]);
        let surplus = kept.len().saturating_sub(SAID_BYTES_MAX);
        kept.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&kept);
    text.trim().lines().map(shown_text).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn shell(script: &str) -> Program {
        let mut command = quiet(Command::new("sh"));
        command.args(["-c", script]);
        Program { name: "sh".to_owned(), major: 0, command }
    }

    #[test]
    fn a_failure_carries_what_the_program_said() {
        let error = shell("echo why >&2; exit 3").succeed(&|| false).unwrap_err().to_string();
        assert_eq!(error, "sh failed (exit status: 3): why");
        shell("true").succeed(&|| false).unwrap();
    }

    #[test]
    fn of_a_long_story_the_end_is_kept() {
        let ended = shell("yes line | head -n 100000 >&2; echo end >&2").run(&|| false).unwrap();
        assert!(ended.said.ends_with("line\nend") && ended.said.len() <= SAID_BYTES_MAX);
    }

    #[test]
    fn a_program_and_its_helpers_end_when_asked() {
        let started = Instant::now();
        for script in ["sleep 60 & sleep 60", "trap '' TERM; sleep 60 & sleep 60; sleep 60"] {
            let error = shell(script).succeed(&|| true).unwrap_err();
            assert!(error.to_string().contains("interrupted"), "{error}");
        }
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
}
