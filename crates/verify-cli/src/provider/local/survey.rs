//! What has to be known of a server before it is backed up: its version, its clock, what the role may do.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use verify_core::heartbeat::ClockOffset;
use verify_core::postgres::{Connection, Row, SessionOptions, Settings};
use verify_core::{Error, ErrorKind};

use super::record::{Method, ServerRecord};

/// A short statement that takes longer is stuck.
const STATEMENT_TIMEOUT_MS: u32 = 30_000;
/// The clock is read so often; the quickest answer is the surest.
const CLOCK_READINGS: u32 = 5;

/// Version, system identifier, recovery, whether the role may replicate, `wal_level`, `max_wal_senders`, a superuser.
const SERVER: &str = "SELECT pg_catalog.current_setting('server_version'), \
    pg_catalog.current_setting('server_version_num')::pg_catalog.int4 / 10000, \
    CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') \
         THEN (SELECT s.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() s) END, \
    pg_catalog.pg_is_in_recovery(), \
    (SELECT r.rolsuper OR r.rolreplication FROM pg_catalog.pg_roles r WHERE r.rolname = current_user), \
    pg_catalog.current_setting('wal_level'), pg_catalog.current_setting('max_wal_senders'), \
    (SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.rolsuper AND r.rolcanlogin ORDER BY r.oid LIMIT 1)";

/// A standby does not start with less than its primary had of the first five; without the sixth a copy forgets
/// when its last transaction committed.
const SETTINGS: &str = "SELECT s.name, s.setting FROM pg_catalog.pg_settings s WHERE s.name IN ('max_connections', \
    'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', 'max_locks_per_transaction', \
    'track_commit_timestamp')";

/// Tablespaces outside the data directory.
const TABLESPACES: &str = "SELECT t.oid, pg_catalog.pg_tablespace_location(t.oid) FROM pg_catalog.pg_tablespace t \
    WHERE pg_catalog.pg_tablespace_location(t.oid) LIKE '/%' ORDER BY t.oid";

/// Databases that a backup can be made of. An interrupted DROP DATABASE leaves one with -2, which nobody can connect to.
const DATABASES: &str = "SELECT d.datname FROM pg_catalog.pg_database d WHERE d.datallowconn AND NOT d.datistemplate \
    AND d.datconnlimit <> -2 ORDER BY d.datname";

const CLOCK: &str = "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8";

/// A server, and the databases of it that are to be backed up.
pub(super) struct Survey {
    /// Each narrowed to the host that answered.
    pub(super) databases: Vec<Settings>,
    pub(super) server: ServerRecord,
    pub(super) tablespaces: Vec<Tablespace>,
    /// Why there can be no physical backup.
    not_physical: Option<String>,
}

/// A tablespace outside the data directory.
pub(super) struct Tablespace {
    pub(super) oid: u32,
    pub(super) location: String,
}

impl Survey {
    /// Looks at the server of the databases; all of them have to be of one.
    pub(super) fn of(databases: &[Settings]) -> Result<Self> {
        let Some((one, others)) = databases.split_first() else {
            bail!("failed to back up: no database is named")
        };
        let mut session = connect(one)?;
        let rows = session.query(SERVER)?;
        let row = first(&rows)?;
        if row.text(3)? == "t" {
            bail!("failed to back up {}: the server is a standby; back up its primary", one.describe());
        }
        let identity = row.get(2).unwrap_or_default().to_owned();
        let mut narrowed = vec![session.settings().clone()];
        for other in others {
            let mut there = connect(other)?;
            let theirs = there.query(SERVER)?;
            if first(&theirs)?.get(2).unwrap_or_default() != identity {
                bail!(
                    "failed to back up {} with {}: they are on different servers; make a backup of each",
                    other.describe(),
                    one.describe()
                );
            }
            if narrowed.iter().any(|known| known.database() == other.database()) {
                bail!("failed to back up {}: it is named twice", other.describe());
            }
            narrowed.push(there.settings().clone());
        }
        let not_physical = not_physical(row)?;
        let server = ServerRecord {
            version: row.text(0)?.to_owned(),
            major: number(row, 1)?,
            superuser: row.text(7)?.to_owned(),
            clock: clock_offset(&mut session)?,
            settings: settings(&mut session)?,
        };
        let tablespaces = session.query(TABLESPACES)?;
        let tablespace =
            |row: &Row| Ok(Tablespace { oid: number(row, 0)?, location: row.text(1)?.to_owned() });
        let tablespaces = tablespaces.iter().map(tablespace).collect::<Result<_>>()?;
        Ok(Self { databases: narrowed, server, tablespaces, not_physical })
    }

    /// The method that is asked for; unless one is, physical where the role and the server allow it.
    ///
    /// The second value says why it is not physical, where nobody asked for that.
    pub(super) fn method(&self, asked: Option<Method>) -> Result<(Method, Option<&str>)> {
        match (asked, &self.not_physical) {
            (Some(Method::Physical), Some(reason)) => {
                bail!("failed to take a base backup: {reason}; --method logical dumps instead")
            }
            (Some(method), _) => Ok((method, None)),
            (None, None) => Ok((Method::Physical, None)),
            (None, Some(reason)) => Ok((Method::Logical, Some(reason))),
        }
    }
}

fn not_physical(row: &Row) -> Result<Option<String>> {
    Ok(if row.text(4)? != "t" {
        Some("the role has no REPLICATION attribute".to_owned())
    } else if row.text(5)? == "minimal" {
        Some("wal_level is minimal".to_owned())
    } else if row.text(6)? == "0" {
        Some("max_wal_senders is 0".to_owned())
    } else {
        None
    })
}

/// The databases of a server that a backup is for: all but the templates, and `postgres` only where it is the only one.
pub(crate) fn databases(maintenance: &Settings) -> Result<Vec<String>> {
    let rows = connect(maintenance)?.query(DATABASES)?;
    let mut names = rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect::<Result<Vec<String>>>()?;
    if names.len() > 1 {
        names.retain(|name| name != "postgres");
    }
    Ok(names)
}

/// A session for few short statements.
pub(super) fn connect(settings: &Settings) -> verify_core::Result<Connection> {
    let session = SessionOptions::verification(STATEMENT_TIMEOUT_MS, STATEMENT_TIMEOUT_MS)
        .with("application_name", "state-lab");
    Connection::open(settings, &session)
        .map_err(|error| error.while_doing(format!("connect to {}", settings.describe())))
}

fn settings(session: &mut Connection) -> Result<BTreeMap<String, String>> {
    let rows = session.query(SETTINGS)?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).collect()
}

/// The server's clock against ours, from the quickest of several answers.
fn clock_offset(session: &mut Connection) -> Result<ClockOffset> {
    let mut best: Option<(u128, ClockOffset)> = None;
    for _ in 0..CLOCK_READINGS {
        let (ours, began) = (Timestamp::now().as_microsecond(), Instant::now());
        let rows = session.query(CLOCK)?;
        let trip_us = began.elapsed().as_micros();
        let theirs: i64 = number(first(&rows)?, 0)?;
        if best.is_none_or(|(quickest, _)| trip_us < quickest) {
            let half_us = i64::try_from(trip_us / 2).unwrap_or(i64::MAX);
            let ahead_ms = (theirs - ours.saturating_add(half_us)).div_euclid(1_000);
            // One more for what was cut off.
            let error_ms = half_us.unsigned_abs().div_ceil(1_000) + 1;
            best = Some((trip_us, ClockOffset { ahead_ms, error_ms }));
        }
    }
    best.map(|(_, offset)| offset).context("failed to read the server's clock")
}

/// The only row that a query must give.
pub(super) fn first(rows: &[Row]) -> verify_core::Result<&Row> {
    rows.first().ok_or_else(|| Error::new(ErrorKind::Protocol, "read an answer: the server sent no row"))
}

fn number<T: std::str::FromStr>(row: &Row, column: usize) -> Result<T> {
    let text = row.text(column)?;
    text.parse().ok().with_context(|| format!("failed to read the number {text:?} that the server sent"))
}

#[cfg(test)]
mod tests {
    use verify_core::postgres::Environment;

    use super::*;

    #[test]
    fn a_database_that_nobody_can_connect_to_is_not_backed_up() {
        let server = fixtures::server(15).unwrap();
        for name in ["app", "closed", "dropped"] {
            server.create_database(name).unwrap();
        }
        let unreachable = "ALTER DATABASE closed ALLOW_CONNECTIONS false;
             UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'dropped'";
        let maintenance = Settings::parse(&server.conninfo("postgres"), &Environment::default()).unwrap();
        assert_eq!(databases(&maintenance).unwrap(), ["app", "closed", "dropped"]);
        server.psql("postgres", unreachable).unwrap();
        assert_eq!(databases(&maintenance).unwrap(), ["app"]);
    }
}
