//! A reason why a backup or a restore did not succeed.

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
    /// Remedy, if there is a known one.
    pub hint: Option<String>,
}

/// Effect of a problem on the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The backup or restore did not do what is needed.
    Failure,
    /// A warning of Velero, which healthy restores have too: shown, without effect on the verdict.
    Warning,
}

impl Problem {
    /// A failure without a hint.
    pub fn failure(object: impl Into<String>, what: impl Into<String>) -> Self {
        Self { weight: Weight::Failure, object: object.into(), what: what.into(), hint: None }
    }

    /// The same, with a hint.
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The sentence, followed by the hint.
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
    /// One sentence without its full stop and without the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.object, self.what)
    }
}
