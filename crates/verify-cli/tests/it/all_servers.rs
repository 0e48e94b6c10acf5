//! `--server` and `--all-servers`, on real servers of which one cannot be reached.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use fixtures::TestServer;
use rustix::process::Signal;
use serde_json::Value;

use crate::json::document;
use crate::program::{RunResult, Running, run, state_lab};

const MAJOR: u32 = 18;

fn server() -> TestServer {
    let server = fixtures::server(MAJOR).unwrap();
    server.create_database("shop").unwrap();
    let rows = "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)";
    server.psql("shop", rows).unwrap();
    server
}

/// A configuration with these servers: name, connection string of the source, and that of its copy.
fn configure(directory: &Path, servers: &[(&str, &str, &str)]) {
    let table = |(name, source, copy): &(&str, &str, &str)| {
        let of = |database, conninfo| {
            format!("[servers.{name}.databases.{database}]\nconninfo = '''{conninfo}'''\n")
        };
        of("source", source) + &of("copy", copy)
    };
    fs::write(directory.join("state-lab.toml"), servers.iter().map(table).collect::<String>()).unwrap();
}

const CAPTURE: [&str; 6] = ["capture", "--all-servers", "--all-databases", "source", "-o", "{server}"];
const VERIFY: [&str; 5] = ["verify", "--all-servers", "--all-databases", "{server}", "copy"];

/// Each server with the exit status of its run and the verdict of its document.
fn results(document: &Value) -> Vec<(String, i64, String)> {
    let result = |run: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
        (text(&run["server"]), run["exit_status"].as_i64().unwrap(), text(&run["document"]["verdict"]))
    };
    document["servers"].as_array().unwrap().iter().map(result).collect()
}

fn result(server: &str, exit: i64, verdict: &str) -> (String, i64, String) {
    (server.to_owned(), exit, verdict.to_owned())
}

fn json(directory: &Path, arguments: &[&str]) -> (Option<i32>, Value, RunResult) {
    let result = run(directory, &[arguments, &["--output", "json"]].concat());
    (result.status, document(&result), result)
}

#[test]
fn each_server_has_its_result_whatever_becomes_of_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (eu, us) = ((server(), server()), (server(), server()));
    let at = |server: &TestServer| server.conninfo("postgres");
    let nowhere = "host=127.0.0.1 port=1 user=u dbname=d password=s3cret";
    let both = [("eu", &*at(&eu.0), &*at(&eu.1)), ("us", &*at(&us.0), &*at(&us.1))];
    configure(path, &both);
    let (status, all, _) = json(path, &CAPTURE);
    assert_eq!((status, results(&all)), (Some(0), vec![result("eu", 0, "pass"), result("us", 0, "pass")]));
    assert!(path.join("eu/shop.manifest").exists() && path.join("us/shop.manifest").exists());
    let (status, all, _) = json(path, &VERIFY);
    assert_eq!((status, results(&all)), (Some(0), vec![result("eu", 0, "pass"), result("us", 0, "pass")]));

    // One that is damaged fails, and the one after it passes.
    eu.1.psql("shop", "DELETE FROM t WHERE id = 7").unwrap();
    let (status, all, _) = json(path, &VERIFY);
    assert_eq!((status, results(&all)), (Some(1), vec![result("eu", 1, "fail"), result("us", 0, "pass")]));
    let text = run(path, &VERIFY);
    assert_eq!(text.status, Some(1));
    assert!(text.out.starts_with("server: eu\n\nintegrity_checks: fail\n"), "{}", text.out);
    assert!(text.out.contains("\n\nserver: us\n\nintegrity_checks: pass\n"), "{}", text.out);
    assert!(text.out.contains("    id=7\n"), "{}", text.out);
    let summary: Vec<Vec<&str>> =
        text.out.lines().rev().take(3).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        summary,
        [vec!["us", "pass", "0"], vec!["eu", "fail", "1"], vec!["SERVER", "RESULT", "EXIT", "STATUS"]]
    );

    // One that cannot be reached hides neither; a failure is worse.
    configure(path, &[both[0], ("gone", nowhere, nowhere), both[1]]);
    fs::create_dir(path.join("gone")).unwrap();
    fs::copy(path.join("us/shop.manifest"), path.join("gone/shop.manifest")).unwrap();
    let (status, all, printed) = json(path, &VERIFY);
    let expected = vec![result("eu", 1, "fail"), result("gone", 2, "none"), result("us", 0, "pass")];
    assert_eq!((status, results(&all)), (Some(1), expected));
    assert_eq!(all["servers"][1]["document"]["error"]["kind"], "connection");
    assert!(!format!("{printed:?}").contains("s3cret"), "{printed:?}");
    eu.1.psql("shop", "INSERT INTO t VALUES (7)").unwrap();
    let (status, all, _) = json(path, &VERIFY);
    let expected = vec![result("eu", 0, "pass"), result("gone", 2, "none"), result("us", 0, "pass")];
    assert_eq!((status, results(&all)), (Some(2), expected));

    // The same command for one of them.
    let one = run(path, &["verify", "--server", "us", "--all-databases", "{server}", "copy"]);
    assert!(one.status == Some(0) && one.out.starts_with("integrity_checks: pass\n"), "{one:?}");
}

#[test]
fn what_would_mix_servers_or_never_end_is_refused_before_the_first_run() {
    let directory = tempfile::tempdir().unwrap();
    let refuses = |arguments: &[&str], reason: &str| {
        let refused = run(directory.path(), arguments);
        assert_eq!((refused.status, refused.out.as_str()), (Some(2), ""), "{refused:?}");
        assert!(refused.err.contains(reason) && refused.err.contains("hint: "), "{reason}: {}", refused.err);
    };
    refuses(&CAPTURE, "failed to run for all servers: the configuration has no servers");
    configure(directory.path(), &[("eu", "host=a", "host=b"), ("us", "host=c", "host=d")]);
    for arguments in [
        &["capture", "--all-servers", "--all-databases", "source", "-o", "all"][..],
        &["verify", "--all-servers", "m", "copy", "--report", "r.json"],
        &["restore", "--all-servers", "--latest", "--metrics", "m.prom"],
    ] {
        refuses(arguments, "several would write");
    }
    refuses(
        &["heartbeat", "--all-servers", "status", "source"],
        "this command is for one server, or for none",
    );
    refuses(&["capture", "--server", "asia", "source", "-o", "m"], "failed to find the server \"asia\"");
    let misused = run(directory.path(), &["capture", "--all-servers", "--server", "eu", "source", "-o", "m"]);
    assert!(misused.status == Some(2) && misused.err.contains("cannot be used with"), "{misused:?}");
}

#[test]
fn a_signal_ends_the_run_of_the_server_and_no_other_one_begins() {
    let directory = tempfile::tempdir().unwrap();
    let (eu, us) = (server(), server());
    let at = |server: &TestServer| server.conninfo("postgres");
    configure(directory.path(), &[("eu", &at(&eu), ""), ("us", &at(&us), "")]);
    let lock = "BEGIN; LOCK TABLE t; SELECT pg_sleep(60)";
    std::thread::scope(|scope| {
        scope.spawn(|| drop(eu.psql("shop", lock)));
        let until = |query: &str| {
            let began = Instant::now();
            while eu.psql("postgres", query).unwrap() != "t" {
                assert!(began.elapsed() < Duration::from_secs(60), "{query}");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        until(
            "SELECT count(*) > 0 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND locktype = 'relation' AND relation > 16000",
        );
        let running = Running::start(state_lab(directory.path()).args(CAPTURE));
        until("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted");
        let ended = running.end_at_once(Signal::INT);
        eu.psql(
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'",
        )
        .unwrap();
        assert_eq!((ended.status, ended.out.as_str()), (Some(130), "server: eu\n\n"), "{ended:?}");
    });
    assert!(!directory.path().join("eu").exists() && !directory.path().join("us").exists());
}
