//! Backups: whole or not at all, and what they refuse.

use std::fs;

use fixtures::majors;
use rustix::process::Signal;
use verify_core::finding::{Code, Finding, Verdict};
use verify_core::plan::Plan;
use verify_core::postgres::{Environment, Settings};
use verify_core::report::Objectives;
use verify_drill::provider::{BackupRequest, RestoreRequest};
use verify_drill::watch::{Event, Watch};
use verify_local::scratch::Scratch;
use verify_local::server::{InitOptions, Listen, Server, StartOptions};
use verify_local::{LocalProvider, Store};

use crate::drill::{Drill, list, signal};
use crate::program::{outcome, state_lab};

const MAJOR: u32 = 15;

/// Returns whether a base backup has started to arrive in a hidden directory.
fn arriving(drill: &Drill) -> bool {
    list(&drill.store()).iter().any(|path| path.join("data/global").exists())
}

#[test]
fn an_interrupted_backup_leaves_nothing() {
    let drill = Drill::new(MAJOR);
    let shop = drill.source.conninfo("shop");
    let mut run = drill.start(&["backup", "--name", "b", "--method", "physical", &shop], || arriving(&drill));
    signal(&run, Signal::INT);
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!(list(&drill.store()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_base_backup_keeps_to_the_rate() {
    let drill = Drill::new(MAJOR);
    let shop = drill.source.conninfo("shop");
    let size = "SELECT sum(pg_database_size(oid)) FROM pg_database";
    let bytes: f64 = drill.source.psql("postgres", size).unwrap().parse().unwrap();
    let began = std::time::Instant::now();
    let run = drill.run(&["backup", "--name", "b", "--method", "physical", "--max-rate", "8MiB", &shop]);
    assert_eq!(run.status, Some(0), "{}", run.err);
    let seconds = began.elapsed().as_secs_f64();
    assert!(seconds > 0.9 * bytes / f64::from(8 << 20), "{seconds} s for {bytes} bytes");
}

#[test]
fn what_a_killed_backup_leaves_is_no_backup_and_goes_with_the_next() {
    let drill = Drill::new(MAJOR);
    let shop = drill.source.conninfo("shop");
    let mut run = drill.start(&["backup", "--name", "b", "--method", "physical", &shop], || arriving(&drill));
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(drill.left().len(), 1);
    let refused = drill.run(&["restore", "--snapshot", "b"]);
    assert_eq!((refused.status, refused.out.as_str()), (Some(2), "restore_status: failed\n"));
    assert!(refused.err.contains("has no backups"), "{}", refused.err);
    drill.back_up("b", "logical");
    assert_eq!(drill.left(), Vec::<std::path::PathBuf>::new());
}

/// Starts a base backup of a standby, and ends it with the signal while the replay is paused; its exit status.
fn end_while_paused(signal_of_end: Signal) -> Option<i32> {
    let drill = Drill::with_settings(MAJOR, &[("full_page_writes", "on")]);
    let standby = drill.source.standby(&[]).unwrap();
    let paused = || standby.psql("postgres", "SELECT pg_is_wal_replay_paused()").unwrap() == "t";
    let shop = standby.conninfo("shop");
    let mut run = drill
        .start(&["backup", "--name", "b", "--method", "physical", &shop], || arriving(&drill) && paused());
    signal(&run, signal_of_end);
    let ended = run.wait().unwrap().code();
    let began = std::time::Instant::now();
    while paused() {
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "the standby stays paused");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    ended
}

#[test]
fn a_standby_whose_backup_is_interrupted_or_killed_does_not_stay_paused() {
    assert_eq!(end_while_paused(Signal::INT), Some(130));
    assert_eq!(end_while_paused(Signal::KILL), None);
}

#[test]
fn a_name_that_is_taken_is_refused_and_the_backup_stays() {
    let drill = Drill::new(MAJOR);
    drill.back_up("b", "logical");
    let record = fs::read(drill.store().join("b/backup.json")).unwrap();
    let again = drill.run(&["backup", "--name", "b", &drill.source.conninfo("shop")]);
    assert_eq!((again.status, again.out.as_str()), (Some(2), "backup_status: failed\n"));
    assert!(again.err.contains("already exists\nhint: choose another name"), "{}", again.err);
    assert_eq!(fs::read(drill.store().join("b/backup.json")).unwrap(), record);
}

#[test]
fn a_store_that_cannot_be_written_to_is_named() {
    let drill = Drill::new(MAJOR);
    fs::write(drill.store(), "a file").unwrap();
    let refused = drill.run(&["backup", "--name", "b", &drill.source.conninfo("shop")]);
    assert_eq!((refused.status, refused.out.as_str()), (Some(2), "backup_status: failed\n"));
    assert!(refused.err.contains("failed to open the store of backups"), "{}", refused.err);
}

#[test]
fn passwords_are_never_printed() {
    let scratch = Scratch::create("password").unwrap();
    let installation = majors::installation(MAJOR).unwrap();
    let data = scratch.path().join("data");
    let init = InitOptions { password: Some("s3cret".to_owned()), ..InitOptions::default() };
    Server::init(&installation, &data, &init).unwrap();
    let options = StartOptions { listen: Listen::Tcp(0), ..StartOptions::in_directory(scratch.path()) };
    let server = Server::start(&installation, &data, &options).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let back_up = |password: &str| {
        let uri = format!("postgresql://postgres:{password}@127.0.0.1:{}/postgres", server.port());
        let arguments = ["backup", "--name", "b", "--store", "store", "--method", "logical", &uri];
        outcome(&state_lab(directory.path()).args(arguments).output().unwrap())
    };
    let refused = back_up("s3cret-wrong");
    assert_eq!((refused.status, refused.out.as_str()), (Some(2), "backup_status: failed\n"));
    assert!(refused.err.contains("password authentication failed"), "{}", refused.err);
    assert!(!refused.err.contains("s3cret"), "{}", refused.err);
    let taken = back_up("s3cret");
    // The database has no tables.
    assert_eq!(taken.status, Some(3), "{taken:?}");
    let record = fs::read_to_string(directory.path().join("store/b/backup.json")).unwrap();
    assert!(!format!("{taken:?}{record}").contains("s3cret"));
}

#[test]
fn a_backup_whose_anchor_ended_early_proves_nothing() {
    let drill = Drill::new(MAJOR);
    let store = Store::open(&drill.store()).unwrap();
    let settings = Settings::parse(&drill.source.conninfo("shop"), &Environment::default()).unwrap();
    let end_anchor = |event: Event| {
        if let Event::Step(doing) = event
            && doing.contains("pg_basebackup")
        {
            let ended = drill.source.psql(
                "postgres",
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_xid IS NOT NULL \
                 AND pid <> pg_backend_pid() AND datname = 'shop'",
            );
            assert_eq!(ended.unwrap(), "1");
        }
    };
    let watch = Watch { sink: &end_anchor, asked: || false };
    let provider =
        LocalProvider { store: store.clone(), databases: vec![settings], point_in_time: None, command: None };
    let request = BackupRequest {
        name: "b".parse().unwrap(),
        method: Some("physical".to_owned()),
        plan: Plan::default(),
    };
    let record = verify_local::backup(&provider, &request, &watch).unwrap();
    let reason = record.databases[0].unproven.as_deref().unwrap();
    assert!(reason.contains("ended before the copy was complete"), "{reason}");
    let request = RestoreRequest {
        name: "b".parse().unwrap(),
        plan: Plan::default(),
        objectives: Objectives::default(),
        incident: None,
        keep: false,
    };
    let restored = verify_local::restore(&store, &request, &Watch::silent()).unwrap();
    assert_eq!(restored.verdict(), Verdict::Inconclusive);
    let codes: Vec<Code> = restored.reports[0].comparison().findings().iter().map(Finding::code).collect();
    assert!(codes.contains(&Code::SnapshotUnproven), "{codes:?}");
}

/// A transaction with more subtransactions than a server notes of it, which then sleeps.
fn overflowing() -> String {
    let block = "BEGIN INSERT INTO ledger VALUES (DEFAULT, 1, 1); EXCEPTION WHEN division_by_zero THEN END;";
    format!("DO $$ BEGIN {} PERFORM pg_sleep(600); END $$", block.repeat(70))
}

#[test]
fn a_copy_that_cannot_know_its_subtransactions_is_given_up_with_the_reason() {
    let drill = Drill::new(MAJOR);
    let sleeping = "FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let count = format!("SELECT count(*) {sleeping}");
    let end = format!("SELECT pg_terminate_backend(pid) {sleeping}");
    let store = Store::open(&drill.store()).unwrap();
    let settings = Settings::parse(&drill.source.conninfo("shop"), &Environment::default()).unwrap();
    std::thread::scope(|scope| {
        let drill = &drill;
        let begin = |event: Event| {
            if let Event::Step(doing) = event
                && doing.contains("pg_basebackup")
            {
                let open = scope.spawn(|| drill.source.psql("shop", &overflowing()).is_err());
                while drill.source.psql("postgres", &count).unwrap() != "1" {
                    assert!(!open.is_finished(), "the transaction ended early");
                }
            }
        };
        let watch = Watch { sink: &begin, asked: || false };
        let provider = LocalProvider { store, databases: vec![settings], point_in_time: None, command: None };
        let request = BackupRequest {
            name: "b".parse().unwrap(),
            method: Some("physical".to_owned()),
            plan: Plan::default(),
        };
        let taken = verify_local::backup(&provider, &request, &watch);
        drill.source.psql("postgres", &end).unwrap();
        taken.unwrap();
    });
    let failed = drill.run(&["restore", "--snapshot", "b"]);
    assert_eq!((failed.status, failed.out.as_str()), (Some(2), "restore_status: failed\n"));
    assert!(failed.err.contains("more than 64 subtransactions was open"), "{}", failed.err);
}

#[test]
fn a_backup_is_closed_to_other_users_whatever_the_store_allows() {
    use std::os::unix::fs::PermissionsExt;
    let drill = Drill::new(MAJOR);
    fs::create_dir(drill.store()).unwrap();
    fs::set_permissions(drill.store(), fs::Permissions::from_mode(0o755)).unwrap();
    let create = "CREATE ROLE secretive PASSWORD 's3cret'";
    drill.source.psql("postgres", create).unwrap();
    drill.back_up("b", "logical");
    assert_eq!(drill.run(&["restore", "--snapshot", "b"]).status, Some(0));
    let backup = drill.store().join("b");
    let mut open = vec![backup.clone()];
    open.extend(["", "manifests", "reports"].iter().flat_map(|directory| list(&backup.join(directory))));
    open.retain(|path| fs::metadata(path).unwrap().permissions().mode() & 0o077 != 0);
    assert_eq!(open, Vec::<std::path::PathBuf>::new());
    let globals = fs::read_to_string(backup.join("globals.sql")).unwrap();
    assert!(globals.contains("secretive") && !globals.contains("PASSWORD"), "{globals}");
}
