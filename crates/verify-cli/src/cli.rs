//! The command line: the verbs, and what the process ends with.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::document::{ErrorDocument, Failed};
use crate::exit::Exit;
use crate::failure;
use crate::framing::Document;
use crate::globals::Globals;
use crate::terminal::{self, Output};
use verify_drill::failure::{Failure, Kind};
use verify_drill::hint::Hinted;
use verify_drill::interrupt;
use verify_local::scratch;

use crate::{all_servers, commands, signals};

/// Parses the command line, runs the command, reports errors, and returns how the process is to end.
pub fn main() -> Exit {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let read = |arguments: &[OsString]| {
        let cli = Cli::read(arguments)?;
        match cli.globals.server.clone() {
            None => Ok(cli),
            Some(server) => Cli::read(&all_servers::filled(arguments, &server)),
        }
    };
    let Cli { globals, command } = match read(&arguments) {
        Ok(cli) => cli,
        Err(error) => return misused(&error, &arguments),
    };
    let status = if globals.all_servers { Status::None } else { command.status() };
    let run = || {
        signals::listen()?;
        if globals.all_servers {
            for_all_servers(&command, &arguments, &globals)
        } else {
            command.run(&globals)
        }
    };
    match run() {
        Ok(exit) => exit,
        Err(error) => {
            let exit = failure::exit(&error, interrupt::asked());
            if exit == Exit::INTERRUPTED {
                scratch::remove_all();
            }
            report(&failure::of(&error, exit), status, &globals);
            exit
        }
    }
}

/// Runs a command for each server of the configuration, once all of the command lines are understood.
fn for_all_servers(command: &Command, arguments: &[OsString], globals: &Globals) -> Result<Exit> {
    if !command.is_for_all_servers() {
        let text = "failed to run for all servers: this command is for one server, or for none";
        return Err(Hinted::new(text, "name the server: --server NAME").into());
    }
    let orders = all_servers::orders(arguments, &globals.config()?)?;
    let commands = orders.iter().map(|order| Ok(Cli::read(&order.arguments)?.command));
    let commands: Vec<Command> = commands.collect::<Result<_>>()?;
    all_servers::check_outputs(commands.iter().map(|command| command.output().map(Path::to_owned)))?;
    all_servers::run(&orders, globals)
}

/// Prints an error: on standard error, and on standard output as the one document or the status line of the run.
fn report(failure: &Failure, status: Status, globals: &Globals) {
    let style = terminal::error_style(globals.color);
    // Nothing more can be said on a standard output that cannot be written.
    if failure.kind != Kind::Output {
        let printed = match globals.output {
            Output::Json => print_failure(failure, status),
            Output::Text => status.line().map_or(Ok(()), terminal::print),
        };
        if let Err(error) = printed {
            terminal::print_note(&failure::text(&failure::of(&error, Exit::COULD_NOT_RUN), &style));
        }
    }
    terminal::print_note(&failure::text(failure, &style));
}

fn print_failure(failure: &Failure, status: Status) -> Result<()> {
    let failed = |of: Status| (status == of).then_some(Failed::Failed);
    let document = ErrorDocument {
        backup_status: failed(Status::Backup),
        restore_status: failed(Status::Restore),
        error: failure,
    };
    terminal::print(&format!("{}\n", document.to_json()?))
}

/// Reports a command line that cannot be understood, or prints the help that it asks for.
fn misused(error: &clap::Error, arguments: &[OsString]) -> Exit {
    if error.print().is_err() {
        return Exit::COULD_NOT_RUN;
    }
    if !error.use_stderr() {
        return Exit::PASS;
    }
    if last_value(arguments, "--output") == Some("json") {
        // Standard error has it already, where this cannot be written.
        let _ = print_failure(&failure::of_usage(error), Status::None);
    }
    Exit::COULD_NOT_RUN
}

/// The value of a global flag on a command line that could not be parsed.
fn last_value<'a>(arguments: &'a [OsString], flag: &str) -> Option<&'a str> {
    let mut values = arguments.iter().enumerate().filter_map(|(i, argument)| {
        let rest = argument.to_str()?.strip_prefix(flag)?;
        if rest.is_empty() { arguments.get(i + 1)?.to_str() } else { rest.strip_prefix('=') }
    });
    values.next_back()
}

/// The status line with which a command begins its output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    None,
    Backup,
    Restore,
}

impl Status {
    /// The line for a run that could not be made.
    fn line(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Backup => Some("backup_status: failed\n"),
            Self::Restore => Some("restore_status: failed\n"),
        }
    }
}

impl Cli {
    /// Reads a command line; what is wrong with it is coloured as it asks for.
    fn read(arguments: &[OsString]) -> Result<Self, clap::Error> {
        let colour = last_value(arguments, "--color").and_then(|when| when.parse().ok()).unwrap_or_default();
        let matches = Self::command().color(colour).try_get_matches_from(arguments)?;
        Self::from_arg_matches(&matches)
    }
}

/// Verifies that a restored PostgreSQL database is the one that was backed up: every row, key and sequence.
#[derive(Parser)]
#[command(name = "state-lab", version, disable_help_subcommand = true, after_help = AFTER_HELP)]
// Wider lines would be broken within words where help is paged on a narrow terminal.
#[command(max_term_width = 80)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
DB is a libpq connection string or URI, or the name of a [databases.NAME] table
in state-lab.toml. The PG* variables, ~/.pgpass and service files work as in
libpq; \"\" means these alone. PATH is a file, or s3://bucket/key.

Exit status:
    0  pass
    1  fail: data differ, a check found damage, an invariant broke, or an
       objective was missed
    2  could not run: usage, configuration, connection
    3  inconclusive: nothing differs, but not everything could be checked
  130  interrupted; everything that the run created is removed

EXAMPLES:
    state-lab capture postgresql://backup@db/shop -o shop.manifest
    state-lab verify shop.manifest postgresql://postgres@restored/shop";

#[derive(Subcommand)]
enum Command {
    Demo(commands::demo::Demo),
    Capture(commands::capture::Capture),
    Verify(commands::verify::Verify),
    Compare(commands::compare::Compare),
    Merge(commands::merge::Merge),
    Show(commands::show::Show),
    Heartbeat(commands::heartbeat::Heartbeat),
    Backup(commands::backup::Backup),
    Restore(Box<commands::restore::Restore>),
    #[cfg(feature = "velero")]
    Failover(commands::failover::Failover),
    #[cfg(not(feature = "velero"))]
    Failover(commands::lacking::Lacking),
    #[cfg(feature = "velero")]
    Replicas(commands::replicas::Replicas),
    #[cfg(not(feature = "velero"))]
    Replicas(commands::lacking::Lacking),
    #[cfg(feature = "drill")]
    Drill(commands::drill::Drill),
    #[cfg(not(feature = "drill"))]
    Drill(commands::lacking::Lacking),
    #[cfg(feature = "report")]
    Report(commands::report::Report),
    #[cfg(not(feature = "report"))]
    Report(commands::lacking::Lacking),
    #[cfg(feature = "serve")]
    Serve(commands::serve::Serve),
    #[cfg(not(feature = "serve"))]
    Serve(commands::lacking::Lacking),
    Doctor(commands::doctor::Doctor),
    Evidence(commands::evidence::Evidence),
    Cleanup(commands::cleanup::Cleanup),
    Bench(commands::bench::Bench),
    Completions(commands::completions::Completions),
    #[command(hide = true)]
    #[cfg(feature = "man")]
    Man(commands::man::Man),
    #[command(hide = true)]
    #[cfg(feature = "velero")]
    Agent(commands::agent::Agent),
    #[command(hide = true)]
    #[cfg(not(feature = "velero"))]
    Agent(commands::lacking::Lacking),
}

impl Command {
    fn status(&self) -> Status {
        match self {
            Self::Backup(_) => Status::Backup,
            Self::Restore(_) => Status::Restore,
            _ => Status::None,
        }
    }

    /// Returns whether the command may run for each of several servers: it ends by itself, and asks nothing.
    fn is_for_all_servers(&self) -> bool {
        matches!(
            self,
            Self::Capture(_)
                | Self::Verify(_)
                | Self::Compare(_)
                | Self::Backup(_)
                | Self::Restore(_)
                | Self::Replicas(_)
                | Self::Doctor(_)
                | Self::Cleanup(_)
        )
    }

    /// The file or directory that the command line has the command write.
    fn output(&self) -> Option<&Path> {
        match self {
            Self::Capture(command) => Some(command.output()),
            Self::Merge(command) => Some(command.output()),
            Self::Verify(command) => command.output(),
            Self::Compare(command) => command.output(),
            Self::Restore(command) => command.output(),
            _ => None,
        }
    }

    fn run(self, globals: &Globals) -> Result<Exit> {
        match self {
            Self::Demo(command) => command.run(globals),
            Self::Capture(command) => command.run(globals),
            Self::Verify(command) => command.run(globals),
            Self::Compare(command) => command.run(globals),
            Self::Merge(command) => command.run(globals),
            Self::Show(command) => command.run(globals),
            Self::Heartbeat(command) => command.run(globals),
            Self::Backup(command) => command.run(globals),
            Self::Restore(command) => command.run(globals),
            #[cfg(feature = "velero")]
            Self::Failover(command) => command.run(globals),
            #[cfg(feature = "velero")]
            Self::Replicas(command) => command.run(globals),
            #[cfg(feature = "drill")]
            Self::Drill(command) => command.run(globals),
            #[cfg(not(feature = "drill"))]
            Self::Drill(command) => command.run("drill"),
            #[cfg(feature = "report")]
            Self::Report(command) => command.run(globals),
            #[cfg(not(feature = "report"))]
            Self::Report(command) => command.run("report"),
            #[cfg(feature = "serve")]
            Self::Serve(command) => command.run(globals),
            #[cfg(not(feature = "serve"))]
            Self::Serve(command) => command.run("serve"),
            Self::Doctor(command) => command.run(globals),
            Self::Evidence(command) => command.run(globals),
            Self::Cleanup(command) => command.run(globals),
            Self::Bench(command) => command.run(globals),
            Self::Completions(command) => command.run::<Cli>(globals),
            #[cfg(feature = "man")]
            Self::Man(command) => command.run::<Cli>(),
            #[cfg(feature = "velero")]
            Self::Agent(command) => command.run(),
            #[cfg(not(feature = "velero"))]
            Self::Failover(command) | Self::Replicas(command) | Self::Agent(command) => command.run("velero"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// Fails for a command without a snapshot, and for one whose help has changed.
    #[cfg(all(feature = "s3", feature = "velero"))]
    #[test]
    fn the_help_of_every_command_is_known() {
        fn help(command: &mut clap::Command, name: &str) {
            // The number of jobs is that of the processors.
            let jobs = verify_core::plan::Plan::default().jobs;
            let mut text = command.render_long_help().to_string();
            for option in ["connections to each database", "Number of parallel connections"] {
                text = text.replace(&format!("{option}\n          \n          [default: {jobs}]"), option);
            }
            insta::assert_snapshot!(name, text);
            for subcommand in command.get_subcommands_mut().filter(|subcommand| !subcommand.is_hide_set()) {
                let hidden = |arg: clap::Arg| if arg.is_global_set() { arg.hide(true) } else { arg };
                *subcommand = std::mem::take(subcommand).mut_args(hidden);
                help(subcommand, &format!("{name}-{}", subcommand.get_name()));
            }
        }
        help(&mut Cli::command(), "help");
    }

    #[test]
    fn a_flag_is_found_where_the_rest_cannot_be_parsed() {
        let arguments: Vec<OsString> = ["state-lab", "--output=text", "frob", "--output", "json", "--color"]
            .map(OsString::from)
            .to_vec();
        assert_eq!(last_value(&arguments[..4], "--output"), Some("text"));
        assert_eq!(last_value(&arguments, "--output"), Some("json"));
        assert_eq!(last_value(&arguments, "--color"), None);
    }
}
