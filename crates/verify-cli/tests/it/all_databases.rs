//! `capture` and `verify` with `--all-databases`, on real servers with databases of odd names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use fixtures::TestServer;
use rustix::process::Signal;
use serde_json::Value;
use verify_core::finding::{Code, Severity, Verdict};
use verify_core::report::Report;

use crate::json::document;
use crate::program::{RunResult, Running, run, state_lab};

const MAJOR: u32 = 18;

/// Quotes, spaces, a newline, a leading dash, the parent directory, what is not ASCII, and 200 characters, of which PostgreSQL keeps 63.
fn odd_names() -> Vec<String> {
    let long = "x".repeat(200);
    ["it's \"a\" shop", "-rf", "..", "größe/数", "two\nlines", "a%20b", "a b", &long]
        .map(str::to_owned)
        .into()
}

/// The name under which a server has a database.
fn kept(name: &str) -> &str {
    &name[..name.len().min(63)]
}

fn create(server: &TestServer, name: &str) {
    server.create_database(name).unwrap();
    let rows = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 100) i";
    server.psql(kept(name), rows).unwrap();
}

/// A server with these databases.
fn server(names: &[String]) -> TestServer {
    let server = fixtures::server(MAJOR).unwrap();
    names.iter().for_each(|name| create(&server, name));
    server
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn json(directory: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let result = run(directory, &[arguments, &["--output", "json"]].concat());
    assert!(!result.out.is_empty(), "{result:?}");
    (result.status, document(&result))
}

fn capture(directory: &Path, server: &TestServer) -> Value {
    let (status, document) =
        json(directory, &["capture", "--all-databases", &server.conninfo("postgres"), "-o", "all"]);
    assert_eq!(status, Some(0), "{document:#}");
    document
}

/// The verdict of each database that has a report.
fn verdicts(document: &Value) -> BTreeMap<String, Verdict> {
    let report = |report: &Value| {
        let report = Report::from_json(report.to_string().as_bytes()).unwrap();
        (report.source.database.as_ref().unwrap().database.clone(), report.verdict())
    };
    document["reports"].as_array().unwrap().iter().map(report).collect()
}

/// Code, severity and object of each finding about the databases as a whole.
fn findings(document: &Value) -> Vec<(Code, Severity, String)> {
    let finding = |finding: &Value| {
        let of = |field: &str| finding[field].clone();
        (
            serde_json::from_value(of("code")).unwrap(),
            serde_json::from_value(of("severity")).unwrap(),
            of("object").as_str().unwrap().to_owned(),
        )
    };
    document["findings"].as_array().unwrap().iter().map(finding).collect()
}

/// Databases without a verdict, with the text of the error.
fn errors(document: &Value) -> BTreeMap<String, String> {
    let error = |error: &Value| (error["database"].as_str().unwrap().to_owned(), error["error"].to_string());
    document["errors"].as_array().unwrap().iter().map(error).collect()
}

fn all_pass(names: &[&str]) -> BTreeMap<String, Verdict> {
    names.iter().map(|name| ((*name).to_owned(), Verdict::Pass)).collect()
}

#[test]
fn every_database_of_any_name_is_captured_and_verified_and_nothing_is_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let odd = odd_names();
    let (source, copy) = (server(&odd), server(&odd));
    for server in [&source, &copy] {
        server.create_database("closed").unwrap();
        server.psql("postgres", "ALTER DATABASE closed ALLOW_CONNECTIONS false").unwrap();
    }
    let captured = capture(directory.path(), &source);
    assert_eq!(captured["closed"], serde_json::json!(["closed"]));
    let mut expected: Vec<&str> = odd.iter().map(|name| kept(name)).chain(["postgres"]).collect();
    expected.sort_unstable();
    let manifests = captured["manifests"].as_array().unwrap();
    let listed: Vec<&str> = manifests.iter().map(|line| line["database"].as_str().unwrap()).collect();
    assert_eq!(listed, expected);
    let files = || fs::read_dir(directory.path().join("all")).unwrap().count();
    assert_eq!((files(), fs::read_dir(directory.path()).unwrap().count()), (expected.len(), 1));

    let again =
        run(directory.path(), &["capture", "--all-databases", &source.conninfo("postgres"), "-o", "all"]);
    assert_eq!(again.status, Some(2), "{again:?}");
    assert!(again.err.contains("failed to capture into all: it is not empty"), "{}", again.err);

    let target = copy.conninfo("postgres");
    let (status, document) =
        json(directory.path(), &["verify", "--all-databases", "all", &target, "--report", "reports"]);
    assert_eq!((status, document["verdict"].as_str()), (Some(0), Some("pass")), "{document:#}");
    assert_eq!(verdicts(&document), all_pass(&expected));
    assert_eq!(
        findings(&document),
        [(Code::DatabaseNotCaptured, Severity::Notice, "database closed".to_owned())]
    );
    assert_eq!(fs::read_dir(directory.path().join("reports")).unwrap().count(), expected.len());
    let shown = run(directory.path(), &["show", "reports/%2e%2e.json"]);
    assert!(shown.out.starts_with("integrity_checks: pass\n"), "{shown:?}");
    // Only the database that is closed is not covered.
    assert!(
        shown.out.contains("database closed: another database") && !shown.out.contains("database -rf"),
        "{shown:?}"
    );

    let text = run(directory.path(), &["verify", "--all-databases", "all", &target]);
    assert_eq!(text.status, Some(0), "{text:?}");
    assert!(text.out.starts_with("integrity_checks: pass\n\nDATABASE"), "{}", text.out);
    assert!(
        text.out.contains("\ntwo\\nlines ") && text.out.contains("\n\ndatabase ..: pass\n\n"),
        "{}",
        text.out
    );
}

#[test]
fn a_damaged_database_and_a_lost_one_fail_and_the_others_have_their_verdicts() {
    let directory = tempfile::tempdir().unwrap();
    let all = names(&["billing", "lost", "shop"]);
    let (source, copy) = (server(&all), server(&all));
    capture(directory.path(), &source);
    copy.psql("shop", "DELETE FROM t WHERE id = 42").unwrap();
    copy.psql("postgres", "DROP DATABASE lost").unwrap();
    copy.create_database("only here").unwrap();

    let config = "[evidence]\nstore = 'evidence'\n";
    fs::write(directory.path().join("state-lab.toml"), config).unwrap();
    let (status, document) =
        json(directory.path(), &["verify", "--all-databases", "all", &copy.conninfo("postgres")]);
    assert_eq!((status, document["verdict"].as_str()), (Some(1), Some("fail")));
    let mut expected = all_pass(&["billing", "postgres"]);
    expected.extend([("lost".to_owned(), Verdict::Fail), ("shop".to_owned(), Verdict::Fail)]);
    assert_eq!(verdicts(&document), expected);
    let added = (Code::DatabaseAdded, Severity::Notice, "database \"only here\"".to_owned());
    assert_eq!(findings(&document), [added]);
    let text = document.to_string();
    assert!(
        text.contains("row.missing") && text.contains("id=42") && text.contains("database.missing"),
        "{text}"
    );

    // The evidence has the results of each database.
    let (_, verified) = json(directory.path(), &["evidence", "verify", "evidence"]);
    assert_eq!(verified["reports"], 1);
    // It is not signed.
    let problems = verified["problems"].as_array().unwrap().iter();
    let codes: BTreeSet<_> = problems.map(|problem| problem["code"].as_str().unwrap()).collect();
    assert_eq!(codes, BTreeSet::from(["signature.missing", "signers.none"]));
    let history = run(directory.path(), &["report", "evidence", "--output", "json"]);
    let history: Value = serde_json::from_str(&history.out).unwrap();
    let run = &history["runs"][0];
    assert_eq!(run["verdict"], "fail");
    let of_runs = run["databases"].as_array().unwrap();
    let of = |name: &str| {
        let found = of_runs.iter().find(|result| result["database"]["name"] == name).unwrap();
        (found["verdict"].as_str().unwrap(), found["first_finding"].as_str())
    };
    assert_eq!(of("billing"), ("pass", None));
    assert_eq!(of("lost").0, "fail");
    assert!(of("shop").1.unwrap().contains("row.missing"), "{run}");
}

#[test]
fn a_database_that_the_role_may_not_connect_to_is_named_and_never_passes() {
    let directory = tempfile::tempdir().unwrap();
    let all = names(&["billing", "secret", "shop"]);
    let (source, copy) = (server(&all), server(&all));
    source
        .psql(
            "postgres",
            "CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader; REVOKE CONNECT ON DATABASE secret FROM PUBLIC",
        )
        .unwrap();
    let reader = source.server().conninfo_as("reader", "postgres");
    let (status, document) = json(directory.path(), &["capture", "--all-databases", &reader, "-o", "all"]);
    assert_eq!(status, Some(2), "{document:#}");
    let failed = errors(&document);
    assert_eq!(failed.keys().collect::<Vec<_>>(), ["secret"]);
    assert!(failed["secret"].contains("permission denied for database"), "{failed:?}");
    let manifests = fs::read_dir(directory.path().join("all")).unwrap();
    let mut files: Vec<_> =
        manifests.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    assert_eq!(files, ["billing.manifest", "postgres.manifest", "shop.manifest"]);

    let target = copy.conninfo("postgres");
    let (status, document) =
        json(directory.path(), &["verify", "--all-databases", "all", &target, "--checks", "rows"]);
    assert_eq!((status, document["verdict"].as_str()), (Some(3), Some("inconclusive")), "{document:#}");
    assert_eq!(verdicts(&document), all_pass(&["billing", "postgres", "shop"]));
    let uncaptured = (Code::DatabaseNotCaptured, Severity::Inconclusive, "database secret".to_owned());
    assert_eq!(findings(&document), [uncaptured]);
    // In a copy that lacks it, it is lost.
    copy.psql("postgres", "DROP DATABASE secret").unwrap();
    let (status, document) =
        json(directory.path(), &["verify", "--all-databases", "all", &target, "--checks", "rows"]);
    assert_eq!(status, Some(1));
    assert_eq!(findings(&document)[0].0, Code::DatabaseMissing);
}

#[test]
fn a_rule_of_one_database_is_evaluated_in_that_one_alone() {
    let directory = tempfile::tempdir().unwrap();
    let all = names(&["billing", "shop"]);
    let (source, copy) = (server(&all), server(&all));
    for server in [&source, &copy] {
        server.psql("billing", "ALTER TABLE t RENAME TO u").unwrap();
    }
    let rule =
        "[[invariants]]\nname = 'rows'\nsql = 'SELECT id FROM public.t WHERE id > 100'\nexpect = 'no-rows'\n";
    let configure =
        |more: &str| fs::write(directory.path().join("state-lab.toml"), format!("{rule}{more}")).unwrap();
    configure("");
    let from = source.conninfo("postgres");
    let (status, _) = json(directory.path(), &["capture", "--all-databases", &from, "-o", "of-all"]);
    assert_eq!(status, Some(3), "billing has no such table");

    configure("database = 'shop'\n");
    capture(directory.path(), &source);
    let verify = || json(directory.path(), &["verify", "--all-databases", "all", &copy.conninfo("postgres")]);
    let (status, document) = verify();
    assert_eq!(status, Some(0), "{document:#}");
    let evaluated = |name: &str| {
        let reports = document["reports"].as_array().unwrap();
        let report = reports.iter().find(|report| report["source"]["database"]["database"] == name).unwrap();
        report["comparison"]["coverage"]["invariants"].as_u64().unwrap()
    };
    assert_eq!((evaluated("shop"), evaluated("billing")), (1, 0));
    // Also where the copy has another name, and where the manifest does not know the rule.
    for server in [&source, &copy] {
        server.psql("shop", "INSERT INTO t VALUES (101, '')").unwrap();
    }
    let (status, document) = verify();
    assert_eq!(status, Some(1));
    assert!(document.to_string().contains("invariant.broken"), "{document:#}");
    copy.psql("postgres", "ALTER DATABASE shop RENAME TO restored").unwrap();
    configure("database = 'elsewhere'\n");
    let captured = run(directory.path(), &["capture", &source.conninfo("shop"), "-o", "m"]);
    assert_eq!(captured.status, Some(0), "{captured:?}");
    let verified = || run(directory.path(), &["verify", "m", &copy.conninfo("restored")]);
    assert_eq!(verified().status, Some(0), "{:?}", verified());
    configure("database = 'shop'\n");
    let broken = verified();
    assert!(broken.status == Some(1) && broken.out.contains("invariant.broken"), "{broken:?}");
}

/// Begins a run that waits for a lock in the database `a`, does `meanwhile`, and lets it go on.
fn with_waiting(
    directory: &Path,
    server: &TestServer,
    arguments: &[&str],
    meanwhile: impl FnOnce(&Running),
) -> RunResult {
    let (go, went) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // The lock is held until the channel is closed.
            let script = move |out: &mut dyn std::io::Write| {
                writeln!(out, "BEGIN; LOCK TABLE t;")?;
                out.flush()?;
                let _ = went.recv();
                writeln!(out, "COMMIT;")
            };
            server.psql_from("a", script).unwrap();
        });
        let until = |query: &str| {
            let began = Instant::now();
            while server.psql("postgres", query).unwrap() != "t" {
                assert!(began.elapsed() < Duration::from_secs(60), "{query}");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        let of_t = "SELECT count(*) > 0 FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = 'a' AND";
        until(&format!("{of_t} l.mode = 'AccessExclusiveLock' AND l.granted"));
        let running = Running::start(state_lab(directory).args(arguments));
        until(&format!("{of_t} NOT l.granted"));
        meanwhile(&running);
        drop(go);
        running.outcome()
    })
}

#[test]
fn a_database_that_is_dropped_meanwhile_is_an_error_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let all = names(&["a", "b", "dropped"]);
    let (source, copy) = (server(&all), server(&all));
    let from = source.conninfo("postgres");
    capture(directory.path(), &source);
    let drop_it = |server: &TestServer| drop(server.psql("postgres", "DROP DATABASE dropped").unwrap());

    let arguments = ["capture", "--all-databases", &from, "-o", "second", "--output", "json"];
    let result = with_waiting(directory.path(), &source, &arguments, |_| drop_it(&source));
    assert_eq!(result.status, Some(2), "{result:?}");
    let captured = document(&result);
    assert_eq!(captured["manifests"].as_array().unwrap().len(), 3, "{captured:#}");
    assert!(errors(&captured)["dropped"].contains("3D000"), "{captured:#}");

    let target = copy.conninfo("postgres");
    let arguments = ["verify", "--all-databases", "all", &target, "--output", "json"];
    let result = with_waiting(directory.path(), &copy, &arguments, |_| drop_it(&copy));
    assert_eq!(result.status, Some(2), "{result:?}");
    let verified = document(&result);
    assert_eq!(verified["verdict"], "inconclusive");
    assert_eq!(verdicts(&verified), all_pass(&["a", "b", "postgres"]));
    assert!(errors(&verified)["dropped"].contains("3D000"), "{verified:#}");
}

#[test]
fn an_interrupted_capture_leaves_no_manifest_of_any_database() {
    let directory = tempfile::tempdir().unwrap();
    let source = server(&names(&["a", "0"]));
    let from = source.conninfo("postgres");
    let arguments = ["capture", "--all-databases", &from, "-o", "all"];
    let result = with_waiting(directory.path(), &source, &arguments, |running| {
        assert!(directory.path().join("all/0.manifest").exists());
        running.signal(Signal::INT);
    });
    assert_eq!(result.status, Some(130), "{result:?}");
    assert!(!directory.path().join("all").exists());
}

#[test]
fn a_directory_of_several_servers_or_of_twice_one_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let source = server(&names(&["shop"]));
    let target = source.conninfo("postgres");
    let at = |name: &str| directory.path().join(name);
    let verify = || run(directory.path(), &["verify", "--all-databases", "all", &target]);
    fs::create_dir(at("all")).unwrap();
    let none = verify();
    assert!(none.status == Some(2) && none.err.contains("it has no manifests"), "{none:?}");

    fs::remove_dir(at("all")).unwrap();
    capture(directory.path(), &source);
    fs::copy(at("all/shop.manifest"), at("all/again.manifest")).unwrap();
    let twice = verify();
    assert!(twice.status == Some(2) && twice.err.contains("manifests of the same database"), "{twice:?}");

    // One that is cut off is an error of its own, and its database is not verified.
    fs::remove_file(at("all/again.manifest")).unwrap();
    let whole = fs::read(at("all/shop.manifest")).unwrap();
    fs::write(at("all/shop.manifest"), &whole[..whole.len() / 2]).unwrap();
    let (status, document) = json(directory.path(), &["verify", "--all-databases", "all", &target]);
    assert_eq!((status, document["verdict"].as_str()), (Some(2), Some("inconclusive")), "{document:#}");
    assert_eq!(errors(&document).keys().collect::<Vec<_>>(), ["all/shop.manifest"]);
    assert_eq!(findings(&document)[0].0, Code::DatabaseNotCaptured);

    let installation = fixtures::majors::installation(MAJOR).unwrap();
    let other =
        TestServer::initdb(&installation, &verify_local::server::InitOptions::default(), &[]).unwrap();
    let captured = run(
        directory.path(),
        &["capture", &other.conninfo("template1"), "-o", "all/shop.manifest", "--force"],
    );
    assert!(captured.status == Some(3), "{captured:?}");
    let mixed = verify();
    assert!(mixed.status == Some(2) && mixed.err.contains("manifests of different servers"), "{mixed:?}");
}
