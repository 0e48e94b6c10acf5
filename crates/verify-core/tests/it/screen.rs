//! The screen: it finds differences by counts and sums that the servers compute, raises no alarm without one, and never passes.

use std::ops::ControlFlow;

use anyhow::Result;
use fixtures::{TestServer, majors};
use verify_core::ErrorKind;
use verify_core::compare::Comparison;
use verify_core::database::Obstacle;
use verify_core::event::{self, Event};
use verify_core::finding::Verdict;
use verify_core::invariant::{Expect, Invariant};
use verify_core::not_covered::Check;
use verify_core::plan::{Limits, Plan};
use verify_core::screen::screen_databases;
use verify_core::verify::compare_databases;

use crate::measure::postgres;
use crate::memory::{Memory, MemoryTable, partitions_by_hash};

const EQUAL: &str = "inconclusive tables: screened: no difference found, not verified";
const DIFFERENT: &str =
    "inconclusive tables: screened: differences found, and tables without one are not verified";

/// Findings as `severity object: message`, without those of notices.
fn found(comparison: &Comparison) -> Vec<String> {
    let of_note =
        comparison.findings().iter().filter(|finding| Verdict::from(finding.severity()) != Verdict::Pass);
    of_note
        .map(|finding| {
            format!("{} {}: {}", Verdict::from(finding.severity()), finding.object, finding.message)
        })
        .collect()
}

/// Tables that are listed as not covered, with the reasons.
fn gaps(comparison: &Comparison) -> Vec<String> {
    let gaps = comparison.coverage().not_covered.iter().filter(|gap| gap.check == Check::Rows);
    gaps.map(|gap| format!("{}: {}", gap.object, gap.reason)).collect()
}

fn screened(source: &Memory, restored: &Memory) -> Comparison {
    screen_databases(source, restored, &Plan::default(), &event::ignore).expect("screened")
}

fn screened_on(server: &TestServer, source: &str, restored: &str) -> Result<Comparison> {
    let (source, restored) = (postgres(server, source)?, postgres(server, restored)?);
    Ok(screen_databases(&source, &restored, &Plan::default(), &event::ignore)?)
}

fn memory(tables: Vec<MemoryTable>) -> Memory {
    Memory { tables, ..Memory::default() }
}

#[test]
fn equal_tables_are_screened_and_never_pass() {
    let tables = || vec![MemoryTable::new("t", 0..10), MemoryTable::new("u", 0..0)];
    let rule = Invariant { name: "rule".into(), sql: "SELECT 1".into(), expect: Expect::NoRows };
    let plan = Plan::default().with_invariants([rule]);
    let comparison =
        screen_databases(&memory(tables()), &memory(tables()), &plan, &event::ignore).expect("screened");
    assert_eq!((comparison.verdict(), found(&comparison)), (Verdict::Inconclusive, vec![EQUAL.to_owned()]));
    let only = "screened only: its rows were counted and hashed by the servers, not compared";
    assert_eq!(gaps(&comparison), [format!("public.t: {only}"), format!("public.u: {only}")]);
    let coverage = comparison.coverage();
    assert_eq!((coverage.tables, coverage.rows, coverage.bytes, coverage.invariants), (0, 0, 0, 0));
    assert!(coverage.not_covered.iter().any(|gap| gap.check == Check::Invariants && gap.object == "rule"));
}

#[test]
fn differing_sums_and_counts_fail_and_name_the_table_with_both_counts() {
    let source = memory(vec![MemoryTable::new("t", 0..10), MemoryTable::new("u", 0..10)]);
    let mut changed = MemoryTable::new("t", 0..10);
    changed.rows[5].1 = None;
    let restored = memory(vec![changed, MemoryTable::new("u", 0..9)]);
    let comparison = screened(&source, &restored);
    let expected = [
        "fail public.t: rows differ: 10 on the source, 10 in the restored database",
        "fail public.u: rows differ: 10 on the source, 9 in the restored database",
        DIFFERENT,
    ];
    assert_eq!(
        (comparison.verdict(), found(&comparison)),
        (Verdict::Fail, expected.map(str::to_owned).to_vec())
    );
    assert!(comparison.findings()[0].hint.contains("without --quick"));
}

#[test]
fn a_table_that_one_side_lacks_fails_and_one_that_cannot_be_read_is_named() {
    let source = memory(vec![MemoryTable::new("t", 0..10), MemoryTable::new("u", 0..10)]);
    let mut locked = MemoryTable::new("u", 0..10);
    locked.obstacle = Some(Obstacle::Unreadable("locked".into()));
    let comparison = screened(&source, &memory(vec![locked, MemoryTable::new("v", 0..1)]));
    let expected = [
        "fail public.t: the table is missing",
        "fail public.v: the source has no such table",
        "inconclusive tables: no table was screened, so nothing is known of any row",
        "inconclusive public.u: could not be read in the restored database: locked",
    ];
    assert_eq!(found(&comparison), expected);
    assert_eq!(gaps(&comparison), ["public.u: could not be read in the restored database: locked"]);
}

#[test]
fn without_a_common_table_nothing_is_screened() {
    let expected = "inconclusive tables: no table was screened, so nothing is known of any row";
    assert_eq!(found(&screened(&memory(Vec::new()), &memory(Vec::new()))), [expected]);
}

#[test]
fn a_column_of_another_type_leaves_the_count_of_the_rows() {
    let of_json = |ids| MemoryTable { value_type: "json", ..MemoryTable::new("t", ids) };
    let (source, restored) = (memory(vec![of_json(0..10)]), memory(vec![of_json(0..10)]));
    let comparison = screened(&source, &restored);
    assert_eq!((&*source.hashed.lock().unwrap(), &*restored.hashed.lock().unwrap()), (&vec![0], &vec![0]));
    let reason = "public.t: not screened: its rows were only counted, since column v is of type json, which the servers do not hash \
                  by its value";
    assert_eq!(gaps(&comparison), [reason]);
    assert_eq!(found(&comparison), [format!("{EQUAL}; the rows of 1 of 1 tables were only counted")]);
    let lost = screened(&source, &memory(vec![of_json(0..9)]));
    assert_eq!(found(&lost)[0], "fail public.t: rows differ: 10 on the source, 9 in the restored database");
    // Hashed on neither side, since it could not be on one.
    let source = memory(vec![MemoryTable::new("t", 0..10)]);
    let comparison = screened(&source, &memory(vec![of_json(0..10)]));
    assert_eq!(*source.hashed.lock().unwrap(), [0]);
    assert_eq!(found(&comparison)[0], "fail public.t: column v is json, on the source text");
    assert_eq!(found(&comparison).len(), 2);
}

#[test]
fn rows_that_moved_between_partitions_are_no_difference_and_lost_ones_are() {
    let partitioned = |rows: [Vec<i64>; 2]| memory(partitions_by_hash(rows));
    let source = partitioned([vec![1, 2], vec![3, 4]]);
    let moved = screened(&source, &partitioned([vec![1, 3], vec![2, 4]]));
    let message = "inconclusive public.t: 2 of its 2 partitions have other rows than on the source, together the same rows; could not \
                   check that each is in the right partition: --quick does not check it";
    assert_eq!(
        (moved.verdict(), found(&moved)),
        (Verdict::Inconclusive, vec![EQUAL.to_owned(), message.to_owned()])
    );
    let lost = screened(&source, &partitioned([vec![1, 3], vec![4]]));
    assert_eq!(found(&lost)[0], "fail public.t: rows differ: 4 on the source, 3 in the restored database");
}

#[test]
fn servers_that_may_hash_differently_are_refused() {
    let of_version = |server_version| Memory { server_version: Some(server_version), ..Memory::default() };
    let unlike = Memory { hashes_unlike_others: true, ..Memory::default() };
    for (source, restored, kind, expected) in [
        (
            of_version(180_000),
            of_version(130_022),
            ErrorKind::Version,
            "PostgreSQL 13 cannot hash a row; 14 and later can",
        ),
        (
            of_version(150_010),
            of_version(160_000),
            ErrorKind::Unsuitable,
            "hashes may differ between major versions, and the source is PostgreSQL 15, the restored database 16",
        ),
        (
            Memory::default(),
            unlike,
            ErrorKind::Unsuitable,
            "the two servers hash the same values differently, as machines of another byte order do",
        ),
    ] {
        let error = screen_databases(&source, &restored, &Plan::default(), &event::ignore).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (&kind, format!("screen the databases: {expected}")));
        assert_eq!(error.hint(), Some("run it without --quick"));
    }
    let _ = screened(&of_version(150_001), &of_version(150_010));
}

#[test]
fn limits_that_cannot_hold_a_server_up_are_refused() {
    let sets: [fn(&mut Limits); 4] = [
        |limits| limits.max_rate = Some(1 << 20),
        |limits| limits.max_replication_lag = Some(1 << 20),
        |limits| limits.max_active_sessions = Some(1),
        |limits| limits.max_snapshot_age_ms = Some(1),
    ];
    for set in sets {
        let mut limits = Limits::default();
        set(&mut limits);
        let plan = Plan::default().with_limits(limits);
        let error =
            screen_databases(&Memory::default(), &Memory::default(), &plan, &event::ignore).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Settings, "{error}");
    }
}

/// Every type that is hashed, with arrays, domains, a key of two columns, and a table without columns.
const TYPES: &str = "
    CREATE DOMAIN short AS varchar(20) CHECK (VALUE <> 'x');
    CREATE DOMAIN numbers AS int[];
    CREATE TABLE types (id bigint PRIMARY KEY, b bool, c char(8), d date, f4 real, f8 double precision, i2 smallint, i4 int,
        i inet, ci cidr, iv interval, j jsonb, l pg_lsn, m macaddr, m8 macaddr8, n name, nu numeric, o oid, t text, ti time, tz timetz,
        ts timestamp, tsz timestamptz, u uuid, v varchar(30), x bytea, s short, a numbers, ta text[], va varchar[], dc text COLLATE \"C\",
        \"Odd \"\"name\" int, g int GENERATED ALWAYS AS (i4 * 2) STORED);
    INSERT INTO types SELECT n, n % 2 = 0, 'c' || n, date '2000-01-01' + n, n / 3.0, n / 7.0, n, n * 1000,
        '10.0.0.1', '10.1.0.0/16', make_interval(days => n), jsonb_build_object('n', n / 3.0, 'a', ARRAY[n, NULL]), '0/1'::pg_lsn + n,
        '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', 'n' || n, n / 9.0, n, 'Ä' || n, make_time(1, 2, n % 60), '01:02:03+04',
        timestamp '2000-01-01' + n * interval '1 s', timestamptz '2000-01-01' + n * interval '1 s', md5(n::text)::uuid, 'v' || n,
        decode(md5(n::text), 'hex'), 's' || n, ARRAY[n, NULL, 3], ARRAY['a', NULL], ARRAY['b'], 'dc', n FROM generate_series(1, 500) n;
    INSERT INTO types (id, f4, f8, nu) VALUES (501, 'NaN', 'NaN', 'NaN'), (502, 'inf', '-inf', NULL);
    UPDATE types SET f8 = 'inf'::float8 * 0 WHERE id = 501;
    CREATE TABLE arrays AS SELECT array_agg(b) AS b, array_agg(c) AS c, array_agg(d) AS d, array_agg(i2) AS i2, array_agg(i4) AS i4,
        array_agg(id) AS id, array_agg(i) AS i, ARRAY['10.1.0.0/16'::cidr] AS ci, array_agg(iv) AS iv, array_agg(j) AS j, array_agg(l) AS l,
        array_agg(m) AS m, array_agg(m8) AS m8, array_agg(n) AS n, array_agg(nu) AS nu, array_agg(o) AS o, array_agg(t) AS t,
        array_agg(ti) AS ti, array_agg(tz) AS tz, array_agg(ts) AS ts, array_agg(tsz) AS tsz, array_agg(u) AS u, array_agg(x) AS x
        FROM (SELECT * FROM types ORDER BY id LIMIT 3) t;
    CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES; INSERT INTO bare DEFAULT VALUES;
    CREATE TABLE empty (id int);
    CREATE MATERIALIZED VIEW seen AS SELECT id, t FROM types;";

const DAMAGES: [&str; 8] = [
    "UPDATE {} SET t = t || '!' WHERE id = 250",
    "UPDATE {} SET ta[2] = '' WHERE id = 1",
    "UPDATE {} SET j = j || '{\"n\": 1}' WHERE id = 2",
    "UPDATE {} SET i4 = NULL WHERE id = 3",
    "DELETE FROM {} WHERE id = 4",
    "UPDATE {} SET d = d + 1 WHERE id = 5",
    "UPDATE {} SET s = 'damaged' WHERE id = 6",
    "UPDATE {} SET \"Odd \"\"name\" = 0 WHERE id = 7",
];

#[test]
fn an_undamaged_copy_of_every_type_is_screened_and_every_damage_found() -> Result<()> {
    for major in [14, 15, 18] {
        let server = fixtures::server(major)?;
        server.create_database("source")?;
        server.psql("source", TYPES)?;
        // The same rows in another order, with dead ones between, and by another way than files.
        server.create_database("restored")?;
        server.psql("restored", TYPES)?;
        server.psql("restored", "UPDATE types SET b = NOT b; UPDATE types SET b = NOT b WHERE id % 2 = 0; UPDATE types SET b = NOT b WHERE id % 2 = 1")?;
        let comparison = screened_on(&server, "source", "restored")?;
        assert_eq!(found(&comparison), [EQUAL], "{major}");
        assert_eq!(comparison.verdict(), Verdict::Inconclusive);
        let screened = gaps(&comparison).iter().filter(|gap| gap.contains(": screened only: ")).count();
        assert_eq!(screened, 5, "{major}: {:?}", gaps(&comparison));
        for database in ["source", "restored"] {
            let table = |i| format!("CREATE TABLE types_{i} AS TABLE types;");
            server.psql(database, &(0..DAMAGES.len()).map(table).collect::<String>())?;
        }
        for (i, damage) in DAMAGES.iter().enumerate() {
            server.psql("restored", &damage.replace("{}", &format!("types_{i}")))?;
        }
        let comparison = screened_on(&server, "source", "restored")?;
        let found = found(&comparison);
        for (i, damage) in DAMAGES.iter().enumerate() {
            let expected = format!("fail public.types_{i}: rows differ: 502 on the source, ");
            assert!(found[i].starts_with(&expected), "{major}: {damage}: {found:?}");
        }
        assert_eq!(found.len(), DAMAGES.len() + 1, "{major}: {found:?}");
    }
    Ok(())
}

/// A sum of hashes of records alone misses more than half of these: there a record's hash is a sum of its values' hashes.
#[test]
fn values_that_were_swapped_between_two_rows_are_found() -> Result<()> {
    for major in [15, 18] {
        let server = fixtures::server(major)?;
        server.create_database("source")?;
        let table =
            |i| format!("CREATE TABLE t{i} AS SELECT n AS id, 'v' || n AS v FROM generate_series(1, 100) n;");
        server.psql("source", &(0..12).map(table).collect::<String>())?;
        server.copy_database("source", "restored")?;
        let swap =
            |i| format!("UPDATE t{i} SET v = CASE id WHEN 1 THEN 'v2' ELSE 'v1' END WHERE id IN (1, 2);");
        server.psql("restored", &(0..12).map(swap).collect::<String>())?;
        let comparison = screened_on(&server, "source", "restored")?;
        let failed = found(&comparison).iter().filter(|found| found.starts_with("fail public.t")).count();
        assert_eq!(failed, 12, "{major}: {:?}", found(&comparison));
    }
    Ok(())
}

/// Differences that docs/consistency.md says a screen does not see; a comparison does.
#[test]
fn some_values_that_differ_have_one_hash() -> Result<()> {
    for major in [15, 18] {
        let server = fixtures::server(major)?;
        for (database, values) in [
            ("source", "0.0, 1.0, '1 mon', 'a', 1, ARRAY[1, 2], '{\"a\": 1.0}', 'NaN'"),
            (
                "restored",
                "-0.0, 1.00, '30 days', 'a ', 4294967296, ARRAY[[1], [2]], '{\"a\": 1.00}', 'Infinity'",
            ),
        ] {
            server.create_database(database)?;
            let script = format!(
                "CREATE TABLE t (f float8, n numeric, i interval, c bpchar, b bigint, a int[], j jsonb, s numeric); INSERT INTO t VALUES ({})",
                values.replacen("0.0", "0.0::float8", 1).replacen("-0.0::float8", "'-0'", 1)
            );
            server.psql(database, &script)?;
        }
        assert_eq!(found(&screened_on(&server, "source", "restored")?), [EQUAL], "{major}");
        let (source, restored) = (postgres(&server, "source")?, postgres(&server, "restored")?);
        let compared = compare_databases(&source, &restored, &Plan::default(), &event::ignore)?;
        assert_eq!(compared.verdict(), Verdict::Fail);
    }
    Ok(())
}

#[test]
fn tables_of_other_types_are_only_counted_and_named() -> Result<()> {
    const TABLES: &str = "
        CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b int); CREATE DOMAIN moods AS mood;
        CREATE TABLE of_json (id int, v json); INSERT INTO of_json VALUES (1, '1'), (2, '2');
        CREATE TABLE of_enum (id int, v moods); INSERT INTO of_enum VALUES (1, 'sad'), (2, 'ok');
        CREATE TABLE of_pair (id int, v pair); INSERT INTO of_pair VALUES (1, '(1,2)');
        CREATE TABLE of_enums (v mood[]); CREATE TABLE of_range (v int4range); CREATE TABLE of_char (v \"char\");
        SELECT lo_from_bytea(0, 'large');";
    for major in [15, 18] {
        let server = fixtures::server(major)?;
        server.create_database("source")?;
        server.psql("source", TABLES)?;
        server.copy_database("source", "restored")?;
        let comparison = screened_on(&server, "source", "restored")?;
        assert_eq!(found(&comparison), [format!("{EQUAL}; the rows of 7 of 7 tables were only counted")]);
        insta::assert_snapshot!("only_counted", gaps(&comparison).join("\n"));
        server.psql(
            "restored",
            "DELETE FROM of_json WHERE id = 1; UPDATE of_enum SET v = 'ok'; SELECT lo_from_bytea(0, 'more')",
        )?;
        let comparison = screened_on(&server, "source", "restored")?;
        let expected = [
            "fail pg_catalog.pg_largeobject: rows differ: 1 on the source, 2 in the restored database",
            "fail public.of_json: rows differ: 2 on the source, 1 in the restored database",
        ];
        assert_eq!(found(&comparison)[..2], expected, "{major}");
    }
    Ok(())
}

#[test]
fn text_is_hashed_by_its_bytes_whatever_its_collation() -> Result<()> {
    let server = fixtures::server(15)?;
    let ways = ["'A'", "'a'"];
    for (database, value) in ["source", "restored"].into_iter().zip(ways) {
        server.create_database(database)?;
        server.psql(
            database,
            &format!(
                "CREATE COLLATION either (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
                 CREATE TABLE same (v text COLLATE either, a text[] COLLATE either); INSERT INTO same VALUES ('x', ARRAY['y']);
                 CREATE TABLE other (v text COLLATE either); INSERT INTO other VALUES ({value});"
            ),
        )?;
    }
    let comparison = screened_on(&server, "source", "restored")?;
    let expected = ["fail public.other: rows differ: 1 on the source, 1 in the restored database", DIFFERENT];
    assert_eq!(found(&comparison), expected);
    Ok(())
}

#[test]
fn real_servers_that_hash_differently_are_refused() -> Result<()> {
    let [old, one, other] = [13, 15, 18].map(fixtures::server);
    let (old, one, other) = (old?, one?, other?);
    let latin = "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'";
    one.psql("postgres", latin)?;
    for (source, restored, expected) in [
        (postgres(&old, "postgres")?, postgres(&old, "postgres")?, "PostgreSQL 13 cannot hash a row"),
        (
            postgres(&one, "postgres")?,
            postgres(&other, "postgres")?,
            "hashes may differ between major versions",
        ),
        (
            postgres(&one, "postgres")?,
            postgres(&one, "latin")?,
            "text is hashed as it is stored, and the source has the encoding UTF8, the restored database LATIN1",
        ),
    ] {
        let error = screen_databases(&source, &restored, &Plan::default(), &event::ignore).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    Ok(())
}

/// Parts of a table add up, and the end of the caller's patience ends the statement on the server.
#[test]
fn a_large_table_is_hashed_in_parts_and_a_statement_is_cancelled() -> Result<()> {
    let installation = majors::installation(15)?;
    let server = TestServer::start(&installation, &[("shared_buffers", "128MB")])?;
    server.create_database("source")?;
    server.psql(
        "source",
        "CREATE TABLE t AS SELECT n AS id, md5(n::text) AS v FROM generate_series(1, 2000000) n",
    )?;
    server.copy_database("source", "restored")?;
    // Ranges of pages hold other rows than on the source.
    server.psql("restored", "UPDATE t SET v = v WHERE id <= 10000")?;
    let parts = std::sync::atomic::AtomicU64::new(0);
    let counted = |event: Event| {
        if let Event::TableRead { .. } = event {
            parts.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
        ControlFlow::Continue(())
    };
    let (source, restored) = (postgres(&server, "source")?, postgres(&server, "restored")?);
    let comparison = screen_databases(&source, &restored, &Plan::default(), &counted)?;
    assert_eq!(found(&comparison), [EQUAL]);
    assert_eq!(parts.into_inner(), 4);

    let stop = |event: Event| match event {
        Event::Read { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let error = screen_databases(&source, &restored, &Plan::default(), &stop).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Cancelled, "{error}");
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%hash_record%' AND pid <> pg_backend_pid() AND state = 'active'";
    assert_eq!(server.psql("postgres", running)?.trim(), "0");
    Ok(())
}
