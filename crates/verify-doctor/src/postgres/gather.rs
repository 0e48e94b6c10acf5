//! Reads the facts of a server over one connection.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use verify_core::error::Error;
use verify_core::heartbeat::Pulse;
use verify_core::postgres::{Connection, Row, Type, heartbeat};
use verify_core::table::{TableName, shown_identifier, shown_text};

use super::statements;
use crate::fact::{Fact, Missing};
use crate::facts::{
    ArchiveFiles, Archiver, Constraint, Index, OwnedSequence, PreparedTransaction, RestoreSide,
    SequenceValues, Server, Settings, Slot, Tablespace, libraries,
};
use crate::judge::archive;

/// Files in which pgBackRest looks for its options, unless its command names one.
const PGBACKREST: [&str; 2] = ["/etc/pgbackrest/pgbackrest.conf", "/etc/pgbackrest.conf"];
/// The longest time for the values of all sequences: a column without an index is read as a whole.
const SEQUENCES_TIMEOUT: Duration = Duration::from_secs(60);

const READ_DATA: &str = "GRANT pg_read_all_data (PostgreSQL 14 and later), or SELECT on it";
const MONITOR: &str = "GRANT pg_monitor";

/// Reads everything that the checks judge of a server.
///
/// # Errors
///
/// If the server does not even say what it is.
pub fn gather(connection: &mut Connection) -> Result<Server, Error> {
    let identity = connection.query(statements::IDENTITY)?;
    let identity = identity.first().ok_or_else(no_row)?;
    let version: u32 = identity.number(0)?;
    let major = version / 10_000;
    let settings = settings(connection, identity.flag(4)?)?;
    // Before the list of the archive: what was archived by now must be in it.
    let archiver = one(connection, statements::ARCHIVER, MONITOR, archiver);
    let command = settings.get("archive_command").unwrap_or_default().to_owned();
    let names = |names: Vec<Vec<String>>| names.into_iter().map(|name| name.join(".")).collect();
    let server = Server {
        version,
        database: identity.text(1)?.to_owned(),
        in_recovery: identity.flag(2)?,
        read_at: timestamp(identity, 3)?,
        system_identifier: one(
            connection,
            statements::SYSTEM_IDENTIFIER,
            "GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system()",
            |row| row.number(0),
        ),
        archiver,
        archive_files: archive_files(connection, &command, &settings),
        archive_queue_max: queue_max(connection, &command),
        slots: rows(connection, statements::SLOTS, MONITOR, |row| {
            Ok(Slot {
                name: shown(row, 0)?,
                wal_status: row.get(1).map(str::to_owned),
                active: row.flag(2)?,
                held_bytes: row.get(3).map(|_| row.number(3)).transpose()?,
            })
        }),
        standbys: one(connection, statements::STANDBYS, MONITOR, |row| row.number(0)),
        prepared: rows(connection, statements::PREPARED, MONITOR, |row| {
            Ok(PreparedTransaction {
                id: shown(row, 0)?,
                database: shown(row, 1)?,
                prepared_at: timestamp(row, 2)?,
            })
        }),
        unlogged: rows(connection, statements::UNLOGGED, MONITOR, |row| relation(row, 0)),
        indexes: rows(connection, statements::INVALID_INDEXES, MONITOR, |row| {
            Ok(Index { name: relation(row, 0)?, table: relation(row, 2)?, maybe_building: row.flag(4)? })
        }),
        constraints: rows(connection, &statements::constraints(major), MONITOR, |row| {
            let name = shown_identifier(row.text(0)?);
            Ok(Constraint { name, table: relation(row, 1)?, enforced: row.flag(3)? })
        }),
        sequences: sequences(connection),
        tablespaces: rows(connection, statements::TABLESPACES, MONITOR, |row| {
            Ok(Tablespace { name: shown(row, 0)?, location: shown(row, 1)? })
        }),
        pulse: pulse(connection),
        subscriptions: rows(connection, statements::SUBSCRIPTIONS, MONITOR, shown_all).map(names),
        cron_jobs: cron_jobs(connection),
        foreign_servers: rows(connection, statements::FOREIGN_SERVERS, MONITOR, |row| {
            Ok(format!("{} ({})", shown_identifier(row.text(0)?), shown_identifier(row.text(1)?)))
        }),
        collations: collations(connection, major, true).map(|collations| {
            let drifted = collations.iter().filter(|(_, recorded, actual)| recorded != actual);
            drifted.map(|(name, _, _)| name.clone()).collect()
        }),
        collation_versions: collations(connection, major, true)
            .map(|collations| collations.into_iter().map(|(name, _, actual)| (name, actual)).collect()),
        extensions: rows(connection, statements::EXTENSIONS, MONITOR, |row| {
            Ok((shown(row, 0)?, shown(row, 1)?))
        })
        .map(BTreeMap::from_iter),
        settings,
    };
    Ok(server)
}

/// Reads what a restore needs of the server that backups are restored to.
///
/// # Errors
///
/// If the server does not even say what it is.
pub fn restore_side(connection: &mut Connection) -> Result<RestoreSide, Error> {
    let identity = connection.query(statements::IDENTITY)?;
    let identity = identity.first().ok_or_else(no_row)?;
    let version: u32 = identity.number(0)?;
    let settings = settings(connection, identity.flag(4)?)?;
    Ok(RestoreSide {
        version,
        available: rows(connection, statements::AVAILABLE_EXTENSIONS, MONITOR, |row| shown(row, 0))
            .map(|names| names.into_iter().collect()),
        loadable: settings.get("shared_preload_libraries").map(libraries),
        collations: collations(connection, version / 10_000, false)
            .map(|collations| collations.into_iter().map(|(name, _, actual)| (name, actual)).collect()),
        settings,
    })
}

fn settings(connection: &mut Connection, all_visible: bool) -> Result<Settings, Error> {
    let mut settings = Settings { all_visible, ..Settings::default() };
    for row in connection.query(statements::SETTINGS)? {
        let name = row.text(0)?.to_owned();
        if row.flag(2)? {
            settings.of_session.insert(name.clone());
        }
        settings.values.insert(name, row.text(1)?.to_owned());
    }
    Ok(settings)
}

fn archiver(row: &Row) -> Result<Archiver, Error> {
    let at = |column: usize| row.get(column).map(|_| timestamp(row, column)).transpose();
    let text = |column: usize| row.get(column).map(str::to_owned);
    Ok(Archiver {
        archived: row.number(0)?,
        last_archived_file: text(1),
        last_archived_at: at(2)?,
        failed: row.number(3)?,
        last_failed_file: text(4),
        last_failed_at: at(5)?,
    })
}

/// The names in the archive, where archive_command shows a directory of the server's machine.
fn archive_files(connection: &mut Connection, command: &str, settings: &Settings) -> Fact<ArchiveFiles> {
    let segment_bytes = settings.number("wal_segment_size")?;
    let directory = archive::directory(command).ok_or_else(archive::no_directory)?;
    let needs =
        "GRANT pg_read_server_files, and EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean)";
    let listed = connection
        .query_with(statements::LIST_DIRECTORY, &[(&directory, Type::TEXT)])
        .map_err(|error| refused(&error, needs))?;
    let names = listed.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect();
    let segment_bytes = u64::try_from(segment_bytes).unwrap_or_default();
    Ok(ArchiveFiles { place: directory, names, segment_bytes })
}

/// The limit of the queue in pgBackRest's configuration on the server.
fn queue_max(connection: &mut Connection, command: &str) -> Fact<Option<String>> {
    if !command.contains("pgbackrest") {
        return Err(Missing::not_applicable("archive_command does not run pgBackRest"));
    }
    let needs = "GRANT pg_read_server_files, and EXECUTE ON FUNCTION pg_catalog.pg_read_file(text, bigint, bigint, boolean)";
    let named = command.split_whitespace().find_map(|word| word.strip_prefix("--config="));
    let files = named.map_or(PGBACKREST.to_vec(), |named| vec![named]);
    for file in files {
        let read = connection
            .query_with(statements::QUEUE_MAX, &[(&file, Type::TEXT)])
            .map_err(|error| refused(&error, needs))?;
        if let Some(value) = read.first().and_then(|row| row.get(0)) {
            return Ok(Some(shown_text(value)));
        }
    }
    Ok(None)
}

fn sequences(connection: &mut Connection) -> Fact<Vec<OwnedSequence>> {
    let listed = connection.query(statements::SEQUENCES).map_err(|error| refused(&error, MONITOR))?;
    let began = Instant::now();
    let mut sequences = Vec::new();
    for row in &listed {
        let read = |row: &Row| -> Result<_, Error> {
            let (table, column) = (relation(row, 2)?, shown_identifier(row.text(4)?));
            let increment: i64 = row.number(5)?;
            let readable = row.flag(6)? && row.flag(7)?;
            let sql = statements::sequence_values(
                &quoted(row.text(0)?, row.text(1)?),
                &quoted(row.text(2)?, row.text(3)?),
                &quote(row.text(4)?),
                increment,
            );
            Ok((relation(row, 0)?, format!("{table}.{column}"), increment, readable, sql))
        };
        let (name, column, increment, readable, sql) = read(row).map_err(|error| refused(&error, MONITOR))?;
        let values = if !readable {
            Err(("the role may not read it or its table".to_owned(), READ_DATA.to_owned()))
        } else if began.elapsed() > SEQUENCES_TIMEOUT {
            let reason = format!("the sequences before it took {} s", SEQUENCES_TIMEOUT.as_secs());
            Err((reason, "an index on the columns of sequences".to_owned()))
        } else {
            sequence_values(connection, &sql, increment).map_err(|error| {
                let needs = match error.sqlstate() {
                    Some("57014") => "an index on its column: reading its maximum took too long",
                    _ => READ_DATA,
                };
                (shown_text(&error.to_string()), needs.to_owned())
            })
        };
        sequences.push(OwnedSequence { name, column, values });
    }
    Ok(sequences)
}

fn sequence_values(connection: &mut Connection, sql: &str, increment: i64) -> Result<SequenceValues, Error> {
    let rows = connection.query(sql)?;
    let row = rows.first().ok_or_else(no_row)?;
    let last: i128 = row.number(0)?;
    let next = if row.flag(1)? { last + i128::from(increment) } else { last };
    let furthest = row.get(2).map(|_| row.number(2)).transpose()?;
    Ok(SequenceValues { next, furthest, increment })
}

fn pulse(connection: &mut Connection) -> Fact<Pulse> {
    let needs = "GRANT USAGE ON SCHEMA state_lab and SELECT ON state_lab.heartbeat";
    let readable = connection.query(statements::HEARTBEAT).map_err(|error| refused(&error, needs))?;
    if readable.first().is_some_and(|row| row.get(0) != Some("t")) {
        return Err(Missing::unknown("the role may not read the heartbeat", needs));
    }
    heartbeat::pulse(connection).map_err(|error| refused(&error, needs))
}

fn cron_jobs(connection: &mut Connection) -> Fact<Vec<String>> {
    let needs = "GRANT USAGE ON SCHEMA cron and SELECT ON cron.job";
    let readable = connection.query(statements::CRON).map_err(|error| refused(&error, needs))?;
    match readable.first().and_then(|row| row.get(0)) {
        None => Err(Missing::not_applicable("the database has no jobs of pg_cron")),
        Some("t") => {
            rows(connection, statements::CRON_JOBS, needs, |row| Ok(format!("job {}", shown(row, 0)?)))
        }
        Some(_) => Err(Missing::unknown("the role may not read cron.job", needs)),
    }
}

/// Collations, or those in use: name, recorded version, version of the operating system. One that has no version now, as `C.UTF-8`,
/// sorts by code points.
fn collations(connection: &mut Connection, major: u32, used: bool) -> Fact<Vec<(String, String, String)>> {
    let all = rows(connection, &statements::collations(major, used), MONITOR, |row| {
        row.get(2).map(|actual| Ok((shown(row, 0)?, value(row, 1), shown_text(actual)))).transpose()
    })?;
    Ok(all.into_iter().flatten().collect())
}

/// The rows of a statement, each as `read` reads it; the fact is missing where the server refuses it.
fn rows<T>(
    connection: &mut Connection,
    sql: &str,
    needs: &str,
    read: impl Fn(&Row) -> Result<T, Error>,
) -> Fact<Vec<T>> {
    let rows = connection.query(sql).and_then(|rows| rows.iter().map(read).collect());
    rows.map_err(|error| refused(&error, needs))
}

/// The only row of a statement.
fn one<T>(
    connection: &mut Connection,
    sql: &str,
    needs: &str,
    read: impl Fn(&Row) -> Result<T, Error>,
) -> Fact<T> {
    let row = connection.query(sql).and_then(|rows| rows.first().ok_or_else(no_row).and_then(read));
    row.map_err(|error| refused(&error, needs))
}

/// Reason why a fact is missing: the role lacks a right, which `needs` names, or the server gives another reason.
fn refused(error: &Error, needs: &str) -> Missing {
    let needs = match error.sqlstate() {
        Some("42501") => needs,
        Some(_) => "what the server's message says",
        None => "a server that answers",
    };
    Missing::unknown(shown_text(&error.to_string()), needs)
}

fn no_row() -> Error {
    Error::new(verify_core::error::ErrorKind::Protocol, "read an answer: the server sent no row")
}

fn timestamp(row: &Row, column: usize) -> Result<Timestamp, Error> {
    let kind = verify_core::error::ErrorKind::Protocol;
    Timestamp::from_microsecond(row.number(column)?)
        .map_err(|error| Error::with_source(kind, "read the server's time", error))
}

fn shown(row: &Row, column: usize) -> Result<String, Error> {
    Ok(shown_text(row.text(column)?))
}

fn shown_all(row: &Row) -> Result<Vec<String>, Error> {
    (0..row.len()).map(|column| shown(row, column)).collect()
}

fn value(row: &Row, column: usize) -> String {
    shown_text(row.get(column).unwrap_or_default())
}

/// A relation whose schema and name are in two columns, as text.
fn relation(row: &Row, column: usize) -> Result<String, Error> {
    Ok(TableName::new(row.text(column)?, row.text(column + 1)?).to_string())
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quoted(schema: &str, name: &str) -> String {
    format!("{}.{}", quote(schema), quote(name))
}
