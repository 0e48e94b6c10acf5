//! Errors at the edge: what failed, why, and a hint.

use std::fmt::Write;
use std::io;

use schemars::JsonSchema;
use serde::Serialize;
use verify_core::ErrorKind;
use verify_core::table::shown_text;

use crate::cluster::{Refusal, Unanswered};
use crate::config::Invalid;
use crate::exit::Exit;
use crate::render::{Ink, Style};
use crate::terminal::Unwritten;
use verify_drill::hint::Hinted;

/// How the process ends after this error.
pub(crate) fn exit(error: &anyhow::Error, asked: bool) -> Exit {
    let interrupted = core_errors(error).any(|error| *error.kind() == ErrorKind::Interrupted);
    if interrupted || asked { Exit::INTERRUPTED } else { Exit::COULD_NOT_RUN }
}

/// An error as it is reported.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Failure {
    /// What kind of error it is.
    pub(crate) kind: Kind,
    /// The SQLSTATE, where a PostgreSQL server answered with an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sqlstate: Option<String>,
    /// What failed, then why, down to the first cause.
    pub(crate) causes: Vec<String>,
    /// What to do about it; null where no remedy is known.
    pub(crate) hint: Option<String>,
}

/// What kind of error it is, as far as a caller would act differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
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

impl Failure {
    /// The report of an error with which the process ends in this way.
    pub(crate) fn of(error: &anyhow::Error, exit: Exit) -> Self {
        let server = core_errors(error).filter_map(verify_core::Error::sqlstate).last();
        let interrupted = exit == Exit::INTERRUPTED;
        Self {
            kind: if interrupted { Kind::Interrupted } else { kind(error) },
            sqlstate: server.map(str::to_owned),
            causes: causes(error),
            hint: if interrupted { None } else { hint(error) },
        }
    }

    /// The report of a command line that cannot be understood.
    pub(crate) fn of_usage(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let paragraph = text.split("\n\n").next().unwrap_or_default();
        let cause = paragraph.strip_prefix("error: ").unwrap_or(paragraph).trim().to_owned();
        let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: ")).map(str::to_owned);
        let hint = tip.or_else(|| {
            Some("`state-lab --help` and `state-lab COMMAND --help` list the options".to_owned())
        });
        Self { kind: Kind::Usage, sqlstate: None, causes: vec![cause], hint }
    }

    /// The report in words: a line for the error, one for each cause, and one for the hint.
    pub(crate) fn text(&self, style: &Style) -> String {
        if self.kind == Kind::Interrupted {
            return "interrupted\n".to_owned();
        }
        let mut text = String::new();
        for (depth, cause) in self.causes.iter().enumerate() {
            let head = if depth == 0 { style.paint(Ink::Bad, "error") } else { "  because".to_owned() };
            let _ = writeln!(text, "{head}: {}", shown_lines(cause));
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "{}: {}", style.paint(Ink::Good, "hint"), shown_text(hint));
        }
        text
    }
}

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

/// Printable text, whose further lines are indented so that none passes for a line of state-lab's own.
fn shown_lines(text: &str) -> String {
    text.lines().map(shown_text).collect::<Vec<_>>().join("\n    ")
}

fn core_errors(error: &anyhow::Error) -> impl Iterator<Item = &verify_core::Error> {
    error.chain().filter_map(|cause| cause.downcast_ref())
}

/// Whether an error of this type is the error or among its causes.
fn within<E: std::error::Error + 'static>(error: &anyhow::Error) -> bool {
    error.chain().any(<dyn std::error::Error>::is::<E>)
}

fn kind(error: &anyhow::Error) -> Kind {
    if within::<Unwritten>(error) {
        return Kind::Output;
    }
    // The innermost kind is nearest to the cause.
    if let Some(error) = core_errors(error).last() {
        return match error.kind() {
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
        };
    }
    if within::<Invalid>(error) {
        Kind::Configuration
    } else if within::<verify_s3::Failure>(error) {
        Kind::ObjectStore
    } else if is_of_cluster(error) {
        Kind::Cluster
    } else if within::<io::Error>(error) {
        Kind::File
    } else {
        Kind::Other
    }
}

fn is_of_cluster(error: &anyhow::Error) -> bool {
    error.is::<Unanswered>()
        || within::<Refusal>(error)
        || within::<kube::Error>(error)
        || within::<kube::config::KubeconfigError>(error)
}

/// One hint: the one raised with the error, else the one nearest to the cause, else the one for its kind.
fn hint(error: &anyhow::Error) -> Option<String> {
    let raised = error.chain().find_map(|cause| cause.downcast_ref::<Hinted>());
    let unwritten = error.chain().find_map(|cause| cause.downcast_ref::<Unwritten>()).map(|unwritten| {
        let remedy =
            file_hint(&unwritten.0).unwrap_or("connect standard output to a reader that reads all of it");
        format!("{remedy}; everything that the run created is kept")
    });
    let of_cause = || core_errors(error).find_map(verify_core::Error::hint).map(str::to_owned);
    let of_kind = || core_errors(error).filter_map(|error| kind_hint(error.kind())).last();
    let of_store = || error.chain().find_map(|cause| cause.downcast_ref::<verify_s3::Failure>()?.hint());
    let refusal = error.chain().find_map(|cause| cause.downcast_ref::<Refusal>());
    let refused = refusal.is_some()
        || error.chain().any(|cause| matches!(cause.downcast_ref(), Some(kube::Error::Api(_))));
    let of_cluster = || match refusal {
        Some(refusal) => refusal.hint,
        None => (is_of_cluster(error) && !refused).then_some(NO_CLUSTER),
    };
    let of_file = || error.chain().find_map(|cause| file_hint(cause.downcast_ref()?));
    raised
        .map(|raised| raised.hint().to_owned())
        .or(unwritten)
        .or_else(of_cause)
        .or_else(|| of_kind().or_else(of_store).or_else(of_cluster).or_else(of_file).map(str::to_owned))
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

const NO_CLUSTER: &str = "correct KUBECONFIG or --context: `kubectl get namespaces` with the same shows whether the API \
     server is reachable; --provider local needs no cluster";

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

fn file_hint(error: &io::Error) -> Option<&'static str> {
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
#[path = "failure_tests.rs"]
mod tests;
