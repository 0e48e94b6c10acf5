//! The values of sequences, and of the columns that they feed.

use super::connection::Connection;
use super::rows::Row;
use super::savepoint::guarded;
use super::statements;
use crate::database::UNLOGGED_IN_RECOVERY;
use crate::error::Result;
use crate::sequence::{OwnedBy, Sequence, SequenceValue};
use crate::table::{TableName, shown_identifier};

/// Relations that one query reads: each holds a lock in the server's shared memory.
const BATCH: usize = 200;

/// A sequence, and whether the column that it feeds can be read.
struct Found {
    sequence: Sequence,
    column_readable: bool,
}

/// Reads every sequence, within the open transaction; its two values are both those of now.
///
/// With `in_recovery`, unlogged ones are left unread: they do not exist on a standby.
pub(super) fn read(connection: &mut Connection, in_recovery: bool) -> Result<Vec<Sequence>> {
    let mut found = list(connection, in_recovery)?;
    let readable: Vec<usize> = (0..found.len()).filter(|&i| found[i].sequence.unreadable.is_none()).collect();
    let names: Vec<TableName> = found.iter().map(|found| found.sequence.name.clone()).collect();
    let values = |places: &[usize]| statements::sequence_values(places.iter().map(|&i| (i, &names[i])));
    for (place, row) in each(connection, &readable, values)? {
        let Some(Found { sequence, .. }) = found.get_mut(place) else { continue };
        match row {
            Ok(row) => {
                let value = SequenceValue { last_value: row.number(1)?, is_called: row.flag(2)? };
                sequence.earliest = Some(value);
                sequence.latest = Some(value);
            }
            Err(reason) => sequence.unreadable = Some(reason),
        }
    }
    columns(connection, &mut found)?;
    Ok(found.into_iter().map(|found| found.sequence).collect())
}

/// Runs one query for many places, which come back as the first column of its rows. Where the server refuses it, one
/// for each: a sequence that is locked, dropped or damaged does not hide the others.
fn each(
    connection: &mut Connection,
    places: &[usize],
    query: impl Fn(&[usize]) -> String,
) -> Result<Vec<(usize, Result<Row, String>)>> {
    let mut answers = Vec::with_capacity(places.len());
    for batch in places.chunks(BATCH) {
        let mut ask = |connection: &mut Connection, batch: &[usize]| -> Result<Result<(), String>> {
            let asked = guarded(connection, |connection| connection.query(&query(batch)))?;
            match asked {
                Ok(rows) => {
                    for row in rows {
                        answers.push((row.number(0)?, Ok(row)));
                    }
                    Ok(Ok(()))
                }
                Err(error) => Ok(Err(error.to_string())),
            }
        };
        if ask(connection, batch)?.is_ok() {
            continue;
        }
        let mut refused = Vec::new();
        for &place in batch {
            if let Err(reason) = ask(connection, &[place])? {
                refused.push((place, Err(reason)));
            }
        }
        answers.extend(refused);
    }
    Ok(answers)
}

/// Reason why a sequence cannot be read, and the GRANT that permits it.
fn unreadable(row: &Row, name: &TableName, in_recovery: bool) -> Result<Option<String>> {
    let role = shown_identifier(row.text(12)?);
    Ok(match (row.get(4), row.get(11)) {
        (None, _) | (_, None) => Some("it was dropped meanwhile".to_owned()),
        (Some("f"), _) => {
            let schema = shown_identifier(&name.schema);
            Some(format!("role {role} may not use its schema: GRANT USAGE ON SCHEMA {schema} TO {role}"))
        }
        (_, Some("f")) => {
            Some(format!("role {role} may not read it: GRANT SELECT ON SEQUENCE {name} TO {role}"))
        }
        _ if in_recovery && row.flag(9)? => Some(UNLOGGED_IN_RECOVERY.to_owned()),
        _ => None,
    })
}

fn list(connection: &mut Connection, in_recovery: bool) -> Result<Vec<Found>> {
    let mut found = Vec::<Found>::new();
    for row in connection.query(statements::SEQUENCES)? {
        let name = TableName::new(row.text(0)?, row.text(1)?);
        // A sequence that feeds several columns is listed once, with the first.
        if found.last().is_some_and(|last| last.sequence.name == name) {
            continue;
        }
        let owned_by = match (row.get(5), row.get(6), row.get(7)) {
            (Some(schema), Some(table), Some(column)) => Some(OwnedBy {
                table: TableName::new(schema, table),
                column: column.to_owned(),
                furthest: None,
            }),
            _ => None,
        };
        let unreadable = unreadable(&row, &name, in_recovery)?;
        let sequence = Sequence {
            name,
            increment: row.number(2)?,
            cycles: row.flag(3)?,
            unlogged: row.flag(9)?,
            owned_by,
            earliest: None,
            latest: None,
            unreadable,
        };
        let column_there = !in_recovery || !row.flag(10)?;
        let column_readable = row.get(8) == Some("t") && column_there;
        found.push(Found { sequence, column_readable });
    }
    Ok(found)
}

/// Reads the furthest value of each owned column, which an index answers where the column leads one.
fn columns(connection: &mut Connection, found: &mut [Found]) -> Result<()> {
    let owned: Vec<usize> = (0..found.len())
        .filter(|&i| found[i].column_readable && found[i].sequence.owned_by.is_some())
        .collect();
    let owners: Vec<Option<(OwnedBy, bool)>> = found
        .iter()
        .map(|found| Some((found.sequence.owned_by.clone()?, found.sequence.increment < 0)))
        .collect();
    let furthest = |places: &[usize]| {
        statements::furthest(places.iter().filter_map(|&i| {
            let (owner, descending) = owners[i].as_ref()?;
            Some((i, &owner.table, owner.column.as_str(), *descending))
        }))
    };
    for (place, row) in each(connection, &owned, furthest)? {
        // A column that cannot be read is reported with its table.
        let Ok(row) = row else { continue };
        let value = row.get(1).map(|_| row.number(1)).transpose()?;
        if let Some(owner) = found.get_mut(place).and_then(|found| found.sequence.owned_by.as_mut()) {
            owner.furthest = value;
        }
    }
    Ok(())
}
