//! Orders to an agent.

use std::convert::Infallible;
use std::fmt;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use verify_core::plan::Plan;
use verify_core::postgres::{Environment, Settings, conninfo_value};

use super::message::Part;
use crate::failover::ProbeOrder;
use verify_drill::backup_name::BackupName;
use verify_drill::backup_record::BackupRecord;
use verify_drill::interrupt;
use verify_drill::until::{Check, Pace, until};
use verify_local::Place;
use verify_local::patience::PATIENCE;

/// Time limit for the cluster's network to admit a new pod's connections to a server.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(10);
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(250);
const ATTEMPTS: Pace = Pace { least: ATTEMPT_TIMEOUT, ..Pace::REMOTE };
/// Time limit of a server's answer to a new connection, in seconds.
const CONNECT_TIMEOUT: &str = "30";

/// A line on an agent's standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Capture databases, and keep their snapshots until [`Order::Release`].
    Capture(CaptureOrder),
    /// Copy databases into a volume, with their manifests.
    Stage(StageOrder),
    /// Bring a restored copy up and verify it; its manifests follow.
    Restore(Box<RestoreOrder>),
    /// Begin to write, and continue when the caller is lost.
    Probe(ProbeOrder),
    /// Report the progress of the probe, until the caller is lost.
    Follow(ProbeOrder),
    /// End the probe; hand its record over, and what is there of what it wrote.
    ReadBack(ProbeOrder),
    /// End the probe, and remove its table.
    Discard(ProbeOrder),
    /// A piece of a manifest.
    Manifest(Part),
    /// The copy is cut.
    Release,
    /// The caller lives.
    GoOn,
}

/// Scope of a capture during which another program makes the copy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaptureOrder {
    pub name: BackupName,
    pub access: Access,
    pub plan: Plan,
}

/// Scope of a copy into the store on a volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageOrder {
    pub name: BackupName,
    pub access: Access,
    /// The method of the local provider.
    pub method: String,
    /// Directory of the copies. What an earlier backup left there goes.
    pub store: PathBuf,
    pub plan: Plan,
}

/// Parameters of a restore and its verification.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RestoreOrder {
    pub record: BackupRecord,
    pub place: Place,
    pub plan: Plan,
    /// Time at which the source was lost, by the caller's clock.
    pub incident: Timestamp,
    /// True to leave the server running.
    pub keep: bool,
}

/// The way into databases of one server.
#[derive(Clone, Serialize, Deserialize)]
pub struct Access {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
    /// By name; none means all but `postgres` and the templates.
    pub databases: Vec<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({}@{}:{})", self.user, self.host, self.port)
    }
}

/// A connection string, which may hold a password and is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Conninfo(String);

impl Conninfo {
    /// The connection string of a role of a server.
    pub fn new(host: &str, port: u16, user: &str, password: &str, database: &str) -> Self {
        let port = port.to_string();
        let parameters =
            [("host", host), ("port", &port), ("user", user), ("password", password), ("dbname", database)];
        Self(parameters.map(|(name, value)| format!("{name}={}", conninfo_value(value))).join(" "))
    }

    /// The same with one parameter more.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        Self(format!("{} {name}={}", self.0, conninfo_value(value)))
    }

    /// The same with several more.
    #[must_use]
    pub fn with_all(self, parameters: &[(&str, &str)]) -> Self {
        parameters.iter().fold(self, |conninfo, (name, value)| conninfo.with(name, value))
    }

    /// As settings, untouched by the environment of the pod.
    pub fn settings(&self) -> Result<Settings> {
        Ok(Settings::parse(&self.0, &Environment::default())?.with_stop(interrupt::asked))
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Conninfo(…)")
    }
}

impl Access {
    /// The settings of every database.
    pub(super) fn settings(&self) -> Result<Vec<Settings>> {
        let Self { host, port, user, password, databases } = self;
        await_admission(host, *port);
        let settings = |database: &str| {
            let conninfo = Conninfo::new(host, *port, user, password, database);
            conninfo.with_all(&PATIENCE).with("connect_timeout", CONNECT_TIMEOUT).settings()
        };
        if databases.is_empty() {
            return verify_local::databases(&settings("template1")?)?
                .iter()
                .map(|name| settings(name))
                .collect();
        }
        databases.iter().map(|name| settings(name)).collect()
    }
}

/// Waits until a server is reached, or for some seconds: a new pod has no connection until the cluster's network
/// has learnt of its labels. The next connection reports the reason for a failure.
fn await_admission(host: &str, port: u16) {
    let reached = || {
        let mut addresses = (host, port).to_socket_addrs().into_iter().flatten();
        addresses.any(|address| TcpStream::connect_timeout(&address, ATTEMPT_TIMEOUT).is_ok())
    };
    let _ = until(ADMISSION_TIMEOUT, ATTEMPTS, interrupt::asked, || {
        Ok::<_, Infallible>(if reached() { Check::Done(()) } else { Check::Waiting(()) })
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_of_any_characters_arrives_and_is_not_shown() {
        let conninfo = Conninfo::new("10.0.0.1", 5432, "postgres", r"a'b\c d=e", "app");
        let settings = conninfo.settings().unwrap();
        assert_eq!(settings.describe(), "postgres@10.0.0.1:5432/app");
        let variables = settings.child_environment();
        assert!(variables.into_iter().any(|(_, value)| value == r"a'b\c d=e"));
        assert_eq!(format!("{conninfo:?}"), "Conninfo(…)");
    }
}
