//! The statements of the self-test, qualified with `pg_catalog` as all of [`crate::postgres::statements`].

use std::ops::Range;

use super::sample::Sample;
use crate::postgres::statements::{identifier, literal, qualified};
use crate::table::TableName;

/// Number of tables that are considered, and of rows that are copied of one.
pub(super) const TABLES_MAX: usize = 500;
pub(super) const ROWS_MAX: usize = 200;
/// Number of columns of a table that is considered.
const COLUMNS_MAX: usize = 100;

/// Columns of tables all of whose columns have types of PostgreSQL's own, which a new database has: table, column, type, and place in the
/// primary key.
pub(super) fn columns() -> String {
    format!(
        "SELECT n.nspname, c.relname, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), \
           coalesce(pg_catalog.array_position(i.indkey::pg_catalog.int2[], a.attnum), -1) \
         FROM (SELECT c.* FROM pg_catalog.pg_class c \
           WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 AND pg_catalog.pg_relation_size(c.oid) > 0 \
             AND c.relnatts <= {COLUMNS_MAX} AND NOT EXISTS ( \
               SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
               LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem \
               WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND (t.oid >= 16384 OR t.typtype NOT IN ('b', 'r', 'm') \
                 OR t.typname LIKE 'reg%' OR e.typname LIKE 'reg%' OR t.typname IN ('aclitem', '_aclitem'))) \
           ORDER BY c.oid LIMIT {TABLES_MAX}) c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisprimary \
         ORDER BY c.oid, a.attnum"
    )
}

/// Rows of a table.
pub(super) fn rows(name: &TableName, columns: &[&str]) -> String {
    let columns: Vec<String> = columns.iter().map(|column| identifier(column)).collect();
    format!("SELECT {} FROM ONLY {} LIMIT {ROWS_MAX}", columns.join(", "), qualified(name))
}

/// Column of the copy with the place of a row.
const PLACE: &str = "\"state-lab: place\"";

/// Creates a table with columns as those of the sample, its primary key, and an index.
pub(super) fn create(table: &str, sample: &Sample) -> String {
    let columns: Vec<String> = sample
        .columns
        .iter()
        .map(|column| format!("{} {}, ", identifier(&column.name), column.type_name))
        .collect();
    let key: Vec<String> = sample.key().iter().map(|name| identifier(name)).collect();
    let key = if key.is_empty() { String::new() } else { format!(", PRIMARY KEY ({})", key.join(", ")) };
    format!(
        "CREATE TABLE public.{table} ({}{PLACE} pg_catalog.int4{key}); \
         CREATE INDEX {table}_place ON public.{table} ({PLACE})",
        columns.concat()
    )
}

/// Inserts the rows of the sample at these places.
pub(super) fn insert(table: &str, sample: &Sample, places: Range<usize>) -> String {
    let value = |value: &Option<String>| value.as_ref().map_or("NULL".to_owned(), |text| literal(text));
    let row = |place: usize| {
        let values = sample.rows[place].iter().map(value).chain([place.to_string()]);
        format!("({})", values.collect::<Vec<_>>().join(", "))
    };
    let names = sample.columns.iter().map(|column| identifier(&column.name)).chain([PLACE.to_owned()]);
    format!(
        "INSERT INTO public.{table} ({}) VALUES {}",
        names.collect::<Vec<_>>().join(", "),
        places.map(row).collect::<Vec<_>>().join(", ")
    )
}

/// Deletes the row at a place.
pub(super) fn delete(table: &str, place: usize) -> String {
    format!("DELETE FROM public.{table} WHERE {PLACE} OPERATOR(pg_catalog.=) {place}")
}

/// Sets a column of the row at a place to NULL.
pub(super) fn set_null(table: &str, place: usize, column: &str) -> String {
    format!(
        "UPDATE public.{table} SET {} = NULL WHERE {PLACE} OPERATOR(pg_catalog.=) {place}",
        identifier(column)
    )
}

pub(super) fn drop_index(table: &str) -> String {
    format!("DROP INDEX public.{table}_place")
}
