//! Errors as they are reported: what kind, what failed, why, and a hint. They cross the wire between processes whole.

use std::{fmt, io};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use verify_core::ErrorKind;
pub use verify_core::error_hint::file_hint;

use crate::hint::Hinted;

/// An error as it is reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// Kind of the error.
    pub kind: Kind,
    /// The SQLSTATE, where a PostgreSQL server answered with an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    /// Failed action, then the reasons, down to the first cause.
    pub causes: Vec<String>,
    /// Suggested remedy; null if none is known.
    pub hint: Option<String>,
}

/// Kind of an error, as far as a caller would act differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The command line cannot be understood.
    Usage,
    /// The configuration file cannot be used.
    Configuration,
    /// Connection settings are invalid, contradictory or not supported.
    Settings,
    /// No server could be reached, or the connection broke.
    Connection,
    /// The server refused the login.
    Authentication,
    /// A PostgreSQL server answered a statement with an error.
    Server,
    /// A server did not keep to PostgreSQL's protocol.
    Protocol,
    /// A server or database cannot be verified as it is.
    Unsuitable,
    /// A manifest or report is truncated, modified, or of another format.
    Manifest,
    /// A file could not be read or written.
    File,
    /// The object store refused or did not answer.
    ObjectStore,
    /// The Kubernetes API server could not be reached, did not answer or refused.
    Cluster,
    /// Standard output could not be written.
    Output,
    /// SIGINT or SIGTERM ended the run.
    Interrupted,
    /// Anything else.
    Other,
}

/// The kind and the hint of an error that another crate raises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub kind: Kind,
    pub hint: Option<String>,
}

/// Recognises the errors of the crates above this one. The program decides which of them it has.
pub type Recognise = fn(&anyhow::Error) -> Option<Known>;

impl Failure {
    /// The report of an error. `recognise` is asked for errors of which this crate knows nothing.
    pub fn of(error: &anyhow::Error, recognise: Recognise) -> Self {
        if is_interruption(error) {
            return Self::interruption(error);
        }
        let sqlstate = core_errors(error).filter_map(verify_core::Error::sqlstate).last();
        let received = error.chain().find_map(|cause| cause.downcast_ref::<Received>());
        let known = recognise(error);
        Self {
            kind: received
                .map(|received| received.kind)
                .or_else(|| core_errors(error).last().map(|error| kind_of(error.kind())))
                .or_else(|| known.as_ref().map(|known| known.kind))
                .unwrap_or(if within::<io::Error>(error) { Kind::File } else { Kind::Other }),
            sqlstate: received.and_then(|received| received.sqlstate.clone()).or(sqlstate.map(str::to_owned)),
            causes: causes(error),
            hint: hint(error, known.and_then(|known| known.hint)),
        }
    }

    /// The report of work that was asked to stop, whatever it ended with.
    pub fn interruption(error: &anyhow::Error) -> Self {
        Self { kind: Kind::Interrupted, sqlstate: None, causes: causes(error), hint: None }
    }

    /// The error of this process that another one reported.
    pub fn into_error(self) -> anyhow::Error {
        let Self { kind, sqlstate, causes, hint } = self;
        let mut causes = causes.into_iter().rev();
        let text = causes.next().unwrap_or_else(|| "it failed and did not say why".to_owned());
        let received = match kind {
            Kind::Interrupted => verify_core::Error::new(ErrorKind::Cancelled, text).into(),
            kind => anyhow::Error::new(Received { text, kind, sqlstate, hint }),
        };
        causes.fold(received, anyhow::Error::context)
    }
}

/// Returns whether the error reports an interruption.
pub fn is_interruption(error: &anyhow::Error) -> bool {
    core_errors(error).any(|error| *error.kind() == ErrorKind::Cancelled)
}

/// The innermost cause of an error that another process reported.
#[derive(Debug)]
struct Received {
    text: String,
    kind: Kind,
    sqlstate: Option<String>,
    hint: Option<String>,
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Received {}

/// The texts of an error and its causes, each once.
fn causes(error: &anyhow::Error) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for cause in chain(error) {
        let core = cause.downcast_ref::<verify_core::Error>();
        let mut line = core.map_or_else(|| cause.to_string(), |core| core.context().to_owned());
        // A server's own text is not changed: `ERROR: …`.
        if core.is_some() && line.starts_with(char::is_lowercase) {
            line.insert_str(0, "failed to ");
        }
        // Some errors show their cause themselves.
        if !lines.iter().any(|shown| shown.contains(&line)) {
            lines.push(line);
        }
    }
    lines
}

/// Returns an error and its causes, those of the library's errors included.
pub(crate) fn chain(error: &anyhow::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let outermost: &(dyn std::error::Error + 'static) = error.as_ref();
    verify_core::error::causes(outermost)
}

fn core_errors(error: &anyhow::Error) -> impl Iterator<Item = &verify_core::Error> {
    chain(error).filter_map(|cause| cause.downcast_ref())
}

/// Returns whether an error of this type is the error or among its causes.
pub fn within<E: std::error::Error + 'static>(error: &anyhow::Error) -> bool {
    chain(error).any(<dyn std::error::Error>::is::<E>)
}

/// The kind of an error of the library. The innermost one is nearest to the cause.
fn kind_of(kind: &ErrorKind) -> Kind {
    match kind {
        ErrorKind::Settings => Kind::Settings,
        ErrorKind::Connection | ErrorKind::Timeout | ErrorKind::PoolExhausted => Kind::Connection,
        ErrorKind::Authentication => Kind::Authentication,
        ErrorKind::Privilege | ErrorKind::Server { .. } => Kind::Server,
        ErrorKind::Protocol => Kind::Protocol,
        ErrorKind::Version | ErrorKind::Unsuitable | ErrorKind::Blocked => Kind::Unsuitable,
        ErrorKind::Manifest => Kind::Manifest,
        ErrorKind::File => Kind::File,
        ErrorKind::Cancelled => Kind::Interrupted,
        _ => Kind::Other,
    }
}

/// One hint: the one raised with the error, else that of another process, of the library, of the crates above, or for what the
/// operating system refused.
fn hint(error: &anyhow::Error, known: Option<String>) -> Option<String> {
    let raised = error.chain().find_map(|cause| cause.downcast_ref::<Hinted>());
    let received = || error.chain().find_map(|cause| cause.downcast_ref::<Received>()?.hint.clone());
    let of_cause = || core_errors(error).find_map(verify_core::Error::hint).map(str::to_owned);
    let of_file = || chain(error).find_map(|cause| file_hint(cause.downcast_ref()?));
    raised
        .map(|raised| raised.hint().to_owned())
        .or_else(received)
        .or_else(of_cause)
        .or(known)
        .or_else(|| of_file().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_another_process_reported_keeps_its_kind_causes_and_hint() {
        let failure = Failure {
            kind: Kind::Server,
            sqlstate: Some("42501".to_owned()),
            causes: vec!["failed to capture a".to_owned(), "ERROR: permission denied".to_owned()],
            hint: Some("grant it".to_owned()),
        };
        let wire = serde_json::to_string(&failure).unwrap();
        let received: Failure = serde_json::from_str(&wire).unwrap();
        assert_eq!(Failure::of(&received.into_error(), |_| None), failure);
        let stopped = Failure { kind: Kind::Interrupted, sqlstate: None, hint: None, ..failure };
        assert!(is_interruption(&stopped.into_error()));
    }
}
