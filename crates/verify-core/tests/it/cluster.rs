//! The cluster beside its databases, on real servers: each damage is found, and the undamaged copy is silent.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fixtures::TestServer;
use verify_core::capture::capture;
use verify_core::event;
use verify_core::finding::Finding;
use verify_core::manifest::Manifest;
use verify_core::plan::Plan;
use verify_core::postgres::{Environment, Settings, clone};
use verify_core::verify::verify;
use verify_local::server::{InitOptions, Stop};

use crate::measure::postgres;

const SETUP: &str = "
    CREATE ROLE parent; CREATE ROLE child NOINHERIT LOGIN CONNECTION LIMIT 7 VALID UNTIL '2031-01-01' IN ROLE parent;
    CREATE ROLE \"odd \"\"role\" CREATEDB; GRANT parent TO \"odd \"\"role\" WITH ADMIN OPTION;
    GRANT pg_monitor TO child; COMMENT ON ROLE parent IS 'a comment';
    ALTER ROLE child SET work_mem = '8MB'; ALTER ROLE child SET app.token = 'not-to-be-seen';
    ALTER ROLE child IN DATABASE source SET search_path = a, \"B c\"; ALTER DATABASE source SET app.key = 'not-to-be-seen';
    ALTER DATABASE source SET work_mem = '5MB'; ALTER ROLE ALL SET statement_timeout = '1h';
    GRANT CONNECT ON DATABASE source TO parent; ALTER DATABASE source OWNER TO parent; COMMENT ON DATABASE source IS 'shop'";

/// What is done to a copy, how it is undone, the expected finding, and what its message holds.
type Damage = (&'static str, &'static str, &'static str, &'static str);

const DAMAGES: [Damage; 17] = [
    (
        "ALTER ROLE parent RENAME TO other",
        "ALTER ROLE other RENAME TO parent",
        "cluster.missing role parent",
        "",
    ),
    (
        "ALTER ROLE child SUPERUSER",
        "ALTER ROLE child NOSUPERUSER",
        "cluster.differs role child",
        "superuser is yes",
    ),
    ("ALTER ROLE child NOLOGIN", "ALTER ROLE child LOGIN", "cluster.differs role child", "login is not set"),
    ("ALTER ROLE child INHERIT", "ALTER ROLE child NOINHERIT", "cluster.differs role child", "inherit"),
    (
        "ALTER ROLE child CONNECTION LIMIT 8",
        "ALTER ROLE child CONNECTION LIMIT 7",
        "cluster.differs role child",
        "is 8, on the source 7",
    ),
    (
        "ALTER ROLE child VALID UNTIL '2031-01-02'",
        "ALTER ROLE child VALID UNTIL '2031-01-01'",
        "cluster.differs role child",
        "2031-01-02",
    ),
    (
        "ALTER ROLE child BYPASSRLS REPLICATION CREATEDB CREATEROLE",
        "ALTER ROLE child NOBYPASSRLS NOREPLICATION NOCREATEDB NOCREATEROLE",
        "cluster.differs role child",
        "bypassrls is yes",
    ),
    (
        "REVOKE parent FROM child",
        "GRANT parent TO child",
        "cluster.differs role child",
        "on the source parent, pg_monitor",
    ),
    (
        "REVOKE ADMIN OPTION FOR parent FROM \"odd \"\"role\"",
        "GRANT parent TO \"odd \"\"role\" WITH ADMIN OPTION",
        "cluster.differs role \"odd \"\"role\"",
        "with admin option",
    ),
    (
        "REVOKE pg_monitor FROM child",
        "GRANT pg_monitor TO child",
        "cluster.differs role child",
        "memberships is parent",
    ),
    (
        "ALTER ROLE child RESET work_mem",
        "ALTER ROLE child SET work_mem = '8MB'",
        "cluster.differs role child",
        "work_mem=8MB",
    ),
    (
        "ALTER ROLE child RESET app.token",
        "ALTER ROLE child SET app.token = 'other'",
        "cluster.differs role child",
        "app.token (its value is not read)",
    ),
    (
        "ALTER ROLE child IN DATABASE source RESET ALL",
        "ALTER ROLE child IN DATABASE source SET search_path = a, \"B c\"",
        "cluster.differs role child",
        "settings in this database is not set",
    ),
    (
        "ALTER DATABASE source SET work_mem = '6MB'",
        "ALTER DATABASE source SET work_mem = '5MB'",
        "cluster.differs database source",
        "work_mem=6MB",
    ),
    (
        "ALTER DATABASE source OWNER TO child",
        "ALTER DATABASE source OWNER TO parent",
        "cluster.differs database source",
        "owner is child",
    ),
    (
        "REVOKE CONNECT ON DATABASE source FROM parent",
        "GRANT CONNECT ON DATABASE source TO parent",
        "cluster.differs database source",
        "privileges",
    ),
    (
        "ALTER DATABASE source CONNECTION LIMIT 3",
        "ALTER DATABASE source CONNECTION LIMIT -1",
        "cluster.differs database source",
        "connection limit is 3",
    ),
];

fn captured(server: &TestServer) -> Result<Manifest> {
    Ok(capture(&postgres(server, "source")?, &Plan::default(), &event::ignore)?)
}

/// The findings that concern the cluster.
fn found(manifest: &Manifest, server: &TestServer, plan: &Plan) -> Result<Vec<Finding>> {
    let comparison = verify(manifest, &postgres(server, "source")?, plan, &event::ignore)?;
    let of_cluster = |finding: &&Finding| {
        ["cluster.", "collation."].iter().any(|prefix| finding.code().to_string().starts_with(prefix))
    };
    Ok(comparison.findings().iter().filter(of_cluster).cloned().collect())
}

/// A server with the roles, and its manifest. Afterwards it is a copy of its own files.
fn copy_of_files(major: u32) -> Result<(TestServer, Manifest)> {
    let mut server = fixtures::server(major)?;
    server.create_database("source")?;
    server.psql("source", SETUP)?;
    server.psql("source", "CREATE TABLE t (id int PRIMARY KEY)")?;
    let manifest = captured(&server)?;
    server.restart_after(Stop::Fast, |_| Ok(()))?;
    Ok((server, manifest))
}

fn each_damage_is_found(major: u32) -> Result<()> {
    let (server, manifest) = copy_of_files(major)?;
    assert!(!format!("{:?}", manifest.cluster).contains("not-to-be-seen"));
    let plan = Plan::default();
    assert_eq!(found(&manifest, &server, &plan)?, []);
    for (damage, undo, object, text) in DAMAGES {
        server.psql("source", damage)?;
        let found = found(&manifest, &server, &plan)?;
        let found: Vec<_> =
            found.iter().filter(|finding| finding.code().severity() == finding.severity()).collect();
        let is_it = |finding: &Finding| {
            format!("{} {}", finding.code(), finding.object) == object && finding.message.contains(text)
        };
        ensure!(found.iter().any(|finding| is_it(finding)), "{damage} on {major}: {found:#?}");
        server.psql("source", undo)?;
    }
    assert_eq!(self::found(&manifest, &server, &plan)?, []);
    Ok(())
}

#[test]
fn damage_in_a_copy_of_the_files_of_13_is_found() -> Result<()> {
    each_damage_is_found(13)
}

#[test]
fn damage_in_a_copy_of_the_files_of_15_is_found() -> Result<()> {
    each_damage_is_found(15)
}

#[test]
fn damage_in_a_copy_of_the_files_of_18_is_found() -> Result<()> {
    each_damage_is_found(18)
}

/// What a copy of files may have of its own is a notice: a role of the one who verifies, and the settings of its server.
#[test]
fn a_copys_own_roles_and_settings_are_notices() -> Result<()> {
    let (mut server, manifest) = copy_of_files(15)?;
    server.psql("source", "CREATE ROLE verifier; ALTER SYSTEM SET maintenance_work_mem = '9MB'")?;
    server.restart_after(Stop::Fast, |_| Ok(()))?;
    let comparison = verify(&manifest, &postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
    let findings: Vec<String> = comparison
        .findings()
        .iter()
        .map(|finding| {
            format!("{:?} {} {}: {}", finding.severity(), finding.code(), finding.object, finding.message)
        })
        .collect();
    assert_eq!(
        findings,
        [
            "Notice cluster.added roles: role verifier: the source has no such object",
            "Notice cluster.differs settings of the server: maintenance_work_mem is 9216 kB, on the source default",
        ]
    );
    // A restore of state-lab's own starts the server with other settings.
    let own = found(&manifest, &server, &Plan::default().of_own_restore())?;
    assert_eq!(own.len(), 1, "{own:#?}");
    Ok(())
}

/// A dump of one database carries no roles: that they are missing is a notice, unless the restore brings them.
#[test]
fn what_a_dump_does_not_carry_is_a_failure_only_where_the_restore_brings_it() -> Result<()> {
    let (source, manifest) = copy_of_files(15)?;
    drop(source);
    let target = TestServer::initdb(&fixtures::majors::installation(15)?, &InitOptions::default(), &[])?;
    target.create_database("source")?;
    let elsewhere = found(&manifest, &target, &Plan::default())?;
    let shown: Vec<String> = elsewhere
        .iter()
        .map(|finding| format!("{:?} {} {}", finding.severity(), finding.code(), finding.object))
        .collect();
    assert_eq!(
        shown,
        ["Notice cluster.differs database source", "Notice cluster.missing roles"],
        "{elsewhere:#?}"
    );
    let own = found(&manifest, &target, &Plan::default().of_own_restore())?;
    let shown: Vec<String> = own
        .iter()
        .map(|finding| format!("{:?} {} {}", finding.severity(), finding.code(), finding.object))
        .collect();
    assert_eq!(
        shown,
        [
            "Fail cluster.differs database source",
            "Fail cluster.missing role \"odd \"\"role\"",
            "Fail cluster.missing role child",
            "Fail cluster.missing role parent"
        ],
        "{own:#?}"
    );
    // With the roles and the properties of the database, as pg_dumpall and pg_restore --create bring them.
    target.psql("source", SETUP)?;
    assert_eq!(found(&manifest, &target, &Plan::default().of_own_restore())?, []);
    Ok(())
}

#[test]
fn another_encoding_or_locale_is_found_wherever_it_is_restored() -> Result<()> {
    let source = fixtures::server(15)?;
    source.psql("postgres", "CREATE DATABASE source TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")?;
    let manifest = captured(&source)?;
    let target = TestServer::initdb(&fixtures::majors::installation(15)?, &InitOptions::default(), &[])?;
    for (properties, text) in [
        ("ENCODING 'LATIN1' LOCALE 'C'", "its encoding is LATIN1, on the source UTF8"),
        ("ENCODING 'UTF8' LOCALE 'C.UTF-8'", "its lc_collate is C.UTF-8, on the source C"),
    ] {
        target.psql("postgres", &format!("CREATE DATABASE source TEMPLATE template0 {properties}"))?;
        let found = found(&manifest, &target, &Plan::default())?;
        let [finding] = &found[..] else { panic!("{properties}: {found:#?}") };
        assert!(finding.message.contains(text), "{finding:?}");
        assert_eq!(finding.severity(), verify_core::finding::Severity::Fail);
        target.psql("postgres", "DROP DATABASE source")?;
    }
    target.psql("postgres", "CREATE DATABASE source TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")?;
    assert_eq!(found(&manifest, &target, &Plan::default())?, []);
    Ok(())
}

/// The recorded version is changed, as an upgrade of the operating system changes the actual one.
#[test]
fn a_collation_of_another_version_is_inconclusive() -> Result<()> {
    for (major, locale, damage, object) in [
        (
            15,
            "en_US.UTF-8",
            "UPDATE pg_database SET datcollversion = '1.0' WHERE datname = 'source'",
            "collation of the database",
        ),
        (
            13,
            "C",
            "UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'used'",
            "collation public.used",
        ),
    ] {
        let mut server = fixtures::server(major)?;
        let create = format!("CREATE DATABASE source TEMPLATE template0 ENCODING 'UTF8' LOCALE '{locale}'");
        if server.psql("postgres", &create).is_err() {
            // The locale is not on this machine.
            server.psql("postgres", "CREATE DATABASE source TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C'")?;
        }
        server.psql("source", "CREATE COLLATION public.used (provider = icu, locale = 'de'); CREATE TABLE t (a text COLLATE public.used)")?;
        let manifest = captured(&server)?;
        server.restart_after(Stop::Fast, |_| Ok(()))?;
        assert_eq!(found(&manifest, &server, &Plan::default())?, []);
        server.psql("source", damage)?;
        let found = found(&manifest, &server, &Plan::default())?;
        let [finding] = &found[..] else { panic!("{major}: {found:#?}") };
        assert_eq!(format!("{} {}", finding.code(), finding.object), format!("collation.changed {object}"));
        assert_eq!(finding.severity(), verify_core::finding::Severity::Inconclusive);
        // The indexes were checked: they have the order of the version that is there.
        let mut comparison =
            verify(&manifest, &postgres(&server, "source")?, &Plan::default(), &event::ignore)?;
        comparison.indexes_were_checked();
        assert_eq!(comparison.verdict(), verify_core::finding::Verdict::Pass, "{comparison:#?}");
    }
    Ok(())
}

#[test]
fn pending_prepared_transactions_are_named() -> Result<()> {
    let (server, manifest) = copy_of_files(15)?;
    server.psql("source", "BEGIN; SELECT txid_current(); PREPARE TRANSACTION 'left'")?;
    let found = found(&manifest, &server, &Plan::default())?;
    let [finding] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(finding.code().to_string(), "cluster.prepared");
    Ok(())
}

fn clone_findings(server: &TestServer, database: &str) -> Result<Vec<String>> {
    let settings = Settings::parse(&server.conninfo(database), &Environment::default())?;
    let findings = clone::check(&settings, &Plan::default())?;
    Ok(findings
        .iter()
        .map(|finding| format!("{} {}: {}", finding.code(), finding.object, finding.message))
        .collect())
}

fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(60);
    while !is_so()? {
        ensure!(Instant::now() < limit, "{what} took more than a minute");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[test]
fn a_copy_that_acts_on_other_systems_is_found() -> Result<()> {
    for major in [13, 15, 18] {
        let mut server =
            TestServer::start(&fixtures::majors::installation(major)?, &[("wal_level", "logical")])?;
        server.create_database("publisher")?;
        server.create_database("source")?;
        assert_eq!(clone_findings(&server, "source")?, Vec::<String>::new());
        server.psql("publisher", "CREATE TABLE t (a int); CREATE PUBLICATION p FOR TABLE t")?;
        server.psql("publisher", "SELECT pg_create_logical_replication_slot('taken', 'pgoutput')")?;
        let conninfo = server.conninfo("publisher").replace('\'', "''");
        server.psql("source", "CREATE TABLE t (a int)")?;
        server.psql(
            "source",
            &format!("CREATE SUBSCRIPTION \"the sub\" CONNECTION '{conninfo}' PUBLICATION p WITH (create_slot = false, copy_data = false, slot_name = 'taken')"),
        )?;
        let acts = "clone.acts subscription \"the sub\": its worker runs";
        until("the worker's start", || {
            Ok(clone_findings(&server, "source")?.iter().any(|found| found.starts_with(acts)))
        })?;
        server.psql("source", "ALTER SUBSCRIPTION \"the sub\" DISABLE")?;
        until("the worker's end", || {
            Ok(!clone_findings(&server, "source")?.iter().any(|found| found.starts_with(acts)))
        })?;
        server.psql("source", "CREATE EXTENSION postgres_fdw; CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw; ALTER SYSTEM SET archive_mode = 'on'")?;
        server.restart_after(Stop::Fast, |_| Ok(()))?;
        assert_eq!(
            clone_findings(&server, "source")?,
            [
                "clone.dormant copy: once it is in use these act on other systems or keep WAL: foreign server elsewhere, \
              replication slot taken, setting archive_mode"
            ],
        );
    }
    Ok(())
}

/// Debian has pg_cron as a package, which need not be installed.
#[test]
fn jobs_of_pg_cron_are_found() -> Result<()> {
    let installation = fixtures::majors::installation(15)?;
    let start = |preloaded: &str| {
        TestServer::start(
            &installation,
            &[("shared_preload_libraries", preloaded), ("cron.database_name", "postgres")],
        )
    };
    let Ok(server) = start("pg_cron") else { return Ok(()) };
    server.psql(
        "postgres",
        "CREATE EXTENSION pg_cron; SELECT cron.schedule('nightly', '0 3 * * *', 'VACUUM')",
    )?;
    let found = clone_findings(&server, "postgres")?;
    assert_eq!(found, ["clone.acts job of pg_cron 1: the server runs it as the source does"]);
    server.psql("postgres", "UPDATE cron.job SET active = false")?;
    assert_eq!(clone_findings(&server, "postgres")?, Vec::<String>::new());
    drop(server);
    start("").map(drop).context("a server without the library")
}
