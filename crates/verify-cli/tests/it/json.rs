//! `--output json`: one document a run, as docs/output.schema.json says, whatever becomes of the run.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::drill::Drill;
use crate::json_schema::validate;
use crate::program::{RunResult, outcome, run, state_lab};

/// Address without a server.
const NOWHERE: &str = "host=127.0.0.1 port=1 user=u dbname=d password=s3cret";

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/output.schema.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
});

/// The one document that a run printed, which must be as the schema says.
#[track_caller]
pub(crate) fn document(outcome: &RunResult) -> Value {
    let document = serde_json::from_str(&outcome.out).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    validate(&SCHEMA, &document).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    assert!(!outcome.out.contains("s3cret"), "{outcome:?}");
    document
}

#[test]
fn every_command_that_ends_prints_the_document_of_its_kind() {
    let drill = Drill::new(15);
    let shop = drill.source.conninfo("shop");
    drill.source.psql("postgres", "CREATE DATABASE copy TEMPLATE shop").unwrap();
    let copy = drill.source.conninfo("copy");
    let rules =
        "[[invariants]]\nname = 'rows'\nexpect = 'same'\nsql = 'SELECT count(*) FROM public.accounts'\n";
    fs::write(drill.directory().join("state-lab.toml"), rules).unwrap();
    let directory = drill.directory();
    let ran = |arguments: &[&str], status: i32, format: &str| {
        let outcome = run(directory, &[arguments, &["-q", "--output", "json"]].concat());
        assert_eq!(outcome.status, Some(status), "{arguments:?}: {outcome:?}");
        let document = document(&outcome);
        assert_eq!(document["format"], format, "{arguments:?}");
        assert_eq!(document["version"], 1);
        document
    };
    let captured = ran(&["capture", &shop, "-o", "m"], 0, "state-lab-manifest-summary");
    assert_eq!((captured["path"].as_str(), captured["verdict"].as_str()), (Some("m"), Some("pass")));
    assert_eq!(ran(&["show", "m"], 0, "state-lab-manifest-summary")["tables"], captured["tables"]);
    let reported = ran(&["verify", "m", &copy, "--report", "r.json"], 0, "state-lab-report");
    assert_eq!(ran(&["show", "r.json"], 0, "state-lab-report"), reported);
    assert_eq!(ran(&["heartbeat", "status", &copy], 3, "state-lab-heartbeat")["heartbeat"], "none");
    assert_eq!(ran(&["heartbeat", "install", &copy], 0, "state-lab-heartbeat")["heartbeat"], "installed");
    let mut writer = state_lab(directory);
    writer.args(["heartbeat", "run", &copy, "-q", "--output", "json"]).stdout(Stdio::piped());
    let writer = writer.stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while drill.source.psql("copy", "SELECT count(*) > 0 FROM state_lab.heartbeat").unwrap() != "t" {
        assert!(started.elapsed() < Duration::from_secs(30));
    }
    assert_eq!(ran(&["heartbeat", "status", &copy], 0, "state-lab-heartbeat")["heartbeat"], "alive");
    kill_process(Pid::from_child(&writer), Signal::TERM).unwrap();
    let stopped = outcome(&writer.wait_with_output().unwrap());
    assert_eq!((stopped.status, &document(&stopped)["heartbeat"]), (Some(0), &json!("stopped")));
    drill.source.psql("copy", "DELETE FROM accounts WHERE id = 9; CREATE TABLE more (a int)").unwrap();
    assert_eq!(ran(&["compare", &shop, &copy], 1, "state-lab-report")["verdict"], "fail");
    let benchmark = ran(&["bench", &shop, "--rounds", "1"], 0, "state-lab-bench");
    assert!(benchmark["rows"].as_u64() >= Some(20_000), "{benchmark}");

    let kept = |arguments: &[&str], format: &str| {
        let outcome = drill.run(&[arguments, &["-q", "--output", "json"]].concat());
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        let document = document(&outcome);
        assert_eq!(document["format"], format, "{arguments:?}");
        document
    };
    let taken = ["backup", "--name", "b", "--method", "logical", &shop];
    assert_eq!(kept(&taken, "state-lab-backup-summary")["backup_status"], "success");
    let restored = kept(&["restore", "--snapshot", "b"], "state-lab-restore");
    assert_eq!((&restored["restore_status"], &restored["verdict"]), (&json!("success"), &json!("pass")));
    assert_eq!(kept(&["cleanup"], "state-lab-cleanup")["removed"], json!([]));
}

#[test]
fn progress_as_json_has_each_step_and_the_rows_in_the_end() {
    let drill = Drill::new(15);
    let shop = drill.source.conninfo("shop");
    let outcome = drill.run(&["backup", "--name", "b", "--method", "logical", &shop, "--progress", "json"]);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let lines = outcome.err.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    assert!(lines.iter().all(|line| line["at"].as_str().is_some_and(|at| at.ends_with('Z'))), "{lines:?}");
    assert!(lines.iter().any(|line| line["step"].is_string()), "{lines:?}");
    let progress = &lines.last().unwrap()["progress"];
    assert_eq!(progress["doing"], "backing up", "{lines:?}");
    assert!(progress["rows"].as_u64() >= Some(20_000), "{lines:?}");
}

#[test]
fn the_demonstration_prints_one_document() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = state_lab(directory.path());
    command.args(["demo", "-q", "--output", "json"]).env("TMPDIR", directory.path());
    let outcome = outcome(&command.output().unwrap());
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(document(&outcome)["format"], "state-lab-demo");
}

#[test]
fn every_command_that_cannot_run_prints_its_error_as_a_document() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("bad.toml"), "[objectives]\nrto = \"10\"\n").unwrap();
    fs::write(directory.path().join("cut"), [0x28, 0xb5, 0x2f, 0xfd]).unwrap();
    let velero = ["--provider", "velero", "--context", "none", "--namespace", "n", "--image", "i"];
    for (arguments, kind) in [
        (&["capture", NOWHERE, "-o", "m"][..], "connection"),
        (&["verify", "m", NOWHERE], "file"),
        (&["verify", "cut", NOWHERE], "manifest"),
        (&["compare", NOWHERE, "host=127.0.0.1 port=1 dbname=other"], "connection"),
        (&["compare", NOWHERE, NOWHERE], "settings"),
        (&["show", "m"], "file"),
        (&["show", "s3://bucket/key"], "object-store"),
        (&["bench", NOWHERE], "connection"),
        (&["heartbeat", "install", NOWHERE], "connection"),
        (&["heartbeat", "status", NOWHERE], "connection"),
        (&["heartbeat", "run", "hots=a"], "settings"),
        (&["backup", "--name", "b", "--store", "store", NOWHERE], "connection"),
        (&["restore", "--snapshot", "b", "--store", "store"], "other"),
        (&[&["backup", "--name", "b"][..], &velero].concat(), "cluster"),
        (&[&["restore", "--snapshot", "b"][..], &velero].concat(), "cluster"),
        (&["failover", "--node", "n", "--image", "i", "--context", "none"], "cluster"),
        (&["replicas", "b"], "other"),
        (&["demo", "--major", "19"], "usage"),
        (&["completions", "bash"], "other"),
        (&["--config", "bad.toml", "cleanup"], "configuration"),
        (&["capture", NOWHERE, "-o", "m", "--jobs", "0"], "usage"),
        (&["frobnicate"], "usage"),
        (&[], "usage"),
    ] {
        let outcome = run(directory.path(), &[arguments, &["-q", "--output", "json"]].concat());
        assert_eq!(outcome.status, Some(2), "{arguments:?}: {outcome:?}");
        let document = document(&outcome);
        assert_eq!(document["format"], "state-lab-error", "{arguments:?}");
        assert_eq!(document["error"]["kind"], kind, "{arguments:?}: {document}");
        let hinted = document["error"]["hint"].as_str().is_some_and(|hint| hint.contains("KUBECONFIG"));
        assert_eq!(hinted, kind == "cluster", "{arguments:?}: {document}");
        let command = arguments.first().copied().unwrap_or_default();
        for (field, of) in [("backup_status", "backup"), ("restore_status", "restore")] {
            let expected = if command == of { json!("failed") } else { Value::Null };
            assert_eq!(document[field], expected, "{arguments:?}: {document}");
        }
        // Standard error has the same as text.
        let first = document["error"]["causes"][0].as_str().unwrap().lines().next().unwrap().to_owned();
        assert!(outcome.err.contains(&first), "{arguments:?}: {outcome:?}");
    }
    // What was cleaned up on this machine is reported although the cluster cannot be reached.
    let cleaned = run(directory.path(), &["cleanup", "--context", "none", "--output", "json"]);
    assert_eq!(cleaned.status, Some(2), "{cleaned:?}");
    assert_eq!(document(&cleaned)["format"], "state-lab-cleanup");
}

#[test]
fn an_interrupted_run_prints_its_document_too() {
    let directory = tempfile::tempdir().unwrap();
    let server = fixtures::server(15).unwrap();
    let rule = "[[invariants]]\nname = 'slow'\nsql = 'SELECT pg_catalog.pg_sleep(2)'\nexpect = 'same'\n";
    fs::write(directory.path().join("state-lab.toml"), rule).unwrap();
    let mut command = state_lab(directory.path());
    command.args(["capture", &server.conninfo("postgres"), "-o", "m", "--output", "json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let started = Instant::now();
    while server.psql("postgres", asleep).unwrap() != "1" {
        assert!(started.elapsed() < Duration::from_secs(30));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let outcome = outcome(&child.wait_with_output().unwrap());
    assert_eq!(outcome.status, Some(130), "{outcome:?}");
    assert_eq!(document(&outcome)["error"]["kind"], "interrupted");
}

#[test]
fn a_standard_output_that_cannot_be_written_is_an_error_with_the_verdict_on_standard_error() {
    let directory = tempfile::tempdir().unwrap();
    let server = fixtures::server(15).unwrap();
    server.psql("postgres", "CREATE TABLE t AS SELECT 1 AS id").unwrap();
    server.copy_database("postgres", "copy").unwrap();
    let (conninfo, copy) = (server.conninfo("postgres"), server.conninfo("copy"));
    for form in ["text", "json"] {
        for arguments in [&["capture", &conninfo, "-o", form][..], &["verify", form, &copy]] {
            let full = fs::File::options().write(true).open("/dev/full").unwrap();
            let mut command = state_lab(directory.path());
            command.args(arguments).args(["-q", "--output", form]).stdout(full);
            let outcome = outcome(&command.output().unwrap());
            assert_eq!(outcome.status, Some(2), "{outcome:?}");
            let verdict = if arguments[0] == "capture" { "manifest: " } else { "integrity_checks: pass\n" };
            assert!(outcome.err.starts_with(verdict), "{outcome:?}");
            assert!(
                outcome.err.contains("error: failed to write to standard output\n  because: No space left"),
                "{outcome:?}"
            );
            assert!(outcome.err.contains("everything that the run created is kept"), "{outcome:?}");
            assert!(!outcome.err.contains("left behind"), "{outcome:?}");
        }
        assert_eq!(run(directory.path(), &["show", form]).status, Some(0), "the manifest is written");
        // A reader that leaves is no better than a full disk.
        let mut command = state_lab(directory.path());
        command.args(["show", form, "--output", form]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let left = outcome(&child.wait_with_output().unwrap());
        assert_eq!(left.status, Some(2), "{left:?}");
        assert!(left.err.starts_with("source: ") && left.err.contains("Broken pipe"), "{left:?}");
    }
}
