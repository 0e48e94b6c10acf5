//! The constraints of a database, from its catalogue.

use std::collections::BTreeMap;

use super::probe::{Probe, Queries, Rule};
use super::{foreign_key, statements, unique};
use crate::error::Result;
use crate::not_covered::{Check, NotCovered};
use crate::postgres::connection::Connection;
use crate::postgres::rows::Row;
use crate::postgres::statements::{identifier, literal, qualified};
use crate::table::{TableName, shown_identifier, shown_text};

/// Reason why a constraint that the catalogue does not call valid is no finding.
pub(super) const NOT_VALID: &str = "not checked: it is marked NOT VALID, so rows may violate it";
pub(super) const NOT_ENFORCED: &str = "not checked: it is NOT ENFORCED, so rows may violate it";
/// Arguments of a function are limited to 100.
const ARGUMENTS_MAX: usize = 90;

/// What is to be checked, and what cannot be.
#[derive(Default)]
pub(super) struct Catalogue {
    pub(super) probes: Vec<Probe>,
    pub(super) not_covered: Vec<NotCovered>,
}

/// A table or partitioned table.
pub(super) struct Relation {
    pub(super) name: TableName,
    pub(super) bytes: u64,
    pub(super) partitioned: bool,
    /// Condition of a partition's rows.
    bound: Option<String>,
    /// Columns of its primary key.
    key: Vec<String>,
    /// Leaves of a partitioned table.
    leaves: Vec<u32>,
    rules: Vec<Rule>,
}

/// The relations by object id.
pub(super) type Relations = BTreeMap<u32, Relation>;

impl Catalogue {
    /// Reads them all.
    pub(super) fn read(control: &mut Connection) -> Result<Self> {
        let mut catalogue = Self::default();
        let mut relations = Relations::new();
        for row in control.query(statements::TABLES)? {
            relations.insert(row.number(0)?, Relation::read(&row)?);
        }
        for row in control.query(statements::KEYS)? {
            if let Some(relation) = relations.get_mut(&row.number(0)?) {
                relation.key.push(row.text(1)?.to_owned());
            }
        }
        for row in control.query(statements::LEAVES)? {
            if let Some(relation) = relations.get_mut(&row.number(0)?) {
                relation.leaves.push(row.number(1)?);
            }
        }
        catalogue.not_null(control, &mut relations)?;
        catalogue.checks(control, &mut relations)?;
        generated(control, &mut relations)?;
        catalogue.types(control, &mut relations)?;
        foreign_key::read(control, &relations, &mut catalogue)?;
        unique::read(control, &relations, &mut catalogue)?;
        for relation in relations.into_values().filter(|relation| !relation.rules.is_empty()) {
            let queries = Queries::OfRows { from: relation.from(), name: relation.row_name("") };
            catalogue.probes.push(Probe {
                tables: vec![relation.name.clone()],
                relations: vec![relation.name],
                bytes: relation.bytes,
                rules: relation.rules,
                queries,
            });
        }
        Ok(catalogue)
    }

    pub(super) fn gap(&mut self, object: impl std::fmt::Display, reason: &str) {
        self.not_covered.push(NotCovered::new(Check::Constraints, object, reason));
    }

    fn not_null(&mut self, control: &mut Connection, relations: &mut Relations) -> Result<()> {
        let mut columns = BTreeMap::<u32, Vec<String>>::new();
        for row in control.query(statements::NOT_NULL)? {
            let (oid, column) = (row.number(0)?, row.text(1)?);
            let Some(relation) = relations.get(&oid) else { continue };
            if row.flag(2)? {
                self.gap(relation.column(column), NOT_VALID);
            } else {
                columns.entry(oid).or_default().push(column.to_owned());
            }
        }
        for (oid, columns) in columns {
            let Some(relation) = relations.get_mut(&oid) else { continue };
            for columns in columns.chunks(ARGUMENTS_MAX) {
                let shown: Vec<String> = columns.iter().map(|column| shown_identifier(column)).collect();
                relation.rules.push(Rule {
                    object: relation.name.to_string(),
                    violation: format!(
                        "row{{s}} with NULL in a column that is NOT NULL ({})",
                        shown.join(", ")
                    ),
                    violated: format!("{} > 0", nulls(columns.iter().map(|column| identifier(column)))),
                });
            }
        }
        Ok(())
    }

    fn checks(&mut self, control: &mut Connection, relations: &mut Relations) -> Result<()> {
        for row in control.query(statements::CHECKS)? {
            let Some(relation) = relations.get_mut(&row.number(0)?) else { continue };
            let object = relation.constraint(row.text(1)?);
            match (row.get(2), row.flag(3)?, row.flag(4)?) {
                (_, _, false) => self.gap(object, NOT_ENFORCED),
                (_, false, _) => self.gap(object, NOT_VALID),
                (Some(condition), true, true) => relation.rules.push(Rule {
                    object,
                    violation: "row{s} violating the check constraint, which is marked valid".to_owned(),
                    violated: format!("({condition}) IS FALSE"),
                }),
                (None, true, true) => self.gap(object, "not checked: the server does not show its condition"),
            }
        }
        for relation in relations.values_mut() {
            if let Some(condition) = &relation.bound {
                relation.rules.push(Rule {
                    object: relation.name.to_string(),
                    violation: "row{s} outside the bounds of the partition, which queries do not find"
                        .to_owned(),
                    violated: format!("({condition}) IS FALSE"),
                });
            }
        }
        Ok(())
    }

    fn types(&mut self, control: &mut Connection, relations: &mut Relations) -> Result<()> {
        let mut last = None;
        for row in control.query(statements::TYPES)? {
            let oid = row.number(0)?;
            let Some(relation) = relations.get_mut(&oid) else { continue };
            let value = TypedColumn::read(&row)?;
            let object = relation.column(&value.column);
            let shown = shown_text(&value.type_name);
            if value.depth > 1 || value.kind == "c" || value.kind == "r" {
                self.gap(object, &format!("not checked: values of {shown} within others"));
                continue;
            }
            if value.kind == "e" {
                relation.rules.push(Rule {
                    object,
                    violation: format!("row{{s}} with a value that the enum {shown} does not have"),
                    violated: value.no_label(),
                });
                continue;
            }
            let domain = (oid, value.column.clone(), value.type_name.clone());
            if row.flag(5)? && last.as_ref() != Some(&domain) {
                relation.rules.push(Rule {
                    object: object.clone(),
                    violation: format!("row{{s}} with NULL, which the domain {shown} does not allow"),
                    violated: value.any("pg_catalog.num_nulls(value) > 0"),
                });
            }
            last = Some(domain);
            let Some(name) = row.get(6) else { continue };
            let constraint = shown_identifier(name);
            match row.get(7) {
                _ if !row.flag(8)? => self.gap(format!("{object}: {constraint} of {shown}"), NOT_VALID),
                Some(condition) => relation.rules.push(Rule {
                    object,
                    violation: format!(
                        "row{{s}} with a value that the domain {shown} does not allow ({constraint})"
                    ),
                    violated: value.any(&format!("({condition}) IS FALSE")),
                }),
                None => self.gap(object, "not checked: the server does not show its condition"),
            }
        }
        Ok(())
    }
}

/// Adds the rules of stored generated columns.
fn generated(control: &mut Connection, relations: &mut Relations) -> Result<()> {
    for row in control.query(statements::GENERATED)? {
        let Some(relation) = relations.get_mut(&row.number(0)?) else { continue };
        let (column, expression, type_name) = (row.text(1)?, row.text(2)?, row.text(3)?);
        relation.rules.push(Rule {
            object: relation.column(column),
            violation: "row{s} whose generated value is not the one that its expression gives".to_owned(),
            violated: format!(
                "pg_catalog.record_image_ne(ROW({}), ROW(CAST(({expression}) AS {type_name})))",
                identifier(column)
            ),
        });
    }
    Ok(())
}

/// A column, and a type of which it holds values.
struct TypedColumn {
    column: String,
    /// Levels of arrays around the values.
    depth: u32,
    type_name: String,
    kind: String,
}

impl TypedColumn {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            column: row.text(1)?.to_owned(),
            depth: row.number(2)?,
            type_name: row.text(3)?.to_owned(),
            kind: row.text(4)?.to_owned(),
        })
    }

    /// A condition that is true if `condition` is of any of the values, which it calls `value`.
    fn any(&self, condition: &str) -> String {
        let column = identifier(&self.column);
        let values = match self.depth {
            0 => format!("(SELECT {column} AS value) v"),
            _ => format!("pg_catalog.unnest({column}) v(value)"),
        };
        format!("EXISTS (SELECT FROM {values} WHERE {condition})")
    }

    fn no_label(&self) -> String {
        let type_name = &self.type_name;
        self.any(&format!(
            "NOT (value::{type_name} OPERATOR(pg_catalog.=) ANY ((SELECT pg_catalog.enum_range(NULL::{type_name}))::{type_name}[]))"
        ))
    }
}

impl Relation {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            name: TableName::new(row.text(1)?, row.text(2)?),
            bytes: row.number(3)?,
            partitioned: row.flag(4)?,
            bound: row.get(5).map(str::to_owned),
            key: Vec::new(),
            leaves: Vec::new(),
            rules: Vec::new(),
        })
    }

    /// The relation for FROM: of a table only its own rows.
    pub(super) fn from(&self) -> String {
        let only = if self.partitioned { "" } else { "ONLY " };
        format!("{only}{}", qualified(&self.name))
    }

    /// The relations that hold its rows.
    pub(super) fn tables(&self, relations: &Relations) -> Vec<TableName> {
        if !self.partitioned {
            return vec![self.name.clone()];
        }
        let leaf = |oid: &u32| relations.get(oid).map(|leaf| leaf.name.clone());
        // A leaf that is a foreign table is not among them.
        self.leaves.iter().filter_map(leaf).collect()
    }

    /// Bytes of the relations that hold its rows.
    pub(super) fn bytes(&self, relations: &Relations) -> u64 {
        let leaves = self.leaves.iter().filter_map(|oid| relations.get(oid));
        self.bytes + leaves.map(|leaf| leaf.bytes).sum::<u64>()
    }

    /// Text that names a row of it, by its primary key or else its place; `alias` is empty, or ends in a point.
    pub(super) fn row_name(&self, alias: &str) -> String {
        if self.key.is_empty() {
            let table = format!("{alias}tableoid::pg_catalog.regclass");
            let place = if self.partitioned { format!("{table}, ' ', ") } else { String::new() };
            return format!("pg_catalog.concat({place}'ctid=', {alias}ctid)");
        }
        named(self.key.iter().map(|column| (column.as_str(), format!("{alias}{}", identifier(column)))))
    }

    pub(super) fn constraint(&self, name: &str) -> String {
        format!("constraint {} of {}", shown_identifier(name), self.name)
    }

    fn column(&self, name: &str) -> String {
        format!("column {} of {}", shown_identifier(name), self.name)
    }
}

/// Text of values with their names.
pub(super) fn named<'a>(values: impl Iterator<Item = (&'a str, String)>) -> String {
    let each: Vec<String> = values
        .map(|(name, value)| format!("pg_catalog.concat({}, {value})", literal(&format!("{name}="))))
        .collect();
    format!("pg_catalog.left(pg_catalog.concat_ws(', ', {}), 1000)", each.join(", "))
}

/// The number of NULLs, which the planner does not take for zero where it believes a column to hold none.
pub(super) fn nulls(values: impl Iterator<Item = String>) -> String {
    format!("pg_catalog.num_nulls({})", values.collect::<Vec<_>>().join(", "))
}
