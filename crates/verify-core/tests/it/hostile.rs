//! A restored database is hostile: whatever it left behind, nothing of it runs with the privileges of a superuser who verifies it,
//! and nothing of it reaches a report raw or without limit.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Result, ensure};
use fixtures::TestServer;
use verify_core::capture::capture;
use verify_core::compare::Comparison;
use verify_core::event::{self, Event};
use verify_core::finding::Finding;
use verify_core::invariant::{Expect, Invariant};
use verify_core::manifest::Manifest;
use verify_core::plan::Plan;
use verify_core::postgres::constraints::SourceRows;
use verify_core::postgres::{Environment, Postgres, Settings};
use verify_core::screen::screen_databases;
use verify_local::{Copy, check_copy, compare};

use crate::measure::postgres;

/// A function that does harm where it runs with the privileges of a superuser, and leaves a file as the proof.
const ATTACK: &str = "CREATE FUNCTION public.harm() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        COPY (SELECT session_user, current_user, current_query()) TO '{file}';
    EXCEPTION WHEN OTHERS THEN NULL;
    END $$;
    CREATE OR REPLACE FUNCTION public.attack(ANYELEMENT) RETURNS ANYELEMENT IMMUTABLE LANGUAGE plpgsql
        AS 'BEGIN PERFORM public.harm(); RETURN $1; END';";
/// The same function while the trap is set.
const HARMLESS: &str = "CREATE FUNCTION public.attack(ANYELEMENT) RETURNS ANYELEMENT IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';";

struct Trap {
    server: TestServer,
    file: PathBuf,
}

impl Trap {
    /// A database with a trap: statements that may call `public.attack`, which is harmless until they have run, or until `{attack}`.
    fn new(major: u32, trap: &str) -> Result<Self> {
        let server = fixtures::server(major)?;
        server.create_database("source")?;
        // Where the server can write it.
        let file = server.server().data_dir().join("attacked");
        let attack = ATTACK.replace("{file}", &file.display().to_string());
        let script = if trap.contains("{attack}") { trap.to_owned() } else { format!("{trap};{{attack}}") };
        server.psql("source", &format!("{HARMLESS}\n{}", script.replace("{attack}", &attack)))?;
        if trap.contains("{attack}") {
            // It may have been called since.
            let _ = std::fs::remove_file(&file);
        }
        ensure!(!file.exists(), "the trap went off while it was set");
        Ok(Self { server, file })
    }

    /// Captures the database, and verifies a copy of it with all checks.
    fn verify(&self) -> Result<Comparison> {
        let manifest = capture(&postgres(&self.server, "source")?, &Plan::default(), &event::ignore)?;
        self.server.copy_database("source", "restored")?;
        self.verify_copy(&manifest)
    }

    fn verify_copy(&self, manifest: &Manifest) -> Result<Comparison> {
        let roles = "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles";
        let before = self.server.psql("postgres", roles)?;
        let settings = Settings::parse(&self.server.conninfo("restored"), &Environment::default())?;
        let database = postgres(&self.server, "restored")?;
        let mut comparison = compare(manifest, &database, &settings, &Plan::default(), &event::ignore)?;
        let source = SourceRows { tables: comparison.equal_tables(manifest), snapshot: None };
        let copy = Copy { settings: &settings, source, sound: false };
        check_copy(&mut comparison, &copy, &Plan::default(), &event::ignore, &|_| Ok(()))?;
        if self.file.exists() {
            anyhow::bail!("attacked: {}", std::fs::read_to_string(&self.file)?);
        }
        assert_eq!(self.server.psql("postgres", roles)?, before);
        Ok(comparison)
    }
}

fn shown(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|finding| format!("{} {}: {}", finding.code(), finding.object, finding.message))
        .collect()
}

/// The trap works: without it a test of this file could not fail.
#[test]
fn a_call_as_a_superuser_leaves_the_proof() -> Result<()> {
    let trap = Trap::new(15, "")?;
    trap.server.psql("source", "SELECT public.attack(1)")?;
    assert!(trap.file.exists());
    Ok(())
}

fn harmless(trap: &str) -> Result<()> {
    for major in [13, 15, 18] {
        let trap = Trap::new(major, trap)?;
        let comparison = trap.verify().map_err(|error| error.context(format!("PostgreSQL {major}")))?;
        println!("{major}: {:#?}", shown(comparison.findings()));
    }
    Ok(())
}

/// A screen hashes values on the server: by the server's own functions, whatever the database has of these names or for these types.
#[test]
fn hash_functions_of_the_database_do_not_run() -> Result<()> {
    const TRAP: &str = "
        CREATE FUNCTION public.hash_record_extended(record, bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql
            AS 'BEGIN RETURN public.attack(0::bigint); END';
        CREATE FUNCTION public.hashint4extended(int, bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql
            AS 'BEGIN RETURN public.attack(0::bigint); END';
        CREATE FUNCTION public.adds(numeric, bigint) RETURNS numeric IMMUTABLE LANGUAGE plpgsql
            AS 'BEGIN RETURN public.attack(0::numeric); END';
        CREATE AGGREGATE public.sum(bigint) (SFUNC = public.adds, STYPE = numeric, INITCOND = '0');
        CREATE FUNCTION public.same(varchar, varchar) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true';
        CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.same, HASHES);
        CREATE FUNCTION public.hashed(varchar) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN public.attack(0); END';
        CREATE FUNCTION public.hashed(varchar, bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql
            AS 'BEGIN RETURN public.attack(0::bigint); END';
        CREATE OPERATOR CLASS public.evil DEFAULT FOR TYPE varchar USING hash AS
            OPERATOR 1 public.= (varchar, varchar), FUNCTION 1 public.hashed(varchar), FUNCTION 2 public.hashed(varchar, bigint);
        CREATE DOMAIN public.trapped AS varchar CHECK (public.attack(VALUE) <> '');
        CREATE TABLE public.t (id int PRIMARY KEY, v varchar, d public.trapped, a varchar[]);
        INSERT INTO public.t VALUES (1, 'v', 'd', ARRAY['a']);
        ALTER DATABASE source SET search_path = public, pg_catalog;";
    for major in [15, 18] {
        let trap = Trap::new(major, TRAP)?;
        trap.server.copy_database("source", "restored")?;
        trap.server.psql("postgres", "ALTER DATABASE restored SET search_path = public, pg_catalog")?;
        for call in ["hash_record_extended(ROW(1), 1)", "pg_catalog.hash_record_extended(ROW(v), 1)"] {
            trap.server.psql("restored", &format!("SELECT {call} FROM public.t"))?;
            ensure!(trap.file.exists(), "PostgreSQL {major}: {call} would not go off");
            std::fs::remove_file(&trap.file)?;
        }
        let (source, restored) = (postgres(&trap.server, "source")?, postgres(&trap.server, "restored")?);
        let comparison = screen_databases(&source, &restored, &Plan::default(), &event::ignore)?;
        ensure!(!trap.file.exists(), "attacked: {}", std::fs::read_to_string(&trap.file)?);
        let rows = comparison.findings().iter().filter(|finding| finding.object == "public.t");
        assert_eq!(rows.count(), 0, "{major}: {:#?}", shown(comparison.findings()));
    }
    Ok(())
}

#[test]
fn checks_generated_columns_and_domains_do_not_run() -> Result<()> {
    harmless(
        "CREATE DOMAIN public.trapped AS int CHECK (public.attack(VALUE) > 0);
         CREATE TABLE public.t (id int PRIMARY KEY CHECK (public.attack(id) > 0), d public.trapped,
            g int GENERATED ALWAYS AS (public.attack(id)) STORED, x int DEFAULT public.attack(1), EXCLUDE ((public.attack(id)) WITH =));
         INSERT INTO public.t (id, d) SELECT n, n FROM generate_series(1, 10) n;",
    )
}

#[test]
fn expressions_and_predicates_of_indexes_do_not_run() -> Result<()> {
    harmless(
        "CREATE TABLE public.t (id int PRIMARY KEY, words text[]);
         INSERT INTO public.t SELECT n, ARRAY['a', n::text] FROM generate_series(1, 10) n;
         CREATE INDEX expression ON public.t (public.attack(id)); CREATE INDEX predicate ON public.t (id) WHERE public.attack(id) > 0;
         CREATE UNIQUE INDEX distinct_expression ON public.t (public.attack(id));
         CREATE INDEX hashed ON public.t USING hash (public.attack(id)); CREATE INDEX inverted ON public.t USING gin (public.attack(words));
         CREATE INDEX ranges ON public.t USING brin (public.attack(id)); CREATE STATISTICS public.s ON id, words FROM public.t;
         CREATE FUNCTION public.fickle(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN public.attack($1); END';
         CREATE INDEX lossy ON public.t USING hash (public.fickle(id));
         {attack}
         CREATE OR REPLACE FUNCTION public.fickle(int) RETURNS int IMMUTABLE LANGUAGE plpgsql
            AS 'BEGIN PERFORM public.harm(); RETURN random() * 1000000; END';",
    )
}

/// The functions are called nevertheless, by a role that may only read: an index of them is checked.
#[test]
fn an_index_of_functions_is_checked() -> Result<()> {
    let trap = Trap::new(
        15,
        "CREATE TABLE public.t (id int PRIMARY KEY); INSERT INTO public.t SELECT generate_series(1, 10);
         CREATE INDEX sound ON public.t (public.attack(id)); CREATE INDEX damaged ON public.t (public.attack(id));
         {attack}
         UPDATE pg_index SET indisready = false WHERE indexrelid = 'public.damaged'::regclass; INSERT INTO public.t VALUES (11);
         UPDATE pg_index SET indisready = true",
    )?;
    let comparison = trap.verify()?;
    let found = shown(comparison.findings());
    assert!(found.len() == 1 && found[0].starts_with("integrity.damaged public.damaged: "), "{found:#?}");
    let gaps: Vec<_> =
        comparison.coverage().not_covered.iter().filter(|gap| gap.object.contains("sound")).collect();
    assert!(gaps.is_empty(), "{gaps:#?}");
    Ok(())
}

/// Text that rewrites a terminal, reads from right to left, or ends what it is put into.
const ODD: &str = "o\"d'd\n\u{1b}[31m\u{202e}\u{9b}1m<script>&\\";

/// Returns whether a text holds control characters, line ends among them, or turns the direction of writing.
fn is_raw(text: &str) -> bool {
    text.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c))
}

/// All texts of a comparison.
fn texts(comparison: &Comparison) -> Vec<String> {
    let findings = comparison.findings().iter().flat_map(|finding| {
        let rows = finding.rows.iter().flat_map(|rows| rows.named.clone());
        [finding.object.clone(), finding.message.clone(), finding.hint.clone()].into_iter().chain(rows)
    });
    let gaps =
        comparison.coverage().not_covered.iter().flat_map(|gap| [gap.object.clone(), gap.reason.clone()]);
    findings.chain(gaps).collect()
}

#[test]
fn odd_names_and_texts_are_shown_inertly() -> Result<()> {
    let name = format!("\"{}\"", ODD.replace('"', "\"\""));
    let text = format!("'{}'", ODD.replace('\'', "''"));
    let fill = |sql: &str| sql.replace("{name}", &name).replace("{text}", &text);
    for major in [13, 15, 18] {
        let server = fixtures::server(major)?;
        server.create_database("source")?;
        server.psql(
            "source",
            &fill(
                "CREATE ROLE {name}; CREATE SCHEMA {name}; CREATE TYPE {name}.{name} AS ENUM ({text}, 'b');
                 CREATE FUNCTION {name}.{name}(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
                 CREATE SEQUENCE {name}.s; CREATE SEQUENCE {name}.gone; CREATE DOMAIN {name}.d AS text CONSTRAINT {name} CHECK (VALUE <> {text});
                 CREATE TABLE {name}.t ({name} text PRIMARY KEY, e {name}.{name}, n int CONSTRAINT {name} CHECK ({name}.{name}(n)), d {name}.d DEFAULT 'a');
                 INSERT INTO {name}.t SELECT {text} || n, {text}, n FROM generate_series(1, 10) n;
                 CREATE TABLE {name}.lost (id int); CREATE INDEX {name} ON {name}.t (lower({name})); COMMENT ON TABLE {name}.t IS {text};
                 CREATE POLICY {name} ON {name}.t USING ({name} <> {text}); CREATE VIEW {name}.v AS SELECT {text} AS {name};
                 CREATE FUNCTION {name}.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
                 CREATE TRIGGER {name} BEFORE UPDATE ON {name}.t FOR EACH ROW EXECUTE FUNCTION {name}.touch({text});
                 CREATE TABLE {name}.parent (id int PRIMARY KEY); CREATE TABLE {name}.child (id int CONSTRAINT {name} REFERENCES {name}.parent)",
            ),
        )?;
        let manifest = capture(&postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
        server.copy_database("source", "restored")?;
        server.psql(
            "restored",
            &fill(
                "DELETE FROM {name}.t WHERE n = 1; UPDATE {name}.t SET n = -n WHERE n = 2; DROP TABLE {name}.lost; CREATE TABLE {name}.extra (id int);
                 CREATE OR REPLACE FUNCTION {name}.{name}(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS E'BEGIN RAISE EXCEPTION ''\\x1b[31m''; END';
                 SELECT setval(quote_ident({text}) || '.s', 1000); DROP SEQUENCE {name}.gone; ALTER TYPE {name}.{name} RENAME VALUE 'b' TO E'\\x1b[32m';
                 DROP INDEX {name}.{name}; COMMENT ON TABLE {name}.t IS E'\\x1b[33m'; DROP POLICY {name} ON {name}.t; DROP TRIGGER {name} ON {name}.t;
                 CREATE OR REPLACE VIEW {name}.v AS SELECT E'\\x1b[34m' AS {name}; SET session_replication_role = replica; INSERT INTO {name}.child VALUES (1);
                 ALTER TABLE {name}.t ALTER d SET DEFAULT E'\\x1b[35m'; ALTER TABLE {name}.t OWNER TO {name}",
            ),
        )?;
        let trap = Trap { file: server.server().data_dir().join("attacked"), server };
        let comparison = trap.verify_copy(&manifest)?;
        assert!(comparison.findings().len() > 12, "{:#?}", shown(comparison.findings()));
        let raw: Vec<String> = texts(&comparison).into_iter().filter(|text| is_raw(text)).collect();
        assert!(raw.is_empty(), "PostgreSQL {major}: {raw:#?}");
    }
    Ok(())
}

/// A comment and a function of ten million characters, and a table of 1,600 columns.
#[test]
fn large_definitions_are_shown_shortened() -> Result<()> {
    let server = fixtures::server(15)?;
    server.create_database("source")?;
    server.psql(
        "source",
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
         DO $$ BEGIN
            EXECUTE 'COMMENT ON TABLE t IS ' || quote_literal(repeat('x', 10000000));
            EXECUTE 'CREATE FUNCTION f() RETURNS text LANGUAGE sql AS ' || quote_literal('SELECT ' || quote_literal(repeat('y', 10000000)));
            EXECUTE 'CREATE TABLE wide (' || (SELECT string_agg('c' || n || ' int DEFAULT ' || n, ', ') FROM generate_series(1, 1600) n) || ')';
         END $$",
    )?;
    let manifest = capture(&postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
    server.copy_database("source", "restored")?;
    server.psql(
        "restored",
        "DO $$ BEGIN
            EXECUTE 'COMMENT ON TABLE t IS ' || quote_literal('z' || repeat('x', 10000000));
            EXECUTE 'CREATE OR REPLACE FUNCTION f() RETURNS text LANGUAGE sql AS ' || quote_literal('SELECT ' || quote_literal(repeat('y', 10000001)));
            EXECUTE 'ALTER TABLE wide ' || (SELECT string_agg('ALTER c' || n || ' SET DEFAULT 0', ', ') FROM generate_series(1, 1600) n);
         END $$",
    )?;
    let trap = Trap { file: server.server().data_dir().join("attacked"), server };
    let comparison = trap.verify_copy(&manifest)?;
    let found: Vec<&str> = comparison.findings().iter().map(|finding| finding.object.as_str()).collect();
    assert!(found.contains(&"table public.t") && found.contains(&"function public.f()"), "{found:?}");
    let longest = texts(&comparison).iter().map(String::len).max();
    assert!(longest < Some(4_000), "{longest:?}");
    Ok(())
}

#[test]
fn operator_classes_do_not_run() -> Result<()> {
    harmless(
        "CREATE TYPE public.pair AS (a int);
         CREATE FUNCTION public.compare(public.pair, public.pair) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT public.attack(($1).a - ($2).a)';
         CREATE FUNCTION public.less(public.pair, public.pair) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT public.attack(($1).a < ($2).a)';
         CREATE FUNCTION public.same(public.pair, public.pair) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT public.attack(($1).a = ($2).a)';
         CREATE OPERATOR public.<< (LEFTARG = public.pair, RIGHTARG = public.pair, FUNCTION = public.less);
         CREATE OPERATOR public.== (LEFTARG = public.pair, RIGHTARG = public.pair, FUNCTION = public.same);
         CREATE OPERATOR CLASS public.pairs DEFAULT FOR TYPE public.pair USING btree AS OPERATOR 1 public.<<, OPERATOR 3 public.==,
            FUNCTION 1 public.compare(public.pair, public.pair);
         CREATE TABLE public.t (id int PRIMARY KEY, p public.pair UNIQUE);
         INSERT INTO public.t SELECT n, ROW(n)::public.pair FROM generate_series(1, 10) n;",
    )
}

#[test]
fn policies_rules_and_triggers_do_not_run() -> Result<()> {
    harmless(
        "CREATE TABLE public.t (id int PRIMARY KEY); INSERT INTO public.t SELECT generate_series(1, 10);
         ALTER TABLE public.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         CREATE POLICY everyone ON public.t USING (public.attack(id) > 0);
         CREATE FUNCTION public.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.attack(1); RETURN NULL; END';
         CREATE TRIGGER always BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON public.t EXECUTE FUNCTION public.fire();
         ALTER TABLE public.t ENABLE ALWAYS TRIGGER always;
         CREATE VIEW public.v AS SELECT public.attack(id) FROM public.t;
         CREATE MATERIALIZED VIEW public.m AS SELECT public.attack(id) FROM public.t;
         CREATE RULE log AS ON UPDATE TO public.t DO ALSO SELECT public.attack(1);",
    )
}

/// Event triggers, those that are always enabled too, for what is made in the copy and taken away again.
#[test]
fn event_triggers_do_not_run() -> Result<()> {
    for enabled in ["ENABLE", "ENABLE ALWAYS", "ENABLE REPLICA"] {
        harmless(&format!(
            "CREATE TABLE public.t (id int PRIMARY KEY); INSERT INTO public.t SELECT generate_series(1, 10);
             CREATE VIEW public.v AS SELECT id FROM public.t WHERE id BETWEEN 1 AND 5;
             CREATE FUNCTION public.fire() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.attack(1); END';
             CREATE EVENT TRIGGER a ON ddl_command_start EXECUTE FUNCTION public.fire();
             CREATE EVENT TRIGGER b ON ddl_command_end EXECUTE FUNCTION public.fire();
             CREATE EVENT TRIGGER c ON sql_drop EXECUTE FUNCTION public.fire();
             ALTER EVENT TRIGGER a DISABLE; ALTER EVENT TRIGGER b DISABLE; ALTER EVENT TRIGGER c DISABLE;
             {{attack}}
             ALTER EVENT TRIGGER a {enabled}; ALTER EVENT TRIGGER b {enabled}; ALTER EVENT TRIGGER c {enabled};"
        ))?;
    }
    Ok(())
}

/// Functions, operators, casts and views with the names of the server's own, found first by whoever has the settings of the database.
#[test]
fn names_of_the_server_s_own_are_not_taken_from_the_database() -> Result<()> {
    let text = |name: &str| {
        format!(
            "CREATE FUNCTION public.{name}(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT public.attack($1)';
             CREATE FUNCTION public.{name}(name) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT public.attack($1::text)';
             CREATE FUNCTION public.{name}(oid) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT public.attack($1::text)';"
        )
    };
    let functions: String = [
        "quote_ident",
        "current_setting",
        "has_schema_privilege",
        "pg_get_expr",
        "pg_table_size",
        "count",
        "format_type",
    ]
    .map(text)
    .concat();
    let operator = |name: &str, place: usize, left: &str, right: &str| {
        format!(
            "CREATE FUNCTION public.operator_{place}({left}, {right}) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM public.attack(1); RETURN true; END';
             CREATE OPERATOR public.{name} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.operator_{place});"
        )
    };
    let pairs = [
        ("name", "text"),
        ("text", "text"),
        ("oid", "oid"),
        ("oid", "int"),
        ("\"char\"", "\"char\""),
        ("int2", "int"),
    ];
    let names = ["=", "<>", ">", "<", ">=", "~", "~*"];
    let all = names.iter().flat_map(|name| pairs.iter().map(move |pair| (name, pair))).enumerate();
    let operators: String =
        all.map(|(place, (name, (left, right)))| operator(name, place, left, right)).collect();
    harmless(&format!(
        "{functions} {operators}
         CREATE FUNCTION public.as_text(regclass) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT public.attack(''x''::text)';
         CREATE VIEW public.pg_class AS SELECT oid, public.attack(relname::text) AS relname, relnamespace, relkind FROM pg_catalog.pg_class;
         CREATE VIEW public.pg_namespace AS SELECT public.attack(1) AS oid; CREATE VIEW public.pg_settings AS SELECT public.attack(1) AS name;
         CREATE TABLE public.t (id int PRIMARY KEY CHECK (id > 0), v text UNIQUE); INSERT INTO public.t SELECT n, n FROM generate_series(1, 10) n;
         CREATE SEQUENCE public.s OWNED BY public.t.id;
         ALTER DATABASE source SET search_path = public, pg_catalog; ALTER ROLE postgres SET search_path = public, pg_catalog;"
    ))
}

/// Types that the database defines: values are read as they are stored, and no cast of the database makes them text.
#[test]
fn casts_and_types_do_not_run() -> Result<()> {
    harmless(
        "CREATE TYPE public.pair AS (a int, b text); CREATE TYPE public.mood AS ENUM ('sad', 'ok');
         CREATE FUNCTION public.canonical(a float8, b float8) RETURNS float8 IMMUTABLE LANGUAGE sql AS 'SELECT public.attack(a - b)';
         CREATE TYPE public.odd_range AS RANGE (subtype = float8, subtype_diff = public.canonical);
         CREATE FUNCTION public.pair_text(public.pair) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT public.attack(''x''::text)';
         CREATE FUNCTION public.mood_text(public.mood) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT public.attack(''x''::text)';
         CREATE CAST (public.pair AS text) WITH FUNCTION public.pair_text(public.pair) AS IMPLICIT;
         CREATE CAST (public.mood AS text) WITH FUNCTION public.mood_text(public.mood) AS IMPLICIT;
         CREATE TABLE public.t (id int PRIMARY KEY, p public.pair, m public.mood, r public.odd_range, ps public.pair[], ms public.mood[]);
         INSERT INTO public.t SELECT n, ROW(n, 'b')::public.pair, 'ok', public.odd_range(n, n + 1), ARRAY[ROW(n, 'b')::public.pair], '{ok}' FROM generate_series(1, 10) n;
         CREATE INDEX ON public.t USING gist (r);
         CREATE TABLE public.keyed (m public.mood PRIMARY KEY, p public.pair UNIQUE); INSERT INTO public.keyed VALUES ('sad', ROW(1, 'b'));",
    )
}

/// What the names in a definition lead to when the restored server prints it again.
#[test]
fn definitions_that_are_printed_again_do_not_run() -> Result<()> {
    for major in [13, 15, 18] {
        let trap = Trap::new(
            major,
            "CREATE TABLE public.t (id int PRIMARY KEY, v text DEFAULT public.attack('a'::text), CHECK (public.attack(id) BETWEEN 1 AND 20));
             INSERT INTO public.t SELECT n, n FROM generate_series(1, 10) n;
             CREATE VIEW public.v AS SELECT public.attack(1) AS id WHERE 1 = public.attack(1);
             CREATE DOMAIN public.d AS int CHECK (public.attack(VALUE) > 0); CREATE INDEX i ON public.t (public.attack(id)) WHERE public.attack(id) > 1;",
        )?;
        let manifest = capture(&postgres(&trap.server, "source")?, &Plan::default(), &event::ignore)?;
        trap.server.copy_database("source", "restored")?;
        trap.server.psql(
            "restored",
            "CREATE OR REPLACE VIEW public.v AS SELECT public.attack(2) AS id WHERE 2 = public.attack(1);
             ALTER TABLE public.t ALTER v SET DEFAULT public.attack('b'::text); ALTER DOMAIN public.d DROP CONSTRAINT d_check;
             ALTER DOMAIN public.d ADD CONSTRAINT d_check CHECK (public.attack(VALUE) > 1) NOT VALID",
        )?;
        std::fs::remove_file(&trap.file)
            .or_else(|error| if trap.file.exists() { Err(error) } else { Ok(()) })?;
        let found = shown(trap.verify_copy(&manifest)?.findings());
        assert!(found.iter().any(|line| line.starts_with("catalog.differs view public.v")), "{found:#?}");
    }
    Ok(())
}

/// Tables and views of another session's temporary schema are neither read nor called.
#[test]
fn temporary_objects_of_others_are_left_alone() -> Result<()> {
    let trap = Trap::new(15, "CREATE TABLE public.t (id int PRIMARY KEY); INSERT INTO public.t VALUES (1);")?;
    let manifest = capture(&postgres(&trap.server, "source")?, &Plan::default(), &event::ignore)?;
    trap.server.copy_database("source", "restored")?;
    let settings = Settings::parse(&trap.server.conninfo("restored"), &Environment::default())?;
    let mut other =
        verify_core::postgres::Connection::open(&settings, &verify_core::postgres::SessionOptions::new())?;
    other.execute(
        "CREATE TEMP TABLE own (id int PRIMARY KEY); INSERT INTO own VALUES (1); CREATE TEMP VIEW pg_class AS SELECT public.attack(1) AS oid;
         CREATE INDEX ON own ((id + 1))",
    )?;
    assert_eq!(shown(trap.verify_copy(&manifest)?.findings()), Vec::<String>::new());
    Ok(())
}

/// What the application's own rules return, and what the server warns of, is shown inertly too.
#[test]
fn results_and_warnings_are_shown_inertly() -> Result<()> {
    let trap = Trap::new(
        15,
        "CREATE TABLE public.t (id int PRIMARY KEY); INSERT INTO public.t VALUES (1);
         CREATE FUNCTION public.warn() RETURNS text LANGUAGE plpgsql AS
            'BEGIN RAISE WARNING E''w\\x1b[31m\\u202e\\n''; RAISE EXCEPTION E''e\\x1b[31m\\u202e\\n''; END'",
    )?;
    let rule = |name: &str, sql: &str| Invariant {
        name: name.to_owned(),
        sql: sql.to_owned(),
        expect: Expect::NoRows,
    };
    let plan = Plan::default().with_invariants([
        rule("rows", "SELECT E'r\\x1b[31m\\u202e\\n' AS \"c\u{1b}[31m\u{202e}\" FROM public.t"),
        rule("fails", "SELECT public.warn()"),
    ]);
    let warnings = Mutex::new(Vec::new());
    let note = |event| {
        if let Event::ServerWarning { message } = event {
            warnings.lock().unwrap().push(message);
        }
        ControlFlow::Continue(())
    };
    let manifest = capture(&postgres(&trap.server, "source")?, &plan, &note)?;
    trap.server.copy_database("source", "restored")?;
    let comparison =
        verify_core::verify::verify(&manifest, &postgres(&trap.server, "restored")?, &plan, &note)?;
    let shown = [texts(&comparison), warnings.into_inner().unwrap()].concat();
    assert!(shown.iter().any(|text| text.contains("[31m")), "{shown:#?}");
    let raw: Vec<&String> = shown.iter().filter(|text| is_raw(text)).collect();
    assert!(raw.is_empty(), "{raw:#?}");
    Ok(())
}

/// A login event trigger runs for every client. Who verifies a server of others switches it off, as docs/checks.md says.
#[test]
fn login_event_triggers_are_switched_off_by_an_option() -> Result<()> {
    let trap = Trap::new(
        18,
        "CREATE TABLE public.t (id int PRIMARY KEY); INSERT INTO public.t VALUES (1);
         CREATE FUNCTION public.enter() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.attack(1); END';
         {attack}
         CREATE EVENT TRIGGER enter ON login EXECUTE FUNCTION public.enter(); ALTER EVENT TRIGGER enter ENABLE ALWAYS",
    )?;
    let settings = |database: &str| -> Result<Settings> {
        let conninfo = format!("{} options='-c event_triggers=off'", trap.server.conninfo(database));
        Ok(Settings::parse(&conninfo, &Environment::default())?)
    };
    trap.server.copy_database("source", "restored")?;
    let manifest = capture(&Postgres::new(settings("source")?), &Plan::default(), &event::ignore)?;
    let restored = settings("restored")?;
    let plan = Plan::default();
    let mut comparison =
        compare(&manifest, &Postgres::new(restored.clone()), &restored, &plan, &event::ignore)?;
    let copy = Copy { settings: &restored, source: SourceRows::default(), sound: false };
    check_copy(&mut comparison, &copy, &plan, &event::ignore, &|_| Ok(()))?;
    assert!(!trap.file.exists(), "{:?}", std::fs::read_to_string(&trap.file));
    assert_eq!(shown(comparison.findings()), Vec::<String>::new());
    trap.server.psql("restored", "SELECT 1")?;
    assert!(trap.file.exists(), "the trap does not work");
    Ok(())
}
