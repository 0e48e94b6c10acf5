//! Check that the rows of a partition are where the server's own partitioning puts them.

use tokio_postgres::types::Type;

use super::connection::Connection;
use super::rows::first;
use super::savepoint::guarded;
use super::statements;
use crate::database::Placement;
use crate::error::Result;
use crate::table::TableName;

/// Searches for a row in the wrong partition, within the open transaction.
pub(super) fn placement(connection: &mut Connection, oid: u32, partition: &TableName) -> Result<Placement> {
    let looked = guarded(connection, |connection| look(connection, oid, partition))?;
    Ok(looked.unwrap_or_else(|error| Placement::Unknown(error.to_string())))
}

fn look(connection: &mut Connection, oid: u32, partition: &TableName) -> Result<Placement> {
    let rows = connection.query_with(&statements::partition_constraint(), &[(&oid, Type::OID)])?;
    let row = first(&rows)?;
    let unknown = |reason: &str| Ok(Placement::Unknown(reason.to_owned()));
    let Some(constraint) = row.get(0) else { return unknown("it is not a partition") };
    if row.flag(1)? {
        return unknown("its partition key calls functions of the database, which are not run");
    }
    let rows = connection.query(&statements::holds_misplaced(partition, constraint))?;
    Ok(if first(&rows)?.flag(0)? { Placement::Wrong } else { Placement::Right })
}
