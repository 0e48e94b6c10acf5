//! An index that amcheck does not compare with its table, and how rows are looked up through it.

use crate::error::Result;
use crate::postgres::rows::Row;
use crate::postgres::statements::qualified;
use crate::table::TableName;

/// An index of another access method than b-tree.
pub(super) struct Index {
    pub(super) oid: u32,
    pub(super) name: TableName,
    pub(super) table: TableName,
    pub(super) method: String,
    /// Bytes of the table.
    pub(super) bytes: u64,
    /// Percentage of the table's pages from which rows are spread.
    pub(super) pages_percent: String,
    pub(super) predicate: Option<String>,
    pub(super) keys: Vec<Key>,
}

/// A column or expression of an index.
pub(super) struct Key {
    pub(super) expression: String,
    pub(super) collation: Option<String>,
    /// Operators of its operator class by which a value may find itself, as SQL, the surest first.
    pub(super) operators: Vec<Operator>,
}

/// An operator of an operator class.
pub(super) struct Operator {
    pub(super) name: String,
    /// True if the right operand is a query of text search.
    pub(super) searches: bool,
}

impl Index {
    pub(super) fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            oid: row.number(0)?,
            name: TableName::new(row.text(1)?, row.text(2)?),
            table: TableName::new(row.text(3)?, row.text(4)?),
            method: row.text(5)?.to_owned(),
            bytes: row.number(6)?,
            pages_percent: row.text(7)?.to_owned(),
            predicate: row.get(8).map(str::to_owned),
            keys: Vec::new(),
        })
    }

    pub(super) fn object(&self) -> String {
        self.name.to_string()
    }

    /// The table for FROM.
    pub(super) fn from(&self) -> String {
        format!("ONLY {}", qualified(&self.table))
    }
}

impl Key {
    /// The expression with the index's collation.
    pub(super) fn collated(&self) -> String {
        let collate =
            self.collation.as_ref().map_or(String::new(), |collation| format!(" COLLATE {collation}"));
        format!("({}){collate}", self.expression)
    }
}
