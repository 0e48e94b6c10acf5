//! The definitions of a database's objects, and expressions printed again by a restored server.

mod cluster;
mod reprint;
mod statements;

use super::connection::Connection;
use super::rows::Row;
use super::savepoint::guarded;
use super::statements::{BEGIN, import, set_local};
use crate::definition::{Definition, Definitions, Extent};
use crate::error::Result;
use crate::table::TableName;
use statements::Scope;

pub(super) use reprint::reprint;

/// Columns of each statement before the attributes: type, identity, schema and name of the relation.
const HEAD: usize = 4;

/// Maximum number of attempts: relations can be locked and dropped at any time.
const ATTEMPTS_MAX: usize = 3;
/// Time to wait for a lock that another session holds, to print a definition.
const LOCK_TIMEOUT_MS: u32 = 200;

/// Reads all definitions in a transaction of `connection` that sees the snapshot `exported`, or the present. It is a short one: the
/// server locks what it prints until the end.
pub(super) fn read(
    connection: &mut Connection,
    server_version: u32,
    extent: Extent,
    exported: Option<&str>,
) -> Result<Definitions> {
    let begin = match exported {
        Some(exported) => format!("{BEGIN}; {}", import(exported)),
        None => BEGIN.to_owned(),
    };
    connection.begin_transaction(&begin)?;
    connection.execute(&set_local("lock_timeout", &LOCK_TIMEOUT_MS.to_string()))?;
    let definitions = match extent {
        Extent::Database => read_within(connection, server_version)?,
        Extent::Cluster => read_cluster(connection, server_version)?,
    };
    connection.execute("ROLLBACK")?;
    Ok(definitions)
}

fn read_within(connection: &mut Connection, server_version: u32) -> Result<Definitions> {
    let mut out_of_reach = Vec::new();
    let mut answer = Definitions::Unread("they were not read".to_owned());
    for _ in 0..ATTEMPTS_MAX {
        match guarded(connection, |connection| read_once(connection, server_version, &out_of_reach))? {
            Ok(definitions) => return Ok(Definitions::Read(definitions)),
            Err(error) => answer = Definitions::Unread(error.to_string()),
        }
        out_of_reach = connection.query(statements::OUT_OF_REACH)?;
    }
    Ok(answer)
}

fn read_cluster(connection: &mut Connection, server_version: u32) -> Result<Definitions> {
    let read = guarded(connection, |connection| {
        let mut found = Vec::new();
        for sql in cluster::all(server_version) {
            connection.query_each(&sql, |columns, row| add(&mut found, columns, row))?;
        }
        Ok(merged(found))
    })?;
    Ok(read.map_or_else(|error| Definitions::Unread(error.to_string()), Definitions::Read))
}

/// Reads the definitions of the tables `oids`, which the open transaction of `connection` has locked already: others wait behind a
/// session that waits for those locks.
pub(super) fn read_locked(
    connection: &mut Connection,
    server_version: u32,
    oids: &[u32],
    definitions: &mut Definitions,
) -> Result<()> {
    let Definitions::Read(known) = definitions else { return Ok(()) };
    let mut found = Vec::new();
    connection.execute("SAVEPOINT state_lab_definitions")?;
    let read = guarded(connection, |connection| {
        for sql in statements::all(server_version, &Scope::Only(oids)) {
            connection.query_each(&sql, |columns, row| add(&mut found, columns, row))?;
        }
        Ok(())
    })?;
    // Releases what was locked to print them.
    connection
        .execute("ROLLBACK TO SAVEPOINT state_lab_definitions; RELEASE SAVEPOINT state_lab_definitions")?;
    if read.is_ok() {
        let found = merged(found);
        known.retain(|known| found.binary_search_by(|locked| locked.key().cmp(&known.key())).is_err());
        known.extend(found);
        known.sort_by(|a, b| a.key().cmp(&b.key()));
    }
    Ok(())
}

/// Reads the definitions of all but the relations that are out of reach.
fn read_once(
    connection: &mut Connection,
    server_version: u32,
    out_of_reach: &[Row],
) -> Result<Vec<Definition>> {
    let mut found = Vec::new();
    let skipped: Vec<u32> = out_of_reach.iter().map(|row| row.number(4)).collect::<Result<_>>()?;
    for sql in statements::all(server_version, &Scope::Without(&skipped)) {
        connection.query_each(&sql, |columns, row| add(&mut found, columns, row))?;
    }
    for row in out_of_reach {
        let dropped = row.flag(5)?;
        let reason = if dropped {
            "it was dropped meanwhile"
        } else {
            "another session locks it, or what it is made of"
        };
        let definition = Definition {
            object_type: row.text(0)?.to_owned(),
            identity: row.text(1)?.to_owned(),
            of: Some(TableName::new(row.text(2)?, row.text(3)?)),
            may_be_absent: dropped,
            unread: Some(reason.to_owned()),
            ..Definition::default()
        };
        found.retain(|known: &Definition| known.key() != definition.key());
        found.push(definition);
    }
    Ok(merged(found))
}

/// Adds a row.
fn add(found: &mut Vec<Definition>, columns: &[String], row: &Row) {
    let (Some(object_type), Some(identity)) = (row.get(0), row.get(1)) else { return };
    let identity = match object_type {
        // Some versions qualify the server's own types, others do not.
        "cast" | "transform" => identity.replace("pg_catalog.", ""),
        _ => identity.to_owned(),
    };
    let mut definition = Definition {
        object_type: object_type.to_owned(),
        identity,
        of: row.get(2).zip(row.get(3)).map(|(schema, name)| TableName::new(schema, name)),
        ..Definition::default()
    };
    for (place, name) in columns.iter().enumerate().skip(HEAD) {
        if let Some(value) = row.get(place) {
            definition.set(name, value);
        }
    }
    found.push(definition);
}

/// Sorts definitions, and makes one of those of the same object: several statements may know attributes of it.
fn merged(mut found: Vec<Definition>) -> Vec<Definition> {
    found.sort_by(|a, b| a.key().cmp(&b.key()));
    found.dedup_by(|later, first| {
        let same = later.key() == first.key();
        if same {
            first.of = later.of.take().or(first.of.take());
            later
                .attributes
                .names()
                .for_each(|name| first.set(name, later.attribute(name).unwrap_or_default()));
        }
        same
    });
    found.shrink_to_fit();
    found
}
