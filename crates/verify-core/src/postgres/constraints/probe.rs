//! Queries that find the rows which violate constraints.

use crate::error::{Error, ErrorKind, Result};
use crate::finding::Rows;
use crate::postgres::connection::Connection;
use crate::postgres::printable::printable;
use crate::postgres::sandbox::Sandbox;
use crate::table::TableName;

/// Maximum number of rows that are named.
const ROWS_SHOWN: usize = 20;
/// Characters of the name of a row.
const NAME_MAX: usize = 200;
/// Time limit of a query, and what each GiB of its tables adds to it.
const TIMEOUT_MS: u64 = 600_000;
const TIMEOUT_PER_GIB_MS: u64 = 300_000;

/// Constraints that are checked with one query.
pub(super) struct Probe {
    /// The tables that hold the rows.
    pub(super) tables: Vec<TableName>,
    /// The relations that the query names.
    pub(super) relations: Vec<TableName>,
    /// Bytes that are read, about.
    pub(super) bytes: u64,
    pub(super) rules: Vec<Rule>,
    pub(super) queries: Queries,
}

/// A constraint.
pub(super) struct Rule {
    /// Name of the constraint in reports.
    pub(super) object: String,
    /// What a number of rows do that violate it.
    pub(super) violation: String,
    /// Condition, as SQL, that is true for a row that violates it.
    pub(super) violated: String,
}

/// How the rows are found.
pub(super) enum Queries {
    /// The rows of `from` for which a rule's condition is true; `name` is the text that names one.
    OfRows { from: String, name: String },
    /// Queries of their own, for one rule: the number of violations, and a name of each.
    OfOne { count: String, names: String },
}

/// Result of checking a constraint.
pub(super) enum Outcome {
    Holds,
    Violated(Rows),
    Unknown(String),
}

impl Rule {
    /// A sentence with the number of rows.
    pub(super) fn violation(&self, count: u64) -> String {
        format!("{count} {}", self.violation.replace("{s}", if count == 1 { "" } else { "s" }))
    }
}

impl Probe {
    /// Checks the rules, in order, within the open transaction.
    pub(super) fn run(&self, connection: &mut Connection, sandbox: &Sandbox) -> Result<Vec<Outcome>> {
        let mut run = |query: &str| sandbox.run(connection, query, self.timeout_ms());
        let all: Vec<&Rule> = self.rules.iter().collect();
        let counts = match (run(&self.count(&all))?, &all[..]) {
            (Ok(texts), _) => counts(&texts, all.len())?.into_iter().map(Ok).collect(),
            (Err(refusal), [_]) => vec![Err(refusal.reason)],
            // The one whose function fails must not hide the others.
            (Err(_), _) => all
                .iter()
                .map(|rule| {
                    Ok(match run(&self.count(&[rule]))? {
                        Ok(texts) => Ok(counts(&texts, 1)?[0]),
                        Err(refusal) => Err(refusal.reason),
                    })
                })
                .collect::<Result<Vec<_>>>()?,
        };
        all.iter()
            .zip(counts)
            .map(|(rule, count)| {
                Ok(match count {
                    Ok(0) => Outcome::Holds,
                    Ok(count) => {
                        // Rows that cannot be named are counted all the same.
                        let names = run(&self.names(rule))?.unwrap_or_default();
                        let mut named: Vec<String> =
                            names.iter().map(|name| printable(name, NAME_MAX)).collect();
                        named.sort();
                        Outcome::Violated(Rows { named, at_least: count, more: false, estimate: None })
                    }
                    Err(reason) => Outcome::Unknown(reason),
                })
            })
            .collect()
    }

    fn timeout_ms(&self) -> u64 {
        TIMEOUT_MS + (self.bytes >> 30) * TIMEOUT_PER_GIB_MS
    }

    /// A query for the numbers of violations, separated by spaces.
    fn count(&self, rules: &[&Rule]) -> String {
        match &self.queries {
            Queries::OfRows { from, .. } => {
                let one = |rule: &&Rule| format!("pg_catalog.count(*) FILTER (WHERE {})", rule.violated);
                let counts: Vec<String> = rules.iter().map(one).collect();
                format!("SELECT pg_catalog.array_to_string(ARRAY[{}], ' ') FROM {from}", counts.join(", "))
            }
            Queries::OfOne { count, .. } => count.clone(),
        }
    }

    fn names(&self, rule: &Rule) -> String {
        match &self.queries {
            Queries::OfRows { from, name } => {
                format!("SELECT {name} FROM {from} WHERE {} LIMIT {ROWS_SHOWN}", rule.violated)
            }
            Queries::OfOne { names, .. } => format!("{names} LIMIT {ROWS_SHOWN}"),
        }
    }
}

fn counts(texts: &[String], expected: usize) -> Result<Vec<u64>> {
    let text = texts.first().map(String::as_str).unwrap_or_default();
    let counts = text.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>();
    match counts {
        Ok(counts) if counts.len() == expected => Ok(counts),
        _ => Err(Error::new(ErrorKind::Protocol, "read the numbers of violations: the server sent others")),
    }
}
