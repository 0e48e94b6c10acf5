//! Capturing and comparing real databases: silent on copies, and each kind of damage named.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use fixtures::{TestServer, datasets};
use verify_core::capture::capture;
use verify_core::compare::Comparison;
use verify_core::event::{self, Event};
use verify_core::finding::{Code, Severity, Verdict};
use verify_core::manifest::Manifest;
use verify_core::plan::Plan;
use verify_core::postgres::{Environment, Postgres, Settings};
use verify_core::verify::{compare_databases, verify};

pub(crate) fn postgres(server: &TestServer, database: &str) -> Result<Postgres> {
    Ok(Postgres::new(Settings::parse(&server.conninfo(database), &Environment::default())?))
}

/// The findings that decide a verdict, as `code object`.
pub(crate) fn summary(comparison: &Comparison) -> Vec<String> {
    let deciding = comparison.findings().iter().filter(|finding| finding.severity() != Severity::Notice);
    let mut findings: Vec<String> =
        deciding.map(|finding| format!("{} {}", finding.code(), finding.object)).collect();
    findings.sort();
    findings
}

#[test]
fn a_copy_of_every_type_and_every_odd_table_passes_on_all_majors() -> Result<()> {
    for major in [13, 15, 18] {
        let server = fixtures::server(major)?;
        crate::not_covered::everything_is_compared_or_listed(&server)?;
        datasets::load_all(&server, "source")?;
        server.copy_database("source", "restored")?;
        let (source, restored) = (postgres(&server, "source")?, postgres(&server, "restored")?);
        let comparison = compare_databases(&source, &restored, &Plan::default(), &event::ignore)?;
        assert_eq!(
            (comparison.verdict(), summary(&comparison)),
            (Verdict::Pass, vec![]),
            "{major}: {comparison:#?}"
        );
        assert!(
            comparison.coverage().tables > 30 && comparison.coverage().sequences > 4,
            "{:?}",
            comparison.coverage()
        );

        let manifest = capture(&source, &Plan::default(), &event::ignore)?;
        let mut bytes = Vec::new();
        manifest.write(&mut bytes)?;
        assert_eq!(Manifest::read(&bytes[..])?, manifest);
        let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
        assert_eq!(
            (comparison.verdict(), summary(&comparison)),
            (Verdict::Pass, vec![]),
            "{major}: {comparison:#?}"
        );
    }
    Ok(())
}

#[test]
fn a_warning_of_the_server_is_an_event_of_the_capture() -> Result<()> {
    let server = fixtures::server(15)?;
    server.psql(
        "postgres",
        "CREATE DATABASE source TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en'",
    )?;
    let warnings = || -> Result<Vec<String>> {
        let warnings = Mutex::new(Vec::new());
        capture(&postgres(&server, "source")?, &Plan::default(), &|event| {
            if let Event::ServerWarning { message } = event {
                warnings.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            }
            ControlFlow::Continue(())
        })?;
        Ok(warnings.into_inner().unwrap_or_else(PoisonError::into_inner))
    };
    assert!(warnings()?.is_empty());
    server.psql("postgres", "UPDATE pg_database SET datcollversion = '0' WHERE datname = 'source'")?;
    let warnings = warnings()?;
    assert!(warnings.len() == 1 && warnings[0].contains("collation version mismatch"), "{warnings:?}");
    Ok(())
}

#[test]
fn the_manifest_is_the_same_however_the_work_is_split() -> Result<()> {
    let server = fixtures::server(15)?;
    server.create_database("source")?;
    server.psql(
        "source",
        "CREATE TABLE wide AS SELECT i AS id, repeat(md5(i::text), 20) AS filler FROM generate_series(1, 120000) i;
         ALTER TABLE wide ADD PRIMARY KEY (id); ANALYZE",
    )?;
    server.copy_database("source", "restored")?;
    let (source, restored) = (postgres(&server, "source")?, postgres(&server, "restored")?);
    let snapshot = source.begin(&Plan::default(), &event::ignore)?;
    let mut seen = Vec::new();
    for jobs in [1, 4] {
        let plan = Plan::default().with_jobs(std::num::NonZeroUsize::new(jobs).context("jobs")?);
        let manifest = verify_core::capture::capture_snapshot(&snapshot, &plan, &event::ignore)?;
        // Each capture draws another key: only what does not depend on it is compared.
        let again = verify(&manifest, &restored, &plan, &event::ignore)?;
        assert_eq!(again.verdict(), Verdict::Pass, "{again:#?}");
        seen.push(
            manifest.tables.iter().map(|entry| (entry.name().clone(), entry.rows())).collect::<Vec<_>>(),
        );
    }
    assert_eq!(seen[0], seen[1]);
    Ok(())
}

/// Code, object, named rows.
type Expected = (Code, &'static str, &'static [&'static str]);

#[test]
fn each_kind_of_damage_is_named_by_key() -> Result<()> {
    let server = fixtures::server(15)?;
    server.create_database("source")?;
    server.psql(
        "source",
        "CREATE TABLE items (id int PRIMARY KEY, name text, price numeric(10,2), rate float8, at timestamptz, n bigint, tags text[], doc jsonb, a text, b text);
         INSERT INTO items SELECT i, 'item ' || i, i / 100.0, i / 7.0, '2026-01-01'::timestamptz + i * interval '1 s', 9007199254740993 + i, ARRAY['x', i::text], jsonb_build_object('k', i), 'left', 'right' FROM generate_series(1, 5000) i;
         CREATE TABLE log (line text, at date); INSERT INTO log SELECT 'line ' || i % 100, '2026-01-01' FROM generate_series(1, 5000) i;
         CREATE TABLE long_keys (k text PRIMARY KEY, v int); INSERT INTO long_keys SELECT repeat(md5(i::text), 5), i FROM generate_series(1, 3000) i;
         CREATE SEQUENCE tickets; SELECT setval('tickets', 500);",
    )?;
    let manifest = capture(&postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
    let cases: [(&str, &[Expected]); 12] = [
        (
            "DELETE FROM items WHERE id IN (7, 4000)",
            &[(Code::RowMissing, "public.items", &["id=7", "id=4000"])],
        ),
        ("INSERT INTO items (id) VALUES (6000)", &[(Code::RowAdded, "public.items", &["id=6000"])]),
        (
            "UPDATE items SET name = name || ' ' WHERE id = 3",
            &[(Code::RowChanged, "public.items", &["id=3"])],
        ),
        (
            "UPDATE items SET price = price + 0.01 WHERE id = 4",
            &[(Code::RowChanged, "public.items", &["id=4"])],
        ),
        (
            "UPDATE items SET rate = rate * (1 + 2.3e-16) WHERE id = 5",
            &[(Code::RowChanged, "public.items", &["id=5"])],
        ),
        (
            "UPDATE items SET at = at + interval '1 microsecond' WHERE id = 6",
            &[(Code::RowChanged, "public.items", &["id=6"])],
        ),
        ("UPDATE items SET n = n + 1 WHERE id = 8", &[(Code::RowChanged, "public.items", &["id=8"])]),
        (
            "UPDATE items SET a = 'lef', b = 'tright' WHERE id = 9",
            &[(Code::RowChanged, "public.items", &["id=9"])],
        ),
        (
            "UPDATE items SET doc = NULL WHERE id = 10; UPDATE items SET tags[2] = 'y' WHERE id = 11",
            &[(Code::RowChanged, "public.items", &["id=10", "id=11"])],
        ),
        (
            "DELETE FROM log WHERE ctid IN (SELECT min(ctid) FROM log WHERE line = 'line 7'); INSERT INTO log VALUES ('line 8', '2026-01-01')",
            &[
                (Code::RowMissing, "public.log", &["at=2026-01-01, line=line 7"]),
                (Code::RowAdded, "public.log", &["at=2026-01-01, line=line 8"]),
            ],
        ),
        (
            "UPDATE long_keys SET v = 0 WHERE v = 42",
            &[(
                Code::RowChanged,
                "public.long_keys",
                &[
                    "k=a1d0c6e83f027327d8461063f4ac58a6a1d0c6e83f027327d8461063f4ac58a6…58a6a1d0c6e83f027327d8461063f4ac58a6",
                ],
            )],
        ),
        ("SELECT setval('tickets', 499)", &[(Code::SequenceBehind, "public.tickets", &[])]),
    ];
    for (i, (damage, expected)) in cases.iter().enumerate() {
        let name = format!("damaged_{i}");
        server.copy_database("source", &name)?;
        server.psql(&name, damage)?;
        let comparison = verify(&manifest, &postgres(&server, &name)?, &Plan::default(), &event::ignore)?;
        let found: Vec<(Code, &str, Vec<&str>)> = comparison
            .findings()
            .iter()
            .map(|finding| {
                let named =
                    finding.rows.iter().flat_map(|rows| rows.named.iter().map(String::as_str)).collect();
                (finding.code(), finding.object.as_str(), named)
            })
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(code, object, rows)| (*code, *object, rows.to_vec())).collect();
        assert_eq!((comparison.verdict(), found), (Verdict::Fail, expected), "{damage}");
    }
    Ok(())
}

#[test]
fn beyond_the_sketch_a_manifest_says_at_least_and_two_live_databases_name_all() -> Result<()> {
    let server = fixtures::server(15)?;
    server.create_database("source")?;
    server.psql("source", "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 100000) i")?;
    let source = postgres(&server, "source")?;
    let manifest = capture(&source, &Plan::default(), &event::ignore)?;
    server.copy_database("source", "restored")?;
    server.psql("restored", "UPDATE t SET v = v + 1 WHERE id % 10 = 0; DELETE FROM t WHERE id % 1000 = 1")?;
    let restored = postgres(&server, "restored")?;

    let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
    let rows = |code| {
        comparison.findings().iter().find(|finding| finding.code() == code).and_then(|f| f.rows.clone())
    };
    let changed = rows(Code::RowChanged).context("changed rows")?;
    assert!(
        changed.more && changed.estimate.is_some_and(|all| (5_000..20_000).contains(&all)),
        "{changed:?}"
    );
    assert!(changed.named.iter().all(|name| name.ends_with('0')), "a wrong key was named");

    let comparison = compare_databases(&source, &restored, &Plan::default(), &event::ignore)?;
    let rows = |code| {
        comparison.findings().iter().find(|finding| finding.code() == code).and_then(|f| f.rows.clone())
    };
    let changed = rows(Code::RowChanged).context("changed rows")?;
    assert_eq!((changed.named.len(), changed.at_least, changed.more), (10_000, 10_000, false));
    let missing = rows(Code::RowMissing).context("missing rows")?;
    assert_eq!((missing.named.len(), missing.at_least, missing.more), (100, 100, false));
    Ok(())
}

#[test]
fn two_live_databases_name_even_missing_rows_with_long_keys() -> Result<()> {
    let server = fixtures::server(15)?;
    server.create_database("source")?;
    server.psql("source", "CREATE TABLE t (k text PRIMARY KEY); INSERT INTO t SELECT repeat('k', 200) || i FROM generate_series(1, 5000) i")?;
    server.copy_database("source", "restored")?;
    server.psql("restored", "DELETE FROM t WHERE k LIKE '%k4711'")?;
    let (source, restored) = (postgres(&server, "source")?, postgres(&server, "restored")?);
    let comparison = compare_databases(&source, &restored, &Plan::default(), &event::ignore)?;
    assert_eq!(summary(&comparison), ["row.missing public.t"]);
    let named = comparison.findings()[0].rows.as_ref().context("rows")?.named.clone();
    assert!(named.len() == 1 && named[0].ends_with("kkk4711"), "{named:?}");
    Ok(())
}

#[test]
fn the_source_itself_is_never_a_pass_and_a_copy_of_it_is() -> Result<()> {
    for major in [13, 18] {
        let mut server = fixtures::server(major)?;
        server.create_database("source")?;
        server.psql(
            "source",
            "CREATE TABLE t AS SELECT generate_series(1, 9) AS id; CREATE ROLE other SUPERUSER LOGIN",
        )?;
        server.copy_database("source", "restored")?;
        let source = postgres(&server, "source")?;
        let manifest = capture(&source, &Plan::default(), &event::ignore)?;
        let other = format!("{} user=other", server.conninfo("source"));
        let other = Postgres::new(Settings::parse(&other, &Environment::default())?);
        let same = (Verdict::Inconclusive, vec!["source.same-server source".to_owned()]);
        for database in [&source, &other] {
            let verified = verify(&manifest, database, &Plan::default(), &event::ignore)?;
            assert_eq!((verified.verdict(), summary(&verified)), same, "{major}");
            let compared = compare_databases(&source, database, &Plan::default(), &event::ignore)?;
            assert_eq!((compared.verdict(), summary(&compared)), same, "{major}");
        }
        let pass = (Verdict::Pass, vec![]);
        let copied = verify(&manifest, &postgres(&server, "restored")?, &Plan::default(), &event::ignore)?;
        assert_eq!((copied.verdict(), summary(&copied)), pass, "{major}");
        // The same files under another server, as of a physical restore.
        server.restart_after(fixtures::Stop::Fast, |_| Ok(()))?;
        let restarted = verify(&manifest, &source, &Plan::default(), &event::ignore)?;
        assert_eq!((restarted.verdict(), summary(&restarted)), pass, "{major}");
    }
    Ok(())
}
