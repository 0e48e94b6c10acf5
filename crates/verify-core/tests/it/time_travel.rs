//! Time travel: a base backup taken under write load, read again as of the capture, and every trap refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use fixtures::TestServer;
use verify_core::ErrorKind;
use verify_core::capture::{capture_snapshot, complete};
use verify_core::compare::Comparison;
use verify_core::event;
use verify_core::finding::{Code, Verdict};
use verify_core::manifest::{Consistency, Manifest};
use verify_core::plan::{Mode, Plan};
use verify_core::postgres::{Environment, Postgres, Settings, TimeTraveller, integrity};
use verify_core::verify::verify;
use verify_local::scratch::Scratch;
use verify_local::server::{self, Server, StartOptions, Wait};

use crate::measure::{postgres, summary};

const SCHEMA: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL, note text);
    INSERT INTO accounts SELECT i, 1000, repeat('x', i % 50) FROM generate_series(1, 20000) i;
    CREATE TABLE ledger (id bigserial PRIMARY KEY, account int, amount int, at timestamptz DEFAULT clock_timestamp());
    CREATE TABLE big (id serial PRIMARY KEY, body text);
    INSERT INTO big (body) SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 50) i, generate_series(1, 300) j GROUP BY i;
    CREATE MATERIALIZED VIEW totals AS SELECT account, sum(amount) FROM ledger GROUP BY 1;
    CREATE UNLOGGED TABLE cache AS SELECT i FROM generate_series(1, 10) i;
    VACUUM ANALYZE;";

/// Updates, inserts, deletes, TOAST, savepoints left open for a while, asynchronous commits. Sessions that do this at the same time cause no deadlock.
const LOAD: &str = "
    DO $$ BEGIN
        UPDATE accounts SET balance = balance + 1 WHERE id IN (SELECT id FROM accounts
            WHERE id IN (SELECT (random() * 19999)::int + 1 FROM generate_series(1, 20)) FOR UPDATE SKIP LOCKED);
        INSERT INTO ledger (account, amount) SELECT (random() * 19999)::int + 1, 1 FROM generate_series(1, 20);
        DELETE FROM ledger WHERE id IN (SELECT id FROM ledger ORDER BY random() LIMIT 3 FOR UPDATE SKIP LOCKED);
        UPDATE big SET body = reverse(body) WHERE id = (random() * 49)::int + 1;
        FOR i IN 1..5 LOOP
            BEGIN
                INSERT INTO ledger (account, amount) VALUES (i, -1);
                IF i % 2 = 0 THEN RAISE division_by_zero; END IF;
            EXCEPTION WHEN division_by_zero THEN NULL; END;
        END LOOP;
        PERFORM pg_sleep(0.005);
    END $$;";

/// A primary under load.
pub(crate) struct Loaded {
    pub(crate) server: TestServer,
}

impl Loaded {
    pub(crate) fn new(major: u32) -> Result<Self> {
        let server = fixtures::server(major)?;
        server.psql("postgres", "ALTER SYSTEM SET autovacuum_naptime = 1; SELECT pg_reload_conf()")?;
        for database in ["one", "two"] {
            server.create_database(database)?;
            server.psql(database, SCHEMA)?;
        }
        Ok(Self { server })
    }

    /// Leaves VACUUM nothing to do in `one`: it would log whole pages, and replay would heal one that is damaged in a copy.
    pub(crate) fn freeze(&self) -> Result<()> {
        let freeze = "ALTER SYSTEM SET autovacuum = off; SELECT pg_reload_conf(); VACUUM FREEZE; CHECKPOINT";
        self.server.psql("one", freeze)?;
        Ok(())
    }

    /// Zeroes the last page of accounts in a copy of `one`: checksums are off, and PostgreSQL takes it for an empty page.
    pub(crate) fn lose_rows(&self, data: &Path) -> Result<()> {
        let path = self.server.psql("one", "SELECT pg_relation_filepath('accounts')")?;
        let file = data.join(path.trim());
        let mut bytes = fs::read(&file)?;
        let last = bytes.len() - 8_192;
        bytes[last..].fill(0);
        Ok(fs::write(&file, bytes)?)
    }

    /// Runs `work` while four sessions write to each database and a fifth vacuums.
    pub(crate) fn while_writing<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let stop = AtomicBool::new(false);
        let (stop, server) = (&stop, &self.server);
        std::thread::scope(|scope| {
            let mut sessions = Vec::new();
            for i in 0..4 {
                let database = if i % 2 == 0 { "one" } else { "two" };
                let asynchronous = if i < 2 { "SET synchronous_commit = off;" } else { "" };
                sessions.push(scope.spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        server.psql(database, &format!("{asynchronous} {}", LOAD.repeat(10)))?;
                    }
                    anyhow::Ok(())
                }));
            }
            sessions.push(scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    server.psql("one", "VACUUM accounts; VACUUM ledger; VACUUM big; CHECKPOINT")?;
                }
                anyhow::Ok(())
            }));
            let result = work();
            stop.store(true, Ordering::SeqCst);
            for session in sessions {
                session.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??;
            }
            result
        })
    }
}

/// A base backup in a directory of its own.
pub(crate) fn base_backup(server: &TestServer, scratch: &Scratch) -> Result<PathBuf> {
    let data = scratch.path().join("copy/data");
    server::create_server_dir(&scratch.path().join("copy"))?;
    let programs = if server.major() >= 16 { 18 } else { 15 };
    let program = match programs {
        15 => server::client_program("pg_basebackup", 15)?,
        major => fixtures::majors::client_programs(major)?.join("pg_basebackup"),
    };
    let mut command = Command::new(program);
    command.arg("-D").arg(&data).args(["-X", "stream", "-c", "fast", "-d", &server.conninfo("postgres")]);
    server::run_as_server_user(&mut command)?;
    let output = command.output()?;
    ensure!(output.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&output.stderr));
    Ok(data)
}

/// Starts a copy as a standby without a primary.
fn start_clone(server: &TestServer, scratch: &Scratch, data: &Path) -> Result<Server> {
    start_clone_with(server, scratch, data, &[])
}

/// The same with further settings.
pub(crate) fn start_clone_with(
    server: &TestServer,
    scratch: &Scratch,
    data: &Path,
    settings: &[(&str, &str)],
) -> Result<Server> {
    fs::write(data.join("standby.signal"), "")?;
    server::give_to_server_user(&data.join("standby.signal"))?;
    let options = StartOptions::in_directory(&scratch.path().join("copy"));
    let options = StartOptions { wait: Wait::ReadyOrStandby, ..options }
        .set("restore_command", "/bin/false")
        .set("archive_mode", "off")
        .set("wal_retrieve_retry_interval", "500ms")
        .set("autovacuum", "off")
        // A standby refuses less than its primary had, and test servers get theirs on the command line.
        .set("max_prepared_transactions", "5")
        .set("max_locks_per_transaction", "256")
        .set("fsync", "off");
    let options = settings.iter().fold(options, |options, (name, value)| options.set(name, value));
    Server::start(server.server().installation(), data, &options)
}

pub(crate) fn travel(clone: &Server, database: &str, manifest: &Manifest) -> Result<Comparison> {
    let settings = Settings::parse(&clone.conninfo(database), &Environment::default())?;
    Ok(verify(manifest, &TimeTraveller::new(settings, manifest), &Plan::default(), &event::ignore)?)
}

fn plan() -> Plan {
    Plan::default().with_mode(Mode::TimeTravel)
}

pub(crate) fn unproven(comparison: &Comparison) -> Vec<&str> {
    let findings = comparison.findings().iter().filter(|finding| finding.code() == Code::SnapshotUnproven);
    findings.map(|finding| finding.message.as_str()).collect()
}

fn exact_under_load(major: u32) -> Result<()> {
    let loaded = Loaded::new(major)?;
    let scratch = Scratch::create("test")?;
    let (manifest, data) = loaded.while_writing(|| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        let snapshot = postgres(&loaded.server, "one")?.begin(&plan(), &event::ignore)?;
        let data = base_backup(&loaded.server, &scratch)?;
        let mut manifest = capture_snapshot(&snapshot, &plan(), &event::ignore)?;
        complete(&snapshot, &mut manifest)?;
        Ok((manifest, data))
    })?;
    let clone = start_clone(&loaded.server, &scratch, &data)?;
    let comparison = travel(&clone, "one", &manifest)?;
    assert_eq!(
        (comparison.verdict(), summary(&comparison)),
        (Verdict::Pass, vec![]),
        "{major}: {comparison:#?}"
    );
    assert_eq!(comparison.coverage().tables, 4, "{:?}", comparison.coverage());

    // The same copy, read as it is rather than as of the snapshot, is ahead: that would have been a false alarm.
    let settings = Settings::parse(&clone.conninfo("one"), &Environment::default())?;
    let mut elsewhere = manifest.clone();
    elsewhere.header.source.system_identifier = "1".to_owned();
    let other =
        verify(&manifest, &TimeTraveller::new(settings, &elsewhere), &Plan::default(), &event::ignore)?;
    assert_eq!((other.verdict(), unproven(&other).len()), (Verdict::Inconclusive, 1), "{other:#?}");

    // The anchor of one database protects no other.
    let mut second = manifest.clone();
    let Consistency::TimeTravel(anchor) = &mut second.header.consistency else { anyhow::bail!("no anchor") };
    anchor.database_oid += 1;
    let other = travel(&clone, "one", &second)?;
    assert_eq!(other.verdict(), Verdict::Inconclusive);
    assert!(
        unproven(&other)[0].contains("no transaction kept the row versions of this database"),
        "{other:#?}"
    );

    // A file that was rewritten between the snapshot and the copy.
    for (name, verdict, expected) in [
        ("accounts", Verdict::Inconclusive, "table.rewritten public.accounts"),
        ("totals", Verdict::Pass, "matview.differs public.totals"),
    ] {
        let mut rewritten = manifest.clone();
        let entry = rewritten.tables.iter_mut().find(|entry| entry.name().name == name).context(name)?;
        entry.filenode += 1;
        let other = travel(&clone, "one", &rewritten)?;
        let found: Vec<String> =
            other.findings().iter().map(|finding| format!("{} {}", finding.code(), finding.object)).collect();
        assert_eq!(other.verdict(), verdict, "{other:#?}");
        assert!(found.contains(&expected.to_owned()), "{found:?}");
        assert!(other.coverage().not_covered.iter().any(|gap| gap.object == format!("public.{name}")));
    }

    // Once promoted, it has moved on.
    clone_promote(&clone)?;
    let other = travel(&clone, "one", &manifest)?;
    assert_eq!(other.verdict(), Verdict::Inconclusive);
    assert!(unproven(&other)[0].contains("left recovery"), "{other:#?}");

    // Maps that VACUUM wrote under load, and recovery after it, are not damage.
    for database in ["one", "two"] {
        let settings = Settings::parse(&clone.conninfo(database), &Environment::default())?;
        let integrity = integrity::check(&settings, &Plan::default(), &event::ignore)?;
        assert_eq!(integrity.findings, [], "{major}: {database}");
    }
    Ok(())
}

pub(crate) fn clone_promote(clone: &Server) -> Result<()> {
    let settings = Settings::parse(&clone.conninfo("postgres"), &Environment::default())?;
    let session = verify_core::postgres::SessionOptions::verification(0, 0);
    let mut connection = verify_core::postgres::Connection::open(&settings, &session)?;
    Ok(connection.execute("SELECT pg_catalog.pg_promote(true, 60)")?)
}

#[test]
fn exact_under_load_on_13() -> Result<()> {
    exact_under_load(13)
}

#[test]
fn exact_under_load_on_15() -> Result<()> {
    exact_under_load(15)
}

#[test]
fn exact_under_load_on_18() -> Result<()> {
    exact_under_load(18)
}

#[test]
fn a_row_lost_in_the_copy_is_named() -> Result<()> {
    let loaded = Loaded::new(15)?;
    loaded.freeze()?;
    let scratch = Scratch::create("test")?;
    let snapshot = postgres(&loaded.server, "one")?.begin(&plan(), &event::ignore)?;
    let data = base_backup(&loaded.server, &scratch)?;
    let mut manifest = capture_snapshot(&snapshot, &plan(), &event::ignore)?;
    complete(&snapshot, &mut manifest)?;
    loaded.lose_rows(&data)?;
    let clone = start_clone(&loaded.server, &scratch, &data)?;
    let comparison = travel(&clone, "one", &manifest)?;
    assert_eq!(
        (comparison.verdict(), summary(&comparison)),
        (Verdict::Fail, vec!["row.missing public.accounts".into()])
    );
    let rows = comparison.findings().iter().find_map(|finding| finding.rows.clone()).context("rows")?;
    let settings = Settings::parse(&clone.conninfo("one"), &Environment::default())?;
    let standby = verify_core::capture::capture(&Postgres::new(settings), &Plan::default(), &event::ignore);
    assert!(standby.err().context("a standby must be refused")?.to_string().contains("is in recovery"));
    assert!(!rows.more && rows.named.contains(&"id=20000".to_owned()), "{rows:?}");
    Ok(())
}

#[test]
fn the_package_database_of_this_machine_survives_a_base_backup() -> Result<()> {
    let server = fixtures::server(15)?;
    server.create_database("packages")?;
    let rows = fixtures::dpkg::load(&server, "packages")?;
    let scratch = Scratch::create("test")?;
    let snapshot = postgres(&server, "packages")?.begin(&plan(), &event::ignore)?;
    let data = base_backup(&server, &scratch)?;
    let mut manifest = capture_snapshot(&snapshot, &plan(), &event::ignore)?;
    complete(&snapshot, &mut manifest)?;
    drop(snapshot);
    let clone = start_clone(&server, &scratch, &data)?;
    let comparison = travel(&clone, "packages", &manifest)?;
    assert_eq!((comparison.verdict(), summary(&comparison)), (Verdict::Pass, vec![]), "{comparison:#?}");
    assert!(comparison.coverage().rows >= rows as u64, "{rows} of {:?}", comparison.coverage());
    Ok(())
}

#[test]
fn an_anchor_that_ended_early_proves_nothing() -> Result<()> {
    let loaded = Loaded::new(15)?;
    let scratch = Scratch::create("test")?;
    let (manifest, data) = loaded.while_writing(|| {
        let manifest =
            verify_core::capture::capture(&postgres(&loaded.server, "one")?, &plan(), &event::ignore)?;
        Ok((manifest, base_backup(&loaded.server, &scratch)?))
    })?;
    let clone = start_clone(&loaded.server, &scratch, &data)?;
    let comparison = travel(&clone, "one", &manifest)?;
    assert_eq!(comparison.verdict(), Verdict::Inconclusive, "{comparison:#?}");
    assert!(unproven(&comparison)[0].contains("ended before the copy was cut"), "{comparison:#?}");
    Ok(())
}

/// The files of a server that stands still, as a snapshot of its volume holds them.
fn volume_snapshot(server: &TestServer, scratch: &Scratch) -> Result<PathBuf> {
    server::create_server_dir(&scratch.path().join("copy"))?;
    let data = scratch.path().join("copy/data");
    copy_files(server.server().data_dir(), &data)?;
    fs::remove_file(data.join("postmaster.pid"))?;
    Ok(data)
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    ensure!(status.success(), "cp: {status}");
    Ok(())
}

/// Zeroes the WAL of a copy from a position of the source on.
fn cut_wal(server: &TestServer, data: &Path, lsn: &str) -> Result<()> {
    let place = server.psql("one", &format!("SELECT * FROM pg_walfile_name_offset('{lsn}')"))?;
    let (name, offset) = place.split_once('|').context("a file and an offset")?;
    for entry in fs::read_dir(data.join("pg_wal"))? {
        let entry = entry?;
        let later = entry.file_name().to_string_lossy().len() == 24 && entry.file_name() > *name;
        if later {
            fs::remove_file(entry.path())?;
        }
    }
    let file = data.join("pg_wal").join(name);
    let mut bytes = fs::read(&file)?;
    bytes[offset.parse()?..].fill(0);
    Ok(fs::write(&file, bytes)?)
}

fn older_copies_fail(major: u32) -> Result<()> {
    let server = TestServer::start(&fixtures::majors::installation(major)?, &[("autovacuum", "off")])?;
    server.create_database("one")?;
    server.psql(
        "one",
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 9); CHECKPOINT",
    )?;
    let [for_older, for_whole, for_cut] =
        [Scratch::create("test")?, Scratch::create("test")?, Scratch::create("test")?];
    let older = volume_snapshot(&server, &for_older)?;
    server
        .psql("one", "INSERT INTO t VALUES (10); TRUNCATE t; INSERT INTO t SELECT generate_series(1, 20)")?;
    let middle = server.psql("one", "CHECKPOINT; SELECT pg_current_wal_insert_lsn()")?;
    server.psql("one", "INSERT INTO t VALUES (21)")?;
    let snapshot = postgres(&server, "one")?.begin(&plan(), &event::ignore)?;
    let whole = volume_snapshot(&server, &for_whole)?;
    let mut manifest = capture_snapshot(&snapshot, &plan(), &event::ignore)?;
    complete(&snapshot, &mut manifest)?;
    drop(snapshot);
    server::create_server_dir(&for_cut.path().join("copy"))?;
    let cut = for_cut.path().join("copy/data");
    copy_files(&whole, &cut)?;
    cut_wal(&server, &cut, &middle)?;

    let clone = start_clone(&server, &for_whole, &whole)?;
    let comparison = travel(&clone, "one", &manifest)?;
    assert_eq!(
        (comparison.verdict(), summary(&comparison)),
        (Verdict::Pass, vec![]),
        "{major}: {comparison:#?}"
    );
    drop(clone);
    let stale = ["copy.older copy", "row.missing public.t"].map(str::to_owned).to_vec();
    for (scratch, data) in [(&for_cut, &cut), (&for_older, &older)] {
        let clone = start_clone(&server, scratch, data)?;
        let comparison = travel(&clone, "one", &manifest)?;
        assert_eq!(
            (comparison.verdict(), summary(&comparison)),
            (Verdict::Fail, stale.clone()),
            "{major}: {comparison:#?}"
        );
        assert_eq!(comparison.findings()[0].code(), Code::CopyOlder);
        assert!(
            comparison.findings()[0].message.contains("it ends at the WAL position 0/"),
            "{comparison:#?}"
        );
        if data != &older {
            continue;
        }
        if major == 15 {
            a_copy_that_does_not_replay_is_waited_for(&clone, &manifest)?;
        }
        // A copy that was promoted earlier may have written more WAL since than its source had.
        clone_promote(&clone)?;
        let settings = Settings::parse(&clone.conninfo("one"), &Environment::default())?;
        let session = verify_core::postgres::SessionOptions::new();
        let mut writer = verify_core::postgres::Connection::open(&settings, &session)?;
        for _ in 0..3 {
            writer.execute("SELECT pg_logical_emit_message(false, 'a', 'b'); SELECT pg_switch_wal()")?;
        }
        let comparison = travel(&clone, "one", &manifest)?;
        assert_eq!(
            (comparison.verdict(), summary(&comparison)),
            (Verdict::Fail, stale.clone()),
            "{major}: {comparison:#?}"
        );
        assert!(
            comparison.findings()[0].message.contains("it has not assigned the transaction id"),
            "{comparison:#?}"
        );
    }
    Ok(())
}

/// A copy whose recovery is paused may hold more WAL than it has replayed; the wait for it can be stopped.
fn a_copy_that_does_not_replay_is_waited_for(clone: &Server, manifest: &Manifest) -> Result<()> {
    let settings = Settings::parse(&clone.conninfo("one"), &Environment::default())?;
    let session = verify_core::postgres::SessionOptions::new();
    let mut session = verify_core::postgres::Connection::open(&settings, &session)?;
    session.execute("SELECT pg_wal_replay_pause()")?;
    let paused = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'RecoveryPause'";
    while session.query(paused)?.first().and_then(|row| row.get(0)) != Some("1") {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let stop = |event| match event {
        event::Event::Waiting { .. } => std::ops::ControlFlow::Break(()),
        _ => std::ops::ControlFlow::Continue(()),
    };
    let stopped = verify(manifest, &TimeTraveller::new(settings, manifest), &Plan::default(), &stop);
    assert_eq!(stopped.err().context("it must be stopped")?.kind(), &ErrorKind::Cancelled);
    session.execute("SELECT pg_wal_replay_resume()").map_err(anyhow::Error::from)
}

#[test]
fn older_copies_and_cut_wal_fail_on_all_majors() -> Result<()> {
    [13, 15, 18].into_iter().try_for_each(older_copies_fail)
}

#[test]
fn truncate_waits_for_the_capture_and_its_locks_end_with_it() -> Result<()> {
    let loaded = Loaded::new(15)?;
    let snapshot = postgres(&loaded.server, "one")?.begin(&plan(), &event::ignore)?;
    let refused = loaded.server.psql("one", "SET lock_timeout = '200ms'; TRUNCATE accounts");
    assert!(format!("{:#}", refused.expect_err("TRUNCATE must wait")).contains("lock timeout"));
    drop(snapshot);
    loaded.server.psql("one", "TRUNCATE accounts").map(drop)
}

#[test]
fn an_older_transaction_is_waited_for_and_named() -> Result<()> {
    let loaded = Loaded::new(15)?;
    let database = postgres(&loaded.server, "one")?;
    let settings = Settings::parse(&loaded.server.conninfo("one"), &Environment::default())?;
    let session = verify_core::postgres::SessionOptions::new().with("application_name", "slow report");
    let mut older = verify_core::postgres::Connection::open(&settings, &session)?;
    older.execute("BEGIN; SELECT pg_catalog.pg_current_xact_id()")?;
    let mut short = plan();
    short.limits.anchor_timeout_ms = 300;
    let error = database.begin(&short, &event::ignore).err().context("it must time out")?;
    assert!(
        error.to_string().contains("slow report") && error.to_string().contains("did not end within 1 s"),
        "{error:?}"
    );
    older.execute("COMMIT")?;
    let _held: verify_core::postgres::PostgresSnapshot = Postgres::begin(&database, &short, &event::ignore)?;
    Ok(())
}
