//! The capture of each consistency mode beside a plain capture of the same server, in pairs.
//!
//! `cargo run --release -p benches --bin modes`

use anyhow::Result;
use benches::pairs::Pairs;
use fixtures::TestServer;
use verify_core::capture::{capture_snapshot, complete};
use verify_core::event;
use verify_core::plan::{Mode, Plan};
use verify_core::postgres::{Environment, Fence, PausedReplay, Postgres, PostgresSnapshot, Settings};

const PAIRS: usize = 9;
const MAJOR: u32 = 15;
const TABLES: &str = "
    CREATE TABLE large (id bigint PRIMARY KEY, customer int, amount numeric(12,2), at timestamptz, status text, note text);
    INSERT INTO large SELECT i, (i::bigint * 7919) % 100000, (i % 100000) / 100.0, '2025-01-01'::timestamptz + i * interval '1 second',
        (ARRAY['new', 'paid', 'sent', 'done'])[1 + i % 4], md5(i::text) FROM generate_series(1, 2000000) i;
    DO $$ BEGIN FOR i IN 1..1000 LOOP
        EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, v text)', i);
        EXECUTE format('INSERT INTO t%s SELECT j, md5((%s + j)::text) FROM generate_series(1, 10) j', i, i);
    END LOOP; END $$;";

fn main() -> Result<()> {
    let settings = [
        ("shared_buffers", "1GB"),
        ("max_wal_size", "8GB"),
        ("autovacuum", "off"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
    ];
    let primary = TestServer::start(&fixtures::majors::installation(MAJOR)?, &settings)?;
    primary.create_database("app")?;
    primary.psql("app", TABLES)?;
    primary.psql("app", "VACUUM ANALYZE")?;
    let standby = primary.standby(&[("shared_buffers", "1GB")])?;
    let settings = |server: &TestServer| Settings::parse(&server.conninfo("app"), &Environment::default());
    let (source, replica) = (settings(&primary)?, settings(&standby)?);
    let plain = |settings: &Settings| {
        let plan = Plan::default();
        read(&Postgres::new(settings.clone()).or_standby().begin(&plan, &event::ignore)?, &plan)
    };
    measure("shared snapshot, twice", || plain(&source), || plain(&source))?;
    measure(
        "time travel",
        || plain(&source),
        || {
            let plan = Plan::default().with_mode(Mode::TimeTravel);
            read(&Postgres::new(source.clone()).begin(&plan, &event::ignore)?, &plan)
        },
    )?;
    measure(
        "fence",
        || plain(&source),
        || {
            let plan = Plan::default();
            let fence = Fence::begin(std::slice::from_ref(&source), &plan, &event::ignore)?;
            fence.end(&event::ignore)?.iter().try_for_each(|snapshot| read(snapshot, &plan))
        },
    )?;
    measure(
        "paused standby",
        || plain(&replica),
        || {
            let plan = Plan::default().with_mode(Mode::PausedStandby);
            let paused = PausedReplay::begin(&replica, plan.limits, &event::ignore)?;
            read(&Postgres::new(replica.clone()).or_standby().begin(&plan, &event::ignore)?, &plan)?;
            Ok(paused.end()?)
        },
    )
}

fn read(snapshot: &PostgresSnapshot, plan: &Plan) -> Result<()> {
    let mut manifest = capture_snapshot(snapshot, plan, &event::ignore)?;
    Ok(complete(snapshot, &mut manifest)?)
}

/// Prints the medians of pairs.
fn measure(name: &str, plain: impl Fn() -> Result<()>, mode: impl Fn() -> Result<()>) -> Result<()> {
    let pairs = Pairs::time(PAIRS, plain, mode)?;
    let (median, (least, most)) = (pairs.median(), pairs.spread());
    println!(
        "{name}: plain {:.2} s, this mode {:.2} s, ratio {:.3} (of {PAIRS} pairs: {least:.2} to {most:.2})",
        median.base_s,
        median.work_s,
        pairs.ratio()
    );
    Ok(())
}
