//! No wait is without a limit, and one signal ends any of them.

use std::fs;
use std::time::{Duration, Instant};

use fixtures::TestServer;
use rustix::process::Signal;

use crate::drill::{Drill, list};
use crate::program::{RunResult, Running, run, state_lab};
use crate::relay::{Relay, Silence};

const MAJOR: u32 = 15;

/// A server whose database `shop` has a table that does not fit the buffers of a connection.
fn shop() -> TestServer {
    let server = fixtures::server(MAJOR).unwrap();
    server.create_database("shop").unwrap();
    let rows = "CREATE TABLE big AS SELECT i, repeat('x', 1000) AS filler FROM generate_series(1, 20000) i";
    server.psql("shop", rows).unwrap();
    server
}

/// Error for a server that answers neither the session nor a second connection.
const SILENT: &str = "it has sent nothing for 1 s: it did not answer a second connection either";

/// A black hole at each place where PostgreSQL is waited for; what the error says of it.
const HOLES: [(Silence, &str, &str); 5] = [
    (Silence::Always, "sslmode=prefer", "ask for TLS: no answer within 2 s"),
    (Silence::Always, "sslmode=disable", "log in: read from the server: no answer within 2 s"),
    (Silence::At("pg_backend_pid"), "", "the first statement was not answered"),
    (Silence::At("pg_export_snapshot"), "", SILENT),
    (Silence::After(4 << 20), "", SILENT),
];

#[test]
fn a_black_hole_is_given_up_in_time_and_named() {
    let server = shop();
    for (silence, more, expected) in HOLES {
        let table = if matches!(silence, Silence::After(_)) { "read public.big: " } else { "" };
        let directory = tempfile::tempdir().unwrap();
        let relay = Relay::new(server.server(), silence);
        let shop = relay.conninfo("shop", &format!("connect_timeout=2 {more}"));
        let began = Instant::now();
        let RunResult { status, out, err } =
            run(directory.path(), &["capture", &shop, "-o", "m", "--jobs", "1", "--stall-timeout", "1s"]);
        assert_eq!((status, out.as_str()), (Some(2), ""), "{silence:?}: {err}");
        let err = err.replace("\n  because: failed to ", ": ").replace("\n  because: ", ": ");
        assert!(err.contains(expected) && err.contains(table), "{silence:?}: {err}");
        assert!(err.contains("postgres@127.0.0.1:"), "{silence:?}: {err}");
        assert!(began.elapsed() < Duration::from_secs(8), "{silence:?}: {:?}", began.elapsed());
        assert_eq!(list(directory.path()), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn one_signal_ends_the_wait_for_a_black_hole() {
    let server = shop();
    for silence in [
        Silence::Always,
        Silence::At("pg_backend_pid"),
        Silence::At("pg_export_snapshot"),
        Silence::After(4 << 20),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let relay = Relay::new(server.server(), silence);
        let shop = relay.conninfo("shop", "connect_timeout=0");
        let capture = Running::start(state_lab(directory.path()).args(["capture", &shop, "-o", "m"]));
        relay.until_silent();
        // It waits now, or soon.
        std::thread::sleep(Duration::from_millis(300));
        let RunResult { status, err, .. } = capture.end_at_once(Signal::TERM);
        assert_eq!(status, Some(130), "{silence:?}: {err}");
        assert!(err.ends_with("interrupted\n"), "{silence:?}: {err}");
        assert_eq!(list(directory.path()), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn a_lost_connection_is_given_up_although_the_server_is_well() {
    let directory = tempfile::tempdir().unwrap();
    let server = shop();
    let relay = Relay::forgetful(server.server(), Silence::After(4 << 20));
    let capture = ["capture", &relay.conninfo("shop", ""), "-o", "m", "--jobs", "1", "--stall-timeout", "1s"];
    let RunResult { status, err, .. } = run(directory.path(), &capture);
    assert_eq!(status, Some(2), "{err}");
    assert!(err.contains("it has sent nothing for 1 s: its process waits for this client"), "{err}");
}

#[test]
fn a_server_that_works_in_silence_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let server = shop();
    let config = "[[invariants]]\nname = 'slow'\nsql = 'SELECT pg_sleep(3)'\nexpect = 'same'\n";
    fs::write(directory.path().join("state-lab.toml"), config).unwrap();
    let capture = ["capture", &server.conninfo("shop"), "-o", "m", "--stall-timeout", "500ms"];
    let RunResult { status, out, err } = run(directory.path(), &capture);
    assert_eq!(status, Some(0), "{err}{out}");
    // On a busy machine it takes long enough for a line of progress.
    assert!(err.lines().all(|line| line.starts_with("capturing: ")), "{err}");
}

#[test]
fn what_a_backup_waits_for_is_named_and_given_up_and_a_signal_ends_the_wait() {
    let drill = Drill::new(MAJOR);
    let held = "BEGIN; INSERT INTO ledger (account, amount) VALUES (1, 1); PREPARE TRANSACTION 'held'";
    drill.source.psql("shop", held).unwrap();
    let shop = drill.source.conninfo("shop");
    let backup = |wait| ["backup", "-q", "--name", "b", "--method", "physical", "--wait", wait, &shop];
    let began = Instant::now();
    let RunResult { status, out, err } = drill.run(&backup("6s"));
    assert_eq!((status, out.as_str()), (Some(2), "backup_status: failed\n"), "{err}");
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    let lines: Vec<&str> = err.lines().collect();
    // Also where no progress is wanted.
    let holder = "the prepared transaction 'held' of postgres, open for 00:00:0";
    assert!(lines[0].starts_with(&format!("waiting: {holder}")), "{err}");
    assert!(
        lines[1].starts_with(&format!("error: failed to capture for a physical copy: {holder}")),
        "{err}"
    );
    assert!(lines[1].ends_with(", is older than the capture and did not end within 6 s"), "{err}");
    assert!(lines[2].starts_with("hint: ") && lines[2].contains("--wait"), "{err}");

    let waits = || {
        drill
            .source
            .psql("shop", "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_xid IS NOT NULL")
            .unwrap()
            == "t"
    };
    let running = Running::start(&mut drill.command(&backup("10m")));
    while !waits() {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(running.end_at_once(Signal::TERM).status, Some(130));
    assert_eq!(drill.left(), Vec::<std::path::PathBuf>::new());
    drill.source.psql("shop", "ROLLBACK PREPARED 'held'").unwrap();
    drill.back_up("b", "physical");
}

#[test]
fn a_program_that_copies_from_a_silent_server_is_ended() {
    let drill = Drill::new(MAJOR);
    for (method, silence) in
        [("physical", Silence::At("BASE_BACKUP")), ("logical", Silence::At("SET DATESTYLE"))]
    {
        let relay = Relay::new(drill.source.server(), silence);
        let shop = relay.conninfo("shop", "connect_timeout=2");
        let backup = |stall| ["backup", "--name", "b", "--method", method, "--stall-timeout", stall, &shop];
        let began = Instant::now();
        let RunResult { status, err, .. } = drill.run(&backup("1s"));
        assert_eq!(status, Some(2), "{method}: {err}");
        assert!(began.elapsed() < Duration::from_secs(20), "{method}: {:?}: {err}", began.elapsed());
        // Of several that wait, the one that gives up first.
        let given_up = ["no longer answers", "it has sent nothing for", "no answer within 2 s"];
        assert!(given_up.iter().any(|text| err.contains(text)), "{err}");
        // Its open transaction on the server goes with it.
        drop(relay);

        let relay = Relay::new(drill.source.server(), silence);
        let shop = relay.conninfo("shop", "");
        let running =
            Running::start(&mut drill.command(&["backup", "--name", "b", "--method", method, &shop]));
        relay.until_silent();
        assert_eq!(running.end_at_once(Signal::TERM).status, Some(130), "{method}");
        assert_eq!(drill.left(), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn an_address_that_swallows_packets_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    // An address for documentation (RFC 5737): packets to it vanish, or are refused at once.
    let began = Instant::now();
    let RunResult { status, err, .. } =
        run(directory.path(), &["capture", "host=192.0.2.1 connect_timeout=2 user=u", "-o", "m"]);
    assert_eq!(status, Some(2), "{err}");
    assert!(err.contains("connect to the address 192.0.2.1"), "{err}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
