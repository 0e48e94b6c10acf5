//! What a capture costs the work of others: the times of pgbench's transactions with and without it.
//!
//! `cargo run --release -p benches --bin load`

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use benches::floor::database;
use benches::machine;
use benches::pairs::median;
use benches::workload::CLEAN;
use fixtures::TestServer;
use verify_core::capture::capture;
use verify_core::plan::{Limits, Plan};
use verify_local::server::run_as_server_user;

const MAJOR: u32 = 15;
const ROUNDS: usize = 5;
const SECONDS: &str = "15";
/// Transactions in a second, so that the server has time left.
const RATE: &str = "200";
const MAX_RATE: u64 = 20 << 20;

fn main() -> Result<()> {
    let settings = [("shared_buffers", "2GB"), ("max_wal_size", "8GB"), ("synchronous_commit", "on")];
    let server = TestServer::start(&fixtures::majors::installation(MAJOR)?, &settings)?;
    server.create_database("app")?;
    server.psql("app", &CLEAN[0].script(CLEAN[0].rows))?;
    pgbench(&server, &["-i", "-q", "-s", "20"])?;
    server.psql("app", "VACUUM ANALYZE")?;
    println!(
        "{}; PostgreSQL {MAJOR}, pgbench and the capture on the same machine; {RATE} transactions a second, medians of {ROUNDS} runs of \
         {SECONDS} s, in turns\n",
        machine::description()?
    );
    let unlimited = Plan::default();
    let mut limits = Limits::default();
    limits.max_rate = Some(MAX_RATE);
    let limited = Plan::default().with_limits(limits);
    let works = [
        ("no capture", None),
        ("a capture", Some(&unlimited)),
        ("a capture with --max-rate 20MiB", Some(&limited)),
    ];
    let mut times = works.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, plan), times) in works.iter().zip(&mut times) {
            times.push(percentiles(&server, *plan)?);
        }
    }
    println!("| beside the transactions | p50 | p99 | p99 ÷ without |\n|---|---|---|---|");
    let mut without = None;
    for ((name, _), times) in works.iter().zip(&times) {
        let (p50, p99) = (median(times.iter().map(|time| time.0)), median(times.iter().map(|time| time.1)));
        let without = *without.get_or_insert(p99);
        println!("| {name} | {p50:.2} ms | {p99:.2} ms | {:.2} |", p99 / without);
    }
    Ok(())
}

/// The median and the 99th percentile of the transactions' times in milliseconds, while captures run one after another.
fn percentiles(server: &TestServer, plan: Option<&Plan>) -> Result<(f64, f64)> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let captures = plan.map(|plan| {
            let source = database(server, "app");
            let ends = || match done.load(Ordering::Relaxed) {
                true => std::ops::ControlFlow::Break(()),
                false => std::ops::ControlFlow::Continue(()),
            };
            scope.spawn(move || -> Result<u32> {
                let source = source?;
                let mut begun = 0;
                while ends().is_continue() {
                    begun += 1;
                    // The last one is ended with the transactions.
                    let captured = capture(&source, plan, &|_| ends());
                    ensure!(captured.is_ok() || ends().is_break(), "{:?}", captured.err());
                }
                Ok(begun)
            })
        });
        let times = transactions(server);
        done.store(true, Ordering::Relaxed);
        if let Some(captures) = captures {
            let begun = captures.join().map_err(|_| anyhow::anyhow!("a capture panicked"))??;
            ensure!(begun > 0, "nothing was captured");
        }
        times
    })
}

fn transactions(server: &TestServer) -> Result<(f64, f64)> {
    let log = server.directory().join("data/transactions");
    let prefix = log.to_string_lossy().into_owned();
    pgbench(server, &["-n", "-c", "2", "-T", SECONDS, "-R", RATE, "-l", "--log-prefix", &prefix])?;
    let mut micros = Vec::new();
    for entry in fs::read_dir(server.directory().join("data"))? {
        let path = entry?.path();
        if !path.to_string_lossy().starts_with(&prefix) {
            continue;
        }
        for line in fs::read_to_string(&path)?.lines() {
            let time = line.split(' ').nth(2).context("a line of pgbench's log has a third field")?;
            micros.push(time.parse::<u64>()?);
        }
        fs::remove_file(path)?;
    }
    ensure!(micros.len() > 100, "{} transactions", micros.len());
    micros.sort_unstable();
    let ms = |percent: usize| micros[(micros.len() - 1) * percent / 100] as f64 / 1e3;
    Ok((ms(50), ms(99)))
}

fn pgbench(server: &TestServer, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(server.server().installation().program("pgbench")?);
    command.args(arguments).args(["-h"]).arg(server.server().socket_dir());
    command.args(["-p", &server.server().port().to_string(), "-U", "postgres", "app"]);
    run_as_server_user(&mut command)?;
    let output = command.output().context("failed to run pgbench")?;
    ensure!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
