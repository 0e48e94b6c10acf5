//! A reason why a backup or a restore is no success.

use std::fmt;

/// Problem of an object, and a suggested remedy.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Weight of the problem.
    pub weight: Weight,
    /// The object, as in `Backup nightly-001`.
    pub object: String,
    /// A predicate that reads after the object: `is not in the backup`.
    pub what: String,
    /// The way out, where we know one.
    pub hint: Option<String>,
}

/// Effect of a problem on the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The backup or restore did not do what we need.
    Failure,
    /// Velero complained; healthy restores have such complaints too. People see it, and it decides nothing.
    Warning,
}

impl Problem {
    /// A failure without a way out.
    pub fn failure(object: impl Into<String>, what: impl Into<String>) -> Self {
        Self { weight: Weight::Failure, object: object.into(), what: what.into(), hint: None }
    }

    /// The same, with a way out.
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The sentence, followed by the way out.
    pub fn text_with_hint(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{self}; {hint}"),
            None => self.to_string(),
        }
    }

    /// Returns whether it is a failure.
    pub fn is_failure(&self) -> bool {
        self.weight == Weight::Failure
    }
}

impl fmt::Display for Problem {
    /// One sentence without its full stop; the way out is for the caller to set off.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.object, self.what)
    }
}
