//! The definitions of a database's objects, and expressions printed again by a restored server.

mod reprint;
mod statements;

use std::collections::BTreeMap;

use super::connection::Connection;
use super::rows::Rows;
use super::savepoint::guarded;
use crate::definition::{Definition, Definitions};
use crate::error::Result;
use crate::table::TableName;

pub(super) use reprint::reprint;

/// Columns of each statement before the attributes: type, identity, schema and name of the relation.
const HEAD: usize = 4;

/// Reads all definitions within the open transaction.
pub(super) fn read(connection: &mut Connection, server_version: u32) -> Result<Definitions> {
    let mut found = BTreeMap::new();
    for sql in statements::all(server_version) {
        match guarded(connection, |connection| connection.query_text(&sql))? {
            Ok(rows) => add(&mut found, &rows)?,
            Err(error) => return Ok(Definitions::Unread(error.to_string())),
        }
    }
    Ok(Definitions::Read(found.into_values().collect()))
}

/// Adds rows; several statements may know attributes of one object.
fn add(found: &mut BTreeMap<(String, String), Definition>, rows: &Rows) -> Result<()> {
    for row in &rows.rows {
        let (Some(object_type), Some(identity)) = (row.get(0), row.get(1)) else { continue };
        let key = (object_type.to_owned(), identity.to_owned());
        let definition = found.entry(key).or_insert_with(|| Definition {
            object_type: object_type.to_owned(),
            identity: identity.to_owned(),
            of: None,
            attributes: BTreeMap::new(),
            later: None,
            may_be_absent: false,
        });
        if let (Some(schema), Some(name)) = (row.get(2), row.get(3)) {
            definition.of = Some(TableName::new(schema, name));
        }
        for (place, name) in rows.columns.iter().enumerate().skip(HEAD) {
            if let Some(value) = row.get(place) {
                definition.set(name, value);
            }
        }
    }
    Ok(())
}
