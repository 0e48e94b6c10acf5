//! A fact, or the reason why it is missing.

/// A value that was read, or the reason why it is missing.
pub type Fact<T> = Result<T, Missing>;

/// The reason why a fact is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The thing does not exist.
    NotApplicable(String),
    /// The thing could not be examined.
    Unknown {
        reason: String,
        /// The right, grant or setting that an examination needs.
        needs: String,
    },
}

impl Missing {
    pub fn not_applicable(reason: impl Into<String>) -> Self {
        Self::NotApplicable(reason.into())
    }

    pub fn unknown(reason: impl Into<String>, needs: impl Into<String>) -> Self {
        Self::Unknown { reason: reason.into(), needs: needs.into() }
    }
}

/// Returns the fact, or the reason why it is missing.
pub fn known<T>(fact: &Fact<T>) -> Result<&T, Missing> {
    fact.as_ref().map_err(Clone::clone)
}
