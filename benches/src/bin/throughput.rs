//! Verification beside the COPY floor of the same run, on two databases at once.
//!
//! `cargo run --release -p benches --bin throughput -- CONNINFO CONNINFO`

use std::time::Instant;

use anyhow::{Context, Result};
use verify_core::capture::capture_snapshot;
use verify_core::database::Snapshot;
use verify_core::event;
use verify_core::pass::floor;
use verify_core::plan::Plan;
use verify_core::postgres::{Environment, Postgres, PostgresSnapshot, Settings};

const ROUNDS: usize = 5;

fn main() -> Result<()> {
    let jobs =
        std::env::var("JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(std::num::NonZeroUsize::MIN);
    let plan = Plan { jobs, ..Plan::default() };
    let snapshots = std::env::args()
        .skip(1)
        .map(|conninfo| {
            let settings = Settings::parse(&conninfo, &Environment::default())?;
            Ok(Postgres::new(settings).begin(&plan, &event::ignore)?)
        })
        .collect::<Result<Vec<PostgresSnapshot>>>()?;
    for round in 0..ROUNDS {
        let (floor_s, rows) =
            timed(&snapshots, |snapshot| Ok(floor(snapshot, plan.jobs, &event::ignore)?.0))?;
        let (capture_s, same) = timed(&snapshots, |snapshot| {
            let manifest = capture_snapshot(snapshot, &plan, &event::ignore)?;
            Ok(manifest.tables.iter().map(verify_core::manifest::TableEntry::rows).sum())
        })?;
        anyhow::ensure!(rows == same, "the floor read {rows} rows, the capture {same}");
        println!(
            "round {round}: {rows} rows, floor {floor_s:.2} s, capture {capture_s:.2} s, ratio {:.2}, peak RSS {} MiB",
            capture_s / floor_s,
            peak_rss_kib()? / 1024
        );
    }
    Ok(())
}

/// Runs `work` on all snapshots at once; seconds until the last is done, and the sum of what they gave.
fn timed(
    snapshots: &[PostgresSnapshot],
    work: impl Fn(&dyn Snapshot) -> Result<u64> + Sync,
) -> Result<(f64, u64)> {
    let start = Instant::now();
    let work = &work;
    let sum = std::thread::scope(|scope| {
        let threads: Vec<_> = snapshots.iter().map(|snapshot| scope.spawn(move || work(snapshot))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a reader panicked"))?)
            .sum::<Result<u64>>()
    })?;
    Ok((start.elapsed().as_secs_f64(), sum))
}

fn peak_rss_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
