//! A fact, or the reason why there is none.

/// Something that was looked at, or the reason why it was not.
pub type Fact<T> = Result<T, Missing>;

/// The reason why there is no fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// There is no such thing here.
    NotApplicable(String),
    /// It could not be looked at.
    Unknown {
        reason: String,
        /// The right, grant or setting that lets it be looked at.
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

/// Returns the fact, or the reason why there is none.
pub fn known<T>(fact: &Fact<T>) -> Result<&T, Missing> {
    fact.as_ref().map_err(Clone::clone)
}
