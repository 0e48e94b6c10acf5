//! Unique and exclusion constraints as queries: the rows that may not be there together.

use std::collections::BTreeMap;

use super::catalogue::{Catalogue, Relation, Relations, named, nulls};
use super::probe::{Probe, Queries, Rule};
use super::statements;
use crate::error::Result;
use crate::postgres::connection::Connection;
use crate::postgres::rows::Row;
use crate::table::{shown_identifier, shown_text};

/// A column or expression of the index.
struct Key {
    expression: String,
    /// Name in reports.
    name: String,
    collation: Option<String>,
    /// Operator by which two rows conflict.
    operator: String,
    /// True if rows are grouped by the same equality.
    groups: bool,
}

/// What the index does not allow twice.
struct Unique {
    keys: Vec<Key>,
    predicate: Option<String>,
    /// True if two NULLs conflict.
    nulls_conflict: bool,
}

/// Adds a probe for every unique and exclusion constraint, and every unique index, of the database.
pub(super) fn read(control: &mut Connection, relations: &Relations, catalogue: &mut Catalogue) -> Result<()> {
    let mut keys = BTreeMap::<u32, Vec<Key>>::new();
    for row in control.query(&statements::unique_keys())? {
        keys.entry(row.number(0)?).or_default().push(Key::read(&row)?);
    }
    for row in control.query(&statements::unique_indexes())? {
        let Some(relation) = relations.get(&row.number(1)?) else { continue };
        let (name, is_constraint) = (row.text(2)?, row.flag(3)?);
        let object = if is_constraint {
            relation.constraint(name)
        } else {
            format!("index {} of {}", shown_identifier(name), relation.name)
        };
        if !is_constraint && !row.flag(4)? {
            catalogue.gap(object, "not checked: the index is not valid, as one whose creation failed");
            continue;
        }
        let Some(keys) = keys.remove(&row.number(0)?) else { continue };
        let unique = Unique { keys, predicate: row.get(5).map(str::to_owned), nulls_conflict: row.flag(6)? };
        catalogue.probes.push(Probe {
            tables: vec![relation.name.clone()],
            relations: vec![relation.name.clone()],
            bytes: relation.bytes,
            rules: vec![Rule { object, violation: unique.violation().to_owned(), violated: String::new() }],
            queries: unique.queries(relation),
        });
    }
    Ok(())
}

impl Unique {
    fn groups(&self) -> bool {
        self.keys.iter().all(|key| key.groups)
    }

    fn violation(&self) -> &'static str {
        if self.groups() {
            "value{s} occurring more than once, although the index is unique"
        } else {
            "pair{s} of rows that exclude each other"
        }
    }

    fn queries(&self, relation: &Relation) -> Queries {
        let columns = |alias: &str| (1..=self.keys.len()).map(|i| format!("{alias}k{i}")).collect::<Vec<_>>();
        let named = |alias: &str| named(self.keys.iter().map(|key| key.name.as_str()).zip(columns(alias)));
        let rows = self.rows(relation, &columns(""));
        let (from, name) = if self.groups() {
            let keys = columns("").join(", ");
            let groups = format!(
                "(SELECT {keys}, pg_catalog.count(*) AS n FROM {rows} r GROUP BY {keys} HAVING pg_catalog.count(*) > 1) g"
            );
            (groups, format!("pg_catalog.concat({}, ' (', n, ' rows)')", named("")))
        } else {
            let conflict = self.keys.iter().enumerate().map(|(i, key)| self.conflict(i + 1, key));
            let pairs = format!(
                "{rows} a JOIN {rows} b ON {} AND a.place OPERATOR(pg_catalog.<) b.place",
                conflict.collect::<Vec<_>>().join(" AND ")
            );
            (pairs, format!("pg_catalog.concat({}, ' and ', {})", named("a."), named("b.")))
        };
        Queries::OfOne {
            count: format!("SELECT pg_catalog.count(*)::pg_catalog.text FROM {from}"),
            names: format!("SELECT {name} FROM {from}"),
        }
    }

    /// The indexed rows, with their keys as `columns`.
    fn rows(&self, relation: &Relation, columns: &[String]) -> String {
        let keys: Vec<String> =
            self.keys.iter().zip(columns).map(|(key, column)| key.select(column)).collect();
        let predicate =
            self.predicate.as_ref().map_or(String::new(), |predicate| format!(" WHERE ({predicate})"));
        let rows = format!("(SELECT ctid AS place, {} FROM {}{predicate})", keys.join(", "), relation.from());
        if self.nulls_conflict {
            return rows;
        }
        format!("(SELECT * FROM {rows} r WHERE {} = 0)", nulls(columns.iter().cloned()))
    }

    fn conflict(&self, number: usize, key: &Key) -> String {
        let (a, b) = (format!("a.k{number}"), format!("b.k{number}"));
        let conflict = format!("{a} {} {b}", key.operator);
        if self.nulls_conflict {
            format!("({conflict} OR {} = 2)", nulls([a, b].into_iter()))
        } else {
            conflict
        }
    }
}

impl Key {
    fn read(row: &Row) -> Result<Self> {
        let expression = row.text(1)?.to_owned();
        Ok(Self {
            name: row.get(2).map_or_else(|| shown_text(&expression), str::to_owned),
            expression,
            collation: row.get(3).map(str::to_owned),
            operator: row.text(4)?.to_owned(),
            groups: row.flag(5)?,
        })
    }

    fn select(&self, column: &str) -> String {
        let collate =
            self.collation.as_ref().map_or(String::new(), |collation| format!(" COLLATE {collation}"));
        format!("({}){collate} AS {column}", self.expression)
    }
}
