//! Objects of the database that a restore loses, cannot rebuild, or brings back damaged.

use crate::check::{Answer, Found, Gap, Missing, known};
use crate::facts::Facts;

/// An index that is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// With its schema.
    pub name: String,
    /// Its table, with its schema.
    pub table: String,
    /// Whether a session holds the lock of CREATE INDEX CONCURRENTLY on the table, so that it may be in the making.
    pub maybe_building: bool,
}

/// A constraint that was not checked against the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    pub name: String,
    /// Its table, with its schema.
    pub table: String,
    /// Whether the server checks it on writes at all.
    pub enforced: bool,
}

/// A sequence that feeds a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedSequence {
    /// With its schema.
    pub name: String,
    /// The table and the column.
    pub column: String,
    /// The value that it returns next, and the greatest (for a descending one the least) of the column; or why they could
    /// not be read, and the grant that is missing.
    pub values: Result<SequenceValues, (String, String)>,
}

/// The values of a sequence and its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceValues {
    pub next: i128,
    /// The furthest value of the column, in the direction of the sequence; none where it is empty.
    pub furthest: Option<i128>,
    pub increment: i64,
}

/// A tablespace outside the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tablespace {
    pub name: String,
    pub location: String,
}

pub(crate) fn unlogged(facts: &Facts) -> Result<Answer, Missing> {
    let tables = known(&known(&facts.server)?.unlogged)?;
    Ok(tables.iter().map(|table| Found::new(table, "is unlogged")).collect::<Vec<_>>().into())
}

pub(crate) fn invalid_indexes(facts: &Facts) -> Result<Answer, Missing> {
    let mut answer = Answer::default();
    for index in known(&known(&facts.server)?.indexes)? {
        if index.maybe_building {
            answer.gaps.push(Gap {
                object: index.name.clone(),
                reason: format!("is not valid, and may be in the making: {} is locked for it", index.table),
                needs: "another look when no CREATE INDEX CONCURRENTLY, REINDEX or VACUUM runs".to_owned(),
            });
        } else {
            answer.found.push(Found::new(&index.name, format!("index of {} is not valid", index.table)));
        }
    }
    Ok(answer)
}

pub(crate) fn unchecked_constraints(facts: &Facts) -> Result<Answer, Missing> {
    let constraints = known(&known(&facts.server)?.constraints)?;
    let found = constraints.iter().map(|constraint| {
        let message = match constraint.enforced {
            true => "is NOT VALID: existing rows were never checked",
            false => "is NOT ENFORCED: rows are never checked",
        };
        Found::new(format!("{} of {}", constraint.name, constraint.table), message)
    });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn sequences_behind(facts: &Facts) -> Result<Answer, Missing> {
    let mut answer = Answer::default();
    for sequence in known(&known(&facts.server)?.sequences)? {
        match &sequence.values {
            Err((reason, needs)) => answer.gaps.push(Gap {
                object: sequence.name.clone(),
                reason: reason.clone(),
                needs: needs.clone(),
            }),
            Ok(SequenceValues { next, furthest: Some(furthest), increment }) => {
                let behind = if *increment > 0 { next <= furthest } else { next >= furthest };
                if behind {
                    let message =
                        format!("returns {next} next, but {} already holds {furthest}", sequence.column);
                    answer.found.push(Found::new(&sequence.name, message));
                }
            }
            Ok(SequenceValues { furthest: None, .. }) => {}
        }
    }
    Ok(answer)
}

pub(crate) fn tablespaces(facts: &Facts) -> Result<Answer, Missing> {
    let tablespaces = known(&known(&facts.server)?.tablespaces)?;
    let found = tablespaces.iter().map(|tablespace| {
        Found::new(
            format!("tablespace {}", tablespace.name),
            format!("is outside the data directory, in {}", tablespace.location),
        )
    });
    Ok(found.collect::<Vec<_>>().into())
}

pub(crate) fn collations(facts: &Facts) -> Result<Answer, Missing> {
    let collations = known(&known(&facts.server)?.collations)?;
    let message = "has another version in the operating system than its indexes were built with";
    Ok(collations.iter().map(|collation| Found::new(collation, message)).collect::<Vec<_>>().into())
}
