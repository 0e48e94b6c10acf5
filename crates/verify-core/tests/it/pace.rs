//! Limits for a database in use: they slow a scan down or end it, and change nothing of what it measures.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use fixtures::TestServer;
use verify_core::ErrorKind;
use verify_core::capture::{capture, capture_snapshot};
use verify_core::database::Activity;
use verify_core::event::{self, Event};
use verify_core::plan::{Limits, Plan};
use verify_core::postgres::{Environment, Postgres, Settings};

use crate::memory::{Memory, MemoryTable};

fn plan(set: impl FnOnce(&mut Limits)) -> Plan {
    let mut limits = Limits::default();
    set(&mut limits);
    Plan::default().with_limits(limits)
}

/// Nearly 1.4 MiB of rows.
fn memory(activity: Vec<Activity>) -> Memory {
    let tables = (0..4).map(|i| MemoryTable::new(["a", "b", "c", "d"][i], 0..10_000)).collect();
    Memory { tables, activity: Mutex::new(activity), ..Memory::default() }
}

fn busy(sessions: u64) -> Activity {
    Activity { sessions: Some(sessions), replication_lag: Some(0), snapshot_age_ms: 0 }
}

/// The reasons that a scan was limited by, without those that follow themselves; the first of all is `None`, too.
fn limits_of(seen: Vec<Event>) -> Vec<Option<String>> {
    let mut reasons: Vec<_> = seen
        .into_iter()
        .filter_map(|event| match event {
            Event::Limited { by } => Some(by),
            _ => None,
        })
        .collect();
    reasons.dedup();
    reasons
}

#[test]
fn no_more_than_the_rate_is_read_over_all_connections() {
    let source = memory(Vec::new());
    let timed = |plan: &Plan| {
        let (seen, began) = (Mutex::new(Vec::new()), Instant::now());
        let manifest = capture(&source, plan, &|event| {
            seen.lock().unwrap().push(event);
            ControlFlow::Continue(())
        });
        (manifest.unwrap(), began.elapsed(), limits_of(seen.into_inner().unwrap()))
    };
    let (unlimited, quick, none) = timed(&Plan::default());
    let (limited, slow, reasons) = timed(&plan(|limits| limits.max_rate = Some(512 << 10)));
    assert!(quick < Duration::from_secs(1), "{quick:?}");
    // What was read last is not waited for.
    assert!(slow > Duration::from_millis(2_000), "{slow:?}");
    assert_eq!(none, []);
    assert_eq!(reasons, [None, Some("the rate is limited to 512 KiB/s".to_owned())]);
    let rows = |manifest: &verify_core::manifest::Manifest| {
        manifest.tables.iter().map(verify_core::manifest::TableEntry::rows).collect::<Vec<_>>()
    };
    assert_eq!(rows(&limited), rows(&unlimited));
}

#[test]
fn a_scan_is_held_while_sessions_are_active_and_goes_on_after_them() {
    let source = memory(vec![busy(9), busy(9), busy(2)]);
    let seen = Mutex::new(Vec::new());
    let began = Instant::now();
    let manifest = capture(&source, &plan(|limits| limits.max_active_sessions = Some(2)), &|event| {
        seen.lock().unwrap().push(event);
        ControlFlow::Continue(())
    });
    assert!(began.elapsed() > Duration::from_millis(1_900), "{:?}", began.elapsed());
    let expected = [Some("active sessions of others: 9, the limit is 2".to_owned())];
    assert_eq!(limits_of(seen.into_inner().unwrap())[..1], expected);
    assert_eq!(manifest.unwrap().tables.len(), 4);
}

#[test]
fn a_snapshot_that_is_too_old_and_a_caller_end_a_scan_that_is_held() {
    let old = Activity { snapshot_age_ms: 5_000, ..busy(9) };
    let limits = |limits: &mut Limits| {
        limits.max_active_sessions = Some(2);
        limits.max_snapshot_age_ms = Some(5_000);
    };
    let error = capture(&memory(vec![busy(9), old]), &plan(limits), &event::ignore).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::LimitReached, "{error}");
    let stop = |event: Event| match event {
        Event::Limited { by: Some(_) } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let error = capture(&memory(vec![busy(9)]), &plan(limits), &stop).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Cancelled, "{error}");
}

const TABLE: &str =
    "CREATE TABLE t AS SELECT i AS id, repeat('x', 100) AS note FROM generate_series(1, 100000) i";

#[test]
fn a_server_shows_its_activity() -> Result<()> {
    for major in [13, 15, 18] {
        let primary =
            TestServer::start(&fixtures::majors::installation(major)?, &[("max_wal_senders", "4")])?;
        primary.create_database("app")?;
        primary.psql("app", TABLE)?;
        let standby = primary.standby(&[])?;
        let limits = plan(|limits| {
            limits.max_rate = Some(1 << 30);
            limits.max_active_sessions = Some(0);
            limits.max_replication_lag = Some(1 << 20);
            limits.max_snapshot_age_ms = Some(600_000);
        });
        let database = |role: &str| {
            let conninfo = format!("{} {role}", primary.conninfo("app"));
            Postgres::new(Settings::parse(&conninfo, &Environment::default())?).begin(&limits, &event::ignore)
        };
        let snapshot = database("")?;
        let quiet = capture_snapshot(&snapshot, &limits, &event::ignore)?;

        // A session that runs a statement, and a standby that has stopped replaying.
        standby.psql("app", "SELECT pg_wal_replay_pause()")?;
        primary
            .psql("app", "CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 10000)")?;
        let reasons = Mutex::new(Vec::new());
        let busy = std::thread::scope(|scope| {
            let other = scope.spawn(|| primary.psql("app", "SELECT pg_sleep(600)"));
            let on_event = |event: Event| {
                if let Event::Limited { by } = event {
                    // Each obstacle is removed when it is named.
                    match by.as_deref() {
                        Some(reason) if reason.starts_with("active sessions") => primary
                            .psql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"),
                        Some(reason) if reason.contains("of WAL behind") => standby.psql("app", "SELECT pg_wal_replay_resume()"),
                        _ => Ok(String::new()),
                    }
                    .unwrap();
                    reasons.lock().unwrap().extend(by);
                }
                ControlFlow::Continue(())
            };
            let began =
                wait_for_sleep(&primary).and_then(|()| Ok(capture_snapshot(&snapshot, &limits, &on_event)?));
            other.join().unwrap().unwrap_err();
            began
        })?;
        let reasons = reasons.into_inner().unwrap();
        assert!(reasons[0] == "active sessions of others: 1, the limit is 0", "{major}: {reasons:?}");
        assert!(reasons.iter().any(|reason| reason.contains("of WAL behind")), "{major}: {reasons:?}");
        assert_eq!(busy.tables[0].rows(), quiet.tables[0].rows());

        // Who may not see the others' sessions cannot keep to the limit.
        primary
            .psql("app", "CREATE ROLE guest LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest")?;
        let error = capture_snapshot(&database("user=guest")?, &limits, &event::ignore).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Privilege, "{major}: {error}");
        primary.psql("app", "GRANT pg_monitor TO guest")?;
        capture_snapshot(&database("user=guest")?, &limits, &event::ignore)?;
    }
    Ok(())
}

fn wait_for_sleep(server: &TestServer) -> Result<()> {
    let sleeping =
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'";
    for _ in 0..200 {
        if server.psql("postgres", sleeping)?.trim() == "1" {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("the other session did not begin")
}
