//! Objects of the database that a restore loses, cannot rebuild, or brings back damaged.

use crate::check::{Answer, Found, Gap};
use crate::fact::{Missing, known};
use crate::facts::{Facts, SequenceValues};

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
