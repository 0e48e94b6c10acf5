//! Indexes of other access methods than b-tree: rows are looked up through them on real servers.

use std::fs;

use anyhow::Result;
use fixtures::{Stop, TestServer};
use verify_core::event;
use verify_core::finding::Severity;
use verify_core::not_covered::Check;
use verify_core::plan::Plan;
use verify_core::postgres::integrity::{self, Integrity};
use verify_core::postgres::{Environment, Settings};
use verify_local::server::InitOptions;

/// Indexes of every access method and of extensions; each with the values that an earlier version treated in its own way.
const INDEXES: &[(&str, &str, &str)] = &[
    ("hash_int", "hash (a)", "i"),
    ("hash_text", "hash (a COLLATE \"C\")", "CASE WHEN i % 7 = 0 THEN NULL ELSE 'v' || i END"),
    ("hash_expression", "hash (pg_catalog.lower(a)) WHERE a <> 'V3'", "'V' || i"),
    ("hash_own", "hash (public.twice(a))", "i"),
    (
        "gin_array",
        "gin (a)",
        "CASE i % 9 WHEN 0 THEN '{}' WHEN 1 THEN ARRAY[NULL, i] ELSE ARRAY[i, i + 1] END",
    ),
    (
        "gin_search",
        "gin (a)",
        "CASE WHEN i % 9 = 0 THEN '' ELSE $$'it''s' 'back\\\\slash' $$ || i END::tsvector",
    ),
    ("gin_jsonb", "gin (a)", "jsonb_build_object('k', i, 'l', ARRAY[i], 'm', NULL)"),
    (
        "gin_jsonb_path",
        "gin (a jsonb_path_ops)",
        "CASE WHEN i % 5 = 0 THEN '{}' ELSE jsonb_build_object('k', i) END",
    ),
    (
        "gin_trigram",
        "gin (a public.gin_trgm_ops)",
        "CASE i % 5 WHEN 0 THEN '' WHEN 1 THEN '%_\\' ELSE 'word ' || i END",
    ),
    ("gin_btree", "gin (a)", "i"),
    ("gin_two", "gin (a, b)", "ARRAY[i]"),
    ("gist_point", "gist (a)", "point(i, -i)"),
    ("gist_box", "gist (a)", "box(point(i, i), point(i + 1, i + 2))"),
    ("gist_circle", "gist (a)", "circle(point(i, i), i)"),
    ("gist_polygon", "gist (a)", "polygon(box(point(i, i), point(i + 1, i + 2)))"),
    ("gist_range", "gist (a)", "CASE WHEN i % 5 = 0 THEN 'empty' ELSE int4range(i, i + 3) END"),
    ("gist_inet", "gist (a inet_ops)", "'10.0.0.0'::inet + i"),
    ("gist_search", "gist (a)", "CASE WHEN i % 9 = 0 THEN '' ELSE 'word' || i END::tsvector"),
    ("gist_query", "gist (a)", "('word' || i)::tsquery"),
    ("gist_trigram", "gist (a public.gist_trgm_ops)", "CASE i % 5 WHEN 0 THEN '' ELSE 'word ' || i END"),
    ("gist_hstore", "gist (a)", "public.hstore('k', i::text)"),
    ("gist_btree", "gist (a, b)", "i"),
    ("gist_float", "gist (a)", "CASE WHEN i % 9 = 0 THEN 'Infinity' ELSE i::float8 END"),
    ("gist_cube", "gist (a)", "public.cube(i)"),
    ("gist_tree", "gist (a)", "('top.n' || i)::public.ltree"),
    ("spgist_quad", "spgist (a)", "point(i, -i)"),
    ("spgist_kd", "spgist (a kd_point_ops)", "point(i, -i)"),
    ("spgist_text", "spgist (a)", "CASE WHEN i % 5 = 0 THEN '' ELSE 'word ' || i END"),
    ("spgist_range", "spgist (a)", "CASE WHEN i % 5 = 0 THEN 'empty' ELSE int4range(i, i + 3) END"),
    ("spgist_box", "spgist (a)", "box(point(i, i), point(i + 1, i + 2))"),
    ("spgist_inet", "spgist (a)", "'10.0.0.0'::inet + i"),
    ("brin_int", "brin (a, b) WITH (pages_per_range = 1)", "i"),
    ("brin_text", "brin (a) WITH (pages_per_range = 1)", "'v' || i"),
    ("brin_range", "brin (a) WITH (pages_per_range = 1)", "int4range(i, i + 3)"),
    ("brin_box", "brin (a) WITH (pages_per_range = 1)", "box(point(i, i), point(i + 1, i + 2))"),
    ("bloom", "bloom (a, b)", "i"),
];

const EXTENSIONS: &str = "
    CREATE EXTENSION btree_gin; CREATE EXTENSION btree_gist; CREATE EXTENSION pg_trgm; CREATE EXTENSION hstore;
    CREATE EXTENSION cube; CREATE EXTENSION ltree; CREATE EXTENSION bloom;
    CREATE FUNCTION public.twice(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN public.helper(i); END';
    CREATE FUNCTION public.helper(i int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2 * i';";

/// A table of each index, of `rows` rows, and b-trees beside, which must not be used instead.
fn tables(rows: u32) -> String {
    let mut script = EXTENSIONS.to_owned();
    for (name, definition, value) in INDEXES {
        script.push_str(&format!(
            "CREATE TABLE {name} AS SELECT i AS id, {value} AS a, -i AS b FROM generate_series(1, {rows}) i;
             CREATE INDEX {name}_index ON {name} USING {definition};
             CREATE INDEX ON {name} (id) WHERE id > 0;"
        ));
    }
    script.push_str(
        "CREATE INDEX ON hash_int (a); CREATE INDEX ON spgist_text (a); CREATE INDEX ON brin_int (a);",
    );
    script
}

fn server(major: u32) -> Result<TestServer> {
    let init = InitOptions { checksums: false, ..InitOptions::default() };
    let server =
        TestServer::initdb(&fixtures::majors::installation(major)?, &init, &[("autovacuum", "off")])?;
    server.create_database("source")?;
    Ok(server)
}

fn check(server: &TestServer, role: &str) -> Result<Integrity> {
    let settings = Settings::parse(&server.server().conninfo_as(role, "source"), &Environment::default())?;
    let plan = Plan::default().without([Check::Heap, Check::Visibility]);
    Ok(integrity::check(&settings, &plan, &event::ignore)?)
}

fn findings(integrity: &Integrity) -> Vec<String> {
    integrity.findings.iter().map(|finding| format!("{}: {}", finding.object, finding.message)).collect()
}

fn gaps(integrity: &Integrity) -> Vec<String> {
    integrity.not_covered.iter().map(|gap| format!("{}: {}", gap.object, gap.reason)).collect()
}

fn sound(major: u32) -> Result<()> {
    let server = server(major)?;
    server.psql("source", &tables(400))?;
    let integrity = check(&server, "postgres")?;
    assert_eq!(findings(&integrity), [] as [String; 0], "{major}");
    assert_eq!(gaps(&integrity), [] as [String; 0], "{major}");
    Ok(())
}

#[test]
fn sound_indexes_of_13_are_silent() -> Result<()> {
    sound(13)
}

#[test]
fn sound_indexes_of_15_are_silent() -> Result<()> {
    sound(15)
}

#[test]
fn sound_indexes_of_18_are_silent() -> Result<()> {
    sound(18)
}

/// Tests that rows which GiST itself loses, beside a value that is not a number, are no finding.
#[test]
fn an_operator_class_that_loses_rows_is_a_gap() -> Result<()> {
    for major in [13, 15, 18] {
        let server = server(major)?;
        server.psql(
            "source",
            "CREATE EXTENSION btree_gist;
             CREATE TABLE t AS SELECT CASE WHEN i % 9 = 0 THEN 'NaN' ELSE i::float8 END AS a FROM generate_series(1, 400) i;
             CREATE INDEX i ON t USING gist (a)",
        )?;
        let integrity = check(&server, "postgres")?;
        assert_eq!(findings(&integrity), [] as [String; 0], "{major}");
        assert!(gaps(&integrity)[0].contains("nor through a new index"), "{major}: {:?}", gaps(&integrity));
    }
    Ok(())
}

/// Files of indexes from before rows were added.
fn stale(major: u32) -> Result<()> {
    let mut server = server(major)?;
    server.psql("source", &tables(300))?;
    // A summary of a page that gets no more rows would still be right.
    server.psql("source", "CHECKPOINT")?;
    let paths = server.psql(
        "source",
        "SELECT pg_relation_filepath(oid) FROM pg_class WHERE relname LIKE '%\\_index' AND relkind = 'i'",
    )?;
    let data = server.server().data_dir().to_owned();
    let older =
        paths.lines().map(|path| Ok((path, fs::read(data.join(path))?))).collect::<Result<Vec<_>>>()?;
    for (name, _, value) in INDEXES {
        server.psql(
            "source",
            &format!("INSERT INTO {name} SELECT i, {value}, -i FROM generate_series(301, 320) i"),
        )?;
    }
    let before = check(&server, "postgres")?;
    assert_eq!((findings(&before), gaps(&before)), (Vec::new(), Vec::new()), "{major}");
    server.restart_after(Stop::Fast, |data| {
        older.iter().try_for_each(|(path, bytes)| Ok(fs::write(data.join(path), bytes)?))
    })?;
    let integrity = check(&server, "postgres")?;
    let named: Vec<&str> = integrity.findings.iter().map(|finding| finding.object.as_str()).collect();
    let mut expected: Vec<String> = INDEXES.iter().map(|(name, ..)| format!("public.{name}_index")).collect();
    expected.sort();
    assert_eq!(named, expected, "{major} {:#?}", findings(&integrity));
    assert!(integrity.findings.iter().all(|finding| finding.severity() == Severity::Fail));
    Ok(())
}

#[test]
fn stale_indexes_of_13_are_named() -> Result<()> {
    stale(13)
}

#[test]
fn stale_indexes_of_15_are_named() -> Result<()> {
    stale(15)
}

#[test]
fn stale_indexes_of_18_are_named() -> Result<()> {
    stale(18)
}

/// Tests that of many rows those that changed last are looked up, and what a role that is no superuser knows.
#[test]
fn the_newest_rows_of_a_large_table_are_looked_up() -> Result<()> {
    let mut server = server(15)?;
    server.psql(
        "source",
        "CREATE TABLE stale AS SELECT i AS id FROM generate_series(1, 50000) i; CREATE INDEX stale_index ON stale USING hash (id);
         CREATE TABLE sound AS TABLE stale; CREATE INDEX sound_index ON sound USING hash (id);
         CREATE ROLE reader LOGIN BYPASSRLS; GRANT pg_read_all_data TO reader;
         CREATE EXTENSION amcheck; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO reader; CHECKPOINT",
    )?;
    let data = server.server().data_dir().to_owned();
    let path = server.psql("source", "SELECT pg_relation_filepath('stale_index')")?;
    let older = fs::read(data.join(&path))?;
    server.psql("source", "INSERT INTO stale VALUES (50001), (50002)")?;
    server.restart_after(Stop::Fast, |data| Ok(fs::write(data.join(&path), older)?))?;

    let integrity = check(&server, "postgres")?;
    let [finding] = &integrity.findings[..] else { panic!("{integrity:#?}") };
    assert_eq!((finding.object.as_str(), finding.severity()), ("public.stale_index", Severity::Fail));
    let said = "2 of 995 rows of the table that were looked up are not found through it: (221,56), (221,55); a new index finds them";
    assert_eq!(finding.message, format!("an index of public.stale is damaged: {said}"));
    let sample = " rows of public.sound was looked up through it, not every row; REINDEX rebuilds it";
    let [gap] = &gaps(&integrity)[..] else { panic!("{integrity:#?}") };
    assert!(gap.starts_with("public.sound_index: a sample of ") && gap.ends_with(sample), "{gap}");

    let integrity = check(&server, "reader")?;
    let [finding] = &integrity.findings[..] else { panic!("{integrity:#?}") };
    assert_eq!((finding.object.as_str(), finding.severity()), ("public.stale_index", Severity::Inconclusive));
    assert!(finding.message.contains("verify as a superuser"), "{finding:?}");
    // The copy has the same index as before.
    assert_eq!(server.psql("source", "SELECT pg_relation_filepath('stale_index')")?, path);
    assert_eq!(server.psql("source", "SELECT count(*) FROM pg_index WHERE NOT indisvalid")?, "0");
    Ok(())
}
