//! The cost model of a capture in parts: measured here, checked against captures in parts here, and what it predicts for large databases.
//!
//! `cargo run --release -p benches --bin scale`: the tables of docs/scale.md.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::cost::{self, Costs, Lost, Machines};
use benches::floor::{database, plan, reached_by};
use benches::machine;
use benches::pairs::{median, seconds};
use benches::workload::CLEAN;
use fixtures::TestServer;
use verify_core::capture::capture_snapshot;
use verify_core::capture_part::capture_part;
use verify_core::digest::HashKey;
use verify_core::event;
use verify_core::manifest::TableEntry;
use verify_core::merge::merge;
use verify_core::partial::{PartNumber, PartialManifest};
use verify_core::scan;

const MAJOR: u32 = 15;
const ROUNDS: usize = 5;
const ROWS: u64 = 5_000_000;
const TABLES: u32 = 1_000;
/// The argument by which this program runs one part, as a process of its own.
const PART: &str = "part";
const KEY: HashKey = HashKey([7; 32]);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => measure_and_predict(),
        [PART, conninfo, number, of, path] => part(conninfo, number.parse()?, of.parse()?, path),
        _ => anyhow::bail!("usage: scale"),
    }
}

fn measure_and_predict() -> Result<()> {
    let settings = [("shared_buffers", "2GB"), ("max_wal_size", "8GB"), ("autovacuum", "off")];
    let server = TestServer::start(&fixtures::majors::installation(MAJOR)?, &settings)?;
    server.create_database("source")?;
    let rows = CLEAN[0].script(ROWS);
    server.psql("source", &format!("{rows}; ALTER TABLE t RENAME TO a"))?;
    server.psql("source", &format!("{rows}; ALTER TABLE t RENAME TO b"))?;
    server.psql("source", "VACUUM ANALYZE")?;
    server.create_database("empty")?;
    println!("{}; PostgreSQL {MAJOR} on the same machine; medians of {ROUNDS}\n", machine::description()?);
    let (costs, bytes) = calibrate(&server)?;
    println!("| what | cost |\n|---|---|");
    println!("| a core of the server sends | {:.0} MB/s |", 1e-6 / costs.server_s);
    println!("| a core of a part hashes | {:.0} MB/s |", 1e-6 / costs.part_s);
    println!("| a part, without rows | {:.2} s |", costs.fixed_s);
    println!(
        "\n| parts, as processes on these cores | predicted | measured | measured ÷ predicted |\n|---|---|---|---|"
    );
    for parts in [1, 2, 3] {
        let (predicted, measured) = (on_this_machine(costs, bytes, parts)?, captured(&server, parts)?);
        let ratio = measured.as_secs_f64() / predicted.as_secs_f64();
        println!(
            "| {parts} | {:.2} s | {:.2} s | {ratio:.2} |",
            predicted.as_secs_f64(),
            measured.as_secs_f64()
        );
    }
    println!(
        "\n| database | pods | formula | simulation | one pod lost half-way | largest share ÷ mean | limit |\n\
         |---|---|---|---|---|---|---|"
    );
    for terabytes in [10, 100] {
        for parts in [8, 32, 128] {
            predict(costs, terabytes, parts);
        }
    }
    Ok(())
}

/// Measures the costs of a byte, and the bytes of all rows.
fn calibrate(server: &TestServer) -> Result<(Costs, f64)> {
    let snapshot = database(server, "source")?.begin(&plan(), &event::ignore)?;
    let mut bytes = 0;
    let floor_s = median_s(|| {
        bytes = scan::floor(&snapshot, &plan(), &event::ignore)?.1;
        Ok(())
    })?;
    let processor_s = || {
        let before = machine::processor_time()?;
        capture_snapshot(&snapshot, &plan(), &event::ignore)?;
        Ok((machine::processor_time()? - before).as_secs_f64())
    };
    let processor_s = median((0..ROUNDS).map(|_| processor_s()).collect::<Result<Vec<f64>>>()?);
    let only = PartNumber::new(1, 1).context("one of one")?;
    let empty = database(server, "empty")?;
    let fixed_s = median_s(|| Ok(capture_part(&empty, only, KEY, &plan(), &event::ignore).map(drop)?))?;
    let bytes = bytes as f64;
    Ok((Costs { server_s: floor_s / bytes, part_s: processor_s / bytes, fixed_s }, bytes))
}

/// The prediction for parts that share the cores of this machine with the server, one connection each.
fn on_this_machine(costs: Costs, bytes: f64, parts: u32) -> Result<Duration> {
    let cores = std::thread::available_parallelism()?.get() as f64;
    // A byte costs a core of the server and one of a part, of the same cores.
    let both_s = costs.server_s + costs.part_s;
    let alone = bytes / f64::from(parts) * costs.server_s.max(costs.part_s);
    Ok(Duration::from_secs_f64(costs.fixed_s + alone.max(bytes * both_s / cores)))
}

/// The time of a capture in `parts` processes.
fn captured(server: &TestServer, parts: u32) -> Result<Duration> {
    let program = std::env::current_exe()?;
    let conninfo = server.conninfo("source");
    let run = || {
        let path = |number: u32| server.directory().join(format!("{number}.part"));
        let start = |number: u32| {
            let arguments = [PART, &conninfo, &number.to_string(), &parts.to_string()];
            Ok(Command::new(&program).args(arguments).arg(path(number)).spawn()?)
        };
        let started = (1..=parts).map(start).collect::<Result<Vec<_>>>()?;
        for mut part in started {
            ensure!(part.wait()?.success(), "a part failed");
        }
        let parts = (1..=parts).map(|number| {
            let file = std::io::BufReader::new(std::fs::File::open(path(number))?);
            Ok::<_, anyhow::Error>((number.to_string(), PartialManifest::read(file)?))
        });
        let rows: u64 = merge(parts)?.tables.iter().map(TableEntry::rows).sum();
        ensure!(rows == 2 * ROWS, "{rows} rows were captured");
        Ok(())
    };
    median_s(run).map(Duration::from_secs_f64)
}

/// Runs one part. Nothing is written to the database, so all parts see the same without an exported snapshot.
fn part(conninfo: &str, number: u32, of: u32, path: &str) -> Result<()> {
    let part = PartNumber::new(number, of).context("no such part")?;
    let partial = capture_part(&reached_by(conninfo)?, part, KEY, &plan(), &event::ignore)?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    partial.write(&mut file)?;
    Ok(std::io::Write::flush(&mut file)?)
}

/// Prints the prediction for a server of 32 cores on 25 Gbit/s, and pods of two cores with two connections.
fn predict(costs: Costs, terabytes: u32, parts: u32) {
    let machines =
        Machines { server_cores: 32.0, server_bytes_s: 25e9 / 8.0, parts, part_cores: 2.0, connections: 2.0 };
    let shares = cost::shares(&cost::database(f64::from(terabytes) * 1e12, TABLES), parts);
    let formula = machines.predict(costs, &shares);
    let lost = Lost { at_s: formula.as_secs_f64() / 2.0, again_after_s: 30.0 };
    let mean = shares.iter().sum::<f64>() / f64::from(parts);
    println!(
        "| {terabytes} TB | {parts} | {} | {} | {} | {:.3} | {} |",
        hours(formula),
        hours(machines.simulate(costs, &shares, None)),
        hours(machines.simulate(costs, &shares, Some(lost))),
        shares.iter().copied().fold(0.0, f64::max) / mean,
        machines.bottleneck(costs).text()
    );
}

fn hours(time: Duration) -> String {
    let minutes = time.as_secs().div_ceil(60);
    format!("{} h {:02} min", minutes / 60, minutes % 60)
}

/// The median of the seconds of all rounds.
fn median_s(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let rounds = (0..ROUNDS).map(|_| seconds(&mut work)).collect::<Result<Vec<f64>>>()?;
    Ok(median(rounds))
}
