//! A database of our own on a restored server, in which nothing of others runs: no trigger, no default, no setting.

use super::connection::Connection;
use super::session::SessionOptions;
use super::settings::Settings;
use super::{snapshot, statements};
use crate::error::Result;
use crate::plan::Limits;

/// The database. It must be removed, see [`ScratchDatabase::remove`].
pub(super) struct ScratchDatabase {
    /// A database of the server to create and remove it from.
    control: Settings,
    /// The way to it.
    pub(super) settings: Settings,
    name: &'static str,
    limits: Limits,
}

impl ScratchDatabase {
    /// Creates it. One that is there is not ours, and an error.
    pub(super) fn create(control: &Settings, name: &'static str, limits: Limits) -> Result<Self> {
        open(control, limits)?.execute(&statements::create_database(name))?;
        Ok(Self { control: control.clone(), settings: control.with_database(name), name, limits })
    }

    pub(super) fn open(&self) -> Result<Connection> {
        open(&self.settings, self.limits)
    }

    /// Removes it, also when the caller wants to stop.
    pub(super) fn remove(&self) -> Result<()> {
        let control = self.control.clone().with_stop(|| false);
        open(&control, self.limits)?.execute(&statements::drop_database(self.name))
    }
}

/// A session that may write, in which no name is found that is not qualified.
pub(super) fn open(settings: &Settings, limits: Limits) -> Result<Connection> {
    let session = SessionOptions::checking(limits.lock_timeout_ms);
    let mut connection = snapshot::open_with(settings, limits, &session)?;
    connection.execute(statements::NO_TRANSACTION_TIMEOUT)?;
    Ok(connection)
}
