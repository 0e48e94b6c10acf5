//! Errors at the edge: what failed, why, and the way out.

use std::fmt::{self, Write};
use std::io;

use verify_core::ErrorKind;
use verify_core::table::shown_text;

use crate::exit::Exit;
use crate::s3;

/// How the process ends after this error.
pub(crate) fn exit(error: &anyhow::Error, asked: bool) -> Exit {
    let interrupted = kinds(error).any(|kind| *kind == ErrorKind::Interrupted);
    if interrupted || asked { Exit::INTERRUPTED } else { Exit::COULD_NOT_RUN }
}

/// The error in words: one line for it, one for each cause, and hints.
pub(crate) fn describe(error: &anyhow::Error, exit: Exit) -> String {
    if exit == Exit::INTERRUPTED {
        return "interrupted\n".to_owned();
    }
    let mut text = String::new();
    let mut told = String::new();
    for (depth, cause) in error.chain().enumerate() {
        let mut line = cause.to_string();
        // What a server said stands as it is: `ERROR: …`.
        if cause.is::<verify_core::Error>() && line.starts_with(char::is_lowercase) {
            line.insert_str(0, "failed to ");
        }
        // Some errors show their cause themselves.
        if told.contains(&line) {
            continue;
        }
        let head = if depth == 0 { "error" } else { "  because" };
        let _ = writeln!(text, "{head}: {}", shown_lines(&line));
        told.push_str(&line);
    }
    for hint in hints(error) {
        let _ = writeln!(text, "hint: {hint}");
    }
    text
}

/// Printable text, whose further lines are set off so that none passes for one of ours.
fn shown_lines(text: &str) -> String {
    text.lines().map(shown_text).collect::<Vec<_>>().join("\n    ")
}

fn kinds(error: &anyhow::Error) -> impl Iterator<Item = &ErrorKind> {
    error.chain().filter_map(|cause| cause.downcast_ref::<verify_core::Error>()).map(verify_core::Error::kind)
}

/// An error with a way out that is better than the general one for its kind.
#[derive(Debug)]
pub(crate) struct Advised {
    pub(crate) doing: String,
    pub(crate) hint: &'static str,
    pub(crate) source: verify_core::Error,
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)
    }
}

impl std::error::Error for Advised {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

fn hints(error: &anyhow::Error) -> Vec<&'static str> {
    if let Some(advised) = error.chain().find_map(|cause| cause.downcast_ref::<Advised>()) {
        return vec![advised.hint];
    }
    // The innermost kind is nearest to the cause; hints for the same thing come once.
    let mut hints: Vec<&'static str> = kinds(error).filter_map(hint).collect();
    hints.extend(error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).filter_map(file_hint));
    hints.extend(
        error.chain().filter_map(|cause| cause.downcast_ref::<s3::Failure>()).filter_map(s3::Failure::hint),
    );
    let mut seen = std::collections::HashSet::new();
    hints.retain(|hint| seen.insert(*hint));
    hints
}

/// The way out of an error of this kind, where there is a general one.
fn hint(kind: &ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::Server { sqlstate } => return server_hint(sqlstate),
        ErrorKind::Connection => {
            "is the server up, and are host and port right? `pg_isready` with the same connection string tells"
        }
        ErrorKind::Authentication => {
            "put the password into ~/.pgpass (host:port:database:user:password, mode 0600) or PGPASSWORD"
        }
        ErrorKind::Settings => {
            "a connection string looks like postgresql://user@host:5432/database or \"host=… dbname=… user=…\""
        }
        ErrorKind::Manifest => {
            "a file that is cut or changed proves nothing: use another copy of it, or capture again"
        }
        _ => return None,
    })
}

fn server_hint(sqlstate: &str) -> Option<&'static str> {
    Some(match sqlstate {
        "42501" => {
            "grant the role what it reads: GRANT pg_read_all_data TO the role (PostgreSQL 14 and later), or \
             GRANT USAGE ON each SCHEMA and GRANT SELECT ON ALL TABLES and ALL SEQUENCES in it"
        }
        "28P01" | "28000" => return hint(&ErrorKind::Authentication),
        "3D000" => "the server has no such database; `psql -l` lists those that it has",
        "53300" => "the server has no connection to spare: use --jobs 1, or raise max_connections",
        "55P03" => {
            "somebody holds a lock, as a migration or VACUUM FULL does: try again later, or raise --lock-timeout"
        }
        "57014" => {
            "the server cancelled a statement: somebody asked it to, or its statement_timeout is too short"
        }
        "57P01" | "57P02" => {
            "somebody ended the session, stopped the server, or made another one the primary: do it again when one runs"
        }
        "57P03" => {
            "the server is starting up or recovering: wait until `pg_isready` says that it accepts connections"
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
            Some("free some space, or write to another file system; nothing was left behind")
        }
        io::ErrorKind::FileTooLarge => {
            Some("raise the limit on the size of files (`ulimit -f`), or write to another file system")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interrupt::interrupted;
    use anyhow::Context;
    use verify_core::Error;

    fn described(error: &anyhow::Error) -> String {
        describe(error, Exit::COULD_NOT_RUN)
    }

    #[test]
    fn an_error_names_what_was_tried_why_it_failed_and_the_way_out() {
        let denied = ErrorKind::Server { sqlstate: "42501".to_owned() };
        let error = Error::new(denied, "ERROR: permission denied\u{1b}[2J [42501]")
            .while_doing("list the tables")
            .while_doing("capture u@h:5432/d");
        insta::assert_snapshot!(described(&error.into()), @r"
        error: failed to capture u@h:5432/d
          because: failed to list the tables
          because: ERROR: permission denied\u{1b}[2J [42501]
        hint: grant the role what it reads: GRANT pg_read_all_data TO the role (PostgreSQL 14 and later), or GRANT USAGE ON each SCHEMA and GRANT SELECT ON ALL TABLES and ALL SEQUENCES in it
        ");
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = Error::with_source(ErrorKind::File, "write the manifest", full);
        let error = Err::<(), _>(error).context("failed to write m").unwrap_err();
        insta::assert_snapshot!(described(&error), @r"
        error: failed to write m
          because: failed to write the manifest
          because: no storage space
        hint: free some space, or write to another file system; nothing was left behind
        ");
    }

    #[test]
    fn the_lines_of_a_cause_are_lines() {
        let error = anyhow::anyhow!("initdb failed: error: one\nhint: two\u{1b}[2J");
        assert_eq!(described(&error), "error: initdb failed: error: one\n    hint: two\\u{1b}[2J\n");
    }

    #[test]
    fn an_error_with_its_own_way_out_has_no_other() {
        let source = Error::new(ErrorKind::Server { sqlstate: "42501".to_owned() }, "ERROR: denied");
        let error = Advised { doing: "failed to install".to_owned(), hint: "ask the owner", source };
        assert_eq!(
            described(&error.into()),
            "error: failed to install\n  because: ERROR: denied\nhint: ask the owner\n"
        );
    }

    #[test]
    fn an_interruption_is_told_as_one() {
        let error = anyhow::Error::from(interrupted()).context("failed to read an object");
        assert_eq!(exit(&error, false), Exit::INTERRUPTED);
        assert_eq!(exit(&anyhow::anyhow!("the connection broke"), true), Exit::INTERRUPTED);
        assert_eq!(exit(&anyhow::anyhow!("the connection broke"), false), Exit::COULD_NOT_RUN);
        assert_eq!(describe(&error, Exit::INTERRUPTED), "interrupted\n");
    }
}
