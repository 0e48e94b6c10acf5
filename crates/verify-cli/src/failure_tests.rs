//! Tests of the classification and the text of errors.

use std::io;

use super::*;
use anyhow::Context;
use verify_core::{Error, ErrorKind};
use verify_drill::hint::Hinted;
use verify_drill::interrupt::interrupted;

fn described(error: &anyhow::Error) -> String {
    text(&of(error, Exit::COULD_NOT_RUN), &Style::plain())
}

fn server(sqlstate: &str) -> ErrorKind {
    ErrorKind::Server { sqlstate: sqlstate.to_owned() }
}

#[test]
fn an_error_names_what_was_tried_why_it_failed_and_a_hint() {
    let error = Error::new(server("42501"), "ERROR: permission denied\u{1b}[2J [42501]")
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
    hint: free some space, or write to another file system
    ");
}

#[test]
fn a_colour_is_given_to_the_words_error_and_hint_alone() {
    let error = anyhow::Error::from(Hinted::new("failed to run", "run it"));
    let style = Style { colour: true, ..Style::plain() };
    assert_eq!(
        text(&of(&error, Exit::COULD_NOT_RUN), &style),
        "\u{1b}[1m\u{1b}[31merror\u{1b}[0m: failed to run\n\u{1b}[1m\u{1b}[32mhint\u{1b}[0m: run it\n"
    );
}

#[test]
fn the_lines_of_a_cause_are_lines() {
    let error = anyhow::anyhow!("initdb failed: error: one\nhint: two\u{1b}[2J");
    assert_eq!(described(&error), "error: initdb failed: error: one\n    hint: two\\u{1b}[2J\n");
}

#[test]
fn an_error_has_one_hint_the_nearest_to_the_cause_unless_one_was_raised_with_it() {
    let cause = || Error::new(server("42501"), "ERROR: denied").while_doing("install");
    let raised = Hinted::new("failed to run", "ask the owner").because(cause());
    assert_eq!(
        described(&raised.into()),
        "error: failed to run\n  because: failed to install\n  because: ERROR: denied\nhint: ask the owner\n"
    );
    let precise = Error::new(server("28000"), "FATAL: refused").with_hint("ALTER ROLE");
    let error = Error::with_source(ErrorKind::Authentication, "log in", precise).while_doing("connect");
    assert!(described(&error.into()).ends_with("\nhint: ALTER ROLE\n"));
}

#[test]
fn every_kind_of_error_has_its_name_and_its_hint() {
    let core = |kind: ErrorKind| anyhow::Error::from(Error::new(kind, "do it"));
    let file = |kind: io::ErrorKind| anyhow::Error::from(io::Error::from(kind)).context("failed to write m");
    let unwritten = || Unwritten(io::Error::from(io::ErrorKind::StorageFull));
    for (error, kind, hint) in [
        (core(ErrorKind::Settings), Kind::Settings, ""),
        (core(ErrorKind::Connection), Kind::Connection, "pg_isready"),
        (core(ErrorKind::Authentication), Kind::Authentication, "pg_hba.conf"),
        (core(server("28P01")), Kind::Authentication, "pg_hba.conf"),
        (core(server("42501")), Kind::Server, "pg_read_all_data"),
        (core(server("3D000")), Kind::Server, "psql -l"),
        (core(server("53300")), Kind::Server, "max_connections"),
        (core(server("53100")), Kind::Server, "server's disk"),
        (core(server("55P03")), Kind::Server, "--lock-timeout"),
        (core(server("57014")), Kind::Server, "statement_timeout"),
        (core(server("57P01")), Kind::Server, "an administrator"),
        (core(server("57P03")), Kind::Server, "starting up"),
        (core(server("25006")), Kind::Server, "accepts writes"),
        (core(server("40001")), Kind::Server, "hot_standby_feedback"),
        (core(server("42P01")), Kind::Server, ""),
        (core(ErrorKind::Protocol), Kind::Protocol, ""),
        (core(ErrorKind::Unsuitable), Kind::Unsuitable, ""),
        (core(ErrorKind::Manifest), Kind::Manifest, "capture again"),
        (core(ErrorKind::File), Kind::File, ""),
        (file(io::ErrorKind::StorageFull), Kind::File, "free some space"),
        (file(io::ErrorKind::QuotaExceeded), Kind::File, "free some space"),
        (file(io::ErrorKind::FileTooLarge), Kind::File, "ulimit -f"),
        (file(io::ErrorKind::ReadOnlyFilesystem), Kind::File, "read-only"),
        (file(io::ErrorKind::PermissionDenied), Kind::File, "permissions"),
        (file(io::ErrorKind::NotFound), Kind::File, ""),
        (unwritten().into(), Kind::Output, "is kept"),
        (Invalid("line 1, column 1: unknown field".to_owned()).into(), Kind::Configuration, ""),
        (anyhow::anyhow!("no"), Kind::Other, ""),
    ] {
        let failure = of(&error, Exit::COULD_NOT_RUN);
        let found = failure.hint.unwrap_or_default();
        assert_eq!(failure.kind, kind, "{error:?}");
        assert!(found.contains(hint) && found.is_empty() == hint.is_empty(), "{error:?}: {found}");
    }
}

#[test]
fn an_interruption_is_reported_as_one() {
    let error = anyhow::Error::from(interrupted()).context("failed to read an object");
    assert_eq!(exit(&error, false), Exit::INTERRUPTED);
    assert_eq!(exit(&anyhow::anyhow!("the connection broke"), true), Exit::INTERRUPTED);
    assert_eq!(exit(&anyhow::anyhow!("the connection broke"), false), Exit::COULD_NOT_RUN);
    let failure = of(&error, Exit::INTERRUPTED);
    assert_eq!(
        (failure.kind, text(&failure, &Style::plain())),
        (Kind::Interrupted, "interrupted\n".to_owned())
    );
}
