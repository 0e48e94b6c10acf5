//! Why something could not be found out. A mismatch is never an error; see [`crate::finding`].

use std::error::Error as StdError;
use std::fmt;

/// What went wrong, as far as a caller would act differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The connection settings are invalid, contradictory or unsupported.
    Settings,
    /// No server could be reached, or the connection broke.
    Connection,
    /// The server was reached and refused these credentials.
    Authentication,
    /// The server answered a statement with an error, named by its SQLSTATE.
    Server {
        /// The five characters of the SQLSTATE.
        sqlstate: String,
    },
    /// The server said something that the protocol, or a limit of ours, does not allow.
    Protocol,
    /// The server or database cannot be verified as it is: too old, a standby, rows hidden.
    Unsuitable,
    /// A manifest is cut, changed, or of another format.
    Manifest,
    /// A file could not be read or written.
    File,
    /// The login was accepted, but no session of the server was to be had in time: a pooler has none to spare.
    PoolExhausted,
    /// Others hold up the work, and did not end in time.
    Blocked,
    /// The caller interrupted.
    Interrupted,
}

/// An error: its kind, what was being done on what, the cause, and a hint where the cause has a known remedy.
///
/// The text is a lower-case fragment that reads after "failed to". It never holds a secret, and neither does the hint.
pub struct Error {
    kind: ErrorKind,
    context: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of everything in this crate that can fail to find out.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error without an underlying cause.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), hint: None, source: None }
    }

    /// An error with the cause that it wraps.
    pub fn with_source(
        kind: ErrorKind,
        context: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { kind, context: context.into(), hint: None, source: Some(source.into()) }
    }

    /// The same error, told from one step further out: what was being done when it happened.
    #[must_use]
    pub fn while_doing(self, context: impl Into<String>) -> Self {
        Self { kind: self.kind.clone(), context: context.into(), hint: None, source: Some(Box::new(self)) }
    }

    /// The same error with a remedy, in the imperative.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The remedy that the innermost cause with one gives.
    pub fn hint(&self) -> Option<&str> {
        let cause = self.source.as_deref().and_then(|source| source.downcast_ref::<Self>());
        cause.and_then(Self::hint).or(self.hint.as_deref())
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The SQLSTATE, where the server answered with an error.
    pub fn sqlstate(&self) -> Option<&str> {
        match &self.kind {
            ErrorKind::Server { sqlstate } => Some(sqlstate),
            _ => None,
        }
    }

    /// The whole chain on one line, outermost first.
    pub fn chain(&self) -> String {
        let mut text = self.context.clone();
        let mut source = StdError::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_nearest_to_the_cause_counts() {
        let error = Error::new(ErrorKind::Settings, "read the file").with_hint("chmod it");
        let outer = error.while_doing("log in").with_hint("log in otherwise").while_doing("capture");
        assert_eq!(outer.hint(), Some("chmod it"));
        assert_eq!(outer.chain(), "capture: log in: read the file");
        assert_eq!(Error::new(ErrorKind::Protocol, "read").while_doing("capture").hint(), None);
    }
}
