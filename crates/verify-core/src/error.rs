//! Reason why something could not be found out. A mismatch is never an error; see [`crate::finding`].

use std::error::Error as StdError;
use std::fmt;

/// Kind of an error, as far as a caller would act differently.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The connection settings are invalid, contradictory or unsupported.
    Settings,
    /// No server could be reached, or the connection broke.
    Connection,
    /// A server did not answer in time.
    Timeout,
    /// The server was reached and refused the login.
    Authentication,
    /// The role lacks a privilege.
    Privilege,
    /// The server answered a statement with another error, named by its SQLSTATE.
    Server {
        /// The five characters of the SQLSTATE.
        sqlstate: String,
    },
    /// A message of the server violates the protocol or exceeds a limit of this crate.
    Protocol,
    /// The server's version is not supported.
    Version,
    /// The server or database cannot be verified as it is: a standby, rows hidden.
    Unsuitable,
    /// A manifest is truncated, modified, or of another format.
    Manifest,
    /// A file could not be read or written.
    File,
    /// The login was accepted, but no session of the server was to be had in time: a pooler has none to spare.
    PoolExhausted,
    /// Others hold up the work, and did not end in time.
    Blocked,
    /// A limit of the plan was reached before the work was complete.
    LimitReached,
    /// The caller asked to stop.
    Cancelled,
}

impl ErrorKind {
    /// Returns whether the server could not be reached, or did not answer.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Connection | Self::Timeout)
    }
}

/// An error: its kind, what was being done on what, the cause, and a hint where the cause has a known remedy.
///
/// The text is a lower-case fragment that reads after "failed to", and contains the whole chain of causes. It never holds a
/// secret, and neither does the hint. Since the text has them, [`std::error::Error::source`] gives no causes;
/// [`Error::cause`] does.
pub struct Error {
    kind: ErrorKind,
    sqlstate: Option<String>,
    context: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of everything in this crate that can fail to find out.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error without an underlying cause.
    ///
    /// Of [`ErrorKind::Server`], a refused login becomes [`ErrorKind::Authentication`] and a missing privilege
    /// [`ErrorKind::Privilege`]; the SQLSTATE stays.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        let (kind, sqlstate) = match kind {
            ErrorKind::Server { sqlstate } => match sqlstate.as_str() {
                "42501" => (ErrorKind::Privilege, Some(sqlstate)),
                class if class.starts_with("28") => (ErrorKind::Authentication, Some(sqlstate)),
                _ => (ErrorKind::Server { sqlstate: sqlstate.clone() }, Some(sqlstate)),
            },
            kind => (kind, None),
        };
        Self { kind, sqlstate, context: context.into(), hint: None, source: None }
    }

    /// An error with the cause that it wraps.
    pub fn with_source(
        kind: ErrorKind,
        context: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { source: Some(source.into()), ..Self::new(kind, context) }
    }

    /// The same error with an outer context: what was being done when it happened.
    #[must_use]
    pub fn while_doing(self, context: impl Into<String>) -> Self {
        let (kind, sqlstate) = (self.kind.clone(), self.sqlstate.clone());
        Self { kind, sqlstate, context: context.into(), hint: None, source: Some(Box::new(self)) }
    }

    /// The same error with a remedy, in the imperative.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Returns the remedy that the innermost cause with one gives, else the one for the SQLSTATE or the kind.
    pub fn hint(&self) -> Option<&str> {
        self.own_hint().or_else(|| self.general_hint())
    }

    fn own_hint(&self) -> Option<&str> {
        self.inner().and_then(Self::own_hint).or(self.hint.as_deref())
    }

    /// Returns whether the same call may succeed later, with nothing changed: no server was reached, or others held it up.
    pub fn is_retryable(&self) -> bool {
        match &self.kind {
            ErrorKind::Connection | ErrorKind::Timeout | ErrorKind::PoolExhausted | ErrorKind::Blocked => {
                true
            }
            // Connections, conflicts between transactions, resources, locks, and a server that starts or stops.
            ErrorKind::Server { sqlstate } => {
                ["08", "40", "53", "55P03", "57"].iter().any(|class| sqlstate.starts_with(class))
            }
            _ => false,
        }
    }

    /// Returns whether a standby cancelled the statement, or ended the session, because its recovery could not wait for it any longer.
    /// A new snapshot may live long enough.
    pub fn is_recovery_conflict(&self) -> bool {
        matches!(self.sqlstate(), Some("40001" | "40P01"))
    }

    /// Kind of the error.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The SQLSTATE, where the server answered with an error.
    pub fn sqlstate(&self) -> Option<&str> {
        self.sqlstate.as_deref()
    }

    /// Failed action, without the causes.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// The next cause.
    pub fn cause(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }

    fn inner(&self) -> Option<&Self> {
        self.cause()?.downcast_ref()
    }
}

/// Returns an error and its causes, outermost first: those of this crate's errors too, which give none as `source`.
pub fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn StdError + 'static)| {
        match error.downcast_ref::<Error>() {
            Some(ours) => ours.cause(),
            None => error.source(),
        }
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)?;
        let mut next = self.cause();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            // An error of this crate displays its causes itself.
            next = cause.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl StdError for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_nearest_to_the_cause_counts() {
        let error = Error::new(ErrorKind::Settings, "read the file").with_hint("chmod it");
        let outer = error.while_doing("log in").with_hint("log in otherwise").while_doing("capture");
        assert_eq!(outer.hint(), Some("chmod it"));
        assert_eq!(outer.to_string(), "capture: log in: read the file");
        assert_eq!(Error::new(ErrorKind::Protocol, "read").while_doing("capture").hint(), None);
    }

    #[test]
    fn the_text_names_every_cause_once() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = Error::with_source(ErrorKind::Connection, "connect", refused).while_doing("capture");
        assert_eq!(error.to_string(), "capture: connect: connection refused");
        assert_eq!(format!("{:#}", anyhow::Error::from(error)), "capture: connect: connection refused");
    }

    #[test]
    fn a_sqlstate_gives_the_kind_and_whether_to_try_again() {
        let server = |sqlstate: &str| ErrorKind::Server { sqlstate: sqlstate.to_owned() };
        for (sqlstate, kind, retryable) in [
            ("28P01", ErrorKind::Authentication, false),
            ("42501", ErrorKind::Privilege, false),
            ("42P01", server("42P01"), false),
            ("53300", server("53300"), true),
            ("55P03", server("55P03"), true),
            ("57P03", server("57P03"), true),
        ] {
            let error = Error::new(server(sqlstate), "ERROR").while_doing("capture");
            let found = (error.kind(), error.sqlstate(), error.is_retryable());
            assert_eq!(found, (&kind, Some(sqlstate), retryable));
        }
        assert!(Error::new(ErrorKind::Timeout, "connect").is_retryable());
        assert!(!Error::new(ErrorKind::Cancelled, "finish").is_retryable());
    }
}
