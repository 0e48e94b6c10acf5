//! Dumps of databases that are hard to restore: restored all the same, or refused when they are backed up.

use std::fs;

use verify_core::finding::Verdict;
use verify_core::plan::Plan;
use verify_core::postgres::{Connection, SessionOptions};
use verify_core::report::Objectives;
use verify_drill::provider::RestoreRequest;
use verify_drill::watch::Watch;
use verify_local::Store;

use crate::drill::{Drill, list};
use crate::program::RunResult;

const MAJOR: u32 = 15;

const ROWS: &str = "CREATE TABLE public.t (a int PRIMARY KEY); INSERT INTO public.t VALUES (1), (2);";

/// A name that the server cuts to 63 bytes.
const LONG: &str = "orders_of_the_northern_branch_and_of_everything_that_belongs_to_it_2026";

/// Databases, and what is odd about each; run in it.
const RESTORED: [(&str, &str); 6] = [
    (LONG, ""),
    (
        "settings",
        "ALTER DATABASE settings SET default_transaction_read_only = on;
         ALTER DATABASE settings SET default_transaction_isolation = 'serializable';
         ALTER DATABASE settings SET default_transaction_deferrable = on;
         ALTER DATABASE settings SET statement_timeout = 1;
         ALTER DATABASE settings SET lock_timeout = 1;
         ALTER DATABASE settings SET idle_in_transaction_session_timeout = 1;
         ALTER DATABASE settings SET idle_session_timeout = 5000;
         ALTER DATABASE settings SET search_path = nowhere;
         ALTER DATABASE settings SET check_function_bodies = on;
         ALTER DATABASE settings SET row_security = off;
         ALTER DATABASE settings SET client_encoding = 'LATIN1';
         ALTER DATABASE settings SET standard_conforming_strings = off;
         ALTER DATABASE settings SET quote_all_identifiers = on;
         ALTER DATABASE settings SET session_replication_role = replica;
         ALTER DATABASE settings SET default_tablespace = pg_global;
         ALTER DATABASE settings SET DateStyle = 'SQL, DMY'",
    ),
    (
        "tablespaces",
        "SET allow_in_place_tablespaces = on; CREATE TABLESPACE elsewhere LOCATION '';
         CREATE TABLE u (a int) TABLESPACE elsewhere; INSERT INTO u VALUES (1);
         ALTER DATABASE tablespaces SET default_tablespace = elsewhere;
         ALTER DATABASE tablespaces SET temp_tablespaces = elsewhere",
    ),
    (
        "replication",
        "CREATE PUBLICATION p FOR ALL TABLES;
         CREATE SUBSCRIPTION s CONNECTION 'host=192.0.2.1 dbname=x' PUBLICATION p WITH (connect = false)",
    ),
    (
        "triggers",
        "CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM t;
         CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''refused''; END';
         CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION refuse()",
    ),
    (
        "roles",
        "CREATE ROLE owner NOLOGIN; CREATE ROLE member; GRANT owner TO member; ALTER TABLE t OWNER TO owner;
         ALTER ROLE member SET default_transaction_read_only = on; ALTER DATABASE roles CONNECTION LIMIT 0;
         ALTER DATABASE roles OWNER TO owner",
    ),
];

/// Definitions that cannot be restored, and a part of the reason.
const REFUSED: [(&str, &str, &str); 2] = [
    (
        "search_path",
        "CREATE FUNCTION inner_f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';
         CREATE FUNCTION outer_f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT inner_f($1)';
         CREATE INDEX ON t (outer_f(a))",
        "function inner_f(integer) does not exist",
    ),
    (
        "extension",
        "CREATE EXTENSION hstore; SET allow_system_table_mods = on;
         UPDATE pg_extension SET extname = 'gone' WHERE extname = 'hstore'",
        "extension \"gone\" is not available",
    ),
];

fn back_up(drill: &Drill, databases: &[&str]) -> RunResult {
    let conninfos: Vec<String> = databases.iter().map(|name| drill.source.conninfo(name)).collect();
    let arguments = ["backup", "--name", "b", "--method", "logical"].into_iter();
    drill.run(&arguments.chain(conninfos.iter().map(String::as_str)).collect::<Vec<_>>())
}

fn create(drill: &Drill, database: &str, script: &str) {
    drill.source.create_database(database).unwrap();
    drill.source.psql(database, &format!("{ROWS} {script}")).unwrap();
}

#[test]
fn odd_databases_are_restored() {
    let drill = Drill::new(MAJOR);
    for (database, script) in RESTORED {
        create(&drill, database, script);
    }
    let backed_up = back_up(&drill, &RESTORED.map(|(database, _)| database));
    assert_eq!(backed_up.status, Some(0), "{backed_up:?}");
    let restored = drill.run(&["restore", "--snapshot", "b"]);
    assert_eq!(restored.status, Some(0), "{restored:?}");
    assert!(restored.out.starts_with("restore_status: success\nintegrity_checks: pass\n"), "{restored:?}");
}

#[test]
fn what_cannot_be_restored_is_no_backup() {
    let drill = Drill::new(MAJOR);
    for (database, script, reason) in REFUSED {
        create(&drill, database, script);
        let refused = back_up(&drill, &[database]);
        assert_eq!(
            (refused.status, refused.out.as_str()),
            (Some(2), "backup_status: failed\n"),
            "{refused:?}"
        );
        assert!(refused.err.contains("error: failed to restore the dumps"), "{}", refused.err);
        assert!(refused.err.contains(reason), "{}", refused.err);
        assert!(refused.err.contains("\nhint: install what is missing on this machine"), "{}", refused.err);
        assert_eq!(list(&drill.store()), Vec::<std::path::PathBuf>::new());
        assert_eq!(drill.left(), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn a_library_that_an_extension_needs_is_preloaded_and_runs_nothing() {
    let libraries = "pg_stat_statements,auto_explain";
    let drill = Drill::with_settings(MAJOR, &[("shared_preload_libraries", libraries)]);
    drill.source.psql("shop", "CREATE EXTENSION pg_stat_statements").unwrap();
    assert_eq!(back_up(&drill, &["shop"]).status, Some(0));
    let record = fs::read_to_string(drill.store().join("b/backup.json")).unwrap();
    assert!(record.contains("\"shared_preload_libraries\": \"pg_stat_statements\""), "{record}");
    let store = Store::open(&drill.store()).unwrap();
    let request = RestoreRequest {
        name: "b".parse().unwrap(),
        plan: Plan::default(),
        objectives: Objectives::default(),
        incident: None,
        keep: false,
    };
    let restored = verify_local::restore(&store, &request, &Watch::silent()).unwrap();
    assert_eq!(restored.verdict(), Verdict::Pass);
    let mut session = Connection::open(&restored.databases[0], &SessionOptions::new()).unwrap();
    let set = "SELECT current_setting('shared_preload_libraries'), current_setting('max_worker_processes'), \
               count(*) FROM pg_stat_activity WHERE backend_type LIKE '%launcher%' OR backend_type LIKE '%worker%'";
    let rows = session.query(set).unwrap();
    assert_eq!([0, 1, 2].map(|column| rows[0].text(column).unwrap()), ["pg_stat_statements", "0", "0"]);
}

#[test]
fn every_extension_that_can_be_created_here_is_restored() {
    let drill = Drill::new(MAJOR);
    let create_all = "DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT e.name FROM pg_available_extensions e ORDER BY 1 LOOP
            BEGIN
                EXECUTE format('CREATE EXTENSION IF NOT EXISTS %I CASCADE', name);
            EXCEPTION WHEN OTHERS THEN RAISE NOTICE '% cannot be created: %', name, SQLERRM;
            END;
        END LOOP; END $$";
    create(&drill, "extended", create_all);
    let created = drill.source.psql("extended", "SELECT count(*) > 1 FROM pg_extension").unwrap();
    assert_eq!(created, "t");
    let backed_up = back_up(&drill, &["extended"]);
    assert_eq!(backed_up.status, Some(0), "{backed_up:?}");
    let restored = drill.run(&["restore", "--snapshot", "b"]);
    assert_eq!(restored.status, Some(0), "{restored:?}");
}
