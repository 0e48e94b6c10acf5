//! The relations that hold rows, from the catalogue: a fixed number of queries, however many there are.

use std::collections::HashMap;

use tokio_postgres::types::Type;

use super::connection::Connection;
use super::rows::Row;
use super::statements;
use super::types::Types;
use crate::database::{Found, NOT_POPULATED, UNLOGGED_IN_RECOVERY};
use crate::error::Result;
use crate::table::{Column, Key, KeySource, PartitionLevel, PartitionStrategy, Table, TableKind, TableName};

/// A relation with its object id.
pub(super) struct Relation {
    pub oid: u32,
    pub found: Found,
}

/// A column with what only keys need to know.
struct Attribute {
    number: i16,
    not_null: bool,
    column: Column,
}

/// Privileges and version of the reader, for messages and for splitting.
pub(super) struct Reading<'a> {
    pub server_version: u32,
    pub role: &'a str,
    pub in_recovery: bool,
}

/// Reads the relations that hold rows, large objects among them, sorted by name.
pub(super) fn relations(connection: &mut Connection, reading: &Reading<'_>) -> Result<Vec<Relation>> {
    let types = Types::read(connection, reading.server_version)?;
    let mut attributes = attributes(connection, &types)?;
    let mut keys = unique_indexes(connection)?;
    let mut parents = parents(connection)?;
    let mut paths = partition_paths(connection)?;
    let mut relations = Vec::new();
    for row in connection.query(statements::TABLES)? {
        let oid = row.number(0)?;
        let attributes = attributes.remove(&oid).unwrap_or_default();
        let indexes = keys.remove(&oid).unwrap_or_default();
        let harmless = indexes.harmless;
        let key = key(&attributes, indexes.columns);
        let mut columns: Vec<Column> = attributes.into_iter().map(|attribute| attribute.column).collect();
        // They are kept as long as the snapshot, for each of perhaps 100,000 tables.
        columns.shrink_to_fit();
        let mut found = relation(&row, columns, key, reading)?;
        found.finds_keys = harmless && statements::keys_have_text(&found.table);
        found.table.parents = parents.remove(&oid).unwrap_or_default();
        found.table.partition_path = paths.remove(&oid).unwrap_or_default();
        relations.push(Relation { oid, found });
    }
    relations.extend(large_objects(connection)?);
    relations.sort_by(|a, b| a.found.table.name.cmp(&b.found.table.name));
    Ok(relations)
}

fn relation(row: &Row, columns: Vec<Column>, key: Key, reading: &Reading<'_>) -> Result<Found> {
    let name = TableName::new(row.text(1)?, row.text(2)?);
    let kind = if row.text(3)? == "m" { TableKind::MaterializedView } else { TableKind::Table };
    let unlogged = row.text(4)? == "u";
    let unreadable = if row.get(6).is_none() || row.get(7).is_none() {
        Some("it was dropped meanwhile".to_owned())
    } else if !row.flag(6)? {
        Some(format!("role {} may not use schema {}: grant usage on it", reading.role, name.schema))
    } else if !row.flag(7)? {
        Some(format!("role {} may not read it: grant select on it, or pg_read_all_data", reading.role))
    } else if row.flag(8)? {
        Some(format!(
            "row security hides rows from role {}: use the owner or a role with BYPASSRLS",
            reading.role
        ))
    } else if !row.flag(9)? {
        Some(NOT_POPULATED.to_owned())
    } else if unlogged && reading.in_recovery {
        Some(UNLOGGED_IN_RECOVERY.to_owned())
    } else {
        None
    };
    let partition_of = match (row.get(10), row.get(11)) {
        (Some(schema), Some(name)) => Some(TableName::new(schema, name)),
        _ => None,
    };
    let extension = row.get(12).map(str::to_owned);
    Ok(Found {
        table: Table { kind, unlogged, partition_of, extension, ..Table::new(name, columns, key) },
        bytes_estimate: 0,
        pages: None,
        filenode: row.number(5)?,
        unreadable,
        finds_keys: false,
    })
}

/// Looks up the sizes of the relations `oids`, which must be locked: it would wait for a lock otherwise.
pub(super) fn measure(
    connection: &mut Connection,
    relations: &mut [Relation],
    oids: &[u32],
    server_version: u32,
) -> Result<()> {
    let mut places: HashMap<u32, &mut Found> =
        relations.iter_mut().map(|relation| (relation.oid, &mut relation.found)).collect();
    for row in connection.query_with(statements::SIZES, &[(&oids, Type::OID_ARRAY)])? {
        let Some(found) = places.get_mut(&row.number(0)?) else { continue };
        found.bytes_estimate = row.number(1)?;
        // Ranges of pages are cheap to read from PostgreSQL 14 on.
        if server_version >= 140_000 && found.table.kind == TableKind::Table {
            found.pages = Some(row.number::<i64>(2)?.try_into().unwrap_or(u32::MAX));
        }
    }
    Ok(())
}

fn attributes(connection: &mut Connection, types: &Types) -> Result<HashMap<u32, Vec<Attribute>>> {
    let mut attributes = HashMap::<u32, Vec<Attribute>>::new();
    for row in connection.query(statements::COLUMNS)? {
        let (encoding, base_type) = types.encoding(row.number(4)?);
        let column = Column {
            name: row.text(2)?.to_owned(),
            type_name: row.text(3)?.to_owned(),
            base_type,
            encoding,
            generated: row.flag(5)?,
        };
        let attribute = Attribute { number: row.number(1)?, not_null: row.flag(6)?, column };
        attributes.entry(row.number(0)?).or_default().push(attribute);
    }
    Ok(attributes)
}

fn parents(connection: &mut Connection) -> Result<HashMap<u32, Vec<TableName>>> {
    let mut parents = HashMap::<u32, Vec<TableName>>::new();
    for row in connection.query(statements::PARENTS)? {
        let parent = TableName::new(row.text(1)?, row.text(2)?);
        parents.entry(row.number(0)?).or_default().push(parent);
    }
    Ok(parents)
}

/// Per partition its levels, from the topmost down.
fn partition_paths(connection: &mut Connection) -> Result<HashMap<u32, Vec<PartitionLevel>>> {
    let mut paths = HashMap::<u32, Vec<PartitionLevel>>::new();
    let mut last = None;
    for row in connection.query(statements::PARTITION_LEVELS)? {
        let (oid, depth) = (row.number(0)?, row.number::<i64>(1)?);
        let path = paths.entry(oid).or_default();
        // One row a column of the key.
        if last != Some((oid, depth)) {
            last = Some((oid, depth));
            let strategy = match row.text(2)? {
                "h" => PartitionStrategy::Hash,
                "l" => PartitionStrategy::List,
                _ => PartitionStrategy::Range,
            };
            let bound = row.get(3).unwrap_or_default().to_owned();
            path.push(PartitionLevel { strategy, columns: Vec::new(), bound });
        }
        if let Some(level) = path.last_mut() {
            level.columns.push(row.get(4).map(str::to_owned));
        }
    }
    Ok(paths)
}

/// The unique indexes of a table.
#[derive(Default)]
struct UniqueIndexes {
    /// Whether primary, and the numbers of the columns.
    columns: Vec<(bool, Vec<i16>)>,
    /// True if no index of the table calls a function of the database's own.
    harmless: bool,
}

fn unique_indexes(connection: &mut Connection) -> Result<HashMap<u32, UniqueIndexes>> {
    let mut indexes = HashMap::<u32, UniqueIndexes>::new();
    for row in connection.query(statements::KEYS)? {
        let numbers = row.text(2)?.split(' ').filter_map(|number| number.parse().ok()).collect();
        let of_table = indexes.entry(row.number(0)?).or_default();
        of_table.columns.push((row.flag(1)?, numbers));
        of_table.harmless = row.flag(3)?;
    }
    Ok(indexes)
}

/// The primary key, else the unique index with the fewest columns that are never null, else the whole row.
fn key(attributes: &[Attribute], indexes: Vec<(bool, Vec<i16>)>) -> Key {
    let place = |number: &i16| attributes.iter().position(|attribute| attribute.number == *number);
    let usable = |(primary, numbers): (bool, Vec<i16>)| {
        let columns = numbers.iter().map(place).collect::<Option<Vec<usize>>>()?;
        let source = if primary { KeySource::PrimaryKey } else { KeySource::UniqueIndex };
        let never_null = columns.iter().all(|&i| attributes[i].not_null);
        (never_null && !columns.is_empty()).then_some(Key { source, columns })
    };
    // Column positions follow the names, so that two databases choose alike.
    let rank = |key: &Key| (key.source != KeySource::PrimaryKey, key.columns.len(), key.columns.clone());
    indexes
        .into_iter()
        .filter_map(usable)
        .min_by_key(rank)
        .unwrap_or_else(|| Key { source: KeySource::WholeRow, columns: (0..attributes.len()).collect() })
}

/// All large objects as one table, if there are any.
fn large_objects(connection: &mut Connection) -> Result<Option<Relation>> {
    let rows = connection.query(statements::LARGE_OBJECTS)?;
    let Some(row) = rows.first() else { return Ok(None) };
    if row.number::<i64>(0)? == 0 {
        return Ok(None);
    }
    let columns = [("acl", "text"), ("data", "bytea"), ("oid", "oid"), ("owner", "text")];
    let columns = columns.map(|(name, base_type)| Column::binary(name, base_type)).to_vec();
    let key = Key { source: KeySource::PrimaryKey, columns: vec![2] };
    let name = TableName::new("pg_catalog", "pg_largeobject");
    let table = Table { kind: TableKind::LargeObjects, ..Table::new(name, columns, key) };
    let found = Found {
        table,
        bytes_estimate: row.number(1)?,
        pages: None,
        filenode: 0,
        unreadable: None,
        finds_keys: false,
    };
    Ok(Some(Relation { oid: 0, found }))
}
