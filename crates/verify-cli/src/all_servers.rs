//! `--all-servers`: the command runs once for each server of the configuration, as a process of its own, and a summary follows.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use verify_drill::hint::Hinted;
use verify_drill::report_file::REPORT_BYTES_MAX;
use verify_drill::{interrupt, process_group};

use crate::config::Config;
use crate::exit::Exit;
use crate::framing::Document;
use crate::globals::Globals;
use crate::render::server::Lines;
use crate::terminal::{self, Output};

/// The flag, which the runs for each server do not have.
const FLAG: &str = "--all-servers";
/// The text in arguments that the name of the server replaces.
const PLACEHOLDER: &str = "{server}";
/// Time for a run to clean up after the request to end.
const GRACE: Duration = Duration::from_secs(120);

/// Results of a command for each server.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AllServers {
    /// The worst exit status.
    exit_status: i32,
    /// The servers, in the order of their names.
    servers: Vec<ServerRun>,
}

/// Result for a server.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ServerRun {
    /// Name of the server in the configuration.
    server: String,
    /// Exit status of its run.
    exit_status: i32,
    /// The document of its run; null if it printed none.
    document: Option<Value>,
}

impl Document for AllServers {
    const FORMAT: &'static str = "state-lab-servers";
}

/// The arguments of the run for one server.
pub(crate) struct Order {
    server: String,
    /// With the program's name as the first.
    pub(crate) arguments: Vec<OsString>,
}

/// The run for each server of the configuration.
///
/// # Errors
///
/// If the configuration has no servers.
pub(crate) fn orders(arguments: &[OsString], config: &Config) -> Result<Vec<Order>> {
    let order = |server: &str| {
        let mut of_server: Vec<OsString> = arguments.first().cloned().into_iter().collect();
        of_server.extend(["--server".into(), server.into()]);
        let options = arguments.iter().take_while(|argument| *argument != "--").count();
        let own = arguments
            .iter()
            .enumerate()
            .skip(1)
            .filter(|(index, argument)| *index >= options || *argument != FLAG);
        of_server.extend(own.map(|(_, argument)| argument.clone()));
        Order { server: server.to_owned(), arguments: filled(&of_server, server) }
    };
    let orders: Vec<Order> = config.server_names().map(order).collect();
    if orders.is_empty() {
        let hint = "add a table [servers.NAME] for each server to the configuration";
        return Err(
            Hinted::new("failed to run for all servers: the configuration has no servers", hint).into()
        );
    }
    Ok(orders)
}

/// Arguments with the name of the server where they ask for it.
pub(crate) fn filled(arguments: &[OsString], server: &str) -> Vec<OsString> {
    let fill = |argument: &OsString| {
        argument.to_str().map_or_else(|| argument.clone(), |text| text.replace(PLACEHOLDER, server).into())
    };
    arguments.iter().map(fill).collect()
}

/// Refuses runs of which one would write where another one does.
pub(crate) fn check_outputs(outputs: impl IntoIterator<Item = Option<PathBuf>>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for path in outputs.into_iter().flatten() {
        if !seen.insert(path.clone()) {
            let text = format!("failed to run for all servers: several would write {}", path.display());
            let hint = format!("put {PLACEHOLDER} into the path; the name of each server replaces it");
            return Err(Hinted::new(text, hint).into());
        }
    }
    Ok(())
}

/// Runs the orders one after another. What becomes of one does not keep the others from running.
pub(crate) fn run(orders: &[Order], globals: &Globals) -> Result<Exit> {
    let program = std::env::current_exe().context("failed to find the path of state-lab")?;
    let mut servers = Vec::new();
    for (index, Order { server, arguments }) in orders.iter().enumerate() {
        if !globals.quiet {
            terminal::print_note(&format!("server {server}, {} of {}\n", index + 1, orders.len()));
        }
        if globals.output == Output::Text {
            terminal::print(&format!("server: {server}\n\n"))?;
        }
        let (exit, document) = run_one(&program, &arguments[1..], globals.output).unwrap_or_else(|error| {
            terminal::print_note(&format!("failed to run for the server {server}: {error:#}\n"));
            (Exit::COULD_NOT_RUN, None)
        });
        if interrupt::asked() {
            return Err(interrupt::interrupted().into());
        }
        if globals.output == Output::Text {
            terminal::print("\n")?;
        }
        servers.push((server.clone(), exit, document));
    }
    let worst = Exit::worst(servers.iter().map(|(_, exit, _)| *exit));
    let run = |(server, exit, document): (String, Exit, _)| ServerRun {
        server,
        exit_status: exit.code(),
        document,
    };
    let mut lines = Lines::new(["SERVER", "RESULT", "EXIT STATUS"], 2);
    for (server, exit, _) in &servers {
        lines.add([server.clone(), exit.to_string(), exit.code().to_string()]);
    }
    let all = AllServers { exit_status: worst.code(), servers: servers.into_iter().map(run).collect() };
    globals.terminal().result(&all, |_| lines.text())?;
    Ok(worst)
}

/// Runs an order to its end, and returns its document where it is to print one.
fn run_one(program: &Path, arguments: &[OsString], output: Output) -> Result<(Exit, Option<Value>)> {
    let mut command = Command::new(program);
    // A group of its own, so that Ctrl-C reaches this process alone, which then ends it: a second signal would cost its clean-up.
    command.args(arguments).stdin(Stdio::null()).process_group(0);
    if output == Output::Json {
        command.stdout(Stdio::piped());
    }
    let mut child = command.spawn().context("failed to start state-lab")?;
    let stdout = child.stdout.take();
    thread::scope(|scope| {
        let read = scope.spawn(move || {
            let mut text = Vec::new();
            // What cannot be read shows in the document that is missing.
            let _ = stdout.map(|from| from.take(REPORT_BYTES_MAX).read_to_end(&mut text));
            serde_json::from_slice(&text).ok()
        });
        let exit = wait(&mut child);
        let document = read.join().unwrap_or_default();
        let exit = exit?;
        if output == Output::Json && document.is_none() {
            bail!("it printed no document, and ended with the exit status {}", exit.code());
        }
        Ok((exit, document))
    })
}

fn wait(child: &mut Child) -> Result<Exit> {
    if process_group::wait(child, Duration::MAX, interrupt::asked)
        .context("failed to wait for state-lab")?
        .is_none()
    {
        process_group::end(child, GRACE);
    }
    Ok(Exit::of_run(child.wait().context("failed to wait for state-lab")?.code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(arguments: &[&str]) -> Vec<OsString> {
        arguments.iter().map(OsString::from).collect()
    }

    #[test]
    fn each_server_has_arguments_of_its_own() {
        let config = Config::parse("[servers.us]\n[servers.eu]").unwrap();
        let given = texts(&[
            "state-lab",
            "capture",
            "--all-servers",
            "db",
            "-o",
            "/b/{server}/{server}",
            "--",
            "--all-servers",
        ]);
        let orders: Vec<Vec<OsString>> =
            orders(&given, &config).unwrap().into_iter().map(|order| order.arguments).collect();
        let of = |server: &str| {
            let path = format!("/b/{server}/{server}");
            texts(&["state-lab", "--server", server, "capture", "db", "-o", &path, "--", "--all-servers"])
        };
        assert_eq!(orders, [of("eu"), of("us")]);
        assert!(super::orders(&given, &Config::default()).is_err());
    }

    #[test]
    fn no_server_writes_where_another_one_does() {
        let path = |text: &str| Some(PathBuf::from(text));
        check_outputs([path("a"), None, path("b"), None]).unwrap();
        let error = check_outputs([path("a"), path("b"), path("a")]).unwrap_err();
        assert_eq!(error.to_string(), "failed to run for all servers: several would write a");
    }
}
