//! `${name}` in a drill file: values that earlier steps saved.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::file::{Action, Apply, Statement, Undo};

/// Values by name.
pub(crate) type Variables = BTreeMap<String, String>;

/// The text with values in place of `${name}`.
///
/// # Errors
///
/// If no earlier step saved a name.
pub(crate) fn expand(text: &str, variables: &Variables) -> Result<String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else { break };
        let Some(value) = variables.get(name) else { bail!("no step before it saved ${{{name}}}") };
        expanded.push_str(before);
        expanded.push_str(value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

pub(crate) fn all(texts: &[String], variables: &Variables) -> Result<Vec<String>> {
    texts.iter().map(|text| expand(text, variables)).collect()
}

pub(crate) fn statement(of: &Statement, variables: &Variables) -> Result<Statement> {
    Ok(Statement { database: expand(&of.database, variables)?, sql: expand(&of.sql, variables)? })
}

/// An action with its values; a fault's parts are expanded when they run.
pub(crate) fn action(of: &Action, variables: &Variables) -> Result<Action> {
    Ok(match of {
        Action::StateLab(arguments) => Action::StateLab(all(arguments, variables)?),
        Action::Run(arguments) => Action::Run(all(arguments, variables)?),
        Action::Query(of) => Action::Query(statement(of, variables)?),
        Action::Execute(of) => Action::Execute(statement(of, variables)?),
        Action::Apply(Apply { file, until }) => {
            Action::Apply(Apply { file: expand(file, variables)?, until: until.clone() })
        }
        other => other.clone(),
    })
}

pub(crate) fn undo(of: &Undo, variables: &Variables) -> Result<Undo> {
    Ok(match of {
        Undo::Run(arguments) => Undo::Run(all(arguments, variables)?),
        Undo::StateLab(arguments) => Undo::StateLab(all(arguments, variables)?),
        Undo::Execute(of) => Undo::Execute(statement(of, variables)?),
        other => other.clone(),
    })
}
