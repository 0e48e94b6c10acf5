//! From C.

use std::process::Output;

use fixtures::TestServer;
use tempfile::TempDir;

use crate::program::{Linked, compile, run, run_checked};

/// A server with the database `shop` and its copy.
pub(crate) fn shop() -> TestServer {
    let server = fixtures::server(15).unwrap();
    server.create_database("shop").unwrap();
    let orders = "CREATE TABLE orders (id int PRIMARY KEY, total numeric);
        INSERT INTO orders SELECT id, id * 1.5 FROM generate_series(1, 1000) AS id";
    server.psql("shop", orders).unwrap();
    server.copy_database("shop", "copy").unwrap();
    server
}

pub(crate) fn status(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_example_verifies_a_copy_and_names_a_damaged_row() {
    let (server, directory) = (shop(), TempDir::new().unwrap());
    let tool = compile("examples/backup_tool.c", &Linked::Static, &directory);
    let manifest = directory.path().join("shop.manifest").to_str().unwrap().to_owned();
    let (shop, copy) = (server.conninfo("shop"), server.conninfo("copy"));
    let (code, text) = status(&run(&tool, &["capture", &shop, &manifest]));
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains(r#"{"table-read":{"table":{"schema":"public","name":"orders"},"rows":1000}}"#),
        "{text}"
    );
    let (code, text) = status(&run(&tool, &["verify", &manifest, &copy]));
    assert!(code == Some(0) && text.contains(r#""verdict":"pass""#), "{code:?} {text}");
    server.psql("copy", "UPDATE orders SET total = 0 WHERE id = 42").unwrap();
    let output = run(&tool, &["verify", &manifest, &copy]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let report: verify_core::report::Report = serde_json::from_value(report).unwrap();
    let findings = report.comparison().findings();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        (findings[0].code().to_string(), findings[0].object.as_str()),
        ("row.changed".to_owned(), "public.orders")
    );
    assert_eq!(findings[0].rows.as_ref().unwrap().named, ["id=42"]);
    let missing = server.conninfo("missing") + " password=hunter2";
    let (code, text) = status(&run(&tool, &["verify", &manifest, &missing]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains(r#""kind":"server","sqlstate":"3D000""#) && !text.contains("hunter2"), "{text}");
}

/// `tests/abi.c` checks what the header promises, and exits with 0.
#[test]
fn the_interface_keeps_what_its_header_promises() {
    let (server, directory) = (shop(), TempDir::new().unwrap());
    let program = compile("tests/abi.c", &Linked::Shared, &directory);
    let (code, text) = status(&run_checked(&program, &[&server.conninfo("shop"), &server.conninfo("copy")]));
    assert_eq!(code, Some(0), "{text}");
}
