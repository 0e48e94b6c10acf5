//! Help, usage, configuration: all that needs neither a file nor a server.

use std::fs;
use std::process::Stdio;

use crate::program::{RunResult, run, state_lab};

/// Address without a server.
const NOWHERE: &str = "host=127.0.0.1 port=1 user=u dbname=d password=s3cret";

#[test]
fn every_command_has_help_with_examples() {
    let directory = tempfile::tempdir().unwrap();
    for command in [
        &[][..],
        &["demo"],
        &["capture"],
        &["verify"],
        &["compare"],
        &["merge"],
        &["show"],
        &["heartbeat"],
        &["backup"],
        &["restore"],
        &["failover"],
        &["replicas"],
        &["doctor"],
        &["evidence"],
        &["evidence", "keygen"],
        &["evidence", "verify"],
        &["cleanup"],
        &["bench"],
        &["completions"],
    ] {
        let RunResult { status, out, err } = run(directory.path(), &[command, &["--help"]].concat());
        assert_eq!((status, err.as_str()), (Some(0), ""), "{command:?}");
        assert!(out.contains("EXAMPLES:") && out.contains("    state-lab "), "{command:?}: {out}");
        let brief = run(directory.path(), &[command, &["-h"]].concat()).out;
        let wide = out.lines().chain(brief.lines()).find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "{command:?}");
        // No example is folded: a line of it begins a command, or goes on behind a backslash.
        let examples: Vec<&str> = out.lines().skip_while(|line| *line != "EXAMPLES:").skip(1).collect();
        for pair in examples.windows(2).filter(|pair| !pair[1].starts_with("    state-lab ")) {
            assert!(pair[0].ends_with('\\') && pair[1].starts_with("        "), "{command:?}: {pair:?}");
        }
    }
    let short = run(directory.path(), &["-h"]);
    insta::assert_snapshot!(short.out, @r#"
    Verifies that a restored PostgreSQL database is the one that was backed up:
    every row, key and sequence

    Usage: state-lab [OPTIONS] <COMMAND>

    Commands:
      demo         Destroy a database and verify its restore, on temporary servers
                   of this machine
      capture      Measure a database under one snapshot, and write its manifest
      verify       Compare a restored database with the manifest of its source
      compare      Compare two running databases, and list every differing row
      merge        Make one manifest of the parts that several processes captured
      show         Print a manifest or a report
      heartbeat    Manage the heartbeat, from which the recovery point (RPO) is
                   computed
      backup       Back up databases, with manifests of the same snapshot
      restore      Restore a backup in isolation, verify every row, and measure RTO
                   and RPO
      failover     Move the primary to another node while a probe writes, and
                   measure outage, errors and lost acknowledged writes
      replicas     Check by content that another region's copy of a Velero backup is
                   complete and equal
      drill        Run a game day: steps from a file, each timed and judged, with
                   faults that must be seen to bite
      report       Print the history of stored reports, or one of them
      serve        Show stored reports and running drills in a browser, and as
                   metrics for Prometheus
      doctor       Find what would harm the next restore, before it is needed
      evidence     Create keys that sign reports, and verify stored reports
      cleanup      Remove what earlier runs left behind
      bench        Measure the speed of a verification, compared with the raw COPY
                   floor
      completions  Print a shell completion script

    Options:
      -h, --help     Print help (see more with '--help')
      -V, --version  Print version

    Global options:
          --output <FORM>    Format of standard output [default: text] [possible
                             values: text, json]
          --color <WHEN>     When to use colours; auto: on a terminal, unless
                             NO_COLOR is set [default: auto] [possible values: auto,
                             always, never]
          --progress <FORM>  Form of progress on standard error; auto: a bar on a
                             terminal, else lines [default: auto] [possible values:
                             auto, lines, json]
      -q, --quiet            Print no progress
      -v, --verbose          List every row that is known to differ, not only the
                             first 20 of a finding
          --config <FILE>    Configuration file [default: state-lab.toml, if it
                             exists]
          --server <NAME>    Use the configuration of this server, a [servers.NAME]
                             table. Its name replaces {server} in all arguments
          --all-servers      Run the command for each [servers.NAME] of the
                             configuration, one after another, whatever becomes of
                             the others; the exit status is the worst: 1, then 2,
                             then 3

    DB is a libpq connection string or URI, or the name of a [databases.NAME] table
    in state-lab.toml. The PG* variables, ~/.pgpass and service files work as in
    libpq; "" means these alone. PATH is a file, or s3://bucket/key.

    Exit status:
        0  pass
        1  fail: data differ, a check found damage, an invariant broke, or an
           objective was missed
        2  could not run: usage, configuration, connection
        3  inconclusive: nothing differs, but not everything could be checked
      130  interrupted; everything that the run created is removed

    EXAMPLES:
        state-lab capture postgresql://backup@db/shop -o shop.manifest
        state-lab verify shop.manifest postgresql://postgres@restored/shop
    "#);
}

#[test]
fn wrong_usage_ends_with_2() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&[][..], "Usage:"),
        (&["frobnicate"], "unrecognized subcommand 'frobnicate'"),
        (&["capture", "host=x"], "--out <PATH>"),
        (&["capture", "host=x", "-o", "m", "--jobs", "0"], "expected a whole number of at least 1"),
        (&["capture", "host=x", "-o", "m", "--snapshot-id", "x'"], "not of the form 00000003-0000001B-1"),
        (&["capture", "host=x", "-o", "m", "--lock-timeout", "10"], "expected a number with a unit"),
        (&["verify", "m", "host=x", "--force"], "--report <PATH>"),
        (&["heartbeat", "run", "host=x", "--interval", "1ms"], "expected 100ms to 1h"),
    ] {
        let RunResult { status, out, err } = run(directory.path(), arguments);
        assert_eq!((status, out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(err.contains(expected), "{arguments:?}: {err}");
    }
}

#[test]
fn a_configuration_is_refused_with_its_line_and_without_its_passwords() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state-lab.toml");
    fs::write(&file, "[databases.shop]\nconninfo = \"host=h password=s3cret\"\nsslmode = \"s3cret\"\n")
        .unwrap();
    let expected = RunResult {
        status: Some(2),
        out: String::new(),
        err: "error: failed to read the configuration state-lab.toml\n  \
              because: line 3, column 1: unknown field `sslmode`, expected `conninfo`\n"
            .to_owned(),
    };
    assert_eq!(run(directory.path(), &["compare", "shop", "shop"]), expected);

    fs::write(&file, "[databases.shop]\nconninfo = \"host=h passwort=s3cret\"\n").unwrap();
    let outcome = run(directory.path(), &["compare", "shop", "shop"]);
    assert_eq!(outcome.status, Some(2));
    assert!(!outcome.err.contains("s3cret"), "{}", outcome.err);

    let outcome = run(directory.path(), &["--config", "none.toml", "compare", "shop", "shop"]);
    let expected = "error: failed to read the configuration none.toml\n  because: No such file or directory (os error 2)\n\
                hint: correct --config, or omit it to read state-lab.toml\n";
    assert_eq!((outcome.status, outcome.err.as_str()), (Some(2), expected));
}

#[test]
fn a_server_that_is_not_there_ends_with_2_and_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let RunResult { status, out, err } = run(directory.path(), &["capture", NOWHERE, "-o", "m"]);
    assert_eq!((status, out.as_str()), (Some(2), ""));
    assert!(err.starts_with("error: failed to capture u@127.0.0.1:1/d\n  because: failed to "), "{err}");
    assert!(
        err.contains("hint: no server listens on this address and port") && !err.contains("s3cret"),
        "{err}"
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_place_that_cannot_be_written_to_is_found_before_the_work() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("m"), "evidence").unwrap();
    for (path, expected) in [
        ("m", "m: it already exists\nhint: choose another name, or replace it with --force\n"),
        ("none/m", "error: failed to create a file in none\n"),
        (".", "it is not a regular file"),
        ("gs://bucket/m", "gs:// is not supported here"),
        ("s3://bucket/", "it has no key"),
    ] {
        let RunResult { status, err, .. } = run(directory.path(), &["capture", NOWHERE, "-o", path]);
        assert_eq!(status, Some(2), "{path}");
        assert!(err.contains(expected) && !err.contains("127.0.0.1"), "{path}: {err}");
    }
    assert_eq!(fs::read_to_string(directory.path().join("m")).unwrap(), "evidence");
}

#[test]
fn completions_know_the_commands_and_a_reader_that_leaves_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let RunResult { status, out, .. } = run(directory.path(), &["completions", "bash"]);
    assert_eq!(status, Some(0));
    assert!(out.contains("heartbeat") && out.contains("--lock-timeout"));
    let mut child = state_lab(directory.path())
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Broken pipe"));
}
