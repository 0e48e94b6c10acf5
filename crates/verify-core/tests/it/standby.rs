//! A standby as source: a snapshot of it is exact, its conflicts with recovery are named and retried, and nothing is written.

use std::net::TcpListener;
use std::ops::ControlFlow;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fixtures::TestServer;
use verify_core::ErrorKind;
use verify_core::capture::{CONFLICT_ATTEMPTS_MAX, capture, capture_snapshot, complete};
use verify_core::event::{self, Event};
use verify_core::finding::{Severity, Verdict};
use verify_core::manifest::{Consistency, Manifest};
use verify_core::plan::{Mode, Plan};
use verify_core::postgres::{Environment, Postgres, Settings};
use verify_core::verify::verify;

use crate::dump::{program, run};
use crate::measure::{postgres, summary};

pub(crate) const SCHEMA: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL, note text);
    INSERT INTO accounts SELECT i, 1000, repeat('x', i % 50) FROM generate_series(1, 5000) i;
    CREATE TABLE ledger (id bigserial PRIMARY KEY, account int, amount int);
    CREATE UNLOGGED TABLE cache (id serial, note text);
    INSERT INTO cache (note) VALUES ('a'), ('b')";

/// Sessions that do this at the same time never wait for each other's rows, so that there is no deadlock.
pub(crate) const LOAD: &str = "
    DO $$ BEGIN FOR i IN 1..20 LOOP
        UPDATE accounts SET balance = balance + 1 WHERE id IN (SELECT id FROM accounts
            WHERE id IN (SELECT (random() * 4999)::int + 1 FROM generate_series(1, 20)) FOR UPDATE SKIP LOCKED);
        INSERT INTO ledger (account, amount) SELECT (random() * 4999)::int + 1, 1 FROM generate_series(1, 20);
        DELETE FROM ledger WHERE id IN (SELECT id FROM ledger ORDER BY random() LIMIT 3 FOR UPDATE SKIP LOCKED);
        COMMIT;
    END LOOP; END $$;";

/// A primary, and a standby that streams from it.
pub(crate) struct Pair {
    pub(crate) primary: TestServer,
    pub(crate) standby: TestServer,
}

impl Pair {
    pub(crate) fn new(major: u32, standby: &[(&str, &str)]) -> Result<Self> {
        let installation = fixtures::majors::installation(major)?;
        let primary = TestServer::start(
            &installation,
            &[("full_page_writes", "on"), ("autovacuum", "off"), ("synchronous_commit", "on")],
        )?;
        primary.create_database("app")?;
        primary.psql("app", SCHEMA)?;
        let standby = primary.standby(standby)?;
        Ok(Self { primary, standby })
    }

    /// Waits until the standby has replayed all that the primary has written.
    pub(crate) fn catch_up(&self) -> Result<()> {
        // Without a commit that waits for the disk, the last records would be sent some time later.
        let flushed = self.primary.psql(
            "postgres",
            "SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'test', ''); SELECT pg_current_wal_flush_lsn()",
        )?;
        let end = flushed.lines().last().context("no position")?;
        let began = Instant::now();
        let behind = format!("SELECT pg_last_wal_replay_lsn() < '{end}'");
        while self.standby.psql("postgres", &behind)? == "t" {
            let waits = "SELECT string_agg(concat_ws(' ', backend_type, state, wait_event, query), '; ') FROM pg_stat_activity";
            ensure!(
                began.elapsed() < Duration::from_secs(20),
                "the standby does not reach {end}: {}\n{}",
                self.standby.psql("postgres", waits)?,
                std::fs::read_to_string(self.standby.server().log_file())?
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Runs `work` while a session writes and another vacuums.
    pub(crate) fn while_writing<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let stop = AtomicBool::new(false);
        let (stop, primary) = (&stop, &self.primary);
        std::thread::scope(|scope| {
            let repeat = |script: &'static str| {
                scope.spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        primary.psql("app", script)?;
                    }
                    anyhow::Ok(())
                })
            };
            let sessions =
                [repeat(LOAD), repeat(LOAD), repeat("VACUUM accounts; VACUUM ledger; SELECT pg_sleep(0.1)")];
            let result = work();
            stop.store(true, Ordering::SeqCst);
            for session in sessions {
                session.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??;
            }
            result
        })
    }

    pub(crate) fn source(&self) -> Result<Postgres> {
        Ok(postgres(&self.standby, "app")?.or_standby())
    }
}

/// Number of runs of a loop: 10, or more by `STATE_LAB_LOOPS`.
pub(crate) fn loops() -> u32 {
    std::env::var("STATE_LAB_LOOPS").ok().and_then(|loops| loops.parse().ok()).unwrap_or(10)
}

/// Captures the standby while it is dumped, and restores the dump into a new database of `target`.
fn dumped(pair: &Pair, target: &TestServer) -> Result<Manifest> {
    let snapshot = pair.source()?.begin(&Plan::default(), &event::ignore)?;
    let scratch = tempfile::tempdir()?;
    let dump = scratch.path().join("dump");
    run(Command::new(program("pg_dump", target.major())?)
        .args(["-Fd", "--no-sync", "--snapshot", snapshot.exported(), "-f"])
        .arg(&dump)
        .args(["-d", &pair.standby.conninfo("app")]))?;
    let mut manifest = capture_snapshot(&snapshot, &Plan::default(), &event::ignore)?;
    complete(&snapshot, &mut manifest)?;
    target.psql("postgres", "DROP DATABASE IF EXISTS restored")?;
    target.create_database("restored")?;
    run(Command::new(program("pg_restore", target.major())?)
        .args(["-d", &target.conninfo("restored")])
        .arg(&dump))?;
    Ok(manifest)
}

fn a_dump_is_exact(major: u32, loops: u32) -> Result<()> {
    // Feedback keeps the rows, so that no attempt is cancelled.
    let pair = Pair::new(major, &[("hot_standby_feedback", "on")])?;
    let target = fixtures::server(major)?;
    let mut exact = 0;
    for _ in 0..loops {
        let manifest = pair.while_writing(|| dumped(&pair, &target))?;
        let Consistency::StandbySnapshot(_) = &manifest.header.consistency else {
            bail!("{:?}", manifest.header.consistency)
        };
        assert_eq!(manifest.verdict(), Verdict::Pass, "{:?}", manifest.not_covered());
        let restored = postgres(&target, "restored")?;
        let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
        assert_eq!((comparison.verdict(), summary(&comparison)), (Verdict::Pass, vec![]), "{comparison:#?}");
        assert_eq!(comparison.coverage().tables, 2);
        exact += 1;
        // The twin: one row less.
        target.psql("restored", "DELETE FROM accounts WHERE id = 17")?;
        let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
        assert_eq!(summary(&comparison), ["row.missing public.accounts"], "{comparison:#?}");
    }
    println!("standby-snapshot: {exact} of {loops} exact on {major}");
    Ok(())
}

#[test]
fn a_dump_under_the_snapshot_of_a_standby_is_exact_on_13() -> Result<()> {
    a_dump_is_exact(13, 1)
}

#[test]
fn a_dump_under_the_snapshot_of_a_standby_is_exact_on_15() -> Result<()> {
    a_dump_is_exact(15, loops().div_ceil(3))
}

#[test]
fn a_dump_under_the_snapshot_of_a_standby_is_exact_on_18() -> Result<()> {
    a_dump_is_exact(18, 1)
}

/// Captures while `disturb` runs, at the beginning of the first `times` attempts. Gives also the reasons of the waits.
fn capture_disturbed(
    pair: &Pair,
    times: u32,
    disturb: &str,
) -> Result<(verify_core::Result<Manifest>, Vec<String>)> {
    let attempts = AtomicU32::new(0);
    let waits = Mutex::new(Vec::new());
    let on_event = |event| {
        match event {
            Event::Started { .. } if attempts.fetch_add(1, Ordering::SeqCst) < times => {
                pair.primary.psql("app", disturb).unwrap();
                pair.catch_up().unwrap();
            }
            Event::Waiting { reason } => {
                waits.lock().unwrap_or_else(PoisonError::into_inner).push(reason);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    };
    let captured = capture(&pair.source()?, &Plan::default(), &on_event);
    Ok((captured, waits.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

#[test]
fn what_recovery_cancels_is_captured_again_and_at_last_refused() -> Result<()> {
    for major in [13, 18] {
        let impatient = [("hot_standby_feedback", "off"), ("max_standby_streaming_delay", "0")];
        let pair = Pair::new(major, &impatient)?;
        let cases = [
            (
                "UPDATE accounts SET balance = balance + 1; VACUUM accounts",
                "rows that the snapshot sees are removed",
            ),
            (
                "BEGIN; LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE; TRUNCATE ledger; COMMIT",
                "a lock is needed",
            ),
        ];
        for (disturb, what) in cases.into_iter().take(if major == 18 { 2 } else { 1 }) {
            let (captured, waits) = capture_disturbed(&pair, 2, disturb)?;
            let manifest = captured.with_context(|| format!("{major}: {what}"))?;
            assert_eq!((waits.len(), manifest.verdict()), (2, Verdict::Pass), "{major}: {what}: {waits:?}");
            assert!(waits[0].contains("recovery") && waits[0].contains("attempt 2 of 5"), "{waits:?}");

            let (captured, waits) = capture_disturbed(&pair, u32::MAX, disturb)?;
            let error = captured.err().with_context(|| format!("{major}: {what}: it passed"))?;
            assert_eq!(waits.len() as u32, CONFLICT_ATTEMPTS_MAX - 1, "{major}: {what}: {error:?}");
            assert!(error.is_recovery_conflict(), "{major}: {what}: {error:?}");
            assert!(error.to_string().contains("conflict with recovery"), "{major}: {what}: {error}");
            let hint = error.hint().context("a hint")?;
            assert!(
                hint.contains("hot_standby_feedback") && hint.contains("max_standby_streaming_delay"),
                "{hint}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_capture_of_a_standby_writes_nothing_and_says_what_it_is_for() -> Result<()> {
    let pair = Pair::new(15, &[])?;
    pair.primary
        .psql("postgres", "ALTER SYSTEM SET autovacuum = off; SELECT pg_reload_conf(); CHECKPOINT")?;
    pair.catch_up()?;
    let state = "SELECT pg_current_snapshot(), (SELECT pg_current_wal_insert_lsn())";
    // The primary logs its running transactions once, some seconds after it has become idle.
    let idle = |server: &TestServer| -> Result<String> {
        let mut before = server.psql("app", state)?;
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let now = server.psql("app", state)?;
            if now == before {
                return Ok(now);
            }
            before = now;
        }
    };
    let before = idle(&pair.primary)?;
    let notices = Mutex::new(Vec::new());
    let on_event = |event| {
        if let Event::Notice { message } = event {
            notices.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        }
        ControlFlow::Continue(())
    };
    let manifest = capture(&pair.source()?, &Plan::default(), &on_event)?;
    let replayed = pair.standby.psql("app", "SELECT pg_last_wal_replay_lsn()")?;
    let Consistency::StandbySnapshot(replay) = &manifest.header.consistency else { bail!("mode") };
    assert_eq!((&replay.from, &replay.to, &manifest.header.lsn), (&replayed, &replayed, &replayed));
    assert_eq!(pair.primary.psql("app", state)?, before);
    let notices = notices.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].contains("a dump under its snapshot"), "{notices:?}");

    // What a standby cannot do is refused with the way that is left.
    let travel = pair.source()?.begin(&Plan::default().with_mode(Mode::TimeTravel), &event::ignore);
    let error = travel.err().context("no anchor on a standby")?;
    assert_eq!(*error.kind(), ErrorKind::Unsuitable);
    assert!(error.hint().is_some_and(|hint| hint.contains("PausedStandby")), "{error}");
    // Not asked for, as of a restore, a standby is refused.
    let error = capture(&postgres(&pair.standby, "app")?, &Plan::default(), &event::ignore)
        .err()
        .context("refused")?;
    assert!(error.to_string().contains("is in recovery"), "{error}");
    // A standby that lags is no evidence of now: the time is that of the last commit that it has replayed.
    pair.standby.psql("app", "SELECT pg_wal_replay_pause()")?;
    pair.primary.psql("app", "UPDATE accounts SET balance = 0 WHERE id = 1")?;
    std::thread::sleep(Duration::from_millis(1_200));
    let committed = pair.standby.psql(
        "app",
        "SELECT to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')",
    )?;
    let manifest = capture(&pair.source()?, &Plan::default(), &event::ignore)?;
    if !committed.is_empty() {
        let captured = manifest.header.captured_at.to_string();
        let shown = captured.trim_end_matches('Z');
        assert!(committed.starts_with(shown.trim_end_matches('0')), "{captured} is not {committed}");
    }
    let tables: Vec<String> = manifest.tables.iter().map(|table| table.name().to_string()).collect();
    assert_eq!(tables, ["public.accounts", "public.cache", "public.ledger"]);
    // A standby has no rows of unlogged tables: listed, and no obstacle.
    assert_eq!(manifest.verdict(), Verdict::Pass);
    assert!(
        manifest.not_covered().iter().any(|gap| gap.object == "public.cache"),
        "{:?}",
        manifest.not_covered()
    );
    let comparison = verify(&manifest, &postgres(&pair.primary, "app")?, &Plan::default(), &event::ignore)?;
    let lost = comparison.findings().iter().find(|finding| finding.object == "public.cache");
    assert_eq!(lost.context("a notice")?.severity(), Severity::Notice);
    Ok(())
}

#[test]
fn a_standby_is_chosen_among_hosts_and_from_the_primarys_own_list() -> Result<()> {
    let settings = |conninfo: &str| Settings::parse(conninfo, &Environment::default());
    let installation = fixtures::majors::installation(15)?;
    // Both on one port: the primary on another address of this machine than the standby.
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port().to_string();
    let primary = TestServer::start(
        &installation,
        &[("full_page_writes", "on"), ("port", &port), ("listen_addresses", "127.0.0.2")],
    )?;
    primary.create_database("app")?;
    let hba = primary.server().data_dir().join("pg_hba.conf");
    std::fs::write(
        &hba,
        "local all all trust\nlocal replication all trust\nhost all all 127.0.0.0/8 trust\nhost replication all 127.0.0.0/8 trust\n",
    )?;
    primary.psql("postgres", "SELECT pg_reload_conf()")?;
    let by_tcp = settings(&format!("host=127.0.0.2 port={port} user=postgres dbname=app"))?;

    // Without a standby, the primary with the reason.
    let chosen = by_tcp.prefer_standby()?;
    assert!(chosen.no_standby.context("no standby")?.contains("shows this role no standby"));
    assert_eq!(chosen.settings.describe(), by_tcp.describe());

    let standby = primary.standby(&[
        ("port", &port),
        ("primary_conninfo", &format!("host=127.0.0.2 port={port} user=postgres")),
    ])?;
    let streams =
        "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND client_addr IS NOT NULL";
    while primary.psql("app", streams)? != "1" {
        std::thread::sleep(Duration::from_millis(50));
    }
    let chosen = by_tcp.prefer_standby()?;
    assert_eq!(
        (chosen.settings.describe(), chosen.no_standby),
        (format!("postgres@127.0.0.1:{port}/app"), None)
    );
    let manifest = capture(&Postgres::new(chosen.settings).or_standby(), &Plan::default(), &event::ignore)?;
    assert!(matches!(manifest.header.consistency, Consistency::StandbySnapshot(_)));

    // Of several hosts, as libpq.
    let both = settings(&format!("host=127.0.0.2,127.0.0.1 port={port} user=postgres dbname=app"))?;
    let chosen = both.prefer_standby()?;
    assert_eq!(
        (chosen.settings.describe(), chosen.no_standby),
        (format!("postgres@127.0.0.1:{port}/app"), None)
    );
    drop(standby);
    let chosen = both.prefer_standby()?;
    assert!(chosen.no_standby.is_some());
    Ok(())
}
