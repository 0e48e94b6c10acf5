//! Verification beside the COPY floor of the same run, on two databases at once.
//!
//! Makes a server with the two tables of docs/performance.md, or takes connection strings:
//! `cargo run --release -p benches --bin throughput -- [CONNINFO CONNINFO]`

use std::time::Instant;

use anyhow::{Context, Result};
use fixtures::TestServer;
use verify_core::capture::capture_snapshot;
use verify_core::database::Snapshot;
use verify_core::event;
use verify_core::manifest::TableEntry;
use verify_core::plan::Plan;
use verify_core::postgres::{Environment, Postgres, PostgresSnapshot, Settings};
use verify_core::scan::floor;

const ROUNDS: usize = 7;
const MAJOR: u32 = 15;

/// Databases by name, and what they are made of.
const TABLES: [(&str, &str); 3] = [
    (
        "5 million rows of 114 bytes",
        "CREATE TABLE t (id bigint PRIMARY KEY, customer int, amount numeric(12,2), at timestamptz, status text, note text);
         INSERT INTO t SELECT i, (i::bigint * 7919) % 100000, (i % 100000) / 100.0, '2025-01-01'::timestamptz + i * interval '1 second',
             (ARRAY['new', 'paid', 'sent', 'done'])[1 + i % 4], md5(i::text) FROM generate_series(1, 5000000) i",
    ),
    (
        "2 million rows of 182 bytes",
        "CREATE TABLE t (id int PRIMARY KEY, email text, name text, doc text, x float8, n int);
         INSERT INTO t SELECT i, 'customer' || i || '@shop.invalid', 'Customer ' || i,
             md5(i::text) || md5((i + 1)::text) || left(md5((i + 2)::text), 16), i / 3.0, i % 1000 FROM generate_series(1, 2000000) i",
    ),
    (
        "1,000 tables of 10 rows",
        "DO $$ BEGIN FOR i IN 1..1000 LOOP
             EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, v text)', i);
             EXECUTE format('INSERT INTO t%s SELECT j, md5((%s + j)::text) FROM generate_series(1, 10) j', i, i);
         END LOOP; END $$",
    ),
];

fn main() -> Result<()> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if !given.is_empty() {
        return measure(&given);
    }
    let settings = [("shared_buffers", "2GB"), ("max_wal_size", "8GB"), ("autovacuum", "off")];
    let server = TestServer::start(&fixtures::majors::installation(MAJOR)?, &settings)?;
    for (i, (name, script)) in TABLES.iter().enumerate() {
        println!("{name}, in two databases of PostgreSQL {MAJOR} at once:");
        let (source, copy) = (format!("source_{i}"), format!("copy_{i}"));
        server.create_database(&source)?;
        server.psql(&source, script)?;
        server.psql(&source, "VACUUM ANALYZE")?;
        server.psql("postgres", &format!("CREATE DATABASE {copy} TEMPLATE {source}"))?;
        measure(&[server.conninfo(&source), server.conninfo(&copy)])?;
    }
    Ok(())
}

/// Prints the median round of floor and capture.
fn measure(conninfos: &[String]) -> Result<()> {
    let plan = Plan::default().with_jobs(std::num::NonZeroUsize::MIN);
    let begin = |conninfo: &String| {
        let settings = Settings::parse(conninfo, &Environment::default())?;
        Ok(Postgres::new(settings).begin(&plan, &event::ignore)?)
    };
    let snapshots = conninfos.iter().map(begin).collect::<Result<Vec<PostgresSnapshot>>>()?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (floor_s, rows) = timed(&snapshots, |snapshot| Ok(floor(snapshot, &plan, &event::ignore)?.0))?;
        let (capture_s, same) = timed(&snapshots, |snapshot| {
            let manifest = capture_snapshot(snapshot, &plan, &event::ignore)?;
            Ok(manifest.tables.iter().map(TableEntry::rows).sum())
        })?;
        anyhow::ensure!(rows == same, "the floor read {rows} rows, the capture {same}");
        rounds.push((capture_s / floor_s, floor_s, capture_s));
    }
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, floor_s, capture_s) = rounds[ROUNDS / 2];
    println!(
        "  floor {floor_s:.2} s, capture {capture_s:.2} s, ratio {ratio:.2} (of {ROUNDS} rounds: {:.2} to {:.2}), peak RSS {} MiB",
        rounds[0].0,
        rounds[ROUNDS - 1].0,
        peak_rss_kib()? / 1024
    );
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
