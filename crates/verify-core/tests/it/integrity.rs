//! amcheck and `pg_visibility` on real servers: each kind of damage is named, and a sound database of every oddity is not.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fixtures::{Stop, TestServer};
use verify_core::ErrorKind;
use verify_core::event::{self, Event};
use verify_core::finding::Severity;
use verify_core::plan::Plan;
use verify_core::postgres::integrity::{self, Integrity};
use verify_core::postgres::{Connection, Environment, SessionOptions, Settings};
use verify_local::server::InitOptions;

const PAGE: usize = 8_192;

/// Objects that amcheck cannot check, or must not fail on.
const ODDITIES: &str = r#"
    SET synchronous_commit = on;
    CREATE SCHEMA "evil""; DROP TABLE victim; --"; CREATE TABLE victim (id int PRIMARY KEY);
    CREATE TABLE "evil""; DROP TABLE victim; --"."a'b\c" ("x""y" int PRIMARY KEY, "select" text);
    INSERT INTO "evil""; DROP TABLE victim; --"."a'b\c" VALUES (1, 'a');
    CREATE TABLE parted (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
    INSERT INTO parted SELECT i, '2020-06-01' FROM generate_series(1, 1000) i;
    CREATE TABLE many (id int, words text[], big text);
    INSERT INTO many SELECT i, ARRAY[i::text], CASE WHEN i < 20 THEN (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 300) j) END
        FROM generate_series(1, 1000) i;
    CREATE INDEX ON many USING gin (words); CREATE INDEX ON many USING hash (id); CREATE INDEX ON many USING brin (id);
    CREATE INDEX ON many (lower(left(big, 50))) WHERE id % 2 = 0; CREATE INDEX ON many (id) INCLUDE (words);
    DELETE FROM many WHERE id % 7 = 0; UPDATE many SET id = -id WHERE id % 5 = 0;
    CREATE INDEX invalid ON many (id DESC);
    UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'invalid'::regclass;
    CREATE UNLOGGED TABLE cache (id int PRIMARY KEY); INSERT INTO cache VALUES (1);
    CREATE MATERIALIZED VIEW summary AS SELECT count(*) AS rows FROM many;
    CREATE UNIQUE INDEX ON summary (rows);
    CREATE MATERIALIZED VIEW empty AS SELECT id FROM many WITH NO DATA;
    VACUUM many; VACUUM (FREEZE) parted_1; VACUUM summary;
    CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''hijacked''; END';
    CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION refuse();
"#;

/// Settings of a database that would keep a careless visitor from working in it.
const SETTINGS: [&str; 2] = ["default_transaction_read_only = on", "search_path = public, pg_catalog"];

/// Installs both extensions where an owner of the schema left functions that an unqualified call would run instead.
const INSTALLED: &str = r#"
    CREATE SCHEMA "odd ""schema'"; CREATE EXTENSION amcheck SCHEMA "odd ""schema'";
    CREATE EXTENSION pg_visibility SCHEMA "odd ""schema'";
    CREATE FUNCTION "odd ""schema'".pg_check_visible(oid) RETURNS SETOF tid LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''hijacked''; END';
    CREATE FUNCTION "odd ""schema'".bt_index_check(oid, boolean) RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''hijacked''; END';
    CREATE FUNCTION "odd ""schema'".verify_heapam(regclass, boolean, boolean, text) RETURNS void LANGUAGE plpgsql
        AS 'BEGIN RAISE EXCEPTION ''hijacked''; END';
"#;

fn settings(server: &TestServer, database: &str) -> Result<Settings> {
    Ok(Settings::parse(&server.conninfo(database), &Environment::default())?)
}

fn check(server: &TestServer, database: &str) -> Result<Integrity> {
    Ok(integrity::check(&settings(server, database)?, &Plan::default(), &event::ignore)?)
}

fn summary(integrity: &Integrity) -> Vec<String> {
    let lines = integrity.findings.iter().map(|finding| format!("{} {}", finding.code(), finding.object));
    lines.collect()
}

/// The schemas that hold the extensions, and ours.
fn traces(server: &TestServer, database: &str) -> Result<String> {
    server.psql(
        database,
        "SELECT extnamespace::regnamespace FROM pg_extension WHERE extname IN ('amcheck', 'pg_visibility')
         UNION ALL SELECT oid::regnamespace FROM pg_namespace WHERE nspname LIKE 'state_lab%'",
    )
}

fn sound(major: u32) -> Result<()> {
    let server = fixtures::server(major)?;
    // Open while what follows is written and vacuumed, elsewhere: it is no reason to doubt the visibility maps here.
    server.psql("postgres", "BEGIN; CREATE TABLE pending (id int); PREPARE TRANSACTION 'pending'")?;
    for (database, more) in [("bare", ""), ("installed", INSTALLED)] {
        server.create_database(database)?;
        server.psql(database, &format!("{more} {ODDITIES}"))?;
        for setting in SETTINGS {
            server.psql("postgres", &format!("ALTER DATABASE {database} SET {setting}"))?;
        }
        let careful = SessionOptions::new()
            .with("default_transaction_read_only", "off")
            .with("session_replication_role", "replica");
        let mut other = Connection::open(&settings(&server, database)?, &careful)?;
        other.execute("CREATE TEMP TABLE own (id int PRIMARY KEY)")?;
        let before = traces(&server, database)?;
        let integrity = check(&server, database)?;
        assert_eq!(summary(&integrity), [] as [String; 0], "{major}: {integrity:#?}");
        assert!(integrity.indexes_checked);
        let gaps: Vec<&str> = integrity.not_covered.iter().map(|gap| gap.object.as_str()).collect();
        let tables = (major < 14).then_some("pages of tables");
        // Of 857 rows.
        let samples = ["public.many_id_idx", "public.many_id_idx1", "public.many_words_idx"];
        assert_eq!(gaps, tables.into_iter().chain(samples).collect::<Vec<_>>());
        assert_eq!(traces(&server, database)?, before);
        assert_eq!(before.is_empty(), more.is_empty());
    }
    Ok(())
}

#[test]
fn a_sound_database_of_13_is_silent() -> Result<()> {
    sound(13)
}

#[test]
fn a_sound_database_of_15_is_silent() -> Result<()> {
    sound(15)
}

#[test]
fn a_sound_database_of_18_is_silent() -> Result<()> {
    sound(18)
}

/// Tests that the extension alone reports the maps of [`ODDITIES`] as wrong.
#[test]
fn what_is_still_open_elsewhere_raises_a_false_alarm_by_itself() -> Result<()> {
    let server = fixtures::server(15)?;
    server.psql("postgres", "BEGIN; CREATE TABLE pending (id int); PREPARE TRANSACTION 'pending'")?;
    server.create_database("source")?;
    server.psql(
        "source",
        "SET synchronous_commit = on; CREATE EXTENSION pg_visibility; CREATE TABLE t AS SELECT 1; VACUUM t",
    )?;
    assert_eq!(server.psql("source", "SELECT pg_check_visible('t')")?, "(0,1)");
    assert_eq!(summary(&check(&server, "source")?), [] as [String; 0]);
    Ok(())
}

/// Reads a file of pages, changes it, and writes it back.
fn change(data: &Path, file: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
    let path = data.join(file);
    let mut bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    change(&mut bytes);
    Ok(fs::write(&path, bytes)?)
}

/// Gives the first row of a page another inserting transaction, of the far future: no reader sees it any more.
fn misdate(page: &mut [u8]) {
    let line_pointer = u32::from_le_bytes([page[24], page[25], page[26], page[27]]);
    let row = (line_pointer & 0x7fff) as usize;
    let xmin = u32::from_le_bytes([page[row], page[row + 1], page[row + 2], page[row + 3]]);
    page[row..row + 4].copy_from_slice(&(xmin + 1_000_000).to_le_bytes());
}

/// Exchanges the first two keys of a page of an index.
fn swap_keys(page: &mut [u8]) {
    let (first, second) = page[24..32].split_at_mut(4);
    first.swap_with_slice(second);
}

/// A server whose files can be damaged: checksums would refuse a page before its contents are checked.
fn unguarded(major: u32) -> Result<TestServer> {
    let init = InitOptions { checksums: false, ..InitOptions::default() };
    let installation = fixtures::majors::installation(major)?;
    let server = TestServer::initdb(&installation, &init, &[("autovacuum", "off")])?;
    server.create_database("source")?;
    Ok(server)
}

/// The file of a relation, in the data directory.
fn file(server: &TestServer, relation: &str) -> Result<String> {
    let sql = format!("SELECT pg_relation_filepath(oid) FROM pg_class WHERE {relation}");
    Ok(server.psql("source", &sql)?.trim().to_owned())
}

fn wrong_map(major: u32) -> Result<()> {
    let mut server = unguarded(major)?;
    // After VACUUM has made the maps, which takes commits that are on disk, each first page is touched again, so that its bits
    // are cleared.
    server.psql(
        "source",
        "SET synchronous_commit = on;
         CREATE TABLE sound (id int PRIMARY KEY); INSERT INTO sound SELECT generate_series(1, 1000);
         CREATE TABLE deleted (id int PRIMARY KEY); INSERT INTO deleted SELECT generate_series(1, 1000);
         CREATE TABLE thawed (id int PRIMARY KEY); INSERT INTO thawed SELECT generate_series(1, 100);
         CREATE TABLE toasted (body text); ALTER TABLE toasted ALTER body SET STORAGE EXTERNAL;
         INSERT INTO toasted SELECT repeat('x', 4000) FROM generate_series(1, 10);
         CREATE MATERIALIZED VIEW view AS SELECT id FROM sound; CREATE UNIQUE INDEX ON view (id);
         VACUUM (FREEZE) sound; VACUUM deleted; VACUUM thawed; VACUUM toasted; VACUUM view;
         DELETE FROM sound WHERE id <= 10; DELETE FROM deleted WHERE id <= 10; INSERT INTO thawed VALUES (101);
         DELETE FROM toasted WHERE ctid = '(0,1)'; REFRESH MATERIALIZED VIEW CONCURRENTLY view",
    )?;
    let path = |relation: &str| Ok::<_, anyhow::Error>(file(&server, relation)? + "_vm");
    let (deleted, thawed) = (path("relname = 'deleted'")?, path("relname = 'thawed'")?);
    let toast = path("oid = (SELECT reltoastrelid FROM pg_class WHERE relname = 'toasted')")?;
    let view = path("relname = 'view'")?;
    assert_eq!(summary(&check(&server, "source")?), [] as [String; 0]);

    // The header of a page, then two bits for each page of the table: visible to all, and frozen.
    let set = |data: &Path, file: &str, bits: u8| change(data, file, |bytes| bytes[24] |= bits);
    server.restart_after(Stop::Fast, |data| {
        set(data, &deleted, 0b01)?;
        set(data, &thawed, 0b11)?;
        set(data, &toast, 0b01)?;
        set(data, &view, 0b01)
    })?;
    // The rows that an application gets from an index alone, and those of the table.
    let count = "SELECT count(*) FROM deleted WHERE id <= 20";
    let index_only = format!("SET enable_seqscan = off; SET enable_bitmapscan = off; {count}");
    assert_eq!(server.psql("source", &index_only)?, "20");
    assert_eq!(
        server.psql("source", "SELECT count(*) FROM (SELECT * FROM deleted WHERE id + 0 <= 20) d")?,
        "10"
    );

    let integrity = check(&server, "source")?;
    let toast_table =
        server.psql("source", "SELECT reltoastrelid::regclass FROM pg_class WHERE relname = 'toasted'")?;
    let messages: Vec<String> = integrity
        .findings
        .iter()
        .map(|finding| format!("{} {}: {}", finding.code(), finding.object, finding.message))
        .collect();
    let unseen = "rows that its visibility map marks all-visible although no transaction sees them, so that an index-only scan returns them";
    let thawed = "rows that its visibility map marks all-frozen although they are not, so that VACUUM skips them until transaction IDs run out";
    assert_eq!(
        messages,
        [
            format!(
                "integrity.damaged {toast_table}: the TOAST table of public.toasted is damaged: {unseen}: 3: (0,1), (0,2), (0,3)"
            ),
            format!(
                "integrity.damaged public.deleted: the table is damaged: {unseen}: 10, the first: (0,1), (0,2), (0,3)"
            ),
            format!(
                "integrity.damaged public.thawed: the table is damaged: {thawed}: 101, the first: (0,1), (0,2), (0,3)"
            ),
            format!(
                "integrity.damaged public.view: the table is damaged: {unseen}: 10, the first: (0,1), (0,2), (0,3)"
            ),
        ]
    );
    assert!(
        integrity.findings.iter().all(|finding| finding.severity() == Severity::Fail
            && finding.hint.contains("pg_truncate_visibility_map"))
    );
    assert_eq!(traces(&server, "source")?, "");
    Ok(())
}

#[test]
fn a_wrong_visibility_map_on_13_is_named() -> Result<()> {
    wrong_map(13)
}

#[test]
fn a_wrong_visibility_map_on_15_is_named() -> Result<()> {
    wrong_map(15)
}

#[test]
fn a_wrong_visibility_map_on_18_is_named() -> Result<()> {
    wrong_map(18)
}

fn damage(major: u32) -> Result<()> {
    let mut server = unguarded(major)?;
    server.psql(
        "source",
        "CREATE TABLE stale (id int PRIMARY KEY); INSERT INTO stale SELECT generate_series(1, 5000);
         CREATE TABLE zeroed (id int PRIMARY KEY); INSERT INTO zeroed SELECT generate_series(1, 5000);
         CREATE TABLE misdated (id int); INSERT INTO misdated SELECT generate_series(1, 100); SELECT count(*) FROM misdated;
         CREATE TABLE toasted (id int, body text);
         INSERT INTO toasted SELECT i, (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 300) j)
            FROM generate_series(1, 10) i;
         CREATE TABLE twice (id int); INSERT INTO twice SELECT generate_series(1, 100); CREATE INDEX twice_id ON twice (id);
         CREATE TABLE words (body text[]);
         INSERT INTO words SELECT ARRAY[md5(i::text), md5((-i)::text)] FROM generate_series(1, 5000) i;
         CREATE INDEX words_body ON words USING gin (body);
         CHECKPOINT;",
    )?;
    let path = |relation: &str| file(&server, relation);
    let (stale, zeroed) = (path("relname = 'stale_pkey'")?, path("relname = 'zeroed_pkey'")?);
    let misdated = path("relname = 'misdated'")?;
    let toast = path("oid = (SELECT reltoastrelid FROM pg_class WHERE relname = 'toasted')")?;
    let older = fs::read(server.server().data_dir().join(&stale))?;
    let gin = path("relname = 'words_body'")?;
    server.psql(
        "source",
        "INSERT INTO stale SELECT generate_series(5001, 5100);
         UPDATE pg_index SET indisunique = true WHERE indexrelid = 'twice_id'::regclass",
    )?;
    assert_eq!(summary(&check(&server, "source")?), [] as [String; 0]);
    // A value twice in an index that says that it is unique: each row is in it.
    server.psql(
        "source",
        "UPDATE pg_index SET indisunique = false WHERE indexrelid = 'twice_id'::regclass; INSERT INTO twice VALUES (7);
         UPDATE pg_index SET indisunique = true WHERE indexrelid = 'twice_id'::regclass",
    )?;

    server.restart_after(Stop::Fast, |data| {
        change(data, &stale, |bytes| *bytes = older)?;
        change(data, &zeroed, |bytes| bytes[2 * PAGE..3 * PAGE].fill(0))?;
        change(data, &gin, |bytes| swap_keys(&mut bytes[4 * PAGE..5 * PAGE]))?;
        change(data, &misdated, |bytes| misdate(&mut bytes[..PAGE]))?;
        change(data, &toast, |bytes| bytes.fill(0))
    })?;
    let integrity = check(&server, "source")?;
    let expected: Vec<String> = [
        (0, "public.misdated"),
        (0, "public.stale_pkey"),
        (0, "public.toasted"),
        (17, "public.twice_id"),
        (18, "public.words_body"),
        (0, "public.zeroed_pkey"),
    ]
    .iter()
    .filter(|(since, _)| major >= *since)
    .map(|(_, object)| format!("integrity.damaged {object}"))
    .collect();
    assert_eq!(summary(&integrity), expected, "{integrity:#?}");
    let later = ["public.twice_id", "public.words_body"];
    let (later, findings): (Vec<_>, Vec<_>) =
        integrity.findings.iter().partition(|finding| later.contains(&finding.object.as_str()));
    let said = ["index uniqueness is violated", "has wrong tuple order"];
    for (finding, said) in later.iter().zip(said) {
        assert!(finding.message.contains(said), "{}", finding.message);
    }
    let messages: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
    let parts: [&[&str]; 4] = [
        &[
            "the table is damaged: faults in its pages: 1: block 0, item 1: xmin ",
            "next valid transaction ID",
        ],
        &["an index of public.stale is damaged: ", "lacks matching index tuple"],
        &[
            "the table is damaged: faults in its pages: 10, the first: block 0, item 1, column 1: toast value ",
        ],
        &["an index of public.zeroed is damaged: ", "zeroed_pkey"],
    ];
    for (message, parts) in messages.iter().zip(parts) {
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    assert!(integrity.findings.iter().all(|finding| finding.severity() == Severity::Fail
        && finding.hint.starts_with("check whether the source has the same damage")));
    assert_eq!(traces(&server, "source")?, "");
    Ok(())
}

#[test]
fn damage_on_15_is_named() -> Result<()> {
    damage(15)
}

#[test]
fn damage_on_18_is_named() -> Result<()> {
    damage(18)
}

#[test]
fn what_cannot_be_checked_is_inconclusive() -> Result<()> {
    let server = fixtures::server(15)?;
    server.create_database("outdated")?;
    server.psql("outdated", "CREATE EXTENSION amcheck VERSION '1.2'")?;
    let integrity = check(&server, "outdated")?;
    assert_eq!(summary(&integrity), ["integrity.unknown indexes and pages"]);
    assert_eq!(integrity.findings[0].severity(), Severity::Inconclusive);
    assert!(integrity.not_covered[0].reason.contains("ALTER EXTENSION amcheck UPDATE"), "{integrity:?}");

    server.create_database("unqualified")?;
    server.psql(
        "unqualified",
        "CREATE FUNCTION one() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
         CREATE FUNCTION plus(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN i + one(); END';
         CREATE TABLE t (id int); INSERT INTO t VALUES (1); CREATE INDEX i ON t (plus(id)); CREATE INDEX j ON t (id)",
    )?;
    let integrity = check(&server, "unqualified")?;
    assert_eq!(summary(&integrity), [] as [String; 0]);
    assert_eq!(integrity.not_covered.len(), 1, "{integrity:?}");
    let reason = &integrity.not_covered[0].reason;
    assert!(
        reason.contains("its pages are sound") && reason.contains("function one() does not exist"),
        "{reason}"
    );
    Ok(())
}

#[test]
fn an_amcheck_of_an_earlier_version_leaves_gaps() -> Result<()> {
    let server = fixtures::server(18)?;
    server.create_database("source")?;
    server.psql("source", "CREATE EXTENSION amcheck VERSION '1.3'")?;
    let integrity = check(&server, "source")?;
    assert_eq!(summary(&integrity), [] as [String; 0]);
    let gaps: Vec<&str> = integrity.not_covered.iter().map(|gap| gap.object.as_str()).collect();
    assert_eq!(gaps, ["duplicates in unique indexes", "pages of GIN indexes"]);
    assert!(integrity.not_covered.iter().all(|gap| gap.reason.contains("ALTER EXTENSION amcheck UPDATE")));
    Ok(())
}

#[test]
fn a_finding_names_what_a_server_without_amcheck_needs() -> Result<()> {
    let nowhere = [("extension_control_path", "/nonexistent")];
    let server = TestServer::start(&fixtures::majors::installation(18)?, &nowhere)?;
    server.create_database("source")?;
    let integrity = check(&server, "source")?;
    assert_eq!(summary(&integrity), ["integrity.unknown indexes and pages"]);
    assert!(!integrity.indexes_checked);
    assert!(integrity.not_covered[0].reason.contains("PostgreSQL's contrib modules"), "{integrity:?}");
    Ok(())
}

#[test]
fn a_check_that_takes_long_can_be_stopped() -> Result<()> {
    let server = fixtures::server(15)?;
    server.create_database("slow")?;
    server.psql(
        "slow",
        "CREATE FUNCTION slow(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS '
            BEGIN IF current_setting(''state_lab.slow'', true) = ''on'' THEN PERFORM pg_sleep(600); END IF; RETURN i; END';
         CREATE TABLE t (id int); INSERT INTO t VALUES (1); CREATE INDEX ON t (slow(id));
         ALTER DATABASE slow SET state_lab.slow = 'on'",
    )?;
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let stop = |_: Event| {
        let asleep = server.psql("postgres", asleep).is_ok_and(|count| count.trim() == "1");
        if asleep { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    };
    let begun = Instant::now();
    let error = integrity::check(&settings(&server, "slow")?, &Plan::default(), &stop)
        .err()
        .context("it must be stopped")?;
    assert_eq!(error.kind(), &ErrorKind::Cancelled, "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(300));
    assert_eq!(traces(&server, "slow")?, "");
    Ok(())
}
