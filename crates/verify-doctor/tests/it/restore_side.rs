//! Deficiencies of the side that backups are restored to.

use fixtures::TestServer;
use fixtures::majors::installation;
use verify_doctor::{Facts, Source, postgres};

use crate::examined::{connect, examined, facts_of, server, shown};

fn between(source: &TestServer, side: &TestServer, dump_major: u32) -> Vec<String> {
    let gathered = server(source, "postgres");
    let side = postgres::restore_side(&mut connect(&side.conninfo("postgres"))).unwrap();
    let facts = Facts { restore_side: Ok(side), dump_major: Ok(dump_major), ..facts_of(gathered) };
    shown(&examined(&facts, Source::RestoreSide))
}

#[test]
fn what_the_restore_side_lacks_is_found() {
    let start = |major: u32, settings: &[(&str, &str)]| {
        TestServer::start(&installation(major).unwrap(), settings).unwrap()
    };
    let source = start(
        15,
        &[
            ("max_connections", "60"),
            ("max_worker_processes", "16"),
            ("shared_preload_libraries", "auto_explain"),
        ],
    );
    let equal = start(
        15,
        &[
            ("max_connections", "70"),
            ("max_worker_processes", "16"),
            ("shared_preload_libraries", "auto_explain"),
        ],
    );
    let collation = "SELECT collname FROM pg_collation WHERE collprovider = 'i' ORDER BY 1 LIMIT 1";
    let collation = source.psql("postgres", collation).unwrap();
    source.psql("postgres", &format!("CREATE TABLE names (a text COLLATE \"{collation}\")")).unwrap();
    assert_eq!(between(&source, &equal, 15), Vec::<String>::new());

    let poorer = start(15, &[("max_connections", "20")]);
    poorer.psql("postgres", "DELETE FROM pg_collation WHERE collprovider = 'i'").unwrap();
    source.psql("postgres", "UPDATE pg_extension SET extname = 'postgis' WHERE extname = 'plpgsql'").unwrap();
    let mut found = between(&source, &poorer, 14);
    let collation = found.remove(1);
    assert!(
        collation.starts_with("side.collation: collation i:") && collation.ends_with(": is not there"),
        "{collation}"
    );
    assert_eq!(
        found,
        [
            "dump.older: pg_dump: is of PostgreSQL 14, and the server of 15",
            "side.extension: extension postgis: 1.0 is used here, and cannot be created there",
            "side.preload: library auto_explain: is preloaded here, and is not there",
            "side.settings: max_connections: is 60 here and 20 there",
            "side.settings: max_worker_processes: is 16 here and 8 there",
        ]
    );
    let older = start(13, &[]);
    let found = between(&equal, &older, 15);
    assert!(
        found.iter().any(
            |found| found.starts_with("side.version: version: is 15.") && found.contains(" here and 13.")
        ),
        "{found:?}"
    );
}

#[test]
fn another_version_of_a_collation_is_found() {
    let source = TestServer::start(&installation(15).unwrap(), &[]).unwrap();
    let mut gathered = server(&source, "postgres");
    let mut side = postgres::restore_side(&mut connect(&source.conninfo("postgres"))).unwrap();
    gathered.collation_versions = Ok([("c:de_DE.utf8".to_owned(), "2.36".to_owned())].into());
    let mut judged = |version: &str| {
        side.collations = Ok([("c:de_DE.utf8".to_owned(), version.to_owned())].into());
        let facts =
            Facts { restore_side: Ok(side.clone()), dump_major: Ok(15), ..facts_of(gathered.clone()) };
        shown(&examined(&facts, Source::RestoreSide))
    };
    assert_eq!(judged("2.36"), Vec::<String>::new());
    assert_eq!(
        judged("2.31"),
        ["side.collation: collation c:de_DE.utf8: is of version 2.36 here and 2.31 there"]
    );
}
