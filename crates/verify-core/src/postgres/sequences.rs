//! The values of sequences, and of the columns that they feed.

use super::connection::Connection;
use super::statements;
use crate::error::Result;
use crate::sequence::{OwnedBy, Sequence, SequenceValue};
use crate::table::TableName;

/// Relations that one query reads: each holds a lock in the server's shared memory.
const BATCH: usize = 200;

/// A sequence, and whether it and its column can be read.
struct Found {
    sequence: Sequence,
    readable: bool,
    column_readable: bool,
}

/// Reads every sequence; its two values are both those of now.
///
/// With `in_recovery`, unlogged ones are left unread: they do not exist on a standby.
pub(super) fn read(connection: &mut Connection, in_recovery: bool) -> Result<Vec<Sequence>> {
    let mut found = list(connection, in_recovery)?;
    let readable: Vec<usize> = (0..found.len()).filter(|&i| found[i].readable).collect();
    for batch in readable.chunks(BATCH) {
        let names: Vec<(usize, TableName)> =
            batch.iter().map(|&i| (i, found[i].sequence.name.clone())).collect();
        let sql = statements::sequence_values(names.iter().map(|(i, name)| (*i, name)));
        for row in connection.query(&sql)? {
            let value = SequenceValue { last_value: row.number(1)?, is_called: row.flag(2)? };
            if let Some(found) = found.get_mut(row.number::<usize>(0)?) {
                found.sequence.earliest = Some(value);
                found.sequence.latest = Some(value);
            }
        }
    }
    columns(connection, &mut found)?;
    Ok(found.into_iter().map(|found| found.sequence).collect())
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
        let sequence = Sequence {
            name,
            increment: row.number(2)?,
            cycles: row.flag(3)?,
            owned_by,
            earliest: None,
            latest: None,
        };
        let there = !in_recovery || !row.flag(9)?;
        let column_there = !in_recovery || !row.flag(10)?;
        let column_readable = row.get(8) == Some("t") && column_there;
        found.push(Found { sequence, readable: row.flag(4)? && there, column_readable });
    }
    Ok(found)
}

/// Reads the furthest value of each owned column, which an index answers where the column leads one.
fn columns(connection: &mut Connection, found: &mut [Found]) -> Result<()> {
    let owned: Vec<usize> = (0..found.len())
        .filter(|&i| found[i].column_readable && found[i].sequence.owned_by.is_some())
        .collect();
    for batch in owned.chunks(BATCH) {
        let sql = statements::furthest(batch.iter().filter_map(|&i| {
            let sequence = &found[i].sequence;
            let owner = sequence.owned_by.as_ref()?;
            Some((i, &owner.table, owner.column.as_str(), sequence.increment < 0))
        }));
        for row in connection.query(&sql)? {
            let place = row.number::<usize>(0)?;
            let value = row.get(1).map(|_| row.number(1)).transpose()?;
            if let Some(owner) = found.get_mut(place).and_then(|found| found.sequence.owned_by.as_mut()) {
                owner.furthest = value;
            }
        }
    }
    Ok(())
}
