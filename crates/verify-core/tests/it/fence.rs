//! A copy that is cut while nobody can write is exact, and one that is cut later is never taken for it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fixtures::TestServer;
use verify_core::capture::{capture_snapshot, complete};
use verify_core::compare::Comparison;
use verify_core::event;
use verify_core::finding::Verdict;
use verify_core::manifest::Manifest;
use verify_core::plan::Plan;
use verify_core::postgres::{Environment, Fence, Settings, restored};
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

fn exact(major: u32, loops: u32) -> Result<()> {
    let mut seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    println!("fence on {major}: seed {seed}");
    let loaded = Loaded::new(major)?;
    // Fewer files to copy.
    let small = "ALTER SYSTEM SET max_wal_size = '64MB'; ALTER SYSTEM SET min_wal_size = '32MB'; SELECT pg_reload_conf()";
    for statement in small.split(';') {
        loaded.server.psql("postgres", statement)?;
    }
    let (mut exact, mut late) = (0, 0);
    for run in 0..loops {
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
        let clone = match run % 2 {
            0 => start(&loaded.server, &scratch, &data)?,
            // As `restore` does.
            _ => start_clone_with(&loaded.server, &scratch, &data, &[])?,
        };
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
    loaded.server.psql(
        "one",
        "ALTER SYSTEM SET autovacuum = off; SELECT pg_reload_conf(); VACUUM FREEZE; CHECKPOINT",
    )?;
    let scratch = Scratch::create("test")?;
    let fence = fence(&loaded.server)?;
    let data = cut(&loaded.server, &scratch)?;
    let manifests = manifests(fence)?;
    let path = loaded.server.psql("one", "SELECT pg_relation_filepath('accounts')")?;
    let file = data.join(path.trim());
    let mut bytes = fs::read(&file)?;
    let last = bytes.len() - 8_192;
    bytes[last..].fill(0);
    fs::write(&file, bytes)?;
    let clone = start(&loaded.server, &scratch, &data)?;
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
