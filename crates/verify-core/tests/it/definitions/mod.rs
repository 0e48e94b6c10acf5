//! Definitions on real servers: silent after a clean restore, and each change named.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Result, ensure};
use fixtures::TestServer;
use verify_core::capture::{capture, capture_snapshot, complete};
use verify_core::definition::Definitions;
use verify_core::event;
use verify_core::finding::{Finding, Severity};
use verify_core::manifest::Manifest;
use verify_core::plan::Plan;
use verify_core::postgres::{Environment, Postgres, Settings};
use verify_core::verify::verify;

use crate::dump::{program, run};
use crate::measure::postgres;
use crate::obstacles::connection;

/// Roles that own objects and have privileges.
pub(crate) const ROLES: &str = "CREATE ROLE reader; CREATE ROLE writer";

fn load(server: &TestServer) -> Result<()> {
    server.create_database("source")?;
    server.psql("source", include_str!("objects.sql"))?;
    if server.major() >= 15 {
        server.psql("source", include_str!("later_objects.sql"))?;
    }
    if server.major() >= 18 {
        server.psql("source", include_str!("newest_objects.sql"))?;
    }
    Ok(())
}

pub(crate) mod random;

fn catalogue_findings(manifest: &Manifest, target: &TestServer, database: &str) -> Result<Vec<Finding>> {
    let comparison = verify(manifest, &postgres(target, database)?, &Plan::default(), &event::ignore)?;
    let of_catalogue = |finding: &&Finding| finding.code().to_string().starts_with("catalog.");
    Ok(comparison.findings().iter().filter(of_catalogue).cloned().collect())
}

fn shown(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|finding| {
            format!("{:?} {} {}: {}", finding.severity(), finding.code(), finding.object, finding.message)
        })
        .collect()
}

/// What is found of a database that was dumped from one server and loaded into another; newer versions of extensions are left out.
fn found_after_a_dump(
    source: &TestServer,
    from: &str,
    target: &TestServer,
    to: &str,
) -> Result<(Manifest, Vec<Finding>)> {
    let snapshot = postgres(source, from)?.begin(&Plan::default(), &event::ignore)?;
    let dump = source.directory().join(format!("{from}.sql"));
    run(Command::new(program("pg_dump", target.major())?)
        .args(["--snapshot", snapshot.exported(), "-f"])
        .arg(&dump)
        .args(["-d", &source.conninfo(from)]))?;
    let mut manifest = capture_snapshot(&snapshot, &Plan::default(), &event::ignore)?;
    complete(&snapshot, &mut manifest)?;
    drop(snapshot);
    target.create_database(to)?;
    let options = ["-q", "-X", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1"];
    run(Command::new(program("psql", target.major())?)
        .args(options)
        .args(["-d", &target.conninfo(to), "-f"])
        .arg(&dump))?;
    // As PostgreSQL 15.20 does by itself, with a number of its own on each server.
    target.psql(
        to,
        "UPDATE pg_attribute a SET attoptions = array_prepend('pg_attver=7', attoptions) FROM pg_class c \
         WHERE c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'v', 'm') AND c.oid >= 16384 AND attnum > 0",
    )?;
    let mut found = catalogue_findings(&manifest, target, to)?;
    if source.major() != target.major() {
        found.retain(|finding| {
            finding.severity() != Severity::Notice || !finding.object.starts_with("extension ")
        });
    }
    Ok((manifest, found))
}

fn a_dump_is_silent(from: u32, to: u32) -> Result<()> {
    let (source, target) = (fixtures::server(from)?, fixtures::server(to)?);
    load(&source)?;
    target.psql("postgres", ROLES)?;
    let (manifest, found) = found_after_a_dump(&source, "source", &target, "restored")?;
    let Definitions::Read(definitions) = &manifest.definitions else { panic!("{:?}", manifest.definitions) };
    assert!(definitions.len() > 200, "{}", definitions.len());
    assert!(!format!("{definitions:?}").contains("not-to-be-seen"));
    assert!(found.is_empty(), "{from} to {to}: {:#?}", shown(&found));
    Ok(())
}

/// Number of random schemas that each pair of versions is tried with; more with `STATE_LAB_SEEDS`.
const SEEDS: u64 = 6;

fn random_schemas_are_silent(from: u32, to: u32) -> Result<()> {
    let (source, target) = (fixtures::server(from)?, fixtures::server(to)?);
    source.psql("postgres", ROLES)?;
    target.psql("postgres", ROLES)?;
    let seeds = std::env::var("STATE_LAB_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS);
    let (mut accepted, mut tried, mut refused, mut alarms) = (0, 0, 0, Vec::new());
    for seed in 0..seeds {
        let database = format!("random_{seed}");
        source.create_database(&database)?;
        let mut connection = connection(&source, &database)?;
        for statement in random::statements(seed) {
            tried += 1;
            accepted += usize::from(connection.execute(&statement).is_ok());
        }
        drop(connection);
        // A newer server refuses some dumps of an older one.
        let Ok((_, found)) = found_after_a_dump(&source, &database, &target, &database) else {
            refused += 1;
            continue;
        };
        alarms.extend(shown(&found).into_iter().map(|alarm| format!("seed {seed}: {alarm}")));
    }
    println!(
        "{from} to {to}: {seeds} seeds, {accepted} of {tried} statements accepted, {refused} dumps refused"
    );
    assert!(refused * 4 <= seeds && (from != to || refused == 0), "{refused} dumps refused");
    assert!(accepted * 5 > tried * 2, "{accepted} of {tried}");
    assert!(alarms.is_empty(), "{from} to {to}: {alarms:#?}");
    Ok(())
}

#[test]
fn random_schemas_are_silent_15_to_15() -> Result<()> {
    random_schemas_are_silent(15, 15)
}

#[test]
fn random_schemas_are_silent_13_to_18() -> Result<()> {
    random_schemas_are_silent(13, 18)
}

#[test]
fn random_schemas_are_silent_18_to_18() -> Result<()> {
    random_schemas_are_silent(18, 18)
}

#[test]
fn a_dump_is_silent_15_to_15() -> Result<()> {
    a_dump_is_silent(15, 15)
}

#[test]
fn a_dump_is_silent_13_to_18() -> Result<()> {
    a_dump_is_silent(13, 18)
}

#[test]
fn a_dump_is_silent_18_to_18() -> Result<()> {
    a_dump_is_silent(18, 18)
}

/// Changes to a restored database, with the findings: code, object, and the attributes in question. Those of one list do not touch
/// the same attribute.
const CHANGES: [&[(&str, &[&str])]; 3] = [
    &[
        ("DROP INDEX app.customers_lower", &["catalog.missing index app.customers_lower"]),
        ("ALTER TABLE app.customers DROP CONSTRAINT sane", &["catalog.missing table constraint sane on app.customers"]),
        (
            "ALTER TABLE app.customers DROP CONSTRAINT customers_age_check; \
             ALTER TABLE app.customers ADD CONSTRAINT customers_age_check CHECK (age BETWEEN 0 AND 151 AND (age <> 13 AND age <> 14))",
            &["catalog.differs table constraint customers_age_check on app.customers: check"],
        ),
        (
            "ALTER TABLE app.to_parted DROP CONSTRAINT to_parted_id_at_fkey",
            &["catalog.missing table constraint to_parted_id_at_fkey on app.to_parted"],
        ),
        (
            "UPDATE pg_constraint SET convalidated = false WHERE conname = 'orders_customer_fkey'",
            &["catalog.differs table constraint orders_customer_fkey on app.orders: definition, validated"],
        ),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'app.customers_gin'::regclass",
            &["catalog.differs index app.customers_gin: valid"],
        ),
        (
            "ALTER TABLE app.customers DROP CONSTRAINT customers_name_born_key",
            &[
                "catalog.missing index app.customers_name_born_key",
                "catalog.missing table constraint customers_name_born_key on app.customers",
            ],
        ),
        ("DROP POLICY mine ON app.orders", &["catalog.missing policy mine on app.orders"]),
        ("ALTER TABLE app.orders DISABLE ROW LEVEL SECURITY", &["catalog.differs table app.orders: owner, row security"]),
        ("DROP TRIGGER touch ON app.customers", &["catalog.missing trigger touch on app.customers"]),
        ("DROP EVENT TRIGGER on_ddl", &["catalog.missing event trigger on_ddl"]),
        ("DROP RULE no_delete ON app.checked", &["catalog.missing rule no_delete on app.checked"]),
        ("ALTER TABLE app.orders OWNER TO reader", &["catalog.differs sequence app.orders_id_seq: owned by, owner"]),
        ("ALTER SEQUENCE app.orders_id_seq OWNED BY NONE", &[]),
        (
            "REVOKE SELECT ON app.customers FROM reader; ALTER TABLE app.customers REPLICA IDENTITY DEFAULT; \
             ALTER TABLE app.customers RESET (fillfactor); COMMENT ON TABLE app.customers IS NULL; \
             ALTER TABLE app.customers ENABLE ROW LEVEL SECURITY",
            &["catalog.differs table app.customers: comment, options, privileges, replica identity, row security"],
        ),
        (
            "REVOKE UPDATE (name) ON app.customers FROM writer; ALTER TABLE app.customers ALTER COLUMN name DROP NOT NULL",
            &["catalog.differs table column app.customers.name: not null, privileges"],
        ),
        (
            "GRANT EXECUTE ON FUNCTION app.definer() TO PUBLIC; ALTER FUNCTION app.definer() RESET ALL",
            &["catalog.differs function app.definer(): privileges, settings"],
        ),
        (
            "GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text) TO writer",
            &["catalog.added function pg_catalog.pg_ls_dir(pg_catalog.text)"],
        ),
        (
            "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) FROM reader",
            &["catalog.missing function pg_catalog.pg_read_file(pg_catalog.text)"],
        ),
        (
            "ALTER DEFAULT PRIVILEGES IN SCHEMA app REVOKE SELECT ON TABLES FROM reader",
            &["catalog.missing default acl for role postgres in schema app on tables"],
        ),
        ("ALTER FUNCTION app.rows_of() VOLATILE", &["catalog.differs function app.rows_of(): volatility"]),
        (
            "CREATE OR REPLACE VIEW app.counting AS WITH RECURSIVE c (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM c WHERE n < 6) SELECT n FROM c",
            &["catalog.differs view app.counting: query"],
        ),
        ("ALTER VIEW app.checked RESET (security_barrier)", &["catalog.differs view app.checked: options"]),
        ("ALTER TABLE app.customers ALTER COLUMN price DROP DEFAULT", &["catalog.differs table column app.customers.price: default"]),
        (
            "ALTER TABLE app.customers ALTER COLUMN id SET GENERATED BY DEFAULT",
            &["catalog.differs table column app.customers.id: identity_column"],
        ),
        (
            "ALTER TABLE app.customers ALTER COLUMN spare SET STORAGE EXTENDED",
            &["catalog.differs table column app.customers.spare: storage"],
        ),
        ("ALTER TABLE app.cache SET LOGGED", &["catalog.differs table app.cache: persistence"]),
        ("DROP STATISTICS app.customer_stats", &["catalog.missing statistics object app.customer_stats"]),
        ("DROP PUBLICATION everything", &["catalog.missing publication everything"]),
        ("ALTER PUBLICATION two SET (publish = 'insert')", &["catalog.differs publication two: actions"]),
        ("ALTER PUBLICATION two DROP TABLE app.orders", &["catalog.missing publication relation app.orders in publication two"]),
        ("ALTER TYPE app.mood RENAME VALUE 'sad' TO 'glum'", &["catalog.differs type app.mood: labels"]),
        ("ALTER DOMAIN app.positive DROP CONSTRAINT small", &["catalog.missing domain constraint small on app.positive"]),
        ("ALTER DOMAIN app.positive DROP NOT NULL", &["catalog.differs type app.positive: not null"]),
        ("ALTER SEQUENCE app.numbers MAXVALUE 600", &["catalog.differs sequence app.numbers: maximum"]),
        ("DROP CAST (app.mood AS int)", &["catalog.missing cast (app.mood AS integer)"]),
        (
            "DROP OPERATOR CLASS app.pair_ops USING btree",
            &[
                "catalog.differs operator family app.pairs USING btree: functions, operators",
                "catalog.missing operator class app.pair_ops USING btree",
            ],
        ),
        ("DROP CONVERSION app.latin", &["catalog.missing conversion app.latin"]),
        (
            "ALTER TEXT SEARCH CONFIGURATION app.words DROP MAPPING FOR asciiword",
            &["catalog.differs text search configuration app.words: definition"],
        ),
        ("ALTER SERVER elsewhere OPTIONS (SET host 'production.example')", &["catalog.differs server elsewhere: options"]),
        ("DROP USER MAPPING FOR reader SERVER elsewhere", &["catalog.missing user mapping reader on server elsewhere"]),
        ("COMMENT ON LARGE OBJECT 4711 IS NULL", &["catalog.missing large object 4711"]),
        ("DROP EXTENSION hstore", &["catalog.missing extension hstore"]),
        ("DROP AGGREGATE app.total(int)", &["catalog.missing aggregate app.total(integer)"]),
        (
            "ALTER INDEX app.customers_expr ALTER COLUMN 1 SET STATISTICS -1",
            &["catalog.differs index app.customers_expr: columns"],
        ),
        ("ALTER TABLE app.customers SET WITHOUT CLUSTER", &["catalog.differs index app.customers_pkey: clustered"]),
        ("CREATE FUNCTION app.extra() RETURNS int LANGUAGE sql AS 'SELECT 1'", &["catalog.added function app.extra()"]),
        // What the comparison of rows reports is not reported twice.
        ("CREATE TABLE app.left_over (id int PRIMARY KEY)", &[]),
        ("DROP TABLE app.typed", &[]),
        ("ALTER TABLE app.child DROP COLUMN d", &[]),
    ],
    &[
        ("ALTER POLICY mine ON app.orders TO PUBLIC", &["catalog.differs policy mine on app.orders: roles"]),
        ("ALTER POLICY strict ON app.orders WITH CHECK (true)", &["catalog.differs policy strict on app.orders: with check"]),
        ("ALTER TABLE app.customers DISABLE TRIGGER touch", &["catalog.differs trigger touch on app.customers: enabled"]),
        (
            "ALTER TABLE app.to_parted DISABLE TRIGGER ALL",
            &["catalog.differs table constraint to_parted_id_at_fkey on app.to_parted: triggers"],
        ),
        ("ALTER EVENT TRIGGER on_ddl ENABLE", &["catalog.differs event trigger on_ddl: enabled"]),
        (
            "CREATE OR REPLACE RULE log_update AS ON UPDATE TO app.cache WHERE old.k IN ('a', 'c') AND new.k BETWEEN 'a' AND 'c' \
             DO ALSO INSERT INTO app.parent (a, b) VALUES (1, new.k)",
            &["catalog.differs rule log_update on app.cache: definition"],
        ),
        (
            "CREATE OR REPLACE FUNCTION app.definer() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = app, pg_temp AS $$
BEGIN
    RETURN 'b' || current_user;
END $$",
            &["catalog.differs function app.definer(): body"],
        ),
        (
            "CREATE OR REPLACE FUNCTION app.double(i int, factor int DEFAULT 3) RETURNS int LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 7 \
             AS 'SELECT i * factor'",
            &["catalog.differs function app.double(integer,integer): defaults"],
        ),
        (
            "ALTER TABLE app.customers ALTER COLUMN price SET DEFAULT 1.500",
            &["catalog.differs table column app.customers.price: default"],
        ),
        ("ALTER SEQUENCE app.orders_id_seq OWNED BY NONE", &["catalog.differs sequence app.orders_id_seq: owned by"]),
        (
            "DROP SERVER elsewhere CASCADE",
            &[
                "catalog.missing foreign table app.far",
                "catalog.missing foreign table column app.far.id",
                "catalog.missing foreign table column app.far.note",
                "catalog.missing server elsewhere",
                "catalog.missing user mapping reader on server elsewhere",
            ],
        ),
        ("ALTER SCHEMA app OWNER TO writer", &["catalog.differs schema app: owner, privileges"]),
    ],
    &[
        (
            "DROP TRIGGER touch ON app.customers; CREATE TRIGGER touch BEFORE INSERT OR UPDATE OF name, age ON app.customers FOR EACH ROW \
             WHEN (new.age BETWEEN 1 AND 3 AND new.short IN ('a')) EXECUTE FUNCTION app.touch('a', 'b''c'); \
             ALTER TABLE app.customers ENABLE ALWAYS TRIGGER touch",
            &["catalog.differs trigger touch on app.customers: when"],
        ),
        ("ALTER POLICY mine ON app.orders USING (customer BETWEEN 1 AND 11)", &["catalog.differs policy mine on app.orders: using"]),
    ],
];

fn a_change_is_named(manifest: &Manifest, server: &TestServer, changes: &[(&str, &[&str])]) -> Result<()> {
    server.copy_database("source", "damaged")?;
    for (change, _) in changes {
        server.psql("damaged", change)?;
    }
    let name = |finding: &Finding| {
        let attributes: Vec<&str> = finding
            .message
            .split("its ")
            .skip(1)
            .filter_map(|text| text.split(" is ").next())
            .map(|name| name.split(" reads").next().unwrap_or(name))
            .collect();
        let attributes =
            if attributes.is_empty() { String::new() } else { format!(": {}", attributes.join(", ")) };
        format!("{} {}{attributes}", finding.code(), finding.object)
    };
    let findings = catalogue_findings(manifest, server, "damaged")?;
    let found: BTreeSet<String> = findings.iter().map(name).collect();
    let expected: BTreeSet<String> = changes
        .iter()
        .flat_map(|(_, findings)| findings.iter())
        .map(|finding| (*finding).to_owned())
        .collect();
    let (missed, others): (Vec<_>, Vec<_>) =
        (expected.difference(&found).collect(), found.difference(&expected).collect());
    ensure!(
        missed.is_empty() && others.is_empty(),
        "PostgreSQL {}: missed {missed:#?}, also found {others:#?} in {:#?}",
        server.major(),
        shown(&findings)
    );
    Ok(())
}

fn each_change_is_named(major: u32) -> Result<()> {
    let server = fixtures::server(major)?;
    load(&server)?;
    let manifest = capture(&postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
    server.copy_database("source", "copy")?;
    assert_eq!(shown(&catalogue_findings(&manifest, &server, "copy")?), Vec::<String>::new(), "{major}");
    CHANGES.iter().try_for_each(|changes| a_change_is_named(&manifest, &server, changes))
}

/// Definitions need no privilege: whoever captured, whoever verifies reads the same.
#[test]
fn a_plain_role_reads_all_definitions() -> Result<()> {
    for major in [13, 15, 18] {
        let server = fixtures::server(major)?;
        load(&server)?;
        server.psql("source", "CREATE ROLE plain LOGIN; GRANT SELECT ON pg_catalog.pg_settings TO plain")?;
        let captured = |user: &str| -> Result<Definitions> {
            let conninfo = format!("{} user={user}", server.conninfo("source"));
            let database = Postgres::new(Settings::parse(&conninfo, &Environment::default())?);
            Ok(capture(&database, &Plan::default(), &event::ignore)?.definitions)
        };
        let (plain, all) = (captured("plain")?, captured("postgres")?);
        let (Definitions::Read(plain), Definitions::Read(all)) = (&plain, &all) else {
            panic!("{major}: {plain:.300?} {all:.300?}");
        };
        let differing: Vec<_> = plain.iter().zip(all).filter(|(plain, all)| plain != all).collect();
        assert!(differing.is_empty() && plain.len() == all.len(), "{major}: {differing:#?}");
    }
    Ok(())
}

/// A server that cannot be asked leaves what reads differently unknown, and is no error.
#[test]
fn what_a_server_cannot_print_again_is_unknown() -> Result<()> {
    let server = fixtures::server(15)?;
    load(&server)?;
    let manifest = capture(&postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
    server.copy_database("source", "copy")?;
    server.psql(
        "copy",
        "CREATE OR REPLACE VIEW app.counting AS SELECT 1 AS n; ALTER EVENT TRIGGER on_ddl ENABLE ALWAYS",
    )?;
    let found = shown(&catalogue_findings(&manifest, &server, "copy")?).join("\n");
    assert!(
        found.contains("Inconclusive catalog.unknown view app.counting: its query reads differently"),
        "{found}"
    );
    assert!(found.contains("the database has enabled event triggers, which would run"), "{found}");
    Ok(())
}

#[test]
fn each_change_is_named_15() -> Result<()> {
    each_change_is_named(15)
}

#[test]
fn each_change_is_named_13_and_18() -> Result<()> {
    each_change_is_named(13)?;
    each_change_is_named(18)
}
