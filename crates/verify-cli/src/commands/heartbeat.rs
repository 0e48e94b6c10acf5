//! `heartbeat`: the table that the recovery point is read from, and its writer.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;
use verify_core::heartbeat::Pulse;
use verify_core::postgres::{Connection, heartbeat};
use verify_core::table::shown_text;
use verify_core::{Error, ErrorKind};

use crate::connect::Target;
use crate::exit::Exit;
use crate::globals::Globals;
use crate::terminal::{self, Terminal};
use verify_drill::duration::Period;
use verify_drill::hint::Hinted;
use verify_drill::interrupt;
use verify_drill::until::pause;

/// The shortest and the longest pause before the next attempt to connect.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Manage the heartbeat, from which the recovery point (RPO) is computed
///
/// One row a second in the table state_lab.heartbeat, by the server's own clock. After a restore its newest row shows
/// up to which time writes were recovered. Besides the probe of `failover`, nothing else is ever written to a source.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Heartbeat {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab heartbeat install postgresql://owner@db/shop
    state-lab heartbeat run shop --interval 1s
    state-lab heartbeat status shop";

const NOT_INSTALLED: &str = "run `state-lab heartbeat install` first";
const MAY_NOT_WRITE: &str =
    "grant its writer USAGE ON SCHEMA state_lab, and SELECT, INSERT, DELETE ON state_lab.heartbeat";
/// The hint for a role that may not create the table.
const MAY_NOT_INSTALL: &str = "\
grant the role CREATE on the database; or let a superuser install it once, and GRANT USAGE ON SCHEMA state_lab and \
SELECT, INSERT, DELETE ON TABLE state_lab.heartbeat to the role";

#[derive(Subcommand)]
enum Verb {
    /// Create the table, if it does not exist
    Install(Place),
    /// Write a row a second until SIGINT or SIGTERM, after which the exit status is 0
    ///
    /// Reconnects when the connection breaks, after pauses of up to 30 s. Exits with an error if a retry cannot help:
    /// the table is missing, or the role may not write to it.
    Run(Run),
    /// Print the age of the newest row; exit status 1 if its writer is silent, 3 if there is no row
    Status(Place),
}

#[derive(Args)]
struct Place {
    /// The database: a connection string, a URI, or a name from the configuration
    #[arg(value_name = "DB")]
    database: String,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    place: Place,
    /// Interval between two rows
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Period,
    /// Name of this writer in the table [default: the name of this host]
    #[arg(long, value_name = "NAME")]
    writer: Option<String>,
}

fn interval(text: &str) -> Result<Period, String> {
    let period: Period = text.parse()?;
    let allowed = 100..=3_600_000;
    if allowed.contains(&period.ms()) { Ok(period) } else { Err("expected 100ms to 1h".to_owned()) }
}

impl Heartbeat {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        match self.verb {
            Verb::Install(place) => install(&place.find(globals)?, &globals.terminal()),
            Verb::Run(run) => {
                let Run { place, interval, writer } = run;
                let target = place.find(globals)?;
                let writer = writer.unwrap_or_else(host_name);
                let exit = Writer { target: &target, writer: &writer, interval }.run()?;
                let state = HeartbeatState { heartbeat: Word::Stopped, pulse: None };
                globals.terminal().result(&state, |_| String::new())?;
                Ok(exit)
            }
            Verb::Status(place) => status(&place.find(globals)?, &globals.terminal()),
        }
    }
}

impl Place {
    fn find(&self, globals: &Globals) -> Result<Target> {
        Target::find(&self.database, &globals.config()?)
    }
}

/// State of a heartbeat.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HeartbeatState<'a> {
    heartbeat: Word,
    /// The newest row, as `heartbeat status` found it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pulse: Option<&'a Pulse>,
}

/// Result of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "HeartbeatWord")]
enum Word {
    /// `heartbeat install` made sure of the table.
    Installed,
    /// `heartbeat run` was interrupted.
    Stopped,
    /// The newest row is recent.
    Alive,
    /// The newest row is too old.
    Silent,
    /// No row, or no table.
    None,
}

impl Word {
    fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Stopped => "stopped",
            Self::Alive => "alive",
            Self::Silent => "silent",
            Self::None => "none",
        }
    }
}

fn install(target: &Target, terminal: &Terminal) -> Result<Exit> {
    let doing = || format!("failed to install the heartbeat on {}", target.place);
    let mut connection = target.connect().with_context(doing)?;
    heartbeat::install(&mut connection).map_err(|error| match error.sqlstate() {
        Some("42501") => Hinted::new(doing(), MAY_NOT_INSTALL).because(error).into(),
        _ => anyhow::Error::new(error).context(doing()),
    })?;
    let state = HeartbeatState { heartbeat: Word::Installed, pulse: None };
    terminal.result(&state, |_| "heartbeat: installed\n".to_owned())?;
    Ok(Exit::PASS)
}

fn status(target: &Target, terminal: &Terminal) -> Result<Exit> {
    let doing = || format!("failed to read the heartbeat of {}", target.place);
    let mut connection = target.connect().with_context(doing)?;
    let pulse = heartbeat::pulse(&mut connection).with_context(doing)?;
    let (word, exit) = match (&pulse.beat, pulse.stale()) {
        (None, _) => (Word::None, Exit::INCONCLUSIVE),
        (Some(_), None) => (Word::Alive, Exit::PASS),
        (Some(_), Some(_)) => (Word::Silent, Exit::FAIL),
    };
    let state = HeartbeatState { heartbeat: word, pulse: Some(&pulse) };
    terminal.result(&state, |_| status_text(word.as_str(), &pulse))?;
    Ok(exit)
}

fn status_text(word: &str, pulse: &Pulse) -> String {
    let Some(beat) = &pulse.beat else {
        return format!("heartbeat: {word}\n`state-lab heartbeat install` and `run` start one\n");
    };
    let age_ms = pulse.read_at.duration_since(beat.written_at).as_millis();
    let age = Period::from_ms(u64::try_from(age_ms).unwrap_or(0));
    let (writer, every) = (shown_text(&beat.writer), Period::from_ms(beat.interval_ms.unsigned_abs()));
    format!("heartbeat: {word}\nbeat {} of {writer}, every {every}, {age} old\n", beat.id)
}

/// Writes beats until it is interrupted.
struct Writer<'a> {
    target: &'a Target,
    writer: &'a str,
    interval: Period,
}

impl Writer<'_> {
    fn run(&self) -> Result<Exit> {
        terminal::print_note(&format!(
            "heartbeat: writing every {} to {}\n",
            self.interval, self.target.place
        ));
        let mut connection = None;
        let mut backoff = BACKOFF_MIN;
        loop {
            match self.beat(&mut connection) {
                Ok(()) => {
                    backoff = BACKOFF_MIN;
                    if pause(self.interval.duration(), interrupt::asked) {
                        return Ok(Exit::PASS);
                    }
                }
                Err(error) if is_final(&error) => {
                    let doing = format!("failed to write the heartbeat of {}", self.target.place);
                    return Err(match error.sqlstate() {
                        Some("42P01") => Hinted::new(doing, NOT_INSTALLED).because(error).into(),
                        Some("42501") => Hinted::new(doing, MAY_NOT_WRITE).because(error).into(),
                        _ => anyhow::Error::new(error).context(doing),
                    });
                }
                Err(error) => {
                    connection = None;
                    let period = Period::from_ms(backoff.as_millis() as u64);
                    let chain = shown_text(&error.to_string());
                    terminal::print_note(&format!(
                        "heartbeat: not written ({chain}); trying again in {period}\n"
                    ));
                    if pause(backoff, interrupt::asked) {
                        return Ok(Exit::PASS);
                    }
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    fn beat(&self, connection: &mut Option<Connection>) -> verify_core::Result<()> {
        let connection = match connection {
            Some(connection) => connection,
            empty => empty.insert(self.target.connect()?),
        };
        let interval_ms = i64::try_from(self.interval.ms()).unwrap_or(i64::MAX);
        heartbeat::beat(connection, self.writer, interval_ms)?;
        Ok(())
    }
}

/// Returns whether a retry cannot help, because only a user can change the cause.
fn is_final(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Settings | ErrorKind::Authentication | ErrorKind::Privilege => true,
        // Missing objects and privileges. A read-only server (25006) may be a standby that will be promoted.
        ErrorKind::Server { sqlstate } => sqlstate.starts_with("42") || sqlstate == "3D000",
        _ => false,
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_is_tried_again() {
        let server = |sqlstate: &str| ErrorKind::Server { sqlstate: sqlstate.to_owned() };
        for (kind, expected) in [
            (ErrorKind::Connection, false),
            (ErrorKind::Protocol, false),
            (server("57P01"), false),
            (server("25006"), false),
            (server("53300"), false),
            (server("42P01"), true),
            (server("42501"), true),
            (server("28P01"), true),
            (ErrorKind::Authentication, true),
            (ErrorKind::Settings, true),
        ] {
            assert_eq!(is_final(&Error::new(kind.clone(), "beat")), expected, "{kind:?}");
        }
    }

    #[test]
    fn an_interval_is_neither_a_flood_nor_silence() {
        assert_eq!(interval("1s"), Ok(Period::from_ms(1_000)));
        for text in ["0s", "99ms", "2h", "1"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
