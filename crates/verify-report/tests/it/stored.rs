//! Stores of reports, written as runs write them.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use verify_core::compare::{Comparison, Coverage};
use verify_core::finding::{Code, Finding};
use verify_core::heartbeat::{Evidence, Rpo};
use verify_core::manifest::Source;
use verify_core::not_covered::{Check, NotCovered};
use verify_core::report::{Circumstances, Objectives, Recovery, Report, Side};
use verify_core::timeline::{Milestone, Reached, Rto};
use verify_drill::store::{Folder, Store};
use verify_evidence::chain::append;
use verify_evidence::envelope::Run;

/// A name that tries everything that markup, terminals and spreadsheets fall for.
pub(crate) const HOSTILE: &str = "=<script>alert(1)</script>\"'&\u{1b}[31m\u{202e}\n";

pub(crate) fn start() -> Timestamp {
    "2026-11-01T03:00:00Z".parse().unwrap()
}

/// The report of a restore: `rto_s` long, of a copy that lost at most `rpo_s`.
pub(crate) fn report(database: &str, findings: Vec<Finding>, rto_s: u64, rpo_s: u64) -> Report {
    let source = Source {
        server_version: 150_008,
        system_identifier: "7012345678901234567".to_owned(),
        database: database.to_owned(),
        database_oid: None,
        postmaster_started_at: None,
        statistics_since: None,
        encoding: "UTF8".to_owned(),
        other_databases: Vec::new(),
        foreign_tables: Vec::new(),
        prepared_transactions: None,
    };
    let coverage = Coverage {
        tables: 12,
        rows: 1_234_567,
        bytes: 140 << 20,
        sequences: 3,
        definitions: 0,
        invariants: 2,
        not_covered: vec![NotCovered::new(Check::Replica, HOSTILE, "is elsewhere")],
        earlier: Vec::new(),
    };
    let parts = [
        (Milestone::Prepared, 1_000),
        (Milestone::Fetched, rto_s * 400),
        (Milestone::Recovered, rto_s * 200),
        (Milestone::Compared, rto_s * 400 - 1_000),
        (Milestone::Verified, 0),
    ];
    let parts = parts.map(|(milestone, after_ms)| Reached { milestone, after_ms });
    Report::new(
        Circumstances {
            tool_version: "0.1.0".to_owned(),
            started_at: start(),
            duration_ms: rto_s * 1_000,
            source: Side { place: "nightly.manifest".to_owned(), database: Some(source) },
            restored: Some(Side { place: HOSTILE.to_owned(), database: None }),
            manifest: None,
        },
        Comparison::new(findings, coverage),
        Recovery {
            rto: Some(Rto { total_ms: rto_s * 1_000, parts: parts.to_vec() }),
            rpo: Some(Rpo {
                at_most_ms: rpo_s * 1_000,
                clock_error_ms: 20,
                evidence: Evidence::Heartbeat,
                recovered_until: start(),
                incident: start(),
            }),
            objectives: Objectives { rto_ms: Some(600_000), rpo_ms: Some(300_000) },
        },
    )
}

pub(crate) fn missing_rows(object: &str) -> Finding {
    Finding::new(Code::RowMissing, object, "3 rows are missing")
}

/// Stores the document of a run that began `hours` after the first one.
pub(crate) fn store_run(store: &dyn Store, hours: i64, command: &str, document: &Value) {
    let started_at = start() + SignedDuration::from_hours(hours);
    let run = Run {
        id: format!("run-{hours}"),
        command: command.to_owned(),
        tool_version: "0.1.0".to_owned(),
        tool_sha256: "0".repeat(64),
        started_at,
        finished_at: started_at + SignedDuration::from_mins(6),
        ..Run::default()
    };
    append(store, &run, document, None, &|| run.finished_at).unwrap();
}

/// A store with a pass, a failure and a late restore of `shop`, a pass of a database with a hostile name, and a failover.
pub(crate) fn sample(directory: &Path) -> Folder {
    let store = Folder::new(directory);
    let json = |report: &Report| serde_json::to_value(report).unwrap();
    for (hours, command, document) in [
        (0, "restore", json(&report("shop", Vec::new(), 300, 60))),
        (24, "restore", json(&report("shop", vec![missing_rows(HOSTILE)], 400, 60))),
        (48, "restore", json(&report("shop", Vec::new(), 700, 400))),
        (49, "verify", json(&report(HOSTILE, Vec::new(), 100, 60))),
        (50, "failover", serde_json::json!({ "format": "state-lab-failover", "verdict": "inconclusive" })),
    ] {
        store_run(&store, hours, command, &document);
    }
    store
}
