//! The self-test on real servers: copies of tables of every kind are damaged, each damage is seen, and nothing is left.

use std::ops::ControlFlow;

use anyhow::Result;
use fixtures::TestServer;
use verify_core::compare::{Comparison, Coverage};
use verify_core::event;
use verify_core::finding::{Severity, Verdict};
use verify_core::plan::Plan;
use verify_core::postgres::{Environment, Settings, self_test};
use verify_core::{Error, ErrorKind};

/// Tables with names, types and values that are easily damaged by the copying itself, and ones that cannot be copied.
const TABLES: &str = r#"
    CREATE EXTENSION hstore;
    CREATE TYPE mood AS ENUM ('ok'); CREATE DOMAIN short AS text;
    CREATE TABLE "odd ""name'" ("a b" int, "c""d" text, "state" bytea, PRIMARY KEY ("c""d", "a b"));
    INSERT INTO "odd ""name'" SELECT i, E'o''b\\ri\nen ' || i, decode(md5(i::text), 'hex') FROM generate_series(1, 300) i;
    CREATE TABLE many AS SELECT i, i::float8 / 3 AS f, i::float4 / 7 AS g, i::numeric / 9 AS n, now() + i * interval '1 s' AS t,
        ARRAY[i, NULL] AS a, jsonb_build_object('k', i) AS j, '{"k": 1}'::json AS o, int4range(i, i + 2) AS r, '10.0.0.1'::inet + i AS ip,
        ('word' || i)::tsvector AS v, i::bit(5) AS b, point(i, i) AS p, interval '1 mon' * i AS d, i::money AS m, 'x'::char(5) AS c,
        (i || ' ')::varchar(9) AS vc, xmlelement(name e, i) AS x, 'n'::name AS na, i::text::"char" AS ch
        FROM generate_series(1, 250) i;
    CREATE TABLE nothing (a int); CREATE TABLE one AS SELECT 1 AS a; CREATE TABLE nulls (a int, b int);
    INSERT INTO nulls SELECT FROM generate_series(1, 5);
    CREATE TABLE keys (a int PRIMARY KEY); INSERT INTO keys VALUES (1), (2);
    CREATE TABLE enums (a mood); INSERT INTO enums VALUES ('ok'), ('ok');
    CREATE TABLE domains (a short); INSERT INTO domains VALUES ('a'), ('b');
    CREATE TABLE stores (a hstore); INSERT INTO stores VALUES ('a=>1'), ('b=>2');
    CREATE TABLE classes (a regclass); INSERT INTO classes VALUES ('keys'), ('many');
    CREATE TABLE columns (a int, g int GENERATED ALWAYS AS (a + 1) STORED, d int); ALTER TABLE columns DROP d;
    INSERT INTO columns VALUES (1), (2), (NULL);
"#;

fn settings(server: &TestServer) -> Result<Settings> {
    Ok(Settings::parse(&server.conninfo("shop"), &Environment::default())?)
}

fn run(server: &TestServer, seed: u64) -> Result<Comparison> {
    let mut comparison = Comparison::new(Vec::new(), Coverage::default());
    self_test::run(&mut comparison, &settings(server)?, &Plan::default(), seed, &event::ignore)?;
    Ok(comparison)
}

fn databases(server: &TestServer) -> Result<String> {
    server.psql("postgres", "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database")
}

fn damage_is_seen(major: u32) -> Result<()> {
    let server = fixtures::server(major)?;
    server.create_database("shop")?;
    server.psql("shop", TABLES)?;
    let before = databases(&server)?;
    let written = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables";
    // Before PostgreSQL 15 they are counted a little later.
    let rows = loop {
        let rows = server.psql("shop", written)?;
        if rows.parse::<u64>().is_ok_and(|rows| rows > 500) {
            break rows;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    let mut copied = std::collections::BTreeSet::new();
    for seed in 0..12 {
        let comparison = run(&server, seed)?;
        assert_eq!(comparison.findings(), [], "{major}, seed {seed}");
        let test = comparison.self_test().unwrap();
        assert_eq!((test.seed, test.seen(), test.damages.len()), (seed, 4, 4), "{test:?}");
        copied.extend(test.damages.iter().map(|damage| damage.table.to_string()));
        assert_eq!(run(&server, seed)?.self_test(), Some(test), "the seed decides");
    }
    assert!(copied.contains("public.many") && copied.contains("public.\"odd \"\"name'\""), "{copied:?}");
    assert!(!copied.iter().any(|name| {
        ["stores", "enums", "classes", "nothing", "one"].iter().any(|other| name.ends_with(other))
    }));
    assert_eq!(databases(&server)?, before);
    assert_eq!(server.psql("shop", written)?, rows);
    Ok(())
}

#[test]
fn damage_on_13_is_seen() -> Result<()> {
    damage_is_seen(13)
}

#[test]
fn damage_on_15_is_seen() -> Result<()> {
    damage_is_seen(15)
}

#[test]
fn damage_on_18_is_seen() -> Result<()> {
    damage_is_seen(18)
}

#[test]
fn a_test_that_cannot_run_is_inconclusive_and_an_interrupted_one_leaves_nothing() -> Result<()> {
    let server = fixtures::server(15)?;
    server.create_database("shop")?;
    let before = databases(&server)?;
    let comparison = run(&server, 1)?;
    let [finding] = comparison.findings() else { panic!("{comparison:?}") };
    assert_eq!((finding.severity(), comparison.verdict()), (Severity::Inconclusive, Verdict::Inconclusive));
    assert!(finding.message.contains("no table with at least two rows"), "{finding:?}");
    assert_eq!(comparison.self_test(), None);

    server.psql("shop", TABLES)?;
    let mut comparison = Comparison::new(Vec::new(), Coverage::default());
    let stop = |_| ControlFlow::Break(());
    let stopped = self_test::run(&mut comparison, &settings(&server)?, &Plan::default(), 1, &stop);
    assert_eq!(stopped.as_ref().map_err(Error::kind), Err(&ErrorKind::Cancelled), "{stopped:?}");
    assert_eq!(databases(&server)?, before);

    // One that somebody else made is not removed.
    server.create_database("state_lab_self_test")?;
    let comparison = run(&server, 1)?;
    assert!(comparison.findings()[0].message.contains("already exists"), "{comparison:?}");
    assert_ne!(databases(&server)?, before);
    Ok(())
}
