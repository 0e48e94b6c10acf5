//! `bench`: how fast verification is, beside the raw COPY that it cannot be faster than.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;
use verify_core::capture::capture_snapshot;
use verify_core::database::Database;
use verify_core::digest::HashAlgorithm;
use verify_core::plan::Plan;
use verify_core::scan::floor;

use super::measuring::{Effort, Hash};
use crate::connect::Target;
use crate::exit::Exit;
use crate::globals::Globals;
use verify_drill::duration::Period;
use verify_drill::quantity::{bytes, count};

/// Measure the speed of a verification, compared with the raw COPY floor
///
/// Reads every row under one snapshot, several times alternately: once to discard it, which is the lower limit of
/// any verification's time, and once as `capture` does. Prints the medians. A first scan, which does not count, brings
/// the data into the caches, so expect a slower scan of a database that is larger than memory.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Bench {
    /// The database: a connection string, a URI, or a name from the configuration
    #[arg(value_name = "DB")]
    database: String,
    /// Number of measurements of each kind
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Hash function for rows
    #[arg(long, value_enum, default_value_t = Hash::Blake3, value_name = "HASH")]
    hash: Hash,
    #[command(flatten)]
    effort: Effort,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab bench postgresql://backup@db/shop
    state-lab bench shop --jobs 4 --rounds 5 --output json";

/// Result of the measurement.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Benchmark {
    rows: u64,
    bytes: u64,
    jobs: usize,
    hash: HashAlgorithm,
    rounds: u16,
    floor: Speed,
    verification: Speed,
    /// The speed of verification as a share of the floor's, in percent.
    percent_of_floor: u64,
}

/// A median time, and the speed.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Speed {
    median_us: u64,
    rows_per_second: u64,
    bytes_per_second: u64,
}

impl Bench {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let Self { database, rounds, hash, effort } = self;
        let config = globals.config()?;
        let target = Target::find(&database, &config)?;
        // Invariants take as long as their authors want; they are not part of the scan.
        let plan = effort.plan(&config, hash.into()).with_invariants([]);
        let benchmark = measure(&target, &plan, rounds, globals)
            .with_context(|| format!("failed to measure {}", target.place))?;
        globals.terminal().result(&benchmark, |_| benchmark.text())?;
        Ok(Exit::PASS)
    }
}

fn measure(target: &Target, plan: &Plan, rounds: u16, globals: &Globals) -> Result<Benchmark> {
    let progress = globals.terminal().progress("measuring");
    let on_event = |event| progress.take(event);
    let database = target.database();
    let snapshot = database.snapshot(plan, &on_event)?;
    let (rows, bytes) = floor(&*snapshot, plan, &on_event)?;
    if bytes == 0 {
        bail!("it has no rows that this role can read");
    }
    let (mut floors, mut verifications) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        floors.push(timed(|| floor(&*snapshot, plan, &on_event))?);
        verifications.push(timed(|| capture_snapshot(&*snapshot, plan, &on_event))?);
    }
    let (floor, verification) = (median(floors), median(verifications));
    Ok(Benchmark {
        rows,
        bytes,
        jobs: plan.jobs.get(),
        hash: plan.hash,
        rounds,
        percent_of_floor: u64::try_from(floor.as_nanos() * 100 / verification.as_nanos().max(1))
            .unwrap_or(u64::MAX),
        floor: Speed::new(rows, bytes, floor),
        verification: Speed::new(rows, bytes, verification),
    })
}

fn timed<T>(work: impl FnOnce() -> verify_core::Result<T>) -> verify_core::Result<Duration> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

/// The middle one; of an even number the slower of the two in the middle.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Rate per second of `amount` in `time`.
fn a_second(amount: u64, time: Duration) -> u64 {
    let speed = u128::from(amount) * 1_000_000_000 / time.as_nanos().max(1);
    u64::try_from(speed).unwrap_or(u64::MAX)
}

impl Speed {
    fn new(rows: u64, bytes: u64, median: Duration) -> Self {
        Self {
            median_us: u64::try_from(median.as_micros()).unwrap_or(u64::MAX),
            rows_per_second: a_second(rows, median),
            bytes_per_second: a_second(bytes, median),
        }
    }

    fn text(&self) -> String {
        format!("{}/s, {} rows/s", bytes(self.bytes_per_second), count(self.rows_per_second))
    }
}

impl Benchmark {
    fn text(&self) -> String {
        let Self { rows, bytes: size, jobs, hash: _, rounds, floor, verification, percent_of_floor } = self;
        let terabyte_s = (1_u64 << 40) / verification.bytes_per_second.max(1);
        format!(
            "verification: {}\nfloor: {}\npercent_of_floor: {percent_of_floor}\n\n\
             data: {} rows, {}, over {jobs} connections; medians of {rounds}\n\
             a scan over 1 TiB of such rows takes about {}\n",
            verification.text(),
            floor.text(),
            count(*rows),
            bytes(*size),
            Period::from_ms(terabyte_s.saturating_mul(1_000))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        let times = |ms: &[u64]| ms.iter().copied().map(Duration::from_millis).collect::<Vec<_>>();
        assert_eq!(median(times(&[9, 1, 5])), Duration::from_millis(5));
        assert_eq!(median(times(&[1, 9])), Duration::from_millis(9));
    }

    #[test]
    fn a_benchmark_prints_speeds() {
        let (rows, bytes) = (1_000_000, 100 << 20);
        let benchmark = Benchmark {
            rows,
            bytes,
            jobs: 2,
            hash: HashAlgorithm::Blake3,
            rounds: 3,
            floor: Speed::new(rows, bytes, Duration::from_millis(250)),
            verification: Speed::new(rows, bytes, Duration::from_millis(260)),
            percent_of_floor: 96,
        };
        insta::assert_snapshot!(benchmark.text(), @r"
        verification: 384.6 MiB/s, 3,846,153 rows/s
        floor: 400.0 MiB/s, 4,000,000 rows/s
        percent_of_floor: 96

        data: 1,000,000 rows, 100.0 MiB, over 2 connections; medians of 3
        a scan over 1 TiB of such rows takes about 45m26s
        ");
    }
}
