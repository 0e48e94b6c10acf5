//! Choosing a standby to read from, so that its primary has no load.

use super::connection::Connection;
use super::rows::first;
use super::session::SessionOptions;
use super::settings::{Settings, Target};
use super::statements;
use crate::error::{Error, ErrorKind, Result};

/// A short statement that takes longer is stuck.
const STATEMENT_TIMEOUT_MS: u32 = 10_000;

/// The server that was chosen.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Settings of this server alone.
    pub settings: Settings,
    /// Reason why it is not a standby, if it is not.
    pub no_standby: Option<String>,
}

impl Settings {
    /// Chooses a standby: among the hosts of the settings, as `target_session_attrs=prefer-standby` does, else among those that stream from
    /// the primary and listen at its port, else the primary.
    ///
    /// # Errors
    ///
    /// If no host of the settings can be reached.
    pub fn prefer_standby(&self) -> Result<Chosen> {
        let mut session = connect(&self.with_target(Target::PreferStandby))?;
        // The host alone: others may fail over, and more sessions must meet this server.
        let settings = session.settings().with_target(Target::Any);
        let (in_recovery, identifier) = identity(&mut session)?;
        if in_recovery {
            return Ok(Chosen { settings, no_standby: None });
        }
        let mut tried = Vec::new();
        for row in session.query(statements::STANDBYS)? {
            let address = row.text(0)?;
            let address = address.parse().map_err(|error| {
                Error::with_source(ErrorKind::Protocol, format!("read the address {address:?}"), error)
            })?;
            match settings.standby_at(address, identifier.as_deref()) {
                Ok(settings) => return Ok(Chosen { settings, no_standby: None }),
                Err(error) if *error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => tried.push(error.to_string()),
            }
        }
        let reason = if tried.is_empty() {
            "pg_stat_replication shows this role no standby with an address; name the standby in the connection string (host=primary,standby), or \
             grant pg_monitor"
                .to_owned()
        } else {
            format!("none could be used ({})", tried.join("; "))
        };
        Ok(Chosen { settings, no_standby: Some(reason) })
    }

    /// The settings of a standby at this address, if it is one of the same cluster.
    fn standby_at(&self, address: std::net::IpAddr, identifier: Option<&str>) -> Result<Self> {
        let mut session = connect(&self.with_address(address).with_target(Target::Standby))?;
        let (_, theirs) = identity(&mut session)?;
        if identifier.is_none() || theirs.as_deref() != identifier {
            let doing = format!("use {}", session.settings().describe());
            return Err(Error::new(
                ErrorKind::Unsuitable,
                format!("{doing}: its system identifier is not known to be the primary's"),
            ));
        }
        Ok(session.settings().with_target(Target::Any))
    }
}

fn connect(settings: &Settings) -> Result<Connection> {
    Connection::open(settings, &SessionOptions::verification(STATEMENT_TIMEOUT_MS, STATEMENT_TIMEOUT_MS))
}

fn identity(session: &mut Connection) -> Result<(bool, Option<String>)> {
    let rows = session.query(statements::STANDBY_OF)?;
    let row = first(&rows)?;
    Ok((row.flag(0)?, row.get(1).map(str::to_owned)))
}
