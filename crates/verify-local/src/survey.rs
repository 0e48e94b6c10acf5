//! Properties of a server that a backup needs: its version, its clock, the role's privileges.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use verify_core::databases::ServerDatabase;
use verify_core::heartbeat::ClockOffset;
use verify_core::postgres::{Connection, Row, SessionOptions, Settings};
use verify_core::{Error, ErrorKind};

use verify_drill::backup_record::{CopyMethod, ServerRecord};

/// A short statement that takes longer is stuck.
const STATEMENT_TIMEOUT_MS: u32 = 30_000;
/// The clock is read so often; the quickest answer is the surest.
const CLOCK_READINGS: u32 = 5;

/// Version, system identifier, recovery, whether the role may replicate, `wal_level`, `max_wal_senders`, a superuser, the database, the
/// start of the server, which distinguishes it from its standbys, and whether the role may pause a standby's replay.
const SERVER: &str = "SELECT pg_catalog.current_setting('server_version'), \
    pg_catalog.current_setting('server_version_num')::pg_catalog.int4 / 10000, \
    CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') \
         THEN (SELECT s.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() s) END, \
    pg_catalog.pg_is_in_recovery(), \
    (SELECT r.rolsuper OR r.rolreplication FROM pg_catalog.pg_roles r WHERE r.rolname = current_user), \
    pg_catalog.current_setting('wal_level'), pg_catalog.current_setting('max_wal_senders'), \
    (SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.rolsuper AND r.rolcanlogin ORDER BY r.oid LIMIT 1), \
    pg_catalog.current_database(), pg_catalog.pg_postmaster_start_time()::pg_catalog.text, \
    pg_catalog.has_function_privilege('pg_catalog.pg_wal_replay_pause()', 'EXECUTE') \
      AND pg_catalog.has_function_privilege('pg_catalog.pg_wal_replay_resume()', 'EXECUTE')";

/// A standby does not start with less than its primary had of the first five; without the sixth a copy forgets
/// when its last transaction committed.
const SETTINGS: &str = "SELECT s.name, s.setting FROM pg_catalog.pg_settings s WHERE s.name IN ('max_connections', \
    'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', 'max_locks_per_transaction', \
    'track_commit_timestamp')";

/// The settings that say what is preloaded; who may not see them gets none. pg_cron works in the database that the
/// second names alone.
const PRELOADED: &str = "SELECT s.name, s.setting FROM pg_catalog.pg_settings s \
    WHERE s.name IN ('shared_preload_libraries', 'cron.database_name')";

const EXTENSIONS: &str = "SELECT e.extname FROM pg_catalog.pg_extension e";

/// The setting that names the libraries that a server loads when it starts.
const PRELOAD: &str = "shared_preload_libraries";

/// Names are cut to so many bytes by the server.
const NAME_BYTES_MAX: usize = 63;

/// Tablespaces outside the data directory.
const TABLESPACES: &str = "SELECT t.oid, pg_catalog.pg_tablespace_location(t.oid) FROM pg_catalog.pg_tablespace t \
    WHERE pg_catalog.pg_tablespace_location(t.oid) LIKE '/%' ORDER BY t.oid";

/// Databases that a backup can be made of. An interrupted DROP DATABASE leaves one with -2, which accepts no connections.
const DATABASES: &str = "SELECT d.datname FROM pg_catalog.pg_database d WHERE d.datallowconn AND NOT d.datistemplate \
    AND d.datconnlimit <> -2 ORDER BY d.datname";

/// Databases with whether they accept connections, in the order of their names.
const SERVER_DATABASES: &str = "SELECT d.datname, d.datallowconn AND d.datconnlimit <> -2 FROM pg_catalog.pg_database d \
    WHERE NOT d.datistemplate ORDER BY d.datname COLLATE pg_catalog.\"C\"";

/// A server of more databases is refused: what was restored may be hostile.
const SERVER_DATABASES_MAX: usize = 10_000;

const CLOCK: &str = "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8";

/// A server, and the databases of it that are to be backed up.
pub(super) struct Survey {
    /// Each narrowed to the host that answered.
    pub(super) databases: Vec<Settings>,
    pub(super) server: ServerRecord,
    /// True if the server is a standby.
    pub(super) is_standby: bool,
    pub(super) tablespaces: Vec<Tablespace>,
    /// Reason why no physical backup is possible.
    not_physical: Option<String>,
}

/// A tablespace outside the data directory.
pub(super) struct Tablespace {
    pub(super) oid: u32,
    pub(super) location: String,
}

impl Survey {
    /// Examines the server of the databases; all of them have to be of one.
    pub(super) fn of(databases: &[Settings]) -> Result<Self> {
        let Some((one, others)) = databases.split_first() else {
            bail!("failed to back up: no database given")
        };
        let mut session = connect(one)?;
        if session.is_pooled() {
            bail!(
                "failed to back up {}: that is a connection pooler, through which pg_basebackup cannot connect, and \
                 pg_dump would leave its settings behind in other clients' sessions; connect to the server itself",
                one.describe()
            );
        }
        let rows = session.query(SERVER)?;
        let row = first(&rows)?;
        let server_of = |row: &Row| -> Result<(String, String)> {
            Ok((row.get(2).unwrap_or_default().to_owned(), row.text(9)?.to_owned()))
        };
        let identity = server_of(row)?;
        let mut names = vec![row.text(8)?.to_owned()];
        let mut narrowed = vec![named(session.settings(), &names[0])];
        let mut extensions = extensions(&mut session)?;
        for other in others {
            let mut there = connect(other)?;
            let theirs = there.query(SERVER)?;
            let theirs = first(&theirs)?;
            if server_of(theirs)? != identity {
                bail!(
                    "failed to back up {} with {}: they are on different servers; back up each separately",
                    other.describe(),
                    one.describe()
                );
            }
            let name = theirs.text(8)?.to_owned();
            if names.contains(&name) {
                bail!("failed to back up {}: it is given twice", other.describe());
            }
            narrowed.push(named(there.settings(), &name));
            names.push(name);
            extensions.extend(self::extensions(&mut there)?);
        }
        let not_physical = not_physical(row)?;
        let server = ServerRecord {
            version: row.text(0)?.to_owned(),
            major: number(row, 1)?,
            superuser: row.text(7)?.to_owned(),
            clock: clock_offset(&mut session)?,
            settings: settings(&mut session, SETTINGS)?,
            preloading: preloading(settings(&mut session, PRELOADED)?, &extensions),
        };
        let tablespaces = session.query(TABLESPACES)?;
        let tablespace =
            |row: &Row| Ok(Tablespace { oid: number(row, 0)?, location: row.text(1)?.to_owned() });
        let tablespaces = tablespaces.iter().map(tablespace).collect::<Result<_>>()?;
        let is_standby = row.text(3)? == "t";
        Ok(Self { databases: narrowed, server, is_standby, tablespaces, not_physical })
    }

    /// The method that is asked for; unless one is, physical where the role and the server allow it.
    ///
    /// The second value is the reason why it is not physical, if that was not requested.
    pub(super) fn method(&self, asked: Option<CopyMethod>) -> Result<(CopyMethod, Option<&str>)> {
        match (asked, &self.not_physical) {
            (Some(CopyMethod::Physical), Some(reason)) => {
                bail!("failed to take a base backup: {reason}; --method logical dumps instead")
            }
            (Some(method), _) => Ok((method, None)),
            (None, None) => Ok((CopyMethod::Physical, None)),
            (None, Some(reason)) => Ok((CopyMethod::Logical, Some(reason))),
        }
    }
}

fn not_physical(row: &Row) -> Result<Option<String>> {
    Ok(if row.text(3)? == "t" && row.text(10)? != "t" {
        let functions = "pg_wal_replay_pause() and pg_wal_replay_resume()";
        Some(format!(
            "the server is a standby, and the role may not execute {functions} (GRANT EXECUTE ON FUNCTION …)"
        ))
    } else if row.text(4)? != "t" {
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
pub fn databases(maintenance: &Settings) -> Result<Vec<String>> {
    let rows = connect(maintenance)?.query(DATABASES)?;
    let mut names = rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect::<Result<Vec<String>>>()?;
    if names.len() > 1 {
        names.retain(|name| name != "postgres");
    }
    Ok(names)
}

/// All databases of a server but the templates, in the order of their names, and settings that lead to the host that answered.
///
/// # Errors
///
/// If the server cannot be asked, or has more than 10,000 databases.
pub fn server_databases(maintenance: &Settings) -> Result<(Settings, Vec<ServerDatabase>)> {
    let doing = || format!("failed to list the databases of the server of {}", maintenance.describe());
    let mut session = connect(maintenance).with_context(doing)?;
    let rows = session.query(SERVER_DATABASES).with_context(doing)?;
    if rows.len() > SERVER_DATABASES_MAX {
        bail!("{}: it has {}, and {SERVER_DATABASES_MAX} is the limit", doing(), rows.len());
    }
    let listed =
        |row: &Row| Ok(ServerDatabase { name: row.text(0)?.to_owned(), is_open: row.text(1)? == "t" });
    Ok((session.settings().clone(), rows.iter().map(listed).collect::<Result<_>>()?))
}

/// A session for few short statements.
pub(super) fn connect(settings: &Settings) -> verify_core::Result<Connection> {
    let session = SessionOptions::verification(STATEMENT_TIMEOUT_MS, STATEMENT_TIMEOUT_MS)
        .with("application_name", "state-lab");
    Connection::open(settings, &session)
        .map_err(|error| error.while_doing(format!("connect to {}", settings.describe())))
}

/// Settings under the name that the server cuts a longer one to. Another name is a pooler's, who knows no other.
fn named(settings: &Settings, name: &str) -> Settings {
    let asked = settings.database();
    let cut = asked.len() > NAME_BYTES_MAX && asked.starts_with(name);
    if cut { settings.with_database(name) } else { settings.clone() }
}

fn extensions(session: &mut Connection) -> Result<BTreeSet<String>> {
    let rows = session.query(EXTENSIONS)?;
    rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
}

/// The settings of a server that dumps with these extensions can be loaded into: of the libraries that the source
/// preloads, those that are called as one of the extensions.
fn preloading(
    mut of_source: BTreeMap<String, String>,
    extensions: &BTreeSet<String>,
) -> BTreeMap<String, String> {
    let libraries = of_source.remove(PRELOAD).unwrap_or_default();
    let names = libraries.split(',').map(|name| name.trim().trim_matches('"').trim_start_matches("$libdir/"));
    let needed: Vec<&str> = names.filter(|name| extensions.contains(*name)).collect();
    if needed.is_empty() {
        return BTreeMap::new();
    }
    if !needed.contains(&"pg_cron") {
        of_source.clear();
    }
    of_source.insert(PRELOAD.to_owned(), needed.join(","));
    of_source
}

fn settings(session: &mut Connection, query: &str) -> Result<BTreeMap<String, String>> {
    let rows = session.query(query)?;
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
    fn of_what_the_source_preloads_the_extensions_of_the_dumps_are_kept() {
        let extensions = ["plpgsql", "pg_cron", "pgaudit"].map(str::to_owned).into();
        let of_source = |libraries: &str| {
            [(PRELOAD, libraries), ("cron.database_name", "jobs")]
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .into()
        };
        let kept = |libraries| preloading(of_source(libraries), &extensions).into_iter().collect::<Vec<_>>();
        let own = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(kept(""), own(&[]));
        assert_eq!(kept("auto_explain, sepgsql"), own(&[]));
        assert_eq!(kept("auto_explain, \"$libdir/pgaudit\""), own(&[(PRELOAD, "pgaudit")]));
        let cron = own(&[("cron.database_name", "jobs"), (PRELOAD, "pgaudit,pg_cron")]);
        assert_eq!(kept("pgaudit,auth_delay,pg_cron"), cron);
    }

    #[test]
    fn a_long_name_is_cut_and_a_poolers_is_kept() {
        let settings = |name: &str| {
            Settings::parse(&format!("host=h user=u dbname={name}"), &Environment::default()).unwrap()
        };
        let (cut, long) = ("x".repeat(63), "x".repeat(70));
        assert_eq!(named(&settings(&long), &cut).database(), cut);
        assert_eq!(named(&settings("alias"), "real").database(), "alias");
        assert_eq!(named(&settings("realistic"), "real").database(), "realistic");
    }

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
