//! Obstacles to a verification: each a clear error or an inconclusive verdict, never a pass.

use std::time::Duration;

use anyhow::{Context, Result};
use fixtures::TestServer;
use verify_core::capture::{capture, capture_snapshot, complete};
use verify_core::compare::Comparison;
use verify_core::event::{self, Event};
use verify_core::finding::{Code, Finding, Verdict};
use verify_core::invariant::{Expect, Invariant, Outcome};
use verify_core::manifest::{Content, Manifest};
use verify_core::plan::Plan;
use verify_core::postgres::{Connection, Environment, Postgres, SessionOptions, Settings};
use verify_core::verify::{compare_databases, verify};
use verify_core::{Error, ErrorKind};

use crate::measure::{postgres, summary};

fn as_role(server: &TestServer, database: &str, role: &str) -> Result<Postgres> {
    let conninfo = format!("{} user={role}", server.conninfo(database));
    Ok(Postgres::new(Settings::parse(&conninfo, &Environment::default())?))
}

fn source(script: &str) -> Result<TestServer> {
    let server = fixtures::server(15)?;
    server.create_database("source")?;
    server.psql("source", script)?;
    Ok(server)
}

/// The comparison of the source with a copy of it that `role` reads.
fn verified(server: &TestServer, role: &str) -> Result<Comparison> {
    server.copy_database("source", "restored")?;
    let manifest = capture(&postgres(server, "source")?, &Plan::default(), &event::ignore)?;
    Ok(verify(&manifest, &as_role(server, "restored", role)?, &Plan::default(), &event::ignore)?)
}

/// The reason that keeps a table of a manifest from being read.
fn reason<'m>(manifest: &'m Manifest, table: &str) -> Result<&'m str> {
    let entry = manifest.tables.iter().find(|entry| entry.name().name == table).context("no such table")?;
    match &entry.content {
        Content::Unreadable(reason) | Content::Rewritten(reason) | Content::Damaged(reason) => Ok(reason),
        Content::Rows { .. } => anyhow::bail!("{table} was read"),
    }
}

/// The findings, notices too.
fn all(comparison: &Comparison) -> Vec<String> {
    comparison.findings().iter().map(|finding| format!("{} {}", finding.code(), finding.object)).collect()
}

const TABLES: &str = "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 100);
    CREATE TABLE b (id int PRIMARY KEY, owner text); INSERT INTO b SELECT i, 'x' FROM generate_series(1, 100) i;";

#[test]
fn a_table_without_privilege_or_with_hidden_rows_makes_it_inconclusive() -> Result<()> {
    let server = source(&format!(
        "{TABLES} CREATE ROLE reader LOGIN; GRANT SELECT ON a TO reader;
         CREATE SCHEMA hidden; CREATE TABLE hidden.c (id int); GRANT SELECT ON hidden.c TO reader"
    ))?;
    let comparison = verified(&server, "reader")?;
    assert_eq!(
        (comparison.verdict(), summary(&comparison)),
        (Verdict::Inconclusive, vec!["table.unreadable hidden.c".into(), "table.unreadable public.b".into()])
    );
    assert!(format!("{comparison:?}").contains("role reader may not read it: grant select"));

    server.psql(
        "source",
        "GRANT SELECT ON b TO reader; GRANT USAGE ON SCHEMA hidden TO reader;
         ALTER TABLE b ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON b USING (id < 50)",
    )?;
    let comparison = verified(&server, "reader")?;
    assert_eq!(
        (comparison.verdict(), summary(&comparison)),
        (Verdict::Inconclusive, vec!["table.unreadable public.b".into()])
    );
    assert!(format!("{comparison:?}").contains("row security hides rows from role reader"));

    server.psql("source", "ALTER ROLE reader BYPASSRLS")?;
    assert_eq!(verified(&server, "reader")?.verdict(), Verdict::Pass);
    Ok(())
}

#[test]
fn a_lock_held_by_somebody_is_named() -> Result<()> {
    let server = source(TABLES)?;
    let settings = Settings::parse(&server.conninfo("source"), &Environment::default())?;
    let mut holder =
        Connection::open(&settings, &SessionOptions::new().with("application_name", "migration"))?;
    holder.execute("BEGIN; LOCK TABLE b IN ACCESS EXCLUSIVE MODE")?;
    let mut plan = Plan::default();
    plan.limits.lock_timeout_ms = 200;
    let manifest = capture(&postgres(&server, "source")?, &plan, &event::ignore)?;
    assert!(reason(&manifest, "b")?.contains("(migration) holds an ACCESS EXCLUSIVE lock"), "{manifest:?}");
    holder.execute("COMMIT")?;
    drop(holder);
    server.copy_database("source", "restored")?;
    let comparison = verify(&manifest, &postgres(&server, "restored")?, &plan, &event::ignore)?;
    assert_eq!(
        (comparison.verdict(), summary(&comparison)),
        (Verdict::Inconclusive, vec!["table.unreadable public.b".into()])
    );
    Ok(())
}

#[test]
fn a_table_dropped_or_truncated_in_the_middle_is_seen() -> Result<()> {
    let server = source(TABLES)?;
    let database = postgres(&server, "source")?;
    let snapshot = database.begin(&Plan::default(), &event::ignore)?;
    // The locks of the capture hold this off; somebody who ends our session gets through.
    let other = server.psql("source", "SET lock_timeout = '100ms'; DROP TABLE b");
    assert!(other.is_err());
    let mut manifest = capture_snapshot(&snapshot, &Plan::default(), &event::ignore)?;
    complete(&snapshot, &mut manifest)?;
    drop(snapshot);
    assert_eq!(manifest.tables.len(), 2);
    Ok(())
}

#[test]
fn a_view_refreshed_in_the_middle_is_a_gap_and_no_doubt() -> Result<()> {
    let server = source(&format!(
        "{TABLES} CREATE MATERIALIZED VIEW m AS SELECT id FROM a; CREATE MATERIALIZED VIEW n AS SELECT id FROM b"
    ))?;
    let database = postgres(&server, "source")?;
    let snapshot = database.begin(&Plan::default(), &event::ignore)?;
    let mut manifest = capture_snapshot(&snapshot, &Plan::default(), &event::ignore)?;
    server.psql("source", "REFRESH MATERIALIZED VIEW m")?;
    complete(&snapshot, &mut manifest)?;
    drop(snapshot);
    assert!(reason(&manifest, "m")?.contains("rewritten meanwhile"), "{manifest:?}");
    assert_eq!((manifest.verdict(), manifest.not_covered().len()), (Verdict::Pass, 1));
    server.copy_database("source", "restored")?;
    let restored = postgres(&server, "restored")?;
    let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
    assert_eq!(
        (comparison.verdict(), all(&comparison)),
        (Verdict::Pass, vec!["matview.differs public.m".into()])
    );
    assert_eq!(comparison.coverage().not_covered[0].object, "public.m", "{comparison:#?}");
    assert_eq!(comparison.coverage().tables, 3);

    let mut refresher = Connection::open(
        &Settings::parse(&server.conninfo("source"), &Environment::default())?,
        &SessionOptions::new(),
    )?;
    refresher.execute("BEGIN; REFRESH MATERIALIZED VIEW n")?;
    let mut plan = Plan::default();
    plan.limits.lock_timeout_ms = 200;
    let manifest = capture(&database, &plan, &event::ignore)?;
    refresher.execute("COMMIT")?;
    let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
    assert_eq!(
        (comparison.verdict(), all(&comparison)),
        (Verdict::Pass, vec!["matview.differs public.n".into()])
    );
    Ok(())
}

#[test]
fn a_server_killed_in_the_middle_is_an_error() -> Result<()> {
    let mut server =
        source("CREATE TABLE t AS SELECT i, repeat('x', 500) FROM generate_series(1, 200000) i")?;
    let database = postgres(&server, "source")?;
    let snapshot = database.begin(&Plan::default(), &event::ignore)?;
    let pid = server.server().pid();
    let kill = move |event: Event| {
        if matches!(event, Event::Read { .. }) {
            // Only the postmaster: its children notice and end by themselves.
            let _ = std::process::Command::new("kill").arg("-QUIT").arg(pid.to_string()).status();
            std::thread::sleep(Duration::from_millis(300));
        }
        std::ops::ControlFlow::Continue(())
    };
    let error = capture_snapshot(&snapshot, &Plan::default(), &kill).err().context("it must fail")?;
    assert_eq!(error.kind(), &ErrorKind::Connection, "{error:?}");
    server.server_mut().kill()?;
    Ok(())
}

#[test]
fn an_unknown_database_is_refused() -> Result<()> {
    let server = source(TABLES)?;
    let refused = |database: &Postgres| -> Result<Error> {
        capture(database, &Plan::default(), &event::ignore).err().context("it must be refused")
    };
    let settings = Settings::parse(&server.conninfo("nowhere"), &Environment::default())?;
    let error = refused(&Postgres::new(settings))?;
    assert_eq!(error.sqlstate(), Some("3D000"), "{error:?}");
    Ok(())
}

#[test]
fn rows_too_large_for_the_server_are_hashed_there() -> Result<()> {
    let server = source(
        "CREATE TABLE t (id int PRIMARY KEY, a text, b bytea); INSERT INTO t VALUES (1, 'short', 'x');
        INSERT INTO t SELECT 2, repeat('x', 600000000); UPDATE t SET b = convert_to(repeat('y', 600000000), 'UTF8') WHERE id = 2",
    )?;
    server.copy_database("source", "restored")?;
    let manifest = capture(&postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
    let again = verify(&manifest, &postgres(&server, "restored")?, &Plan::default(), &event::ignore)?;
    assert_eq!(again.verdict(), Verdict::Pass, "{again:#?}");
    assert_eq!(again.findings()[0].code(), Code::TableHashedOnServer);
    let both = || {
        let (source, restored) = (postgres(&server, "source")?, postgres(&server, "restored")?);
        anyhow::Ok(compare_databases(&source, &restored, &Plan::default(), &event::ignore)?)
    };
    let equal = both()?;
    assert_eq!(equal.verdict(), Verdict::Pass, "{equal:#?}");
    assert_eq!(equal.findings()[0].code(), Code::TableHashedOnServer);
    server.psql("restored", "UPDATE t SET b = 'z' WHERE id = 1")?;
    let again = verify(&manifest, &postgres(&server, "restored")?, &Plan::default(), &event::ignore)?;
    for different in [again, both()?] {
        assert_eq!(
            (different.verdict(), summary(&different)),
            (Verdict::Fail, vec!["row.changed public.t".into()])
        );
    }
    Ok(())
}

#[test]
fn invariants_cannot_write_or_run_on_and_a_broken_one_spares_the_others() -> Result<()> {
    let server = source(TABLES)?;
    let rule = |sql: &str| Invariant { name: sql.to_owned(), sql: sql.to_owned(), expect: Expect::NoRows };
    let broken = [
        "SELECT nonsense",
        "DELETE FROM public.a",
        "SELECT 1; DROP TABLE public.a",
        "COMMIT",
        "WITH gone AS (DELETE FROM public.a RETURNING id) SELECT * FROM gone",
        "SELECT pg_catalog.setval('public.s', 1)",
        "SELECT pg_catalog.pg_sleep(60)",
        "SELECT * FROM pg_catalog.generate_series(1, 1000000)",
        "COPY public.a TO STDOUT",
        "",
    ];
    server.psql("source", "CREATE SEQUENCE s")?;
    let mut plan = Plan::default().with_invariants(broken.iter().map(|sql| rule(sql)));
    plan.limits.invariant_timeout_ms = 500;
    plan.invariants.push(rule("SELECT id, id::text AS words FROM public.a WHERE id < 3 ORDER BY id;"));
    let manifest = capture(&postgres(&server, "source")?, &plan, &event::ignore)?;
    for evaluated in &manifest.invariants[..broken.len()] {
        assert!(matches!(evaluated.outcome, Outcome::Broken(_)), "{evaluated:?}");
    }
    let Outcome::Result(result) = &manifest.invariants[broken.len()].outcome else {
        anyhow::bail!("it must run")
    };
    assert_eq!((result.columns.join(","), result.row_count), ("id,words".to_owned(), 2));
    assert_eq!(server.psql("source", "SELECT count(*) FROM a")?.trim(), "100");
    Ok(())
}

#[test]
fn hostile_names_and_functions_do_no_harm() -> Result<()> {
    let server = source(
        "CREATE SCHEMA \"evil\"\"; DROP TABLE victim; --\"; CREATE TABLE victim (id int PRIMARY KEY); INSERT INTO victim VALUES (1);
         CREATE TABLE \"evil\"\"; DROP TABLE victim; --\".\"a'b\\c\" (\"x\"\"y\" int PRIMARY KEY, \"select\" text);
         INSERT INTO \"evil\"\"; DROP TABLE victim; --\".\"a'b\\c\" VALUES (1, 'a');
         CREATE FUNCTION public.format(text, anyelement) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''hijacked''; END';
         CREATE TYPE public.pair AS (a int, b text);
         CREATE FUNCTION public.pair_text(public.pair) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''hijacked''; END';
         CREATE CAST (public.pair AS text) WITH FUNCTION public.pair_text(public.pair);
         CREATE TABLE pairs (id int PRIMARY KEY, p public.pair); INSERT INTO pairs VALUES (1, '(1,x)'), (2, NULL), (3, '(,)');
         ALTER DATABASE source SET search_path = public, pg_catalog",
    )?;
    server.copy_database("source", "restored")?;
    server.psql("postgres", "ALTER DATABASE restored SET search_path = public, pg_catalog")?;
    let manifest = capture(&postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
    let comparison = verify(&manifest, &postgres(&server, "restored")?, &Plan::default(), &event::ignore)?;
    assert_eq!((comparison.verdict(), summary(&comparison)), (Verdict::Pass, vec![]), "{comparison:#?}");
    server.copy_database("source", "damaged")?;
    server.psql("damaged", "SET search_path = public; UPDATE pairs SET p = NULL WHERE id = 3")?;
    let comparison = verify(&manifest, &postgres(&server, "damaged")?, &Plan::default(), &event::ignore)?;
    assert_eq!(
        (comparison.verdict(), summary(&comparison)),
        (Verdict::Fail, vec!["row.changed public.pairs".into()])
    );
    Ok(())
}

#[test]
fn the_documented_privileges_are_enough() -> Result<()> {
    let server = fixtures::server(15)?;
    fixtures::datasets::load_all(&server, "source")?;
    server.psql("source", "CREATE ROLE least LOGIN")?;
    server
        .psql("source", &format!("\\set role least\n{}", include_str!("../../../../docs/privileges.sql")))?;
    server.copy_database("source", "restored")?;
    let least = as_role(&server, "source", "least")?;
    let manifest = capture(&least, &Plan::default(), &event::ignore)?;
    let restored = as_role(&server, "restored", "least")?;
    let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
    assert_eq!((comparison.verdict(), summary(&comparison)), (Verdict::Pass, vec![]), "{comparison:#?}");
    let travel = Plan::default().with_mode(verify_core::plan::Mode::TimeTravel);
    drop(least.begin(&travel, &event::ignore)?);
    Ok(())
}

#[test]
fn a_truncate_that_waits_for_the_capture_does_not_keep_it_from_reading() -> Result<()> {
    let server = source(TABLES)?;
    let database = postgres(&server, "source")?;
    let snapshot = database.begin(&Plan::default(), &event::ignore)?;
    std::thread::scope(|scope| -> Result<()> {
        let waiting = scope.spawn(|| server.psql("source", "TRUNCATE b"));
        // Until it queues up behind our lock, where every later reader queues up behind it.
        let queued = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        while server.psql("source", queued)?.trim() == "0" {
            std::thread::yield_now();
        }
        let mut manifest = capture_snapshot(&snapshot, &Plan::default(), &event::ignore)?;
        complete(&snapshot, &mut manifest)?;
        drop(snapshot);
        assert_eq!(
            manifest.tables.iter().map(verify_core::manifest::TableEntry::rows).collect::<Vec<_>>(),
            [100, 100]
        );
        waiting.join().map_err(|_| anyhow::anyhow!("psql panicked"))??;
        Ok(())
    })
}

#[test]
fn a_prepared_transaction_that_holds_a_lock_is_named() -> Result<()> {
    let server = source(TABLES)?;
    server
        .psql("source", "BEGIN; LOCK TABLE b IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'left behind'")?;
    let mut plan = Plan::default();
    plan.limits.lock_timeout_ms = 200;
    let manifest = capture(&postgres(&server, "source")?, &plan, &event::ignore)?;
    assert!(reason(&manifest, "b")?.starts_with("a prepared transaction holds"), "{manifest:?}");
    plan.mode = verify_core::plan::Mode::TimeTravel;
    plan.limits.anchor_timeout_ms = 300;
    server.psql("source", "BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'older'")?;
    let error =
        postgres(&server, "source")?.begin(&plan, &event::ignore).err().context("it must time out")?;
    assert!(error.to_string().contains("the prepared transaction 'left behind'"), "{error:?}");
    Ok(())
}

#[test]
fn bytes_without_an_encoding_and_settings_of_the_database_do_not_matter() -> Result<()> {
    let server = fixtures::server(15)?;
    let create = "CREATE DATABASE source ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0";
    server.psql("postgres", create)?;
    server.psql("source", "CREATE TABLE t (k int PRIMARY KEY, v text, \"Odd\" int); INSERT INTO t VALUES (1, E'\\xe9\\xff'), (2, 'a')")?;
    server.psql("postgres", "CREATE DATABASE restored TEMPLATE source")?;
    let manifest = capture(&postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
    for setting in
        ["quote_all_identifiers = on", "idle_session_timeout = '1s'", "search_path = public, pg_catalog"]
    {
        server.psql("postgres", &format!("ALTER DATABASE restored SET {setting}"))?;
    }
    let restored = postgres(&server, "restored")?;
    let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
    assert_eq!((comparison.verdict(), summary(&comparison)), (Verdict::Pass, vec![]), "{comparison:#?}");
    server.psql("restored", "UPDATE t SET v = E'\\xe9\\xfe' WHERE k = 1")?;
    let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
    assert_eq!(
        (comparison.verdict(), summary(&comparison)),
        (Verdict::Fail, vec!["row.changed public.t".into()])
    );
    Ok(())
}

#[test]
fn what_rows_do_not_show_is_seen_or_listed() -> Result<()> {
    let server = source(
        "CREATE TABLE p (a int) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); INSERT INTO p VALUES (1);
         CREATE TABLE parent (a int); CREATE TABLE child () INHERITS (parent); INSERT INTO child VALUES (1);
         CREATE SEQUENCE s; SELECT setval('s', 1000); CREATE SEQUENCE turns CYCLE; SELECT setval('turns', 5);
         CREATE EXTENSION file_fdw; CREATE SERVER f FOREIGN DATA WRAPPER file_fdw;
         CREATE FOREIGN TABLE elsewhere (a int) SERVER f OPTIONS (filename '/nowhere')",
    )?;
    server.psql("postgres", "CREATE DATABASE restored TEMPLATE source")?;
    for name in ["closed", "dropped"] {
        server.create_database(name)?;
    }
    server.psql(
        "postgres",
        "ALTER DATABASE closed ALLOW_CONNECTIONS false;
         UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'dropped'",
    )?;
    let manifest = capture(&postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
    let restored = postgres(&server, "restored")?;
    let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
    assert_eq!((comparison.verdict(), summary(&comparison)), (Verdict::Pass, vec![]), "{comparison:#?}");
    let gaps: Vec<&str> = comparison.coverage().not_covered.iter().map(|gap| gap.object.as_str()).collect();
    let databases = ["database closed", "database dropped", "database postgres", "database restored"];
    assert_eq!(gaps[..2], ["public.elsewhere", "subscriptions and replication"]);
    assert_eq!(gaps[gaps.len() - 5], "contents of indexes");
    assert_eq!(gaps[gaps.len() - 4..], databases);
    server.psql(
        "restored",
        "ALTER TABLE p DETACH PARTITION p1; ALTER TABLE child NO INHERIT parent;
         ALTER SEQUENCE s INCREMENT -1; ALTER SEQUENCE turns NO CYCLE",
    )?;
    let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
    let expected = [
        "sequence.changed public.s",
        "sequence.changed public.turns",
        "table.parents public.child",
        "table.parents public.p1",
    ];
    assert_eq!(summary(&comparison), expected);
    Ok(())
}

#[test]
fn a_heartbeat_that_goes_on_is_no_false_alarm() -> Result<()> {
    let server = source(TABLES)?;
    let settings = Settings::parse(&server.conninfo("source"), &Environment::default())?;
    let mut writer = Connection::open(&settings, &SessionOptions::new())?;
    verify_core::postgres::heartbeat::install(&mut writer)?;
    verify_core::postgres::heartbeat::beat(&mut writer, "test", 1_000)?;
    let manifest = capture(&postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
    for _ in 0..50 {
        verify_core::postgres::heartbeat::beat(&mut writer, "test", 1_000)?;
    }
    drop(writer);
    server.copy_database("source", "restored")?;
    let comparison = verify(&manifest, &postgres(&server, "restored")?, &Plan::default(), &event::ignore)?;
    let codes: Vec<Code> = comparison.findings().iter().map(Finding::code).collect();
    assert_eq!(
        (comparison.verdict(), codes),
        (Verdict::Pass, vec![Code::HeartbeatDiffers]),
        "{comparison:#?}"
    );
    Ok(())
}

#[test]
fn names_without_a_schema_in_invariants_are_those_of_public() -> Result<()> {
    let server = source(
        "CREATE TABLE orders AS SELECT 1 AS id; CREATE SCHEMA app; CREATE TABLE app.items AS SELECT 2 AS id;
         CREATE TABLE app.orders AS SELECT 3 AS id; ALTER DATABASE source SET search_path = app;",
    )?;
    let rule = |sql: &str| Invariant { name: sql.to_owned(), sql: sql.to_owned(), expect: Expect::Same };
    let rules =
        ["SELECT id FROM orders", "SELECT id FROM items", "SELECT id FROM app.items", "SELECT nothing(1)"];
    let plan = Plan::default().with_invariants(rules.map(rule));
    let manifest = capture(&postgres(&server, "source")?, &plan, &event::ignore)?;
    let seen: Vec<String> = (manifest.invariants.iter())
        .map(|evaluated| match &evaluated.outcome {
            Outcome::Result(result) => format!("{:?}", result.rows),
            Outcome::Broken(reason) => reason.clone(),
        })
        .collect();
    assert_eq!((seen[0].as_str(), seen[2].as_str()), ("[[Some(\"1\")]]", "[[Some(\"2\")]]"));
    for missing in [&seen[1], &seen[3]] {
        assert!(missing.contains("looked up in pg_catalog and public: qualify others"), "{missing}");
    }
    Ok(())
}

pub(crate) fn connection(server: &TestServer, database: &str) -> Result<Connection> {
    let settings = Settings::parse(&server.conninfo(database), &Environment::default())?;
    Ok(Connection::open(&settings, &SessionOptions::new())?)
}

#[test]
fn names_that_are_not_utf8_are_read_like_any_other() -> Result<()> {
    let server = fixtures::server(15)?;
    let create = "CREATE DATABASE source ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0";
    server.psql("postgres", create)?;
    server.psql_from("source", |psql| {
        psql.write_all(
            b"\\encoding SQL_ASCII
            CREATE TABLE fine (a int PRIMARY KEY); INSERT INTO fine VALUES (1);
            CREATE SCHEMA \"s\xe9\"; CREATE TABLE \"s\xe9\".\"odd\" (\"h\xf6he\" int PRIMARY KEY, \"h\xe4he\" text);
            INSERT INTO \"s\xe9\".odd VALUES (2, 'x'), (3, 'y');
            CREATE SEQUENCE \"z\xe4hler\"; SELECT setval('z\xe4hler', 7);
            CREATE DATABASE \"l\xe4den\" TEMPLATE template0;",
        )
    })?;
    server.psql("postgres", "CREATE DATABASE restored TEMPLATE source")?;
    let rules = vec![Invariant {
        name: "bytes".to_owned(),
        sql: "SELECT nspname FROM pg_catalog.pg_namespace WHERE oid >= 16384".to_owned(),
        expect: Expect::Same,
    }];
    let plan = Plan::default().with_invariants(rules);
    let manifest = capture(&postgres(&server, "source")?, &plan, &event::ignore)?;
    let mut file = Vec::new();
    manifest.write(&mut file)?;
    let manifest = Manifest::read(&file[..])?;
    assert_eq!((manifest.verdict(), manifest.not_covered()), (Verdict::Pass, vec![]));
    let restored = postgres(&server, "restored")?;
    let comparison = verify(&manifest, &restored, &plan, &event::ignore)?;
    assert_eq!((comparison.verdict(), summary(&comparison)), (Verdict::Pass, vec![]), "{comparison:#?}");
    assert_eq!((comparison.coverage().tables, comparison.coverage().sequences), (2, 1));
    assert!(format!("{:?}", comparison.coverage().not_covered).contains("database l"), "{comparison:#?}");
    // A database of an encoding meets the name of the other one, too.
    server.create_database("plain")?;
    capture(&postgres(&server, "plain")?, &Plan::default(), &event::ignore)?;

    server.psql_from("restored", |psql| {
        psql.write_all(b"\\encoding SQL_ASCII\nDELETE FROM \"s\xe9\".odd WHERE \"h\xf6he\" = 2")
    })?;
    let comparison = verify(&manifest, &restored, &plan, &event::ignore)?;
    let finding = &comparison.findings()[0];
    let rows = finding.rows.as_ref().map(|rows| rows.named.join(", "));
    let found = (finding.code(), finding.object.as_str(), rows.as_deref());
    assert_eq!(found, (Code::RowMissing, "\"s\\xe9\".odd", Some("\"h\\xf6he\"=2")), "{comparison:#?}");
    Ok(())
}

#[test]
fn keys_of_every_type_are_named_as_the_server_writes_them_and_in_its_order() -> Result<()> {
    let server = source("SELECT 1")?;
    // Each type with values in ascending order.
    let types: [(&str, &[&str]); 19] = [
        ("int2", &["-10", "-9", "9", "10"]),
        ("int8", &["9", "10", "100"]),
        ("numeric", &["-10.5", "-9", "0", "0.001", "9", "10", "100000"]),
        ("money", &["-5.00", "9.99", "12.34", "1000.00"]),
        ("uuid", &["00000000-0000-0000-0000-000000000009", "00000000-0000-0000-0000-000000000010"]),
        ("bytea", &["\\x09", "\\x0a00"]),
        ("date", &["1999-12-31", "2000-01-10", "2026-11-26"]),
        ("timestamptz", &["1999-12-31 23:59:59+00", "2026-11-26 07:00:00.5+00"]),
        ("time", &["09:00:00", "10:00:00"]),
        ("timetz", &["09:00:00+02", "09:00:00+00"]),
        ("interval", &["-1 days", "9 days", "10 days 01:00:00", "2 mons", "1 year 2 mons"]),
        ("inet", &["9.0.0.1", "10.0.0.1", "::1"]),
        ("cidr", &["9.0.0.0/8", "10.0.0.0/8"]),
        ("macaddr", &["08:00:2b:01:02:03", "10:00:2b:01:02:03"]),
        ("varbit", &["0001", "101"]),
        ("int4[]", &["{9}", "{9,NULL}", "{10,1}"]),
        ("int4range", &["empty", "(,5)", "[9,11)", "[10,11)"]),
        ("mood", &["happy", "sad"]),
        ("place", &["(1,a)", "(2,b)"]),
    ];
    let prelude = "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TYPE place AS (x int, y text);
                   SET lc_monetary = 'C'; SET IntervalStyle = postgres; SET TimeZone = 'UTC';";
    let mut script = prelude.to_owned();
    for (i, (name, values)) in types.iter().enumerate() {
        let rows: Vec<String> = values.iter().map(|value| format!("('{value}')")).collect();
        script.push_str(&format!("CREATE TABLE t{i} (k {name} PRIMARY KEY); "));
        script.push_str(&format!("INSERT INTO t{i} VALUES {}; ", rows.join(", ")));
    }
    server.psql("source", &script)?;
    let manifest = capture(&postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
    let tables: Vec<String> = (0..types.len()).map(|i| format!("t{i}")).collect();
    server.psql("source", &format!("TRUNCATE {}", tables.join(", ")))?;
    let comparison = verify(&manifest, &postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
    for (i, (name, values)) in types.iter().enumerate() {
        let object = format!("public.t{i}");
        let finding = comparison.findings().iter().find(|finding| finding.object == object).expect(name);
        let expected: Vec<String> = values.iter().map(|value| format!("k={value}")).collect();
        assert_eq!(finding.rows.as_ref().expect(name).named, expected, "{name}");
    }
    Ok(())
}

#[test]
fn sequences_that_cannot_be_read_are_named_and_hide_no_other() -> Result<()> {
    let server = source(
        "CREATE TABLE a (id int); INSERT INTO a VALUES (1);
         CREATE SEQUENCE closed; CREATE SEQUENCE locked; CREATE SEQUENCE open;
         CREATE SCHEMA hidden; CREATE SEQUENCE hidden.s;
         CREATE ROLE reader LOGIN; GRANT SELECT ON a, locked, open, hidden.s TO reader",
    )?;
    let database = as_role(&server, "source", "reader")?;
    let mut plan = Plan::default();
    plan.limits.lock_timeout_ms = 200;
    let mut holder = connection(&server, "source")?;
    holder.execute("BEGIN; ALTER SEQUENCE locked RENAME TO renamed")?;
    let snapshot = database.begin(&plan, &event::ignore)?;
    let mut manifest = capture_snapshot(&snapshot, &plan, &event::ignore)?;
    complete(&snapshot, &mut manifest)?;
    drop(snapshot);
    holder.execute("ROLLBACK")?;
    let gaps = manifest.not_covered();
    let texts: Vec<String> = gaps.iter().map(|gap| format!("{}: {}", gap.object, gap.reason)).collect();
    assert_eq!(texts.len(), 3, "{texts:#?}");
    assert_eq!(
        texts[0],
        "hidden.s: role reader may not use its schema: GRANT USAGE ON SCHEMA hidden TO reader"
    );
    assert_eq!(
        texts[1],
        "public.closed: role reader may not read it: GRANT SELECT ON SEQUENCE public.closed TO reader"
    );
    assert!(texts[2].starts_with("public.locked: ") && texts[2].contains("lock timeout"), "{texts:#?}");
    server.psql("source", "GRANT USAGE ON SCHEMA hidden TO reader; GRANT SELECT ON closed TO reader")?;
    let manifest = capture(&database, &plan, &event::ignore)?;
    assert_eq!((manifest.verdict(), manifest.sequences.len()), (Verdict::Pass, 4));
    Ok(())
}

#[test]
fn a_view_without_data_is_no_gap_and_an_empty_database_is_one() -> Result<()> {
    let server =
        source("CREATE TABLE a (id int); CREATE MATERIALIZED VIEW m AS SELECT id FROM a WITH NO DATA")?;
    let manifest = capture(&postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
    assert_eq!((manifest.verdict(), manifest.not_covered()), (Verdict::Pass, vec![]));
    server.psql("source", "ALTER MATERIALIZED VIEW m OWNER TO postgres; DROP TABLE a CASCADE")?;
    let manifest = capture(&postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
    let gaps = manifest.not_covered();
    assert_eq!((manifest.verdict(), gaps.len()), (Verdict::Inconclusive, 1), "{gaps:?}");
    assert_eq!(
        (gaps[0].object.as_str(), gaps[0].reason.as_str()),
        ("tables", "no table of the database was measured")
    );
    Ok(())
}

#[test]
fn tables_that_come_and_go_stop_nothing() -> Result<()> {
    let server = source(TABLES)?;
    let database = postgres(&server, "source")?;
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let churn = scope.spawn(|| -> Result<u32> {
            let mut session = connection(&server, "source")?;
            session.execute("CREATE TABLE c0 (id serial, a text)")?;
            let mut i = 0;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                let next = i + 1;
                session.execute(&format!(
                    "CREATE TABLE c{next} (id serial, a text); INSERT INTO c{next} (a) VALUES ('x')"
                ))?;
                // It may be the victim of a deadlock: it locks the sequence first, who reads the table first.
                let _ = session.execute(&format!("DROP TABLE c{i}"));
                i = next;
            }
            Ok(i)
        });
        let mut captured = Ok(());
        for _ in 0..40 {
            let manifest = match capture(&database, &Plan::default(), &event::ignore) {
                Ok(manifest) => manifest,
                Err(error) => {
                    captured = Err(error);
                    break;
                }
            };
            let rows = |name: &str| {
                let entry = manifest.tables.iter().find(|entry| entry.name().name == name);
                entry.map(verify_core::manifest::TableEntry::rows)
            };
            assert_eq!((rows("a"), rows("b")), (Some(100), Some(100)));
            assert_ne!(manifest.verdict(), Verdict::Fail);
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        let turns = churn.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
        captured?;
        assert!(turns > 10, "{turns}");
        Ok(())
    })?;

    // Dropped after the snapshot was fixed, and not locked by it: a gap.
    let snapshot = database.begin(&Plan::default(), &event::ignore)?;
    server.psql("source", "CREATE MATERIALIZED VIEW m AS SELECT id FROM a")?;
    drop(snapshot);
    let manifest = capture(&database, &Plan::default(), &event::ignore)?;
    server.copy_database("source", "restored")?;
    let restored = postgres(&server, "restored")?;
    let dropping = |event: Event| {
        if matches!(event, Event::Started { .. }) {
            // The view is not locked.
            let dropped = server.psql("restored", "DROP MATERIALIZED VIEW IF EXISTS m");
            assert!(dropped.is_ok(), "{dropped:?}");
        }
        std::ops::ControlFlow::Continue(())
    };
    let comparison = verify(&manifest, &restored, &Plan::default(), &dropping)?;
    assert_eq!(
        (comparison.verdict(), all(&comparison)),
        (Verdict::Pass, vec!["matview.differs public.m".into()]),
        "{comparison:#?}"
    );
    Ok(())
}
