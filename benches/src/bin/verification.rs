//! The time of a verification beside the COPY floor and beside peers, in pairs of one run.
//!
//! `cargo run --release -p benches --bin verification`: all of it, as the tables of docs/performance.md.
//! `… -- --quick`: less data and no peers; fails if the best pair of a measurement is beyond twice its goal.

use anyhow::{Result, bail, ensure};
use benches::floor::{Snapshots, compare, verify_copy};
use benches::machine;
use benches::pairs::Pairs;
use benches::peers::{RELADIFF, Reladiff, sum_of_hashtext};
use benches::workload::{CLEAN, DAMAGED, Damage, Workload};
use fixtures::TestServer;

const MAJOR: u32 = 15;
const ROUNDS: usize = 5;
/// A peer takes many times as long, so it is measured less often.
const PEER_ROUNDS: usize = 1;
/// A quick run measures little data, on a machine that may have other work.
const QUICK_FACTOR: f64 = 2.0;

/// One measurement.
struct Measured {
    name: String,
    pairs: Pairs,
    peak_mib: u64,
    goal: f64,
}

fn main() -> Result<()> {
    let quick = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--quick" => true,
        _ => bail!("usage: verification [--quick]"),
    };
    let settings = [("shared_buffers", "2GB"), ("max_wal_size", "8GB"), ("autovacuum", "off")];
    let server = TestServer::start(&fixtures::majors::installation(MAJOR)?, &settings)?;
    println!(
        "{}; PostgreSQL {MAJOR} on the same machine; medians of {ROUNDS} pairs\n",
        machine::description()?
    );
    println!("| work | floor | this | ratio | spread | goal | peak memory |");
    println!("|---|---|---|---|---|---|---|");
    let mut all = Vec::new();
    for workload in &CLEAN {
        all.push(clean(&server, workload, if quick { workload.quick_rows } else { workload.rows })?);
    }
    for damage in &DAMAGED {
        all.extend(damaged(&server, damage, if quick { damage.quick_rows } else { damage.rows })?);
    }
    if !quick {
        peers(&server)?;
    }
    // Other work makes single pairs slower; a regression makes all of them slower.
    let ratio = |pairs: &Pairs| if quick { pairs.spread().0 / QUICK_FACTOR } else { pairs.ratio() };
    let beyond = all.iter().filter(|one| ratio(&one.pairs) > one.goal);
    let missed: Vec<&str> = beyond.map(|one| one.name.as_str()).collect();
    match (missed.is_empty(), quick) {
        (true, _) => Ok(()),
        (false, true) => bail!("beyond twice the goal: {}", missed.join("; ")),
        (false, false) => {
            println!("\nBeyond the goal: {}.", missed.join("; "));
            Ok(())
        }
    }
}

/// Two databases that are equal.
fn clean(server: &TestServer, workload: &Workload, rows: u64) -> Result<Measured> {
    make(server, &workload.script(rows))?;
    let snapshots = Snapshots::take(server, &["source", "copy"])?;
    measure(
        &format!("2 × {rows} rows: {}", workload.name),
        workload.goal,
        || snapshots.floor().map(drop),
        || {
            let measured = snapshots.measure()?;
            ensure!(measured == 2 * rows, "{measured} rows were measured");
            Ok(())
        },
    )
}

/// A copy that differs: against a manifest of the source, and against the source.
fn damaged(server: &TestServer, damage: &Damage, rows: u64) -> Result<Vec<Measured>> {
    let differing = damage.differing(rows);
    make(server, &CLEAN[0].script(rows))?;
    let manifest = Snapshots::take(server, &["source"])?.manifest()?;
    server.psql("copy", &damage.script())?;
    server.psql("copy", "VACUUM ANALYZE")?;
    let mut all = Vec::new();
    if let Some(goal) = damage.verify_goal {
        let copy = Snapshots::take(server, &["copy"])?;
        let name = format!("{differing} of {rows} rows differ, all named: against a manifest");
        let verify = || verify_copy(&manifest, server, "copy", differing);
        all.push(measure(&name, goal, || copy.floor().map(drop), verify)?);
    }
    let both = Snapshots::take(server, &["source", "copy"])?;
    let name = format!("{differing} of {rows} rows differ, all named: two databases");
    let compare = || compare(server, "source", "copy", differing);
    all.push(measure(&name, damage.compare_goal, || both.floor().map(drop), compare)?);
    Ok(all)
}

/// The last of the databases that differ, by other programs.
fn peers(server: &TestServer) -> Result<()> {
    let differing = DAMAGED[DAMAGED.len() - 1].differing(DAMAGED[DAMAGED.len() - 1].rows);
    let ours = || compare(server, "source", "copy", differing);
    let reladiff = Reladiff::install()?;
    println!(
        "\n| the same {differing} differing rows | `compare` | peer | peer ÷ `compare` |\n|---|---|---|---|"
    );
    let print = |name: &str, pairs: &Pairs| {
        let median = pairs.median();
        println!("| {name} | {:.2} s | {:.2} s | {:.1} |", median.base_s, median.work_s, pairs.ratio());
    };
    let pairs = Pairs::time(PEER_ROUNDS, ours, || {
        let rows = reladiff.compare(server, "source", "copy")?;
        ensure!(rows as u64 == 2 * differing, "reladiff printed {rows} rows");
        Ok(())
    })?;
    print(&format!("reladiff {RELADIFF}, which names them"), &pairs);
    let pairs = Pairs::time(ROUNDS, ours, || {
        let (source, copy) = (sum_of_hashtext(server, "source")?, sum_of_hashtext(server, "copy")?);
        ensure!(source != copy, "the sums are equal");
        Ok(())
    })?;
    print("`sum(hashtext(t::text))` of both, one after the other, which names none", &pairs);
    Ok(())
}

/// Makes the databases `source` and `copy`, which are equal.
fn make(server: &TestServer, script: &str) -> Result<()> {
    server.psql(
        "postgres",
        "DROP DATABASE IF EXISTS source WITH (FORCE); DROP DATABASE IF EXISTS copy WITH (FORCE)",
    )?;
    server.create_database("source")?;
    server.psql("source", script)?;
    server.psql("source", "VACUUM ANALYZE")?;
    server.copy_database("source", "copy")
}

/// Measures pairs, and prints a line of the table.
fn measure(
    name: &str,
    goal: f64,
    floor: impl FnMut() -> Result<()>,
    work: impl FnMut() -> Result<()>,
) -> Result<Measured> {
    machine::reset_peak()?;
    let pairs = Pairs::time(ROUNDS, floor, work)?;
    let measured = Measured { name: name.to_owned(), pairs, peak_mib: machine::peak_mib()?, goal };
    let Measured { pairs, peak_mib, .. } = &measured;
    let (median, (least, most)) = (pairs.median(), pairs.spread());
    println!(
        "| {name} | {:.2} s | {:.2} s | {:.2} | {least:.2} to {most:.2} | {goal:.2} | {peak_mib} MiB |",
        median.base_s,
        median.work_s,
        pairs.ratio()
    );
    Ok(measured)
}
