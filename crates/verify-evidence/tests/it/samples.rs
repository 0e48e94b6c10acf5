//! Reports and keys for tests.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use jiff::Timestamp;
use serde_json::Value;
use verify_core::compare::{Comparison, Coverage};
use verify_core::finding::{Code, Finding, Verdict};
use verify_core::report::{Circumstances, Report, Side};
use verify_evidence::bundle::Statement;
use verify_evidence::entry::sha256;
use verify_evidence::envelope::{Envelope, FORMAT, FORMAT_VERSION, Run, Trigger};
use verify_evidence::key::SigningKey;

/// The name under which the tests sign.
pub(crate) const IDENTITY: &str = "drills@example.com";

pub(crate) fn key() -> SigningKey {
    SigningKey::parse(SigningKey::generate("for tests").unwrap().file.reveal()).unwrap()
}

pub(crate) fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_796_000_000 + seconds).unwrap()
}

pub(crate) fn run(id: &str) -> Run {
    Run {
        id: id.to_owned(),
        command: "verify".to_owned(),
        trigger: Some(Trigger::Schedule),
        host: Some("db-1".to_owned()),
        tool_version: "0.1.0".to_owned(),
        tool_sha256: "0".repeat(64),
        started_at: time(0),
        finished_at: time(1),
        ..Run::default()
    }
}

/// The JSON that `verify` prints.
pub(crate) fn document(findings: Vec<Finding>) -> Value {
    let circumstances = Circumstances {
        tool_version: "0.1.0".to_owned(),
        started_at: time(0),
        duration_ms: 1_000,
        source: Side { place: "shop.manifest".to_owned(), database: None },
        restored: Some(Side { place: "u@h:5432/shop".to_owned(), database: None }),
        manifest: None,
    };
    let coverage = Coverage { tables: 3, rows: 1_000, bytes: 80_000, ..Coverage::default() };
    serde_json::to_value(Report::of_comparison(circumstances, Comparison::new(findings, coverage))).unwrap()
}

pub(crate) fn lost_rows() -> Vec<Finding> {
    vec![Finding::new(Code::RowMissing, "public.orders", "2 rows are missing")]
}

pub(crate) fn envelope() -> Envelope {
    Envelope {
        format: FORMAT.to_owned(),
        version: FORMAT_VERSION,
        sequence: 1,
        previous: None,
        stored_at: time(2),
        run: run("20261129-0001"),
        verdict: Verdict::Fail,
        document: document(lost_rows()),
    }
}

pub(crate) fn statement(report: &[u8]) -> Statement {
    Statement::of(&envelope(), &sha256(report), IDENTITY)
}

/// Writes the file of allowed signers with this key alone.
pub(crate) fn allow(key: &SigningKey, path: &Path) {
    fs::write(path, format!("{IDENTITY} {}\n", key.public().to_openssh())).unwrap();
}

pub(crate) fn output(command: &mut Command) -> (bool, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = [stdout, stderr].concat();
    (status.success(), String::from_utf8_lossy(&text).into_owned())
}
