//! docs/privileges.sql: with it every check runs, and without any part of it one is inconclusive.

use std::fs;
use std::path::Path;

use fixtures::TestServer;
use verify_core::finding::Severity;
use verify_core::report::Report;

use crate::program::run;

const PRIVILEGES: &str = include_str!("../../../../docs/privileges.sql");

/// What most roles may not see: a table with row security, a large object, and constraints and indexes of every kind of check.
const SCHEMA: &str = "
    CREATE SCHEMA closed; CREATE TABLE closed.secrets (id int PRIMARY KEY, owner text NOT NULL CHECK (owner <> ''));
    ALTER TABLE closed.secrets ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON closed.secrets USING (owner = current_user);
    INSERT INTO closed.secrets SELECT i, 'somebody' FROM generate_series(1, 100) i; CREATE INDEX ON closed.secrets USING hash (owner);
    CREATE TABLE closed.parts (id int REFERENCES closed.secrets, at date) PARTITION BY RANGE (at);
    CREATE TABLE closed.part PARTITION OF closed.parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    INSERT INTO closed.parts SELECT i, '2026-06-01' FROM generate_series(1, 100) i;
    CREATE SEQUENCE closed.numbers; SELECT nextval('closed.numbers'); SELECT lo_from_bytea(0, 'a large object');
    CREATE VIEW closed.view AS SELECT id FROM closed.secrets WHERE id BETWEEN 1 AND 9; VACUUM closed.secrets;";

fn apply(server: &TestServer, database: &str, restored: bool) {
    let restored = if restored { "\\set restored yes\n" } else { "" };
    server.psql(database, &format!("\\set role least\n{restored}{PRIVILEGES}")).unwrap();
}

/// The codes of findings that are not a notice.
fn verified(directory: &Path, restored: &str) -> Vec<String> {
    let result = run(directory, &["verify", "m", restored, "--output", "json"]);
    let report =
        Report::from_json(result.out.as_bytes()).unwrap_or_else(|error| panic!("{error}: {result:?}"));
    let comparison = report.comparison();
    let mut codes: Vec<String> = comparison
        .findings()
        .iter()
        .filter(|finding| finding.severity() != Severity::Notice)
        .map(|finding| finding.code().to_string())
        .collect();
    codes.dedup();
    codes
}

#[test]
fn each_check_runs_with_the_documented_privileges_and_no_fewer() {
    for major in [13, 15, 18] {
        let directory = tempfile::tempdir().unwrap();
        let server = fixtures::server(major).unwrap();
        server.create_database("source").unwrap();
        server.psql("source", SCHEMA).unwrap();
        server.psql("postgres", "CREATE ROLE least LOGIN").unwrap();
        apply(&server, "source", false);
        let source = format!("{} user=least", server.conninfo("source"));
        let captured = run(directory.path(), &["capture", &source, "-o", "m"]);
        assert_eq!(captured.status, Some(0), "{major}: {captured:?}");

        server.copy_database("source", "restored").unwrap();
        apply(&server, "restored", true);
        let restored = format!("{} user=least", server.conninfo("restored"));
        let passed = run(directory.path(), &["verify", "m", &restored]);
        assert_eq!(passed.status, Some(0), "{major}: {passed:?}");
        for gap in ["not checked", "not read", "could not", "permission"] {
            assert!(!passed.out.contains(gap), "{major}: {}", passed.out);
        }

        let read_all = match major {
            13 => ("REVOKE USAGE ON SCHEMA closed FROM least", "GRANT USAGE ON SCHEMA closed TO least"),
            _ => ("REVOKE pg_read_all_data FROM least", "GRANT pg_read_all_data TO least"),
        };
        let large = "DO $$ BEGIN EXECUTE (SELECT format('% SELECT ON LARGE OBJECT %s % least', oid) FROM pg_largeobject_metadata); END $$";
        let (revoke, grant) = (large.replacen('%', "REVOKE", 1), large.replacen('%', "GRANT", 1));
        let (revoke, grant) =
            (revoke.replacen("% least", "FROM least", 1), grant.replacen("% least", "TO least", 1));
        let execute = |function| {
            let (revoke, grant) = (
                format!("REVOKE EXECUTE ON FUNCTION {function} FROM least"),
                format!("GRANT EXECUTE ON FUNCTION {function} TO least"),
            );
            (revoke, grant)
        };
        let (no_amcheck, amcheck) = execute("bt_index_check(regclass, boolean)");
        let mut parts = vec![
            (read_all.0, read_all.1, "table.unreadable"),
            ("ALTER ROLE least NOBYPASSRLS", "ALTER ROLE least BYPASSRLS", "table.unreadable"),
            (&revoke, &grant, "table.unreadable"),
            (&no_amcheck, &amcheck, "integrity.unknown"),
        ];
        let (no_heap, heap) = execute("verify_heapam(regclass, boolean, boolean, text, bigint, bigint)");
        if major > 13 {
            parts.push((&no_heap, &heap, "integrity.unknown"));
        }
        for (revoke, grant, code) in parts {
            server.psql("restored", revoke).unwrap();
            let codes = verified(directory.path(), &restored);
            assert!(codes.contains(&code.to_owned()), "{major}: without {grant}: {codes:?}");
            server.psql("restored", grant).unwrap();
        }
        assert_eq!(verified(directory.path(), &restored), Vec::<String>::new());
        fs::remove_file(directory.path().join("m")).unwrap();
    }
}
