//! Errors as they are reported: what kind, what failed, why, and a hint. They cross the wire between processes whole.

use std::{fmt, io};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use verify_core::ErrorKind;

use crate::hint::Hinted;

/// An error as it is reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// What kind of error it is.
    pub kind: Kind,
    /// The SQLSTATE, where a PostgreSQL server answered with an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    /// What failed, then why, down to the first cause.
    pub causes: Vec<String>,
    /// What to do about it; null where no remedy is known.
    pub hint: Option<String>,
}

/// What kind of error it is, as far as a caller would act differently.
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
            Kind::Interrupted => verify_core::Error::new(ErrorKind::Interrupted, text).into(),
            kind => anyhow::Error::new(Received { text, kind, sqlstate, hint }),
        };
        causes.fold(received, anyhow::Error::context)
    }
}

/// Whether the error says that work was asked to stop.
pub fn is_interruption(error: &anyhow::Error) -> bool {
    core_errors(error).any(|error| *error.kind() == ErrorKind::Interrupted)
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
    for cause in error.chain() {
        let mut line = cause.to_string();
        // A server's own text is not changed: `ERROR: …`.
        if cause.is::<verify_core::Error>() && line.starts_with(char::is_lowercase) {
            line.insert_str(0, "failed to ");
        }
        // Some errors show their cause themselves.
        if !lines.iter().any(|shown| shown.contains(&line)) {
            lines.push(line);
        }
    }
    lines
}

fn core_errors(error: &anyhow::Error) -> impl Iterator<Item = &verify_core::Error> {
    error.chain().filter_map(|cause| cause.downcast_ref())
}

/// Whether an error of this type is the error or among its causes.
pub fn within<E: std::error::Error + 'static>(error: &anyhow::Error) -> bool {
    error.chain().any(<dyn std::error::Error>::is::<E>)
}

/// The kind of an error of the library. The innermost one is nearest to the cause.
fn kind_of(kind: &ErrorKind) -> Kind {
    match kind {
        ErrorKind::Settings => Kind::Settings,
        ErrorKind::Connection | ErrorKind::PoolExhausted => Kind::Connection,
        ErrorKind::Server { sqlstate } if sqlstate.starts_with("28") => Kind::Authentication,
        ErrorKind::Authentication => Kind::Authentication,
        ErrorKind::Server { .. } => Kind::Server,
        ErrorKind::Protocol => Kind::Protocol,
        ErrorKind::Unsuitable | ErrorKind::Blocked => Kind::Unsuitable,
        ErrorKind::Manifest => Kind::Manifest,
        ErrorKind::File => Kind::File,
        ErrorKind::Interrupted => Kind::Interrupted,
    }
}

/// One hint: the one raised with the error, else the one nearest to the cause, else the one for its kind.
fn hint(error: &anyhow::Error, known: Option<String>) -> Option<String> {
    let raised = error.chain().find_map(|cause| cause.downcast_ref::<Hinted>());
    let received = || error.chain().find_map(|cause| cause.downcast_ref::<Received>()?.hint.clone());
    let of_cause = || core_errors(error).find_map(verify_core::Error::hint).map(str::to_owned);
    let of_kind = || core_errors(error).filter_map(|error| kind_hint(error.kind())).last();
    let of_file = || error.chain().find_map(|cause| file_hint(cause.downcast_ref()?));
    raised
        .map(|raised| raised.hint().to_owned())
        .or_else(received)
        .or_else(of_cause)
        .or_else(|| of_kind().map(str::to_owned))
        .or(known)
        .or_else(|| of_file().map(str::to_owned))
}

/// The hint for any error of this kind, where there is one.
fn kind_hint(kind: &ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::Server { sqlstate } => return server_hint(sqlstate),
        ErrorKind::Connection => {
            "check that the server is up: `pg_isready` with the same connection string shows it, and the server's log \
             has the reason for a closed connection"
        }
        ErrorKind::Authentication => REFUSED_LOGIN,
        ErrorKind::Manifest => {
            "a file that is truncated or modified cannot be used: use another copy of it, or capture again"
        }
        ErrorKind::PoolExhausted => {
            "a pooler needs a connection for each of --jobs and one more in the pool of this database and user: use fewer \
             --jobs, raise its pool_size, or connect to the server itself"
        }
        ErrorKind::Blocked => {
            "end it (SELECT pg_terminate_backend(PROCESS), or COMMIT PREPARED or ROLLBACK PREPARED in its database), or \
             wait longer with --wait"
        }
        _ => return None,
    })
}

const REFUSED_LOGIN: &str = "check user and password, and the entries of the server's pg_hba.conf";

fn server_hint(sqlstate: &str) -> Option<&'static str> {
    Some(match sqlstate {
        "42501" => {
            "grant the role what it reads: GRANT pg_read_all_data TO the role (PostgreSQL 14 and later), or \
             GRANT USAGE ON each SCHEMA and GRANT SELECT ON ALL TABLES and ALL SEQUENCES in it"
        }
        "28P01" | "28000" => REFUSED_LOGIN,
        "3D000" => "correct dbname: the server has no such database; `psql -l` lists those that it has",
        "53300" => "the server has no free connection: use --jobs 1, or raise max_connections",
        "53100" => "free some space on the server's disk",
        "55P03" => {
            "another session holds a lock, for example a migration or VACUUM FULL: try again later, or raise --lock-timeout"
        }
        "57014" => {
            "the server cancelled the statement: another session cancelled it, or statement_timeout is too short"
        }
        "57P01" | "57P02" => {
            "an administrator ended the session or stopped the server: run it again when a primary accepts connections"
        }
        "57P03" => {
            "the server is starting up or recovering: wait until `pg_isready` reports that it accepts connections"
        }
        "25006" => {
            "use a server that accepts writes: this one is a standby, or default_transaction_read_only is on"
        }
        "08P01" => {
            "is that a connection pooler (PgBouncer)? It needs session or transaction pooling, and accepts no `options` \
             (PGOPTIONS); or connect to the server itself"
        }
        "40001" | "72000" => {
            "a standby cancelled the query for its recovery: set hot_standby_feedback or max_standby_streaming_delay"
        }
        _ => return None,
    })
}

/// The hint for what the operating system refused.
pub fn file_hint(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space, or write to another file system")
        }
        io::ErrorKind::FileTooLarge => {
            Some("raise the limit on the size of files (`ulimit -f`), or write to another file system")
        }
        io::ErrorKind::ReadOnlyFilesystem => Some("write to another file system: this one is read-only"),
        io::ErrorKind::PermissionDenied => {
            Some("run as a user that may do this, or change the permissions of the file or its directory")
        }
        _ => None,
    }
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
