//! What a capture takes in time and memory as a database grows: in rows, tables, columns and fields.
//!
//! `cargo run --release -p benches --bin sizes`: about 20 GiB of disk, and half an hour.

use anyhow::{Result, ensure};
use benches::floor::Snapshots;
use benches::machine;
use benches::pairs::{Pairs, seconds};
use fixtures::TestServer;

const MAJOR: u32 = 15;

/// A database that is large in one way.
struct Size {
    name: &'static str,
    script: String,
    /// What the time is divided by.
    units: u64,
    unit: &'static str,
    rounds: usize,
    /// False if a row is too large for the server to send, so that there is no floor.
    is_sent: bool,
}

impl Size {
    fn new(name: &'static str, units: u64, unit: &'static str, script: String) -> Self {
        Self { name, script, units, unit, rounds: 5, is_sent: true }
    }
}

fn sizes() -> [Size; 8] {
    let columns = "DO $$ BEGIN
        EXECUTE 'CREATE TABLE t (' || (SELECT string_agg(format('c%s int', i), ', ') FROM generate_series(1, 1600) i) || ')';
        EXECUTE 'INSERT INTO t SELECT ' || (SELECT string_agg(format('i + %s', i), ', ') FROM generate_series(1, 1600) i)
            || ' FROM generate_series(1, 5000) i';
        END $$";
    let large =
        fields("SELECT i, convert_to(repeat(md5(i::text), 3125000), 'UTF8') FROM generate_series(1, 10) i");
    let largest = fields("VALUES (1, convert_to(repeat('0123456789', 100000000), 'UTF8'))");
    [
        Size::new("1 million rows of 60 bytes", 1_000_000, "row", rows(1_000_000)),
        Size::new("5 million rows of 60 bytes", 5_000_000, "row", rows(5_000_000)),
        Size::new("50 million rows of 60 bytes", 50_000_000, "row", rows(50_000_000)),
        Size::new("5,000 rows of 1,600 columns", 5_000, "row", columns.to_owned()),
        Size::new("10 fields of 100 MB", 10, "field", large),
        Size { rounds: 1, is_sent: false, ..Size::new("a field of 1 GB", 1, "field", largest) },
        Size::new("10,000 tables of 10 rows", 10_000, "table", tables(10_000)),
        Size { rounds: 1, ..Size::new("100,000 tables of 10 rows", 100_000, "table", tables(100_000)) },
    ]
}

fn rows(count: u64) -> String {
    format!(
        "CREATE TABLE t (id bigint PRIMARY KEY, n int, note text);
         INSERT INTO t SELECT i, i % 1000, md5(i::text) FROM generate_series(1, {count}) i"
    )
}

fn fields(values: &str) -> String {
    format!(
        "CREATE TABLE t (id int PRIMARY KEY, body bytea); ALTER TABLE t ALTER body SET STORAGE EXTERNAL; INSERT INTO t {values}"
    )
}

fn tables(count: u64) -> String {
    format!(
        "DO $$ BEGIN FOR i IN 1..{count} LOOP
         EXECUTE format('CREATE TABLE t%s AS SELECT j AS id, j * 2 AS n FROM generate_series(1, 10) j', i);
         IF i % 100 = 0 THEN COMMIT; END IF; END LOOP; END $$"
    )
}

fn main() -> Result<()> {
    let settings = [
        ("shared_buffers", "2GB"),
        ("max_wal_size", "8GB"),
        ("wal_level", "minimal"),
        ("max_wal_senders", "0"),
        ("autovacuum", "off"),
    ];
    let server = TestServer::start(&fixtures::majors::installation(MAJOR)?, &settings)?;
    println!("{}; PostgreSQL {MAJOR} on the same machine, one connection\n", machine::description()?);
    println!("| database | floor | capture | ratio | pairs | of a unit | peak memory |");
    println!("|---|---|---|---|---|---|---|");
    sizes().iter().try_for_each(|size| measure(&server, size))
}

fn measure(server: &TestServer, size: &Size) -> Result<()> {
    server.psql("postgres", "DROP DATABASE IF EXISTS source WITH (FORCE)")?;
    server.create_database("source")?;
    server.psql("source", &size.script)?;
    server.psql("source", "VACUUM ANALYZE")?;
    server.psql("source", "CHECKPOINT")?;
    let snapshots = Snapshots::take(server, &["source"])?;
    let capture = || {
        ensure!(snapshots.measure()? > 0, "no rows were measured");
        Ok(())
    };
    machine::reset_peak()?;
    let (floor, capture_s) = if size.is_sent {
        let pairs = Pairs::time(size.rounds, || snapshots.floor().map(drop), capture)?;
        let median = pairs.median();
        (format!("{:.2} s | {:.2} s | {:.2}", median.base_s, median.work_s, pairs.ratio()), median.work_s)
    } else {
        let capture_s = seconds(&mut { capture })?;
        (format!("none | {capture_s:.2} s | none"), capture_s)
    };
    let Size { name, units, unit, rounds, .. } = size;
    let of_unit = 1e6 * capture_s / *units as f64;
    println!("| {name} | {floor} | {rounds} | {of_unit:.3} µs a {unit} | {} MiB |", machine::peak_mib()?);
    Ok(())
}
