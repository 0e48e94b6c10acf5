//! Constraints against rows on real servers: each kind of violation is named, and a sound database of every oddity is silent.

use std::time::{Duration, Instant};

use anyhow::Result;
use fixtures::TestServer;
use verify_core::ErrorKind;
use verify_core::event::{self, Event};
use verify_core::finding::{Finding, Severity};
use verify_core::plan::Plan;
use verify_core::postgres::constraints::{self, Constraints, SourceRows};
use verify_core::postgres::{Environment, Settings};
use verify_core::table::TableName;

/// Every kind of constraint with rows that satisfy it.
const SOUND: &str = r#"
    CREATE SCHEMA "odd ""schema'"; CREATE EXTENSION citext;
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%') NOT NULL;
    CREATE DOMAIN short AS email CONSTRAINT "len""gth" CHECK (length(VALUE) < 20);
    CREATE FUNCTION even(value int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN value % 2 = 0; END';
    CREATE TABLE "odd ""schema'"."pa""rent" ("i d" int, "k'2" varchar(10), PRIMARY KEY ("i d", "k'2"));
    INSERT INTO "odd ""schema'"."pa""rent" SELECT i, 'k' || i FROM generate_series(1, 100) i;
    CREATE TABLE child (id bigint PRIMARY KEY, a bigint, b text, "value" int NOT NULL DEFAULT 2, moods mood[],
      feeling mood, address short, spare email[], doubled int GENERATED ALWAYS AS ("value" * 2) STORED,
      price numeric(10, 2), tax numeric(10, 2) GENERATED ALWAYS AS (price * 0.19) STORED,
      CONSTRAINT simple FOREIGN KEY (a, b) REFERENCES "odd ""schema'"."pa""rent",
      CONSTRAINT evens CHECK (even("value")), CONSTRAINT whole CHECK (child.* IS DISTINCT FROM NULL),
      CONSTRAINT nullable CHECK (price > 0));
    INSERT INTO child (id, a, b, moods, feeling, address, spare, price)
      SELECT i, i, 'k' || i, '{sad,NULL,ok}', 'ok', 'a@b', '{x@y}', i + 0.005 FROM generate_series(1, 100) i;
    INSERT INTO child (id, a, b, address) VALUES (101, 7, NULL, 'c@d'), (102, NULL, NULL, 'c@d'), (103, NULL, 'none', 'c@d');
    CREATE TABLE full_match (a int, b text, FOREIGN KEY (a, b) REFERENCES "odd ""schema'"."pa""rent" MATCH FULL);
    INSERT INTO full_match VALUES (1, 'k1'), (NULL, NULL);
    CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree DEFERRABLE INITIALLY DEFERRED);
    INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 3);
    CREATE TABLE measure (at date, id int, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
    CREATE TABLE measure_20 PARTITION OF measure FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
    CREATE TABLE measure_rest PARTITION OF measure DEFAULT PARTITION BY HASH (id);
    CREATE TABLE measure_rest_0 PARTITION OF measure_rest FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE measure_rest_1 PARTITION OF measure_rest FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO measure SELECT date '2020-01-01' + i * 30, i FROM generate_series(1, 40) i;
    CREATE TABLE sample (id int, at date, measured int, FOREIGN KEY (at, measured) REFERENCES measure) PARTITION BY LIST (id);
    CREATE TABLE sample_1 PARTITION OF sample FOR VALUES IN (1);
    CREATE TABLE sample_2 PARTITION OF sample FOR VALUES IN (2, NULL);
    INSERT INTO sample SELECT 1 + i % 2, date '2020-01-01' + i * 30, i FROM generate_series(1, 40) i;
    CREATE TABLE base (id int CHECK (id > 0)); CREATE TABLE heir () INHERITS (base);
    INSERT INTO base VALUES (1); INSERT INTO heir VALUES (2);
    CREATE TABLE shifting (name citext PRIMARY KEY); INSERT INTO shifting VALUES ('Ann');
    CREATE TABLE follower (name citext REFERENCES shifting); INSERT INTO follower VALUES ('ANN');
    CREATE TABLE late (id int); INSERT INTO late VALUES (-1);
    ALTER TABLE late ADD CONSTRAINT later CHECK (id > 0) NOT VALID;
    CREATE EXTENSION btree_gist;
    CREATE TABLE booking (room int, during tsrange, at text COLLATE "C", EXCLUDE USING gist (room WITH =, during WITH &&) WHERE (room > 0));
    INSERT INTO booking VALUES (1, '[2020-01-01,2020-01-02)'), (1, '[2020-01-02,2020-01-03)'), (2, '[2020-01-01,2020-01-02)'),
      (0, '[2020-01-01,2020-01-02)'), (0, '[2020-01-01,2020-01-02)'), (1, NULL), (1, NULL);
    CREATE TABLE account (id int UNIQUE DEFERRABLE, name text, mail citext UNIQUE, code char(5), part text);
    CREATE UNIQUE INDEX by_name ON account (lower(name), code) WHERE id > 1; CREATE UNIQUE INDEX by_part ON account (part text_pattern_ops);
    INSERT INTO account VALUES (1, 'Ann', 'a@b', 'x', 'p'), (2, 'ann', 'b@b', 'x', 'P'), (3, 'Ann', 'c@b', NULL, NULL), (NULL, 'x', NULL, 'x', NULL),
      (NULL, 'x', NULL, 'x', NULL), (4, 'ann', 'd@b', 'y ', 'q');
    CREATE TABLE many (a int, b int, c int, PRIMARY KEY (a, b), UNIQUE (c, a)); INSERT INTO many SELECT i, -i, 7 FROM generate_series(1, 500) i;
    CREATE UNLOGGED TABLE cache (id int NOT NULL); CREATE TABLE empty ();
    CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''hijacked''; END';
    CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION refuse();
"#;

/// What turns [`SOUND`] into a database that violates one constraint: statements, the finding's object and its message, the named rows.
const DAMAGES: &[(&str, &str, &str, &[&str])] = &[
    (
        "SET session_replication_role = replica; DELETE FROM \"odd \"\"schema'\".\"pa\"\"rent\" WHERE \"i d\" IN (7, 8)",
        "constraint simple of public.child",
        "2 rows referencing no row of \"odd \"\"schema'\".\"pa\"\"rent\", although the foreign key is marked valid",
        &["id=7: a=7, b=k7", "id=8: a=8, b=k8"],
    ),
    (
        "SET session_replication_role = replica; INSERT INTO full_match VALUES (1, NULL)",
        "constraint full_match_a_b_fkey of public.full_match",
        "1 row referencing no row of \"odd \"\"schema'\".\"pa\"\"rent\", although the foreign key is marked valid",
        &["ctid=(0,3): a=1, b="],
    ),
    (
        "SET session_replication_role = replica; DELETE FROM tree WHERE id = 1",
        "constraint tree_parent_fkey of public.tree",
        "1 row referencing no row of public.tree, although the foreign key is marked valid",
        &["id=2: parent=1"],
    ),
    (
        "SET session_replication_role = replica; DELETE FROM measure WHERE id = 1",
        "constraint sample_at_measured_fkey of public.sample",
        "1 row referencing no row of public.measure, although the foreign key is marked valid",
        &["public.sample_2 ctid=(0,1): at=2020-01-31, measured=1"],
    ),
    (
        "SET session_replication_role = replica; DELETE FROM shifting",
        "constraint follower_name_fkey of public.follower",
        "1 row referencing no row of public.shifting, although the foreign key is marked valid",
        &["ctid=(0,1): name=ANN"],
    ),
    (
        "CREATE OR REPLACE FUNCTION even(value int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT value % 2 = 1'",
        "constraint evens of public.child",
        "103 rows violating the check constraint, which is marked valid",
        &[],
    ),
    (
        "ALTER TABLE base ADD CONSTRAINT two CHECK (id <> 2) NOT VALID; UPDATE pg_constraint SET convalidated = true WHERE conname = 'two'",
        "constraint two of public.heir",
        "1 row violating the check constraint, which is marked valid",
        &["ctid=(0,1)"],
    ),
    (
        "UPDATE pg_attribute SET attnotnull = true WHERE attrelid = 'child'::regclass AND attname IN ('a', 'price')",
        "public.child",
        "3 rows with NULL in a column that is NOT NULL (id, a, value, price)",
        &["id=101", "id=102", "id=103"],
    ),
    (
        "UPDATE pg_attrdef SET adbin = (SELECT adbin FROM pg_attrdef WHERE adrelid = 'other'::regclass) WHERE adrelid = 'child'::regclass \
           AND adnum = (SELECT attnum FROM pg_attribute WHERE attrelid = 'child'::regclass AND attname = 'doubled')",
        "column doubled of public.child",
        "103 rows whose generated value is not the one that its expression gives",
        &[],
    ),
    (
        "CREATE TABLE measure_22 PARTITION OF measure FOR VALUES FROM ('2025-01-01') TO ('2026-01-01'); \
         INSERT INTO measure_22 VALUES ('2025-05-05', 7); \
         UPDATE pg_class SET relpartbound = (SELECT relpartbound FROM pg_class WHERE relname = 'spare_bound') WHERE relname = 'measure_22'",
        "public.measure_22",
        "1 row outside the bounds of the partition, which queries do not find",
        &["at=2025-05-05, id=7"],
    ),
    (
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'many_pkey'::regclass; INSERT INTO many VALUES (1, -1, 8), (2, -2, 9), (2, -2, 10); \
         UPDATE pg_index SET indisready = true",
        "constraint many_pkey of public.many",
        "2 values occurring more than once, although the index is unique",
        &["a=1, b=-1 (2 rows)", "a=2, b=-2 (3 rows)"],
    ),
    (
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'account_mail_key'::regclass; INSERT INTO account (mail) VALUES ('A@B'); \
         UPDATE pg_index SET indisready = true, indisunique = false",
        "constraint account_mail_key of public.account",
        "1 value occurring more than once, although the index is unique",
        &["mail=a@b (2 rows)"],
    ),
    (
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'by_name'::regclass; INSERT INTO account (id, name, code) VALUES (5, 'ANN', 'x'), (0, 'ANN', 'x'); \
         UPDATE pg_index SET indisready = true",
        "index by_name of public.account",
        "1 value occurring more than once, although the index is unique",
        &["lower(name)=ann, code=x     (2 rows)"],
    ),
    (
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'by_part'::regclass; INSERT INTO account (part) VALUES ('p'); \
         UPDATE pg_index SET indisready = true",
        "index by_part of public.account",
        "1 value occurring more than once, although the index is unique",
        &["part=p (2 rows)"],
    ),
    (
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'booking_room_during_excl'::regclass; \
         INSERT INTO booking VALUES (2, '[2020-01-01 12:00,2020-01-05)'); UPDATE pg_index SET indisready = true",
        "constraint booking_room_during_excl of public.booking",
        "1 pair of rows that exclude each other",
        &[
            "room=2, during=[\"2020-01-01 00:00:00\",\"2020-01-02 00:00:00\") and room=2, during=[\"2020-01-01 12:00:00\",\"2020-01-05 00:00:00\")",
        ],
    ),
    (
        "DELETE FROM pg_enum WHERE enumlabel = 'sad'",
        "column moods of public.child",
        "100 rows with a value that the enum public.mood does not have",
        &[],
    ),
    (
        "UPDATE child SET spare = NULL; ALTER DOMAIN email ADD CONSTRAINT dotted CHECK (VALUE LIKE '%.%') NOT VALID; UPDATE pg_constraint SET convalidated = true WHERE conname = 'dotted'",
        "column address of public.child",
        "103 rows with a value that the domain public.email does not allow (dotted)",
        &[],
    ),
];

/// Objects that [`DAMAGES`] need and that are sound.
const SPARE: &str = r#"
    CREATE TABLE other (a int, b int, c int, "value" int, e int, f int, g int, h int, doubled int GENERATED ALWAYS AS ("value" * 3) STORED);
    CREATE TABLE spare (at date, id int) PARTITION BY RANGE (at);
    CREATE TABLE spare_bound PARTITION OF spare FOR VALUES FROM ('2030-01-01') TO ('2031-01-01');
"#;

fn settings(server: &TestServer, database: &str) -> Result<Settings> {
    Ok(Settings::parse(&server.conninfo(database), &Environment::default())?)
}

fn check(server: &TestServer, database: &str) -> Result<Constraints> {
    Ok(constraints::check(
        &settings(server, database)?,
        &SourceRows::default(),
        &Plan::default(),
        &event::ignore,
    )?)
}

fn summary(constraints: &Constraints) -> Vec<String> {
    let findings = constraints.findings.iter();
    findings.map(|finding| format!("{}: {}: {}", finding.code(), finding.object, finding.message)).collect()
}

fn every_violation_is_named(major: u32) -> Result<()> {
    let server = fixtures::server(major)?;
    server.create_database("sound")?;
    server.psql("sound", &format!("{SPARE} {SOUND}"))?;
    let roles = "SELECT count(*) FROM pg_roles; SELECT count(*) FROM pg_proc";
    let before = server.psql("sound", roles)?;
    let found = check(&server, "sound")?;
    assert_eq!(summary(&found), [] as [String; 0], "{major}");
    let gaps: Vec<String> =
        found.not_covered.iter().map(|gap| format!("{}: {}", gap.object, gap.reason)).collect();
    assert_eq!(
        gaps,
        ["constraint later of public.late: not checked: it is marked NOT VALID, so rows may violate it"]
    );
    assert_eq!(server.psql("sound", roles)?, before);
    for (damage, object, message, rows) in DAMAGES {
        server.copy_database("sound", "damaged")?;
        server.psql(
            "damaged",
            &format!("SET allow_system_table_mods = on; ALTER EVENT TRIGGER refuse DISABLE; {damage}"),
        )?;
        let found = check(&server, "damaged")?;
        let finding =
            found.findings.iter().find(|finding| finding.object == *object && finding.message == *message);
        let Some(finding) = finding.filter(|_| found.findings.len() == 1) else {
            panic!("{major}: {damage}: {:#?}", summary(&found))
        };
        assert_eq!(finding.severity(), Severity::Fail);
        let named = &finding.rows.as_ref().unwrap().named;
        if rows.is_empty() {
            assert_eq!(named.len(), 20, "{major}: {damage}: {named:?}");
        } else {
            assert_eq!(named, rows, "{major}: {damage}");
        }
    }
    Ok(())
}

#[test]
fn every_violation_is_named_on_13() -> Result<()> {
    every_violation_is_named(13)
}

#[test]
fn every_violation_is_named_on_15() -> Result<()> {
    every_violation_is_named(15)
}

#[test]
fn every_violation_is_named_on_18() -> Result<()> {
    every_violation_is_named(18)
}

/// What only newer servers have.
#[test]
fn constraints_of_18_are_checked() -> Result<()> {
    let server = fixtures::server(18)?;
    server.create_database("sound")?;
    server.psql(
        "sound",
        "CREATE EXTENSION btree_gist;
         CREATE TABLE price (item int, during daterange, PRIMARY KEY (item, during WITHOUT OVERLAPS));
         INSERT INTO price VALUES (1, '[2020-01-01,2020-02-01)'), (1, '[2020-02-01,2020-03-01)'), (2, '[2020-01-01,2020-03-01)');
         CREATE TABLE sale (id int PRIMARY KEY, item int, during daterange, FOREIGN KEY (item, PERIOD during) REFERENCES price (item, PERIOD during));
         INSERT INTO sale VALUES (1, 1, '[2020-01-10,2020-02-10)'), (2, 2, '[2020-01-10,2020-02-10)'), (3, NULL, '[2020-01-10,2020-02-10)');
         CREATE TABLE one (id int UNIQUE NULLS NOT DISTINCT, lax int CHECK (lax > 0) NOT ENFORCED); INSERT INTO one VALUES (1, -1), (NULL, -1);
         CREATE TABLE two (id int, v int GENERATED ALWAYS AS (id / 0) VIRTUAL); INSERT INTO two VALUES (NULL);
         ALTER TABLE two ADD CONSTRAINT later NOT NULL id NOT VALID;
         CREATE TABLE three (id int REFERENCES sale NOT ENFORCED); INSERT INTO three VALUES (9)",
    )?;
    let found = check(&server, "sound")?;
    assert_eq!(summary(&found), [] as [String; 0]);
    let gaps: Vec<String> = found.not_covered.iter().map(|gap| gap.object.clone()).collect();
    assert_eq!(
        gaps,
        [
            "column id of public.two",
            "constraint one_lax_check of public.one",
            "constraint three_id_fkey of public.three"
        ]
    );
    server.psql(
        "sound",
        "SET allow_system_table_mods = on; SET session_replication_role = replica;
         DELETE FROM price WHERE during = '[2020-02-01,2020-03-01)';
         UPDATE pg_index SET indisready = false WHERE indexrelid IN ('price_pkey'::regclass, 'one_id_key'::regclass);
         INSERT INTO price VALUES (2, '[2020-02-01,2020-06-01)'); INSERT INTO one VALUES (NULL);
         UPDATE pg_index SET indisready = true",
    )?;
    let found = check(&server, "sound")?;
    let rows = found.findings.iter().map(|finding| finding.rows.as_ref().unwrap().named.join("; "));
    let lines: Vec<String> =
        summary(&found).into_iter().zip(rows).map(|(line, rows)| format!("{line}: {rows}")).collect();
    insta::assert_snapshot!(lines.join("\n"));
    Ok(())
}

#[test]
fn what_equal_rows_violate_is_the_source_s() -> Result<()> {
    let server = fixtures::server(15)?;
    server.create_database("restored")?;
    server.psql(
        "restored",
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int REFERENCES parent);
         SET session_replication_role = replica; INSERT INTO child VALUES (1)",
    )?;
    let settings = settings(&server, "restored")?;
    let severity = |equal: &[&str]| -> Result<Vec<Severity>> {
        let tables = equal.iter().map(|name| TableName::new("public", *name)).collect();
        let source = SourceRows { tables, snapshot: None };
        let found = constraints::check(&settings, &source, &Plan::default(), &event::ignore)?;
        Ok(found.findings.iter().map(Finding::severity).collect())
    };
    assert_eq!(severity(&["parent", "child"])?, [Severity::Notice]);
    assert_eq!(severity(&["child"])?, [Severity::Fail]);
    assert_eq!(severity(&["parent"])?, [Severity::Fail]);
    Ok(())
}

/// Functions that a hostile database leaves in its constraints cannot do more than read.
#[test]
fn functions_of_the_database_only_read() -> Result<()> {
    let server = fixtures::server(15)?;
    let file = server.directory().join("written");
    for attack in [
        "PERFORM set_config('role', 'none', false)".to_owned(),
        "RESET SESSION AUTHORIZATION".to_owned(),
        "CREATE TABLE evil ()".to_owned(),
        "SET TRANSACTION READ WRITE".to_owned(),
        "ALTER SYSTEM SET work_mem = '1MB'".to_owned(),
        format!("COPY (SELECT 1) TO '{}'", file.display()),
        "PERFORM pg_read_file('PG_VERSION')".to_owned(),
        "PERFORM pg_terminate_backend(pg_backend_pid())".to_owned(),
        "RAISE EXCEPTION '%', (SELECT string_agg('secret of ' || rolname, '') FROM pg_authid)".to_owned(),
        "PERFORM 1 FROM missing".to_owned(),
    ] {
        server.copy_database("template1", "hostile")?;
        server.psql(
            "hostile",
            "CREATE FUNCTION harmless() RETURNS boolean LANGUAGE sql AS 'SELECT true';
             CREATE TABLE t (id int CHECK (harmless()), CHECK (id < 2)); INSERT INTO t VALUES (1);
             ALTER TABLE t ADD CONSTRAINT small CHECK (id < 1) NOT VALID; UPDATE pg_constraint SET convalidated = true",
        )?;
        server.psql(
            "hostile",
            &format!("CREATE OR REPLACE FUNCTION harmless() RETURNS boolean LANGUAGE plpgsql AS $$BEGIN {attack}; RETURN true; END$$"),
        )?;
        let found = check(&server, "hostile")?;
        let lines = summary(&found);
        assert!(lines.len() == 2 && !lines[1].contains("secret of"), "{attack}: {lines:#?}");
        assert!(
            lines[0].starts_with("constraint.violated: constraint small of public.t: 1 row"),
            "{lines:#?}"
        );
        assert!(
            lines[1].starts_with("constraint.unknown: constraint t_check of public.t: not checked: "),
            "{lines:#?}"
        );
    }
    assert!(!file.exists());
    Ok(())
}

/// A role without privileges is told what it may not read; one with them needs no superuser.
#[test]
fn a_plain_role_checks_what_it_may_read() -> Result<()> {
    let server = fixtures::server(15)?;
    server.create_database("restored")?;
    server.psql(
        "restored",
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int REFERENCES parent);
         SET session_replication_role = replica; INSERT INTO child VALUES (1); CREATE ROLE plain LOGIN",
    )?;
    let conninfo = format!("{} user=plain", server.conninfo("restored"));
    let settings = Settings::parse(&conninfo, &Environment::default())?;
    let found = || constraints::check(&settings, &SourceRows::default(), &Plan::default(), &event::ignore);
    insta::assert_snapshot!(summary(&found()?).join("\n"));
    server.psql("restored", "GRANT SELECT ON parent, child TO plain")?;
    assert_eq!(
        summary(&found()?),
        [
            "constraint.violated: constraint child_id_fkey of public.child: 1 row referencing no row of public.parent, although the foreign key is marked valid"
        ]
    );
    Ok(())
}

#[test]
fn a_long_check_is_cancelled() -> Result<()> {
    let server = fixtures::server(15)?;
    server.create_database("slow")?;
    server.psql(
        "slow",
        "CREATE FUNCTION slow() RETURNS boolean LANGUAGE sql AS 'SELECT true';
         CREATE TABLE t (id int CHECK (slow())); INSERT INTO t VALUES (1);
         CREATE OR REPLACE FUNCTION slow() RETURNS boolean LANGUAGE sql AS 'SELECT pg_sleep(600) IS NOT NULL'",
    )?;
    let began = Instant::now();
    let stop = |event| match event {
        Event::Read { .. } if began.elapsed() > Duration::from_millis(500) => {
            std::ops::ControlFlow::Break(())
        }
        _ => std::ops::ControlFlow::Continue(()),
    };
    let error =
        constraints::check(&settings(&server, "slow")?, &SourceRows::default(), &Plan::default(), &stop)
            .unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Cancelled);
    assert!(began.elapsed() < Duration::from_secs(60));
    Ok(())
}
