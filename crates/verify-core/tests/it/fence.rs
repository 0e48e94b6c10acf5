//! A copy that is cut while no session can write is exact, and one that is cut later is never taken for it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fixtures::TestServer;
use verify_core::Error;
use verify_core::capture::{capture_snapshot, complete};
use verify_core::compare::Comparison;
use verify_core::event;
use verify_core::finding::Verdict;
use verify_core::manifest::Manifest;
use verify_core::plan::Plan;
use verify_core::postgres::{Connection, Environment, Fence, SessionOptions, Settings, restored};
use verify_core::verify::verify;
use verify_local::scratch::Scratch;
use verify_local::server::{self, Server, StartOptions};

use crate::measure::summary;
use crate::standby::loops;
use crate::time_travel::{Loaded, start_clone_with, unproven};

const DATABASES: [&str; 2] = ["one", "two"];

fn settings(conninfo: &str) -> Result<Settings> {
    Ok(Settings::parse(conninfo, &Environment::default())?)
}

/// All processes of a server, stopped: its files are those that a crash of them all would leave.
struct Stopped(Vec<String>);

impl Stopped {
    fn new(server: &TestServer) -> Result<Self> {
        let postmaster = server.server().pid().to_string();
        let mut stopped = Self(Vec::new());
        // It can start no others then.
        stopped.stop(&postmaster)?;
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"))?;
        for child in children.split_whitespace() {
            stopped.stop(child)?;
        }
        Ok(stopped)
    }

    fn stop(&mut self, pid: &str) -> Result<()> {
        self.0.push(pid.to_owned());
        signal("-STOP", pid)?;
        for _ in 0..1_000 {
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return Ok(()) };
            let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
            if matches!(state, Some('T' | 'Z')) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        anyhow::bail!("process {pid} does not stop")
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // The postmaster is the last, and one that has ended meanwhile refuses.
        for pid in self.0.iter().rev() {
            let _ = signal("-CONT", pid);
        }
    }
}

fn signal(signal: &str, pid: &str) -> Result<()> {
    Command::new("kill").args([signal, pid]).stderr(std::process::Stdio::null()).status()?;
    Ok(())
}

/// Copies a server's files as a snapshot of its volume holds them.
fn cut(server: &TestServer, scratch: &Scratch) -> Result<PathBuf> {
    server::create_server_dir(&scratch.path().join("copy"))?;
    let data = scratch.path().join("copy/data");
    let stopped = Stopped::new(server)?;
    let copied = Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .arg(server.server().data_dir())
        .arg(&data)
        .status()?;
    drop(stopped);
    ensure!(copied.success(), "cp: {copied}");
    fs::remove_file(data.join("postmaster.pid"))?;
    Ok(data)
}

/// Starts a copy as after a crash.
fn start(server: &TestServer, scratch: &Scratch, data: &std::path::Path) -> Result<Server> {
    let options = StartOptions::in_directory(&scratch.path().join("copy"))
        .set("autovacuum", "off")
        .set("max_prepared_transactions", "5")
        .set("max_locks_per_transaction", "256")
        .set("fsync", "off");
    Server::start(server.server().installation(), data, &options)
}

fn judge(clone: &Server, database: &str, manifest: &Manifest) -> Result<Comparison> {
    let settings = settings(&clone.conninfo(database))?;
    Ok(verify(manifest, &*restored(&settings, manifest), &Plan::default(), &event::ignore)?)
}

/// The databases of a server behind a fence.
fn fence(server: &TestServer) -> Result<Fence> {
    let databases =
        DATABASES.iter().map(|database| settings(&server.conninfo(database))).collect::<Result<Vec<_>>>()?;
    Ok(Fence::begin(&databases, &Plan::default(), &event::ignore)?)
}

fn manifests(fence: Fence) -> Result<Vec<Manifest>> {
    let snapshots = fence.end(&event::ignore)?;
    let manifest = |snapshot| {
        let mut manifest = capture_snapshot(snapshot, &Plan::default(), &event::ignore)?;
        complete(snapshot, &mut manifest)?;
        anyhow::Ok(manifest)
    };
    snapshots.iter().map(|snapshot| manifest(snapshot)).collect()
}

/// A pause below 200 ms that the seed determines.
fn pause(seed: &mut u64) {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    std::thread::sleep(Duration::from_millis((*seed >> 33) % 200));
}

/// A server under load, with few files to copy.
fn source(major: u32) -> Result<Loaded> {
    let loaded = Loaded::new(major)?;
    let small = "ALTER SYSTEM SET max_wal_size = '64MB'; ALTER SYSTEM SET min_wal_size = '32MB'; SELECT pg_reload_conf()";
    for statement in small.split(';') {
        loaded.server.psql("postgres", statement)?;
    }
    Ok(loaded)
}

fn exact(major: u32, loops: u32) -> Result<()> {
    let mut seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    println!("fence on {major}: seed {seed}");
    let mut loaded = source(major)?;
    let (mut exact, mut late) = (0, 0);
    for run in 0..loops {
        if run % 10 == 9 {
            println!("fence on {major}: {run} runs: {exact} exact, {late} that were cut later refused");
            // The old one has grown.
            loaded = source(major)?;
        }
        let scratch = Scratch::create("test")?;
        // A run in three is the negative control: the copy is cut after the fence.
        let control = run % 3 == 1;
        let (manifests, data) = loaded.while_writing(|| {
            pause(&mut seed);
            let fence = fence(&loaded.server)?;
            if control {
                let manifests = manifests(fence)?;
                return Ok((manifests, cut(&loaded.server, &scratch)?));
            }
            pause(&mut seed);
            let data = cut(&loaded.server, &scratch)?;
            Ok((manifests(fence)?, data))
        })?;
        let clone = start(&loaded.server, &scratch, &data)?;
        for (database, manifest) in DATABASES.iter().zip(&manifests) {
            let comparison = judge(&clone, database, manifest)?;
            if control {
                assert_eq!(comparison.verdict(), Verdict::Inconclusive, "{major}: {comparison:#?}");
                assert!(
                    unproven(&comparison)[0].contains("ended before the copy was cut"),
                    "{comparison:#?}"
                );
                late += 1;
                continue;
            }
            assert_eq!(
                (comparison.verdict(), summary(&comparison)),
                (Verdict::Pass, vec![]),
                "{major}: {comparison:#?}"
            );
            assert_eq!(comparison.coverage().tables, 4, "{:?}", comparison.coverage());
            exact += 1;
        }
    }
    println!("fence on {major}: {exact} exact, {late} of {late} that were cut later refused");
    Ok(())
}

#[test]
fn a_copy_that_is_cut_behind_a_fence_is_exact_on_13() -> Result<()> {
    exact(13, 4)
}

#[test]
fn a_copy_that_is_cut_behind_a_fence_is_exact_on_15() -> Result<()> {
    exact(15, loops())
}

#[test]
fn a_copy_that_is_cut_behind_a_fence_is_exact_on_18() -> Result<()> {
    exact(18, 4)
}

#[test]
fn a_row_lost_in_the_copy_is_found() -> Result<()> {
    let loaded = Loaded::new(15)?;
    loaded.freeze()?;
    let scratch = Scratch::create("test")?;
    let fence = fence(&loaded.server)?;
    let data = cut(&loaded.server, &scratch)?;
    let manifests = manifests(fence)?;
    loaded.lose_rows(&data)?;
    // A copy that has replayed all of its WAL need not have left recovery.
    let clone = start_clone_with(&loaded.server, &scratch, &data, &[])?;
    let comparison = judge(&clone, "one", &manifests[0])?;
    assert_eq!(
        (comparison.verdict(), summary(&comparison)),
        (Verdict::Fail, vec!["row.missing public.accounts".into()])
    );
    let twin = judge(&clone, "two", &manifests[1])?;
    assert_eq!(twin.verdict(), Verdict::Pass, "{twin:#?}");
    let other = judge(&clone, "two", &manifests[0])?;
    assert_eq!(other.verdict(), Verdict::Inconclusive, "{other:#?}");
    assert!(unproven(&other).first().context("unproven")?.contains("another database"), "{other:#?}");
    Ok(())
}

/// Number of locks of a fence.
fn locked(server: &TestServer) -> Result<String> {
    let locks = "SELECT count(*) FROM pg_locks WHERE mode IN ('ShareLock', 'ShareUpdateExclusiveLock') AND granted \
                 AND locktype = 'relation'";
    server.psql("one", locks)
}

/// A server without load.
fn quiet(major: u32, more: &[(&str, &str)]) -> Result<TestServer> {
    let settings = [&[("autovacuum", "off")], more].concat();
    let server = TestServer::start(&fixtures::majors::installation(major)?, &settings)?;
    for database in DATABASES {
        server.create_database(database)?;
        server.psql(
            database,
            "CREATE TABLE t (id bigserial PRIMARY KEY, note text); INSERT INTO t (note) VALUES ('a')",
        )?;
    }
    Ok(server)
}

fn refused(server: &TestServer, conninfo: &str, plan: &Plan) -> Result<Error> {
    let error =
        Fence::begin(&[settings(conninfo)?], plan, &event::ignore).err().context("it must be refused")?;
    assert_eq!(locked(server)?, "0", "{error}");
    server.psql("one", "SET lock_timeout = '2s'; INSERT INTO t (note) VALUES ('b')")?;
    Ok(error)
}

#[test]
fn a_privilege_that_is_missing_is_named_before_anything_is_locked() -> Result<()> {
    for (major, grant) in [(13, "GRANT TRUNCATE ON t TO reader"), (18, "GRANT pg_maintain TO reader")] {
        let server = quiet(major, &[])?;
        server.psql("one", "CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader; GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO reader")?;
        let conninfo = server.server().conninfo_as("reader", "one");
        let error = refused(&server, &conninfo, &Plan::default())?;
        assert!(error.to_string().contains("role reader may not lock public.t in SHARE mode"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("GRANT ")), "{:?}", error.hint());
        server.psql("one", grant)?;
        let fence = Fence::begin(&[settings(&conninfo)?], &Plan::default(), &event::ignore)?;
        // In two modes.
        assert_eq!(locked(&server)?, "2");
        drop(fence);
    }
    Ok(())
}

#[test]
fn who_writes_for_long_is_named_and_nothing_stays_locked() -> Result<()> {
    let server = quiet(15, &[])?;
    let mut plan = Plan::default();
    plan.limits.anchor_timeout_ms = 1_000;
    let session = SessionOptions::new().with("application_name", "slow import");
    let mut writer = Connection::open(&settings(&server.conninfo("one"))?, &session)?;
    writer.execute("BEGIN; INSERT INTO t (note) VALUES ('c')")?;
    std::thread::sleep(Duration::from_millis(300));
    let error = refused(&server, &server.conninfo("one"), &plan)?;
    for text in ["(slow import) holds a RowExclusiveLock on public.t", "tried for 1 s"] {
        assert!(error.to_string().contains(text), "{error}");
    }
    writer.execute("PREPARE TRANSACTION 'import'")?;
    let error = refused(&server, &server.conninfo("one"), &plan)?;
    assert!(error.to_string().contains("the prepared transaction 'import' holds"), "{error}");
    writer.execute("COMMIT PREPARED 'import'")?;

    // A writer that ends meanwhile is waited for.
    writer.execute("BEGIN; INSERT INTO t (note) VALUES ('d')")?;
    let fence = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(700));
            writer.execute("COMMIT")
        });
        Fence::begin(&[settings(&server.conninfo("one"))?], &Plan::default(), &event::ignore)
            .map_err(anyhow::Error::from)
    })?;
    let waits = server.psql("one", "SET lock_timeout = '200ms'; INSERT INTO t (note) VALUES ('e')");
    assert!(format!("{:#}", waits.expect_err("a writer waits")).contains("lock timeout"));
    assert_eq!(server.psql("one", "SET lock_timeout = '200ms'; SELECT count(*) FROM t")?, "5");
    fence.end(&event::ignore)?;
    server.psql("one", "SET lock_timeout = '200ms'; INSERT INTO t (note) VALUES ('e')").map(drop)
}

#[test]
fn more_tables_than_the_server_has_locks_for_are_refused() -> Result<()> {
    let server = quiet(15, &[("max_locks_per_transaction", "10"), ("max_connections", "12")])?;
    let tables = "SELECT format('CREATE TABLE many_%s (id int)', i) FROM generate_series(1, 90) i \\gexec";
    server.psql("one", tables)?;
    let error = refused(&server, &server.conninfo("one"), &Plan::default())?;
    assert!(error.to_string().contains("91 tables are more than half of the 170 locks"), "{error}");
    assert!(
        error.hint().is_some_and(|hint| hint.contains("max_locks_per_transaction")),
        "{:?}",
        error.hint()
    );
    Ok(())
}

#[test]
fn a_fence_that_did_not_stand_gives_no_manifest() -> Result<()> {
    let server = quiet(15, &[])?;
    let begin = || fence(&server);
    let fell = begin()?;
    let holders = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE mode = 'ShareLock' AND locktype = 'relation'";
    assert_eq!(server.psql("one", holders)?, "2");
    let error = fell.end(&event::ignore).err().context("the fence fell")?;
    assert!(error.hint().is_some_and(|hint| hint.contains("the server")), "{error}: {:?}", error.hint());

    let created = begin()?;
    server.psql("two", "CREATE TABLE meanwhile (id int)")?;
    let error = created.end(&event::ignore).err().context("a table was created")?;
    assert!(error.to_string().contains("the table public.meanwhile was created"), "{error}");

    drop(begin()?);
    server.psql("one", "SET lock_timeout = '2s'; INSERT INTO t (note) VALUES ('b')")?;
    let pair = crate::standby::Pair::new(15, &[])?;
    let standby = Fence::begin(&[settings(&pair.standby.conninfo("app"))?], &Plan::default(), &event::ignore);
    assert!(standby.err().context("a standby is refused")?.to_string().contains("in recovery"));
    Ok(())
}

#[test]
fn a_copy_that_is_older_or_of_another_cluster_is_no_pass() -> Result<()> {
    let server = quiet(15, &[])?;
    let scratch = Scratch::create("test")?;
    let data = cut(&server, &scratch)?;
    let mut manifests = manifests(fence(&server)?)?;
    let clone = start(&server, &scratch, &data)?;
    let older = judge(&clone, "one", &manifests[0])?;
    assert_eq!(
        (older.verdict(), summary(&older)),
        (Verdict::Fail, vec!["copy.older copy".to_owned()]),
        "{older:#?}"
    );
    manifests[0].header.source.system_identifier = "1".to_owned();
    let other = judge(&clone, "one", &manifests[0])?;
    assert_eq!(other.verdict(), Verdict::Inconclusive, "{other:#?}");
    assert!(unproven(&other)[0].contains("another cluster"), "{other:#?}");
    Ok(())
}

#[test]
fn writers_of_a_thousand_tables_wait_for_an_instant() -> Result<()> {
    let server = quiet(15, &[])?;
    let tables = "SELECT format('CREATE TABLE many_%s (id int)', i) FROM generate_series(1, 1000) i \\gexec";
    server.psql("one", tables)?;
    let database = settings(&server.conninfo("one"))?;
    let stop = AtomicBool::new(false);
    let mut longest = Vec::new();
    for _ in 0..10 {
        stop.store(false, Ordering::SeqCst);
        let waited = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut session = Connection::open(&database, &SessionOptions::new())?;
                let mut longest = Duration::ZERO;
                let mut table = 0;
                while !stop.load(Ordering::SeqCst) {
                    table = (table + 389) % 1_000;
                    let began = Instant::now();
                    session.execute(&format!("INSERT INTO public.many_{} VALUES (1)", table + 1))?;
                    longest = longest.max(began.elapsed());
                }
                anyhow::Ok(longest)
            });
            std::thread::sleep(Duration::from_millis(200));
            let fence = Fence::begin(std::slice::from_ref(&database), &Plan::default(), &event::ignore);
            let snapshots = fence.and_then(|fence| fence.end(&event::ignore));
            stop.store(true, Ordering::SeqCst);
            let waited = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
            assert_eq!(snapshots?.len(), 1);
            waited
        })?;
        longest.push(waited);
    }
    longest.sort();
    println!(
        "fence of 1,000 tables: longest wait of a writer: median {:?}, most {:?}",
        longest[5], longest[9]
    );
    // 0.3 s on a machine that does nothing else.
    assert!(longest[5] < Duration::from_secs(1), "{longest:?}");
    Ok(())
}

#[test]
fn what_no_lock_covers_is_listed_or_inconclusive_and_never_a_failure() -> Result<()> {
    let server = quiet(15, &[])?;
    server.psql(
        "one",
        "CREATE TABLE parts (id int, at date) PARTITION BY RANGE (at);
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
         CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
         INSERT INTO parts SELECT i, '2026-01-01'::date + i FROM generate_series(1, 300) i;
         CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent); INSERT INTO child VALUES (1);
         CREATE UNLOGGED TABLE cache (id int); INSERT INTO cache VALUES (1);
         CREATE MATERIALIZED VIEW times AS SELECT clock_timestamp();
         SELECT lo_from_bytea(1, 'kept')",
    )?;
    for written in [false, true] {
        let scratch = Scratch::create("test")?;
        let fence = fence(&server)?;
        for (table, row) in [
            ("parts", "7, '2026-02-01'"),
            ("parts_2", "7, '2026-08-01'"),
            ("parent", "7"),
            ("child", "7"),
            ("cache", "7"),
        ] {
            let waits =
                server.psql("one", &format!("SET lock_timeout = '50ms'; INSERT INTO {table} VALUES ({row})"));
            assert!(format!("{:#}", waits.expect_err(table)).contains("lock timeout"), "{table}");
        }
        server.psql(
            "one",
            &format!(
                "SELECT nextval('t_id_seq') FROM generate_series(1, 100); \
                 CREATE FUNCTION during_{written}() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
                 CREATE TEMP TABLE mine (id int); INSERT INTO mine VALUES (1); REFRESH MATERIALIZED VIEW times"
            ),
        )?;
        if written {
            server.psql("one", "SET synchronous_commit = on; SELECT lo_put(1, 0, 'lost')")?;
        }
        let data = cut(&server, &scratch)?;
        let manifests = manifests(fence)?;
        let clone = start(&server, &scratch, &data)?;
        let comparison = judge(&clone, "one", &manifests[0])?;
        let expected = if written { Verdict::Inconclusive } else { Verdict::Pass };
        assert_eq!(comparison.verdict(), expected, "{comparison:#?}");
        let gaps: Vec<&str> =
            comparison.coverage().not_covered.iter().map(|gap| gap.object.as_str()).collect();
        for object in ["public.times", "public.cache"] {
            assert!(gaps.contains(&object), "{gaps:?}");
        }
    }
    Ok(())
}
