//! Foreign keys as queries: the referencing rows that reference nothing.

use std::collections::BTreeMap;

use super::catalogue::{Catalogue, NOT_ENFORCED, NOT_VALID, Relation, Relations, named, nulls};
use super::probe::{Probe, Queries, Rule};
use super::statements;
use crate::error::Result;
use crate::postgres::connection::Connection;
use crate::postgres::rows::Row;
use crate::postgres::statements::identifier;

/// A pair of columns.
struct Pair {
    referencing: String,
    referenced: String,
    operator: String,
    /// Types of the operands, unless polymorphic.
    left: Option<String>,
    right: Option<String>,
    /// Collation of the referenced column, where it is another.
    collation: Option<String>,
}

/// A foreign key.
struct ForeignKey {
    pairs: Vec<Pair>,
    /// True if either all columns must be NULL or none (MATCH FULL).
    full: bool,
    /// True if the last pair are periods, of which the referencing one must be covered.
    period: bool,
}

/// Adds a probe for every foreign key of the database.
pub(super) fn read(control: &mut Connection, relations: &Relations, catalogue: &mut Catalogue) -> Result<()> {
    let mut pairs = BTreeMap::<u32, Vec<Pair>>::new();
    for row in control.query(statements::FOREIGN_KEY_COLUMNS)? {
        pairs.entry(row.number(0)?).or_default().push(Pair::read(&row)?);
    }
    for row in control.query(statements::FOREIGN_KEYS)? {
        let tables = relations.get(&row.number(2)?).zip(relations.get(&row.number(3)?));
        let Some((referencing, referenced)) = tables else { continue };
        let object = referencing.constraint(row.text(1)?);
        let reason = match (row.flag(5)?, row.flag(6)?) {
            (_, false) => Some(NOT_ENFORCED),
            (false, true) => Some(NOT_VALID),
            (true, true) => None,
        };
        if let Some(reason) = reason {
            catalogue.gap(object, reason);
            continue;
        }
        let Some(pairs) = pairs.remove(&row.number(0)?) else { continue };
        let key = ForeignKey { pairs, full: row.text(4)? == "f", period: row.flag(7)? };
        let mut tables = referencing.tables(relations);
        tables.extend(referenced.tables(relations));
        catalogue.probes.push(Probe {
            tables,
            relations: vec![referencing.name.clone(), referenced.name.clone()],
            bytes: referencing.bytes(relations) + referenced.bytes(relations),
            rules: vec![Rule {
                object,
                violation: format!(
                    "row{{s}} referencing no row of {}, although the foreign key is marked valid",
                    referenced.name
                ),
                violated: String::new(),
            }],
            queries: key.queries(referencing, referenced),
        });
    }
    Ok(())
}

impl ForeignKey {
    fn queries(&self, referencing: &Relation, referenced: &Relation) -> Queries {
        let orphans = self.orphans(referencing, referenced);
        let columns = self.pairs.iter().map(|pair| (pair.referencing.as_str(), pair.column()));
        let name = format!("{} || ': ' || {}", referencing.row_name("f."), named(columns));
        Queries::OfOne {
            count: format!("SELECT pg_catalog.count(*)::pg_catalog.text FROM {orphans}"),
            names: format!("SELECT {name} FROM {orphans}"),
        }
    }

    /// FROM and WHERE of the referencing rows, as `f`, that reference nothing.
    fn orphans(&self, referencing: &Relation, referenced: &Relation) -> String {
        let (from, to) = (referencing.from(), referenced.from());
        let all = self.pairs.len();
        let nulls = nulls(self.pairs.iter().map(Pair::column));
        let partly = if self.full { format!("{nulls} BETWEEN 1 AND {} OR ", all - 1) } else { String::new() };
        if !self.period {
            let equal: Vec<String> = self.pairs.iter().map(Pair::equal).collect();
            return format!(
                "{from} f WHERE {partly}{nulls} = 0 AND NOT EXISTS (SELECT FROM {to} p WHERE {})",
                equal.join(" AND ")
            );
        }
        // Several rows together may cover the period.
        let (keys, period) = self.pairs.split_at(all - 1);
        let period = &period[0];
        let columns: Vec<String> =
            keys.iter().map(|pair| format!("p.{}", identifier(&pair.referenced))).collect();
        let equal: Vec<String> = keys.iter().map(Pair::equal).collect();
        format!(
            "{from} f LEFT JOIN (SELECT {columns}, pg_catalog.range_agg(p.{range}) AS covered FROM {to} p GROUP BY {columns}) p \
             ON {equal} WHERE {partly}{nulls} = 0 AND ({column} OPERATOR(pg_catalog.<@) p.covered) IS NOT TRUE",
            columns = columns.join(", "),
            range = identifier(&period.referenced),
            equal = equal.join(" AND "),
            column = period.column(),
        )
    }
}

impl Pair {
    fn read(row: &Row) -> Result<Self> {
        let optional = |column| row.get(column).map(str::to_owned);
        Ok(Self {
            referencing: row.text(1)?.to_owned(),
            referenced: row.text(2)?.to_owned(),
            operator: row.text(3)?.to_owned(),
            left: optional(4),
            right: optional(5),
            collation: optional(6),
        })
    }

    /// The referencing column.
    fn column(&self) -> String {
        format!("f.{}", identifier(&self.referencing))
    }

    /// The condition under which a referenced row `p` is the one of a referencing row `f`.
    fn equal(&self) -> String {
        let cast = |type_name: &Option<String>| {
            type_name.as_ref().map_or(String::new(), |type_name| format!("::{type_name}"))
        };
        let collate =
            self.collation.as_ref().map_or(String::new(), |collation| format!(" COLLATE {collation}"));
        format!(
            "p.{}{}{collate} {} {}{}",
            identifier(&self.referenced),
            cast(&self.left),
            self.operator,
            self.column(),
            cast(&self.right)
        )
    }
}
