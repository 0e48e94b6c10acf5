//! Types that travel in binary: those whose binary output is equal in two databases.

use std::collections::HashMap;

use super::connection::Connection;
use super::statements;
use crate::containers::{array_of, range_of};
use crate::error::Result;
use crate::table::Encoding;

/// Types of `pg_catalog` whose binary output depends on the value alone.
const PORTABLE: [&str; 36] = [
    "bool",
    "bytea",
    "char",
    "name",
    "int8",
    "int2",
    "int4",
    "text",
    "json",
    "jsonb",
    "xml",
    "money",
    "macaddr",
    "macaddr8",
    "inet",
    "cidr",
    "bpchar",
    "varchar",
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
    "bit",
    "varbit",
    "numeric",
    "uuid",
    "tsvector",
    "tsquery",
    "pg_lsn",
    "xid",
    "xid8",
    "oid",
    "jsonpath",
    "tid",
];
/// Types of extensions of which the same is known.
const PORTABLE_EXTENSION: [&str; 3] = ["hstore", "citext", "ltree"];

/// The types of a database.
pub(super) struct Types(HashMap<u32, Type>);

struct Type {
    name: String,
    kind: char,
    base: u32,
    element: u32,
    subtype: u32,
    sends: bool,
    extension: bool,
}

/// Nesting deeper than this travels as text.
const DEPTH_MAX: u32 = 16;
/// The first object id that is not the system's own.
const FIRST_USER_OID: u32 = 16_384;

impl Types {
    /// Reads them.
    pub(super) fn read(connection: &mut Connection, server_version: u32) -> Result<Self> {
        let mut types = HashMap::new();
        for row in connection.query(&statements::types(server_version))? {
            let found = Type {
                name: row.text(1)?.to_owned(),
                kind: row.text(2)?.chars().next().unwrap_or(' '),
                base: row.number(3)?,
                element: row.number(4)?,
                subtype: row.number(5)?,
                sends: row.flag(6)?,
                extension: row.flag(7)?,
            };
            types.insert(row.number(0)?, found);
        }
        Ok(Self(types))
    }

    /// Encoding of the values of a type, and the name by which binary ones are decoded (empty where they are not).
    pub(super) fn encoding(&self, oid: u32) -> (Encoding, String) {
        self.classify(oid, 0)
    }

    fn classify(&self, oid: u32, depth: u32) -> (Encoding, String) {
        let text = (Encoding::Text, String::new());
        let Some(found) = self.0.get(&oid).filter(|found| found.sends && depth < DEPTH_MAX) else {
            return text;
        };
        let built_in = oid < FIRST_USER_OID;
        // What is made of others travels in binary where they do.
        let made_of = |(encoding, name): (Encoding, String), named: &dyn Fn(&str) -> String| match encoding {
            Encoding::Binary if name.is_empty() => (encoding, name),
            Encoding::Binary => (encoding, named(&name)),
            _ => text.clone(),
        };
        match found.kind {
            'd' => self.classify(found.base, depth + 1),
            'e' => (Encoding::Binary, "enum".to_owned()),
            'r' | 'm' => {
                made_of(self.classify(found.subtype, depth + 1), &|of| range_of(of, found.kind == 'm'))
            }
            // The array's binary form names its element type by object id.
            'b' if found.element != 0 => {
                if built_in {
                    made_of(self.classify(found.element, depth + 1), &array_of)
                } else {
                    text
                }
            }
            'b' if built_in && matches!(found.name.as_str(), "float4" | "float8") => {
                (Encoding::Float, found.name.clone())
            }
            'b' if built_in && PORTABLE.contains(&found.name.as_str()) => {
                (Encoding::Binary, found.name.clone())
            }
            'b' if found.extension && PORTABLE_EXTENSION.contains(&found.name.as_str()) => {
                (Encoding::Binary, found.name.clone())
            }
            _ => text,
        }
    }
}
