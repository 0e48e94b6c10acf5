//! deploy/monitoring with the real promtool and Prometheus: rules, dashboard, and `serve` as what they watch.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use verify_core::compare::{Comparison, Coverage};
use verify_core::finding::{Code, Finding};
use verify_core::heartbeat::{Evidence, Rpo};
use verify_core::manifest::Source;
use verify_core::report::{Circumstances, Objectives, Recovery, Report, Side};
use verify_core::timeline::{Milestone, Reached, Rto};
use verify_drill::store::Folder;
use verify_evidence::chain::append;
use verify_evidence::envelope::Run;

use crate::program::{outcome, state_lab};

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/monitoring")
}

/// Runs promtool; `Err` is its output if it fails.
fn promtool(directory: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("promtool")
        .current_dir(directory)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("promtool: {error}; run ./install.sh test"));
    let result = outcome(&output);
    let text = result.out + &result.err;
    if output.status.success() { Ok(text) } else { Err(text) }
}

/// The names of the alerts in rules.yaml.
fn alerts(rules: &str) -> Vec<&str> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
}

/// `rules` with the expression of one alert replaced.
fn with_expression(rules: &str, alert: &str, expression: &str) -> String {
    let at = rules.find(&format!("- alert: {alert}\n")).unwrap();
    let (before, of_alert) = rules.split_at(at);
    let start = of_alert.find("expr:").unwrap();
    let is_next = |line: &&str| ["for:", "labels:"].iter().any(|field| line.trim().starts_with(field));
    let next = of_alert[start..].lines().find(is_next).unwrap();
    let end = start + of_alert[start..].find(next).unwrap();
    format!("{before}{}expr: {expression}\n{}", &of_alert[..start], &of_alert[end..])
}

#[test]
fn each_alert_fires_on_its_bad_series_and_is_silent_on_the_good_twin() {
    let rules = fs::read_to_string(monitoring().join("rules.yaml")).unwrap();
    let tests = fs::read_to_string(monitoring().join("rules_test.yaml")).unwrap();
    promtool(&monitoring(), &["check", "rules", "rules.yaml"]).unwrap();
    promtool(&monitoring(), &["test", "rules", "rules_test.yaml"]).unwrap();

    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("rules_test.yaml"), &tests).unwrap();
    // Never firing: each bad series has to notice. Always firing: each good twin has to, which expects no alert at all.
    for (expression, missed) in [("vector(1) > 1", "got:[]"), ("vector(1)", "exp:[]")] {
        let changed = alerts(&rules)
            .iter()
            .fold(rules.clone(), |rules, alert| with_expression(&rules, alert, expression));
        fs::write(directory.path().join("rules.yaml"), changed).unwrap();
        let failure = promtool(directory.path(), &["test", "rules", "rules_test.yaml"]).unwrap_err();
        let compact: String = failure.chars().filter(|letter| !letter.is_whitespace()).collect();
        let failures: Vec<&str> = compact.split("alertname:").collect();
        for alert in alerts(&rules) {
            let is_missed = |of: &&str| of.starts_with(&format!("{alert},")) && of.contains(missed);
            assert!(failures.iter().any(is_missed), "{alert} with {expression}: {failure}");
        }
    }
}

#[test]
fn the_panels_query_metrics_that_exist() {
    let text = fs::read_to_string(monitoring().join("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut identifiers = BTreeSet::new();
    let mut cells = BTreeSet::new();
    let mut expressions = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(identifiers.insert(panel["id"].as_u64().unwrap()), "{title}: its id is used twice");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|field| panel["gridPos"][field].as_u64().unwrap());
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cell.0 < 24 && cells.insert(cell), "{title}: it overlaps another panel, or the edge");
        }
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            expressions.push(target["expr"].as_str().unwrap());
        }
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{title}");
    }
    let directory = tempfile::tempdir().unwrap();
    check_expressions(directory.path(), &expressions).unwrap();
    let broken = check_expressions(directory.path(), &["sum(statelab_rto_seconds"]).unwrap_err();
    assert!(broken.contains("unclosed left parenthesis"), "{broken}");

    let rules = fs::read_to_string(monitoring().join("rules.yaml")).unwrap();
    let store = tempfile::tempdir().unwrap();
    fill(&Folder::new(store.path()));
    let report = |format| state_lab(store.path()).args(["report", ".", "--format", format]).output().unwrap();
    let metrics = outcome(&report("openmetrics")).out;
    let exist: BTreeSet<&str> = metric_names(&metrics).collect();
    let used: BTreeSet<&str> =
        metric_names(&rules).chain(expressions.iter().flat_map(|of| metric_names(of))).collect();
    assert!(used.len() >= 10, "{used:?}");
    assert_eq!(used.difference(&exist).collect::<Vec<_>>(), Vec::<&&str>::new(), "{metrics}");
}

/// Has promtool parse `expressions`, as recording rules.
fn check_expressions(directory: &Path, expressions: &[&str]) -> Result<String, String> {
    let rules: Vec<Value> = expressions
        .iter()
        .enumerate()
        .map(|(number, expression)| json!({ "record": format!("panel:{number}"), "expr": expression }))
        .collect();
    let file = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    fs::write(directory.join("panels.yaml"), file.to_string()).unwrap();
    promtool(directory, &["check", "rules", "panels.yaml"])
}

fn metric_names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("statelab_"))
}

#[test]
fn prometheus_scrapes_serve_and_alerts() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("evidence");
    fs::create_dir(&store).unwrap();
    fill(&Folder::new(&store));
    let mut serve = Server(
        state_lab(directory.path())
            .args(["serve", "evidence", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    BufReader::new(serve.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let target = line.trim().strip_prefix("serving http://").unwrap();

    let address = free_address();
    let config = json!({
        "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
        "rule_files": [monitoring().join("rules.yaml")],
        "scrape_configs": [{ "job_name": "state-lab", "static_configs": [{ "targets": [target] }] }],
    });
    fs::write(directory.path().join("prometheus.yml"), config.to_string()).unwrap();
    let log = fs::File::create(directory.path().join("log")).unwrap();
    let _prometheus = Server(
        Command::new("prometheus")
            .current_dir(directory.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}; run ./install.sh test")),
    );

    let began = Instant::now();
    let fired = loop {
        let fired = firing(address);
        if !fired.is_empty() {
            break fired;
        }
        let log = || fs::read_to_string(directory.path().join("log")).unwrap();
        let targets = || get(address, "/api/v1/targets");
        assert!(began.elapsed() < Duration::from_secs(60), "no alert: {:?}\n{}", targets(), log());
        std::thread::sleep(Duration::from_millis(100));
    };
    // The others have to last for some minutes.
    assert_eq!(fired, BTreeSet::from(["StateLabVerdictFail crm".to_owned()]));
    let verdicts = get(address, "/api/v1/query?query=statelab_verify_verdict==1").unwrap();
    let verdicts: BTreeSet<String> = verdicts["data"]["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sample| {
            format!("{} {}", text(&sample["metric"]["database"]), text(&sample["metric"]["verdict"]))
        })
        .collect();
    assert_eq!(verdicts, BTreeSet::from(["crm fail".to_owned(), "shop pass".to_owned()]));
}

/// The alerts that fire, with their databases.
fn firing(address: SocketAddr) -> BTreeSet<String> {
    let answer = get(address, "/api/v1/alerts").unwrap_or_default();
    let alerts = answer["data"]["alerts"].as_array().into_iter().flatten();
    alerts
        .filter(|alert| alert["state"] == "firing")
        .map(|alert| {
            format!("{} {}", text(&alert["labels"]["alertname"]), text(&alert["labels"]["database"]))
        })
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The JSON of a page, once the server listens.
fn get(address: SocketAddr, path: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A process that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Stores a restore of `shop` that passed, and one of `crm` that did not.
fn fill(store: &Folder) {
    let lost = Finding::new(Code::RowMissing, "crm.customers", "3 rows are missing");
    for (database, findings) in [("shop", Vec::new()), ("crm", vec![lost])] {
        store_restore(store, &restore(database, findings));
    }
}

fn store_restore(store: &Folder, report: &Report) {
    let finished_at = Timestamp::now() - SignedDuration::from_hours(1);
    let run = Run {
        id: report.source.place.clone(),
        command: "restore".to_owned(),
        tool_version: "0.1.0".to_owned(),
        tool_sha256: "0".repeat(64),
        started_at: finished_at - SignedDuration::from_mins(6),
        finished_at,
        ..Run::default()
    };
    append(store, &run, &serde_json::to_value(report).unwrap(), None, &|| finished_at).unwrap();
}

fn restore(database: &str, findings: Vec<Finding>) -> Report {
    let started_at = Timestamp::now() - SignedDuration::from_hours(1);
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
    let reached = [(Milestone::Fetched, 200_000), (Milestone::Recovered, 160_000), (Milestone::Verified, 0)];
    let rto = Rto {
        total_ms: 360_000,
        parts: reached.map(|(milestone, after_ms)| Reached { milestone, after_ms }).to_vec(),
    };
    let rpo = Rpo {
        at_most_ms: 60_000,
        clock_error_ms: 20,
        evidence: Evidence::Heartbeat,
        recovered_until: started_at,
        incident: started_at,
    };
    Report::new(
        Circumstances {
            tool_version: "0.1.0".to_owned(),
            started_at,
            duration_ms: 360_000,
            source: Side { place: "nightly.manifest".to_owned(), database: Some(source) },
            restored: Some(Side { place: "copy".to_owned(), database: None }),
            manifest: None,
        },
        Comparison::new(findings, Coverage::default()),
        Recovery {
            rto: Some(rto),
            rpo: Some(rpo),
            objectives: Objectives { rto_ms: Some(600_000), rpo_ms: Some(300_000) },
        },
    )
}
