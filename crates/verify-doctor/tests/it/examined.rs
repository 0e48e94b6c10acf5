//! Examinations of servers that tests started.

use std::collections::BTreeSet;

use fixtures::TestServer;
use jiff::Timestamp;
use verify_core::postgres::{Connection, Environment, SessionOptions, Settings};
use verify_doctor::facts::Server;
use verify_doctor::{CHECKS, Examination, Facts, Missing, Objectives, Selection, Source, examine, postgres};

/// A time that is not now.
pub(crate) fn noon() -> Timestamp {
    "2026-11-29T12:00:00Z".parse().unwrap()
}

pub(crate) fn connect(conninfo: &str) -> Connection {
    let settings = Settings::parse(conninfo, &Environment::default()).unwrap();
    Connection::open(&settings, &SessionOptions::verification(10_000, 10_000)).unwrap()
}

/// The facts of a server, read as its superuser.
pub(crate) fn server(server: &TestServer, database: &str) -> Server {
    postgres::gather(&mut connect(&server.conninfo(database))).unwrap()
}

/// No facts but these.
pub(crate) fn facts_of(server: Server) -> Facts {
    let mut facts =
        Facts::none(noon(), Objectives::default(), &Missing::not_applicable("this test has none"));
    facts.server = Ok(server);
    facts
}

/// All checks of a source, over these facts.
pub(crate) fn examined(facts: &Facts, source: Source) -> Examination {
    let only = CHECKS.iter().filter(|check| check.source == source).map(|check| check.code.to_owned());
    examine(facts, &Selection { only: only.collect(), skip: BTreeSet::new() })
}

/// All findings of the checks of a server as `code: object: message`, after every check could be made.
pub(crate) fn findings(test: &TestServer, database: &str) -> Vec<String> {
    shown(&examined(&facts_of(server(test, database)), Source::Server))
}

/// The findings.
pub(crate) fn shown(examination: &Examination) -> Vec<String> {
    assert_eq!(examination.inconclusive, []);
    let shown =
        examination.findings.iter().map(|one| format!("{}: {}: {}", one.code, one.object, one.message));
    let mut shown: Vec<String> = shown.collect();
    shown.sort();
    shown
}
