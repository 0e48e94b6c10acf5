//! Reports as they are read, whole.

use jiff::Timestamp;
use verify_core::compare::Comparison;
use verify_core::finding::{Code, Verdict};
use verify_core::not_covered::Check;
use verify_core::report::{Circumstances, Objectives, Recovery};
use verify_core::timeline::{Milestone, Reached};

use super::*;
use verify_core::heartbeat::Rpo;

fn source() -> Source {
    Source {
        server_version: 160_004,
        system_identifier: "7012345678901234567".to_owned(),
        database: "shop".to_owned(),
        database_oid: Some(16_384),
        postmaster_started_at: None,
        statistics_since: None,
        encoding: "UTF8".to_owned(),
        other_databases: Vec::new(),
        foreign_tables: Vec::new(),
        prepared_transactions: Some(0),
    }
}

fn circumstances() -> Circumstances {
    Circumstances {
        tool_version: "0.1.0".to_owned(),
        started_at: Timestamp::UNIX_EPOCH,
        duration_ms: 1,
        source: Side { place: "shop.manifest".to_owned(), database: Some(source()) },
        restored: Some(Side { place: "u@h:5432/shop".to_owned(), database: None }),
        manifest: Some(Instant {
            captured_at: Timestamp::UNIX_EPOCH,
            snapshot: "740:740:".to_owned(),
            consistency: Consistency::SharedSnapshot,
        }),
    }
}

fn comparison(findings: Vec<Finding>, not_covered: Vec<NotCovered>) -> Comparison {
    let coverage = Coverage {
        tables: 41,
        rows: 301_223,
        bytes: 12_900_000,
        sequences: 12,
        definitions: 640,
        invariants: 3,
        not_covered,
        earlier: Vec::new(),
    };
    Comparison::new(findings, coverage)
}

fn recovery(rto_ms: u64, rpo_ms: Option<u64>, objectives: Objectives) -> Recovery {
    let parts = [(Milestone::Fetched, 1_500), (Milestone::Verified, rto_ms.saturating_sub(1_500))];
    let parts = parts.map(|(milestone, after_ms)| Reached { milestone, after_ms }).to_vec();
    let rpo = rpo_ms.map(|at_most_ms| Rpo {
        at_most_ms,
        clock_error_ms: 3,
        evidence: Evidence::Heartbeat,
        recovered_until: Timestamp::UNIX_EPOCH,
        incident: Timestamp::UNIX_EPOCH,
    });
    Recovery { rto: Some(Rto { total_ms: rto_ms, parts }), rpo, objectives }
}

#[test]
fn a_pass_names_its_depth() {
    let report = Report::of_comparison(circumstances(), comparison(Vec::new(), Vec::new()));
    insta::assert_snapshot!(super::report(&report, &Style::plain()), @r"
    integrity_checks: pass

    depth: 41 tables, 301,223 rows (12.3 MiB), 12 sequences, 640 definitions, 3 invariants
    source: shop.manifest: database shop, PostgreSQL 16.4, cluster 7012345678901234567
    captured: 1970-01-01T00:00:00Z, snapshot 740:740:, consistency shared-snapshot
    restored: u@h:5432/shop
    ");
}

#[test]
fn a_failure_names_rows_and_what_to_do() {
    let mut missing = Finding::new(
        Code::RowMissing,
        "public.orders",
        "at least 1500 rows of the source missing, about 3000 in all",
    );
    missing.rows = Some(Rows {
        named: (0..1_400).map(|id| format!("id={id}")).collect(),
        at_least: 1_500,
        more: true,
        estimate: Some(3_000),
    });
    let mut changed =
        Finding::new(Code::RowChanged, "public.items", "22 rows with other content than on the source");
    changed.rows = Some(Rows {
        named: (0..22)
            .map(|id| format!("code=\"{}\u{1b}[2J{id}\"", "x".repeat(if id == 1 { 500 } else { 1 })))
            .collect(),
        at_least: 22,
        more: false,
        estimate: None,
    });
    let unreadable = Finding::new(
        Code::TableUnreadable,
        "public.secrets",
        "could not be read on the restored side: permission denied",
    );
    let gap = NotCovered::new(Check::Rows, "public.secrets", "permission denied");
    let behind = Finding::new(Code::SequenceBehind, "public.s", "stands at 1")
        .with_hint("SELECT setval('public.s', 9)");
    let findings = vec![missing, changed, behind, unreadable];
    let report = Report::of_comparison(circumstances(), comparison(findings, vec![gap]));
    let style = Style { rows_max: 3, chars_max: 60, ..Style::plain() };
    insta::assert_snapshot!(super::report(&report, &style), @r#"
    integrity_checks: fail

    fail: public.orders: at least 1500 rows of the source missing, about 3000 in all [row.missing]
        id=0
        id=1
        id=2
        and at least 1,497 more, about 3,000 in all
    fail: public.items: 22 rows with other content than on the source [row.changed]
        code="x\u{1b}[2J0"
        code="xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
        code="x\u{1b}[2J2"
        and 19 more
    fail: public.s: stands at 1 [sequence.behind]
    inconclusive: public.secrets: could not be read on the restored side: permission denied [table.unreadable]
    next, for public.orders and 1 more: do not use this copy; restore an older backup, or repair it from one
    next, for public.s: SELECT setval('public.s', 9)
    next, for public.secrets: let the role read it: GRANT pg_read_all_data (PostgreSQL 14 and later) or GRANT SELECT; if another session held a lock, try again or raise --lock-timeout

    depth: 41 tables, 301,223 rows (12.3 MiB), 12 sequences, 640 definitions, 3 invariants
    not covered:
        public.secrets: permission denied
    source: shop.manifest: database shop, PostgreSQL 16.4, cluster 7012345678901234567
    captured: 1970-01-01T00:00:00Z, snapshot 740:740:, consistency shared-snapshot
    restored: u@h:5432/shop
    "#);
}

#[test]
fn a_restore_begins_with_the_promised_lines() {
    let objectives = Objectives { rto_ms: Some(600_000), rpo_ms: Some(60_000) };
    let recovery = recovery(431_200, Some(299_003), objectives);
    let report = Report::new(circumstances(), comparison(Vec::new(), Vec::new()), recovery);
    assert_eq!(report.verdict(), Verdict::Fail);
    insta::assert_snapshot!(super::report(&report, &Style::plain()), @r"
    restore_status: success
    integrity_checks: pass
    rto: 7m12s
    rpo: <=5m

    fail: rpo: the latest writes may be lost, up to 4m59.003s; the objective is 1m0s [objective.missed]

    depth: 41 tables, 301,223 rows (12.3 MiB), 12 sequences, 640 definitions, 3 invariants
    recovered until: 1970-01-01T00:00:00Z, by the heartbeat
    time spent: fetch 1.5s, verify 7m10s
    source: shop.manifest: database shop, PostgreSQL 16.4, cluster 7012345678901234567
    captured: 1970-01-01T00:00:00Z, snapshot 740:740:, consistency shared-snapshot
    restored: u@h:5432/shop
    ");
}

#[test]
fn a_recovery_point_after_the_incident_is_unknown() {
    let recovery = recovery(3_333, None, Objectives::default());
    let report = Report::new(circumstances(), comparison(Vec::new(), Vec::new()), recovery);
    let text = super::report(&report, &Style::plain());
    assert!(
        text.starts_with("restore_status: success\nintegrity_checks: pass\nrto: 3.4s\nrpo: unknown (the incident is earlier than the recovered data: is --incident right, or did a clock jump?)\n"),
        "{text}"
    );
}

#[test]
fn durations_are_rounded_up() {
    for (ms, shown) in
        [(1, "0.1s"), (3_400, "3.4s"), (3_401, "3.5s"), (9_901, "10s"), (10_001, "11s"), (431_001, "7m12s")]
    {
        assert_eq!(recovery_time(&Rto { total_ms: ms, parts: Vec::new() }), shown, "{ms}");
    }
    for (ms, shown) in [(0, "<=1s"), (299_001, "<=5m"), (300_001, "<=5m1s")] {
        let recovery = recovery(1, Some(ms), Objectives::default());
        let report = Report::new(circumstances(), comparison(Vec::new(), Vec::new()), recovery);
        assert_eq!(recovery_point(&[report]), shown, "{ms}");
    }
}

#[test]
fn colour_changes_nothing_but_colour() {
    let report = Report::of_comparison(circumstances(), comparison(Vec::new(), Vec::new()));
    let plain = super::report(&report, &Style::plain());
    let coloured = super::report(&report, &Style { colour: true, ..Style::plain() });
    assert!(coloured.starts_with("integrity_checks: \u{1b}[1m\u{1b}[32mpass\u{1b}[0m\n"), "{coloured:?}");
    assert_eq!(coloured.replace("\u{1b}[1m\u{1b}[32m", "").replace("\u{1b}[0m", ""), plain);
}

#[test]
fn many_notices_of_one_kind_are_one_line_and_the_others_stay() {
    let notice =
        |code, i: usize, message: String| Finding::new(code, format!("public.t{i}"), message).excused();
    let mut findings = vec![Finding::new(Code::TableMissing, "public.gone", "the table is missing")];
    findings
        .extend((0..200).map(|i| notice(Code::TableHashedOnServer, i, "hashed on the server".to_owned())));
    findings.extend((0..4).map(|i| notice(Code::UnloggedLost, i, format!("{i} rows were in it"))));
    findings.extend((0..3).map(|i| notice(Code::MatviewDiffers, i, "it was refreshed".to_owned())));
    let report = Report::of_comparison(circumstances(), comparison(findings, Vec::new()));
    let listed = |style: &Style| {
        let text = super::report(&report, style);
        text.split("\n\n").nth(1).unwrap_or_default().to_owned()
    };
    insta::assert_snapshot!(listed(&Style::plain()), @r"
    fail: public.gone: the table is missing [table.missing]
    notice: public.t0: it was refreshed [matview.differs]
    notice: public.t1: it was refreshed [matview.differs]
    notice: public.t2: it was refreshed [matview.differs]
    notice: 200 times, as in public.t0, public.t1, public.t2: hashed on the server [table.hashed-on-server]
    notice: 4 times, as in public.t0: 0 rows were in it; public.t1: 1 rows were in it; public.t2: 2 rows were in it [unlogged.lost]
    next, for public.gone: do not use this copy; restore an older backup, or repair it from one
    ");
    let verbose = Style { rows_max: usize::MAX, ..Style::plain() };
    assert_eq!(listed(&verbose).lines().count(), 1 + 200 + 4 + 3 + 1);
    assert_eq!(
        serde_json::to_value(&report).unwrap()["comparison"]["findings"].as_array().unwrap().len(),
        208
    );
}
