//! Name of a table, the columns of its rows, and those that identify a row.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::raw_text::raw_byte;

/// A qualified name. Sorted by schema, then name, bytewise. A byte that is not UTF-8, as a database without an encoding may
/// hold, is one of the characters U+10FE80 to U+10FEFF.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct TableName {
    /// The schema (namespace).
    pub schema: String,
    /// The name within the schema.
    pub name: String,
}

impl TableName {
    /// A qualified name.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }
}

impl fmt::Display for TableName {
    /// As in SQL: quoted where it must be, control characters escaped for the terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", shown_identifier(&self.schema), shown_identifier(&self.name))
    }
}

/// An identifier for display: bare where SQL allows that, else quoted, and printable.
pub fn shown_identifier(name: &str) -> String {
    let bare = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if bare { name.to_owned() } else { format!("\"{}\"", shown_text(&name.replace('"', "\"\""))) }
}

/// Text of a database for display: control characters, bidirectional overrides and bytes that are not UTF-8 escaped,
/// so that a restored name cannot rewrite the terminal.
pub fn shown_text(text: &str) -> String {
    let hostile = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            || raw_byte(c).is_some()
    };
    let escaped = |c: char| match raw_byte(c) {
        Some(byte) => format!("\\x{byte:02x}"),
        None => c.escape_default().to_string(),
    };
    if !text.contains(hostile) {
        return text.to_owned();
    }
    text.chars().map(|c| if hostile(c) { escaped(c) } else { c.to_string() }).collect()
}

/// Kind of a relation with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TableKind {
    /// An ordinary table, a partition that holds rows itself, or an inherited parent or child.
    Table,
    /// A materialised view: derived data, of which a restore may rightly differ.
    MaterializedView,
    /// All large objects of the database, as one table of (oid, owner, acl, data).
    LargeObjects,
}

/// Encoding of a column's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// The type's binary output, which is equal in two databases.
    Binary,
    /// The type's binary output, a float whose NaNs are collapsed to one.
    Float,
    /// The value cast to text on the server, for types whose binary output holds object ids.
    Text,
    /// SHA-256 of the value computed on the server, for values too large to travel in one row.
    Sha256,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as PostgreSQL formats it, with modifiers.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The type's own name below any domain, by which binary values are decoded; empty for types that are not built in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub base_type: String,
    /// Encoding of its values.
    pub encoding: Encoding,
    /// True if it is computed from the others (`GENERATED ALWAYS AS … STORED`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub generated: bool,
}

impl Column {
    /// A column of a built-in type that travels in binary.
    pub fn binary(name: &str, base_type: &str) -> Self {
        Self {
            name: name.to_owned(),
            type_name: base_type.to_owned(),
            base_type: base_type.to_owned(),
            encoding: Encoding::Binary,
            generated: false,
        }
    }
}

/// Origin of the columns that identify a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeySource {
    /// The primary key.
    PrimaryKey,
    /// A unique index on columns that are not null.
    UniqueIndex,
    /// No key: the whole row is its key, and counts give its multiplicity.
    WholeRow,
}

/// The columns that name a row, as positions in [`Table::columns`], in the key's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Key {
    /// Origin of the columns.
    pub source: KeySource,
    /// Their positions.
    pub columns: Vec<usize>,
}

/// Strategy by which a partitioned table distributes rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionStrategy {
    /// By a hash of the key.
    Hash,
    /// By lists of values.
    List,
    /// By ranges of values.
    Range,
}

/// One level of partitioning: by what the rows are distributed, and which of them take this way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionLevel {
    /// Strategy of the distribution.
    pub strategy: PartitionStrategy,
    /// The columns of the partition key, in its order; `null` for an expression.
    pub columns: Vec<Option<String>>,
    /// The bound, as PostgreSQL shows it: `FOR VALUES WITH (modulus 3, remainder 0)`.
    pub bound: String,
}

impl PartitionLevel {
    /// Returns whether two servers may put the same row of `table` into different partitions of this level: hashes
    /// and the order of text depend on OIDs, encodings, collations and their versions.
    pub fn depends_on_server(&self, table: &Table) -> bool {
        const ORDERED_ALIKE: [&str; 14] = [
            "bool",
            "int2",
            "int4",
            "int8",
            "numeric",
            "float4",
            "float8",
            "date",
            "time",
            "timestamp",
            "timestamptz",
            "interval",
            "uuid",
            "enum",
        ];
        let alike = |name: &str| {
            let mut columns = table.columns.iter();
            columns.any(|column| column.name == name && ORDERED_ALIKE.contains(&column.base_type.as_str()))
        };
        self.strategy == PartitionStrategy::Hash
            || !self.columns.iter().all(|column| column.as_deref().is_some_and(alike))
    }
}

/// A relation that holds rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    /// Its name.
    pub name: TableName,
    /// Kind of the relation.
    pub kind: TableKind,
    /// Its columns, sorted by name bytewise: the canonical row lists them in this order.
    pub columns: Vec<Column>,
    /// Columns that identify a row.
    pub key: Key,
    /// True if the table is unlogged, so that a crash-like restore empties it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unlogged: bool,
    /// The topmost partitioned table that this is a partition of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_of: Option<TableName>,
    /// Levels of partitioning above this partition, from the root table down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partition_path: Vec<PartitionLevel>,
    /// The tables that it directly descends from, as a partition or by inheritance, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<TableName>,
    /// The extension that owns the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
}

/// Number of 64-bit lanes of a sketch cell for a table; see [`crate::sketch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CellWidth {
    /// Eight lanes: keys of up to 27 bytes.
    Narrow,
    /// Sixteen lanes: keys of up to 83 bytes.
    Wide,
}

impl Table {
    /// An ordinary table, in no other and of no extension.
    pub fn new(name: TableName, columns: Vec<Column>, key: Key) -> Self {
        Self {
            name,
            kind: TableKind::Table,
            columns,
            key,
            unlogged: false,
            partition_of: None,
            partition_path: Vec::new(),
            parents: Vec::new(),
            extension: None,
        }
    }

    /// The same table with its long values replaced by a hash that the server computes.
    #[must_use]
    pub fn hashed_on_server(mut self) -> Self {
        const LONG: [&str; 9] =
            ["text", "varchar", "bpchar", "bytea", "json", "jsonb", "xml", "tsvector", "citext"];
        for (i, column) in self.columns.iter_mut().enumerate() {
            let long = column.encoding == Encoding::Text || LONG.contains(&column.base_type.as_str());
            if long && (self.key.source == KeySource::WholeRow || !self.key.columns.contains(&i)) {
                column.encoding = Encoding::Sha256;
            }
        }
        self
    }

    /// Returns whether the server hashes some of its values.
    pub(crate) fn is_hashed_on_server(&self) -> bool {
        self.columns.iter().any(|column| column.encoding == Encoding::Sha256)
    }

    /// The narrowest cell that carries this table's keys, decided from the columns' types alone.
    pub fn cell_width(&self) -> CellWidth {
        let fixed = |column: &Column| match (column.encoding, column.base_type.as_str()) {
            (Encoding::Binary, "bool" | "char") => Some(1),
            (Encoding::Binary, "int2") => Some(2),
            (Encoding::Binary, "int4" | "date" | "oid") | (Encoding::Float, "float4") => Some(4),
            (Encoding::Binary, "int8" | "timestamp" | "timestamptz" | "time" | "xid8" | "pg_lsn")
            | (Encoding::Float, "float8") => Some(8),
            (Encoding::Binary, "uuid") => Some(16),
            _ => None,
        };
        let bytes: Option<usize> =
            self.key.columns.iter().map(|&i| fixed(&self.columns[i]).map(|width: usize| width + 1)).sum();
        match bytes {
            Some(bytes) if bytes <= CellWidth::Narrow.key_bytes() => CellWidth::Narrow,
            _ => CellWidth::Wide,
        }
    }
}

impl CellWidth {
    /// Number of bytes of encoded key in a cell.
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::Narrow => 27,
            Self::Wide => 83,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of a primary key of its first columns.
    fn table(columns: Vec<Column>, keys: usize) -> Table {
        let key = Key { source: KeySource::PrimaryKey, columns: (0..keys).collect() };
        Table::new(TableName::new("public", "t"), columns, key)
    }

    #[test]
    fn long_values_that_are_in_no_key_are_hashed_on_the_server() {
        let columns = || {
            let types = ["text", "int4", "text", "bytea", "numeric"];
            types.iter().map(|base_type| Column::binary(base_type, base_type)).collect::<Vec<_>>()
        };
        let hashed = |table: Table| {
            let columns = table.hashed_on_server().columns;
            columns.iter().map(|column| column.encoding == Encoding::Sha256).collect::<Vec<_>>()
        };
        assert_eq!(hashed(table(columns(), 1)), [false, false, true, true, false]);
        let mut whole = table(columns(), 5);
        assert_eq!(hashed(whole.clone()), [false; 5]);
        whole.key.source = KeySource::WholeRow;
        assert_eq!(hashed(whole), [true, false, true, true, false]);
        let mut as_text = columns();
        as_text[4].encoding = Encoding::Text;
        assert_eq!(hashed(table(as_text, 1)), [false, false, true, true, true]);
    }

    #[test]
    fn a_cell_is_narrow_as_long_as_all_columns_of_the_key_fit() {
        let width = |base_type: &str, count: usize| {
            let columns: Vec<Column> =
                (0..count).map(|n| Column::binary(&format!("c{n}"), base_type)).collect();
            table(columns, count).cell_width()
        };
        // Each column takes one byte more than its value, and a narrow cell has 27.
        for (base_type, most) in [("bool", 13), ("int2", 9), ("int4", 5), ("int8", 3), ("uuid", 1)] {
            assert_eq!(width(base_type, most), CellWidth::Narrow, "{base_type}");
            assert_eq!(width(base_type, most + 1), CellWidth::Wide, "{base_type}");
        }
        assert_eq!(width("text", 1), CellWidth::Wide);
    }
}
