//! `show`, and what it refuses.

use std::fs;

use jiff::Timestamp;
use verify_core::definition::Definitions;
use verify_core::digest::{Digest, HashAlgorithm, HashKey};
use verify_core::heartbeat::Pulse;
use verify_core::manifest::{Consistency, Content, Header, Manifest, Origin, Source, TableEntry};
use verify_core::names::Names;
use verify_core::table::{CellWidth, Column, Encoding, Key, KeySource, Table, TableName};

use crate::program::run;

fn table(name: &str, content: Content) -> TableEntry {
    let column = Column {
        name: "id".to_owned(),
        type_name: "integer".to_owned(),
        base_type: "int4".to_owned(),
        encoding: Encoding::Binary,
        generated: false,
    };
    let table = Table::new(
        TableName::new("public", name),
        vec![column],
        Key { source: KeySource::PrimaryKey, columns: vec![0] },
    );
    TableEntry { table, filenode: 1, columns_found: None, content }
}

fn manifest() -> Manifest {
    let origin = Origin {
        source: Source {
            server_version: 180_001,
            system_identifier: "7012345678901234567".to_owned(),
            database: "sh\u{1b}[2Jop".to_owned(),
            database_oid: Some(16_384),
            postmaster_started_at: None,
            statistics_since: None,
            encoding: "UTF8".to_owned(),
            other_databases: vec!["billing".to_owned()],
            foreign_tables: Vec::new(),
            prepared_transactions: Some(0),
        },
        snapshot: "740:740:".to_owned(),
        lsn: "0/1".to_owned(),
        captured_at: Timestamp::UNIX_EPOCH,
        consistency: Consistency::SharedSnapshot,
    };
    let mut sketched = Names::new(CellWidth::Narrow);
    sketched.merge(Names::sketch(CellWidth::Narrow, 11));
    let rows =
        |rows, names| Content::Rows { digest: Digest { rows, ..Digest::default() }, bytes: rows * 10, names };
    Manifest {
        header: Header::new(HashAlgorithm::Blake3, HashKey([7; 32]), origin),
        tables: vec![
            table("items", rows(1_234_567, sketched)),
            table("orders", rows(12, Names::new(CellWidth::Narrow))),
            table("secrets", Content::Unreadable("permission denied".to_owned())),
        ],
        sequences: Vec::new(),
        definitions: Definitions::Read(Vec::new()),
        cluster: Definitions::Read(Vec::new()),
        invariants: Vec::new(),
        pulse: Pulse { beat: None, last_commit: None, read_at: Timestamp::UNIX_EPOCH },
    }
}

fn bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    manifest().write(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_manifest_is_shown_without_its_sketches() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("m"), bytes()).unwrap();
    let text = run(directory.path(), &["show", "m"]);
    assert_eq!((text.status, text.err.as_str()), (Some(0), ""));
    insta::assert_snapshot!(text.out, @r"
    source: database sh\u{1b}[2Jop, PostgreSQL 18.1, cluster 7012345678901234567
    captured: 1970-01-01T00:00:00Z, snapshot 740:740:, consistency shared-snapshot
    holds: 3 tables, 1,234,579 rows (11.7 MiB), 0 sequences, 0 definitions, 0 invariants
    heartbeat: none; the recovery point must be determined otherwise
    not covered:
        public.secrets: permission denied
    other databases of the cluster, not covered: billing

    TABLE                ROWS      SIZE  KEY  NAMES
    public.items    1,234,567  11.7 MiB  id   sketch
    public.orders          12     120 B  id   all
    public.secrets          -         -  id   not covered
    ");

    let json = run(directory.path(), &["show", "m", "--output", "json"]);
    assert_eq!((json.status, json.err.as_str()), (Some(0), ""));
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["tables"][0]["rows"], 1_234_567);
    assert_eq!(json["tables"][0]["names"], "sketch");
    assert_eq!(json["not_covered"][0]["object"], "public.secrets");
    assert_eq!(json["consistency"]["mode"], "shared-snapshot");
}

#[test]
fn a_file_that_is_cut_changed_or_something_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let whole = bytes();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for (content, expected) in [
        (&whole[..whole.len() - 1], "it is truncated"),
        (&whole[..whole.len() / 2], "it is truncated"),
        (&whole[..3], "it is neither a manifest nor a report of state-lab"),
        (&changed, "read the manifest"),
        (&[], "it is empty"),
        (b"hello", "it is neither a manifest nor a report of state-lab"),
        (b"{}", "failed to read the report"),
        (br#"{"format":"other","version":1}"#, "it is not a state-lab report"),
    ] {
        fs::write(directory.path().join("m"), content).unwrap();
        for arguments in [&["show", "m"][..], &["verify", "m", "host=127.0.0.1 port=1 user=u"]] {
            let outcome = run(directory.path(), arguments);
            assert_eq!((outcome.status, outcome.out.as_str()), (Some(2), ""), "{expected}");
            assert!(outcome.err.starts_with("error: failed to read m"), "{}", outcome.err);
            assert!(outcome.err.contains(expected), "{expected}: {}", outcome.err);
        }
    }
    let missing = run(directory.path(), &["show", "none"]);
    let expected = "error: failed to read none\n  because: No such file or directory (os error 2)\n";
    assert_eq!((missing.status, missing.err.as_str()), (Some(2), expected));
    assert_eq!(run(directory.path(), &["show", "."]).err, "error: failed to read .: it is a directory\n");
}

#[test]
fn a_full_disk_is_an_error_and_not_a_pass() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("m"), bytes()).unwrap();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output =
        crate::program::state_lab(directory.path()).args(["show", "m"]).stdout(full).output().unwrap();
    let outcome = crate::program::outcome(&output);
    assert_eq!(outcome.status, Some(2));
    assert!(outcome.err.contains("\nerror: failed to write to standard output\n"), "{}", outcome.err);
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_with_a_message() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("m"), bytes()).unwrap();
    let program = crate::program::state_lab(directory.path());
    let script = "ulimit -f 0; exec \"$0\" show m > out";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script]).arg(program.get_program()).current_dir(directory.path());
    let outcome = crate::program::outcome(&shell.output().unwrap());
    assert_eq!(outcome.status, Some(2));
    assert!(outcome.err.contains("File too large") && outcome.err.contains("ulimit -f"), "{}", outcome.err);
}
