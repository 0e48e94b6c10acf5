//! The heartbeat on a server: its table, its writer, its newest beat.

use jiff::Timestamp;
use tokio_postgres::types::Type;

use super::connection::Connection;
use super::rows::{Row, first};
use super::statements;
use crate::error::{Error, ErrorKind, Result};
use crate::heartbeat::{Beat, Pulse};

/// Number of beats that are kept: an hour at one a second.
const KEPT: i64 = 3_600;
/// Old beats are dropped once in so many.
const PRUNE_EVERY: i64 = 60;

/// Creates the heartbeat's table `state_lab.heartbeat`, if it is not there.
///
/// # Errors
///
/// If the role may not create it.
pub fn install(connection: &mut Connection) -> Result<()> {
    connection.execute(statements::HEARTBEAT_INSTALL)
}

/// Writes one beat, by the server's clock, and gives its id.
///
/// # Errors
///
/// If the table is not installed or cannot be written.
pub fn beat(connection: &mut Connection, writer: &str, interval_ms: i64) -> Result<i64> {
    let beat = [(&writer as _, Type::TEXT), (&interval_ms as _, Type::INT8)];
    let rows = connection.query_with(statements::BEAT, &beat)?;
    let id: i64 = first(&rows)?.number(0)?;
    if id % PRUNE_EVERY == 0 {
        let oldest = id.saturating_sub(KEPT);
        connection.query_with(statements::PRUNE_BEATS, &[(&oldest, Type::INT8)])?;
    }
    Ok(id)
}

/// Reads the newest signs of life that this session can see.
///
/// # Errors
///
/// If the connection breaks.
pub fn pulse(connection: &mut Connection) -> Result<Pulse> {
    let installed = connection.query(statements::HEARTBEAT_EXISTS)?;
    let readable = installed.first().is_some_and(|row| row.get(0) == Some("t"));
    let rows = if readable { connection.query(statements::HEARTBEAT_LAST)? } else { Vec::new() };
    let beat = rows.first().map(|row| {
        Ok(Beat {
            id: row.number(0)?,
            written_at: timestamp(row, 1)?,
            lsn: row.text(2)?.to_owned(),
            writer: row.text(3)?.to_owned(),
            interval_ms: row.number(4)?,
        })
    });
    let clock = connection.query(statements::CLOCK)?;
    let clock = first(&clock)?;
    let commits = if clock.flag(1)? { connection.query(statements::LAST_COMMIT)? } else { Vec::new() };
    let last_commit = commits.first().filter(|row| row.get(0).is_some()).map(|row| timestamp(row, 0));
    Ok(Pulse {
        beat: beat.transpose()?,
        last_commit: last_commit.transpose()?,
        read_at: timestamp(clock, 0)?,
    })
}

/// A time that the server gave in microseconds since 1970.
pub(super) fn timestamp(row: &Row, column: usize) -> Result<Timestamp> {
    Timestamp::from_microsecond(row.number(column)?)
        .map_err(|error| Error::with_source(ErrorKind::Protocol, "read the server's time", error))
}
