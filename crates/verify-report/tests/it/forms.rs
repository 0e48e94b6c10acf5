//! Each form of a history is accepted by the tool that reads it, and shows hostile names inertly.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use verify_core::finding::Verdict;
use verify_core::table::shown_text;
use verify_drill::store::{Folder, Store};
use verify_evidence::entry::entries;
use verify_report::history::{Filter, History};
use verify_report::{bundle, csv, html, junit, openmetrics, text};

use crate::stored::{HOSTILE, report, sample, start, store_run};

fn read(store: &Folder, filter: &Filter) -> History {
    History::read(store, filter).unwrap()
}

/// Runs a program on `input`, and returns what it printed if it succeeded.
#[track_caller]
fn filter(program: &str, arguments: &[&str], input: &[u8]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; run ./install.sh test"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program}: {said}\n{}", String::from_utf8_lossy(input));
    said
}

#[test]
fn the_text_has_the_last_verified_restore_of_each_database_and_every_failure() {
    let directory = tempfile::tempdir().unwrap();
    let store = sample(directory.path());
    let mut history = read(&store, &Filter::default());
    history.store = "STORE".to_owned();
    let now = start() + jiff::SignedDuration::from_hours(60);
    insta::assert_snapshot!(text::history(&history, now));
}

#[test]
fn a_history_may_be_of_one_database_and_of_late_runs() {
    let directory = tempfile::tempdir().unwrap();
    let store = sample(directory.path());
    let sequences =
        |filter: Filter| -> Vec<u64> { read(&store, &filter).runs.iter().map(|run| run.sequence).collect() };
    let shop = Some("shop".to_owned());
    assert_eq!(sequences(Filter { database: shop.clone(), since: None }), [1, 2, 3]);
    let since = Some(start() + jiff::SignedDuration::from_hours(30));
    assert_eq!(sequences(Filter { database: shop, since }), [3]);
    assert_eq!(sequences(Filter { database: None, since }), [3, 4, 5]);
}

#[test]
fn a_report_that_cannot_be_read_is_part_of_the_history() {
    let directory = tempfile::tempdir().unwrap();
    let store = sample(directory.path());
    // Its verdict no longer follows from its findings.
    let file = directory.path().join("000002/report.json");
    let forged =
        std::fs::read_to_string(&file).unwrap().replace("\"verdict\": \"fail\"", "\"verdict\": \"pass\"");
    std::fs::write(&file, forged).unwrap();
    let history = read(&store, &Filter::default());
    let unreadable: Vec<u64> = history.unreadable.iter().map(|report| report.sequence).collect();
    assert_eq!((history.runs.len(), unreadable), (4, vec![2]));
    assert!(text::history(&history, start()).contains("report 2 cannot be read"));
}

#[test]
fn promtool_accepts_the_metrics() {
    let directory = tempfile::tempdir().unwrap();
    let history = read(&sample(directory.path()), &Filter::default());
    let metrics = openmetrics::metrics(&history).unwrap();
    filter("promtool", &["check", "metrics"], metrics.replace("# EOF\n", "").as_bytes());
    for line in [
        r#"statelab_verify_last_success_timestamp_seconds{database="shop",cluster="7012345678901234567"} 1793502360.0"#,
        r#"statelab_verify_verdict{database="shop",cluster="7012345678901234567",verdict="fail"} 1.0"#,
        r#"statelab_rto_seconds{database="shop",cluster="7012345678901234567"} 700.0"#,
        r#"statelab_rpo_objective_seconds{database="shop",cluster="7012345678901234567"} 300.0"#,
        "statelab_evidence_unsigned_reports 5",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n") && metrics.contains("statelab_evidence_head_info{sequence=\"5\""));
}

#[test]
fn xmllint_accepts_the_junit_file_in_which_only_a_pass_passes() {
    let directory = tempfile::tempdir().unwrap();
    let history = read(&sample(directory.path()), &Filter::default());
    let xml = junit::history(&history).unwrap();
    let count = |path: &str| {
        filter("xmllint", &["--xpath", &format!("count({path})"), "-"], xml.as_bytes()).trim().to_owned()
    };
    assert_eq!(count("//testcase"), "5");
    assert_eq!([count("//failure"), count("//error")], ["2", "1"], "{xml}");
    assert_eq!(count("//testcase[not(failure) and not(error)]"), "2");
}

#[test]
fn csv_has_a_line_for_each_run_and_no_formula() {
    let directory = tempfile::tempdir().unwrap();
    let history = read(&sample(directory.path()), &Filter::default());
    let text = csv::history(&history).unwrap();
    let rows: Vec<::csv::StringRecord> =
        ::csv::Reader::from_reader(text.as_bytes()).records().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.len(), 5);
    assert_eq!((&rows[2][6], &rows[2][8], &rows[2][9]), ("shop", "fail", "700.000"));
    assert_eq!(&rows[3][6], format!("'{}", shown_text(HOSTILE)));
}

#[test]
fn pages_are_well_formed_and_show_hostile_names_inertly() {
    let directory = tempfile::tempdir().unwrap();
    let store = sample(directory.path());
    let history = read(&store, &Filter::default());
    let mut pages = vec![html::page("history", &html::history(&history, start(), &|_| None))];
    for entry in entries(&store).unwrap() {
        pages.push(html::page("run", &html::run(&entry.report.unwrap(), entry.has_signatures)));
    }
    for page in &pages {
        assert!(!page.contains("<script") && !page.contains("http"), "{page}");
        assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}'), "{page}");
        filter(
            "xmllint",
            &["--html", "--noout", "--nowarning", "-"],
            page.replace("<svg", "<div").as_bytes(),
        );
    }
    assert!(pages[0].contains("&lt;script&gt;"));
    let failed = &pages[2];
    for part in ["1,234,567 rows", "3 rows are missing", "row.missing", "Not signed", "objective of 10m"] {
        assert!(failed.contains(part), "{part}\n{failed}");
    }
    // The verdict and what it does not cover come first.
    let places =
        ["class=\"verdict fail\"", "Not covered", "Recovery time", "Recovery point", "Findings", "Evidence"];
    let places: Vec<usize> = places.iter().map(|part| failed.find(part).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn a_bundle_has_every_object_and_the_keys() {
    let directory = tempfile::tempdir().unwrap();
    let store = sample(directory.path());
    let mut archive = Vec::new();
    assert_eq!(bundle::write(&store, Some(b"me ssh-ed25519 AAAA\n"), &mut archive).unwrap(), 5);
    let listed = filter("tar", &["--zstd", "-t", "-f", "-"], &archive);
    assert!(listed.contains("README\nallowed_signers\nreports/000001/report.json\n"), "{listed}");
    let report = filter("tar", &["--zstd", "-x", "-O", "-f", "-", "reports/000003/report.json"], &archive);
    assert_eq!(report.as_bytes(), store.get("000003/report.json", 1 << 20).unwrap().unwrap());
}

#[test]
fn a_thousand_runs_are_one_page() {
    let directory = tempfile::tempdir().unwrap();
    let store = Folder::new(directory.path());
    for day in 0..1_000 {
        let report = report("shop", Vec::new(), 300 + day % 100, 60);
        let document = serde_json::to_value(&report).unwrap();
        store_run(&store, i64::try_from(day).unwrap() * 24, "restore", &document);
    }
    let began = Instant::now();
    let history = read(&store, &Filter::default());
    let page = html::page("history", &html::history(&history, start(), &|_| None));
    let took = began.elapsed();
    assert!(history.runs.iter().all(|run| run.verdict == Verdict::Pass));
    assert!(page.matches("report ").count() > 1_000);
    println!("1,000 runs: {} ms, {} KiB", took.as_millis(), page.len() / 1_024);
    // Without optimization, on a busy machine.
    assert!(took.as_secs() < 10, "{took:?}");
}
