//! From Go.

use std::process::Command;

use tempfile::TempDir;

use crate::c::{shop, status};
use crate::program::{file, library, run, succeed};

/// A command of Go in the folder of the example.
fn go(arguments: &[&str]) -> Command {
    let mut go = Command::new("go");
    go.args(arguments).current_dir(file("examples/go"));
    go.env("CGO_ENABLED", "1").env("CGO_CFLAGS", format!("-I{}", file("include").display()));
    go.env("CGO_LDFLAGS", format!("-L{}", library().display())).env("LD_LIBRARY_PATH", library());
    // The example has no dependencies: nothing is downloaded.
    go.env("GOFLAGS", "-mod=mod").env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
    go
}

#[test]
fn the_example_verifies_a_copy_and_names_a_damaged_row() {
    if go(&["version"]).output().is_err() {
        eprintln!("skipped: Go is not installed");
        return;
    }
    let (server, directory) = (shop(), TempDir::new().unwrap());
    let (shop, copy) = (server.conninfo("shop"), server.conninfo("copy"));
    succeed(&mut go(&["vet", "./..."]));
    succeed(go(&["test", "-count=1", "./..."]).env("CONNINFO", &shop));
    let tool = directory.path().join("backup-tool");
    succeed(&mut go(&["build", "-o", tool.to_str().unwrap(), "."]));
    let manifest = directory.path().join("shop.manifest").to_str().unwrap().to_owned();
    let (code, text) = status(&run(&tool, &["capture", &shop, &manifest]));
    assert!(code == Some(0) && text.contains(r#""name":"orders"},"rows":1000"#), "{code:?} {text}");
    assert_eq!(status(&run(&tool, &["verify", &manifest, &copy])).0, Some(0));
    server.psql("copy", "DELETE FROM orders WHERE id = 42").unwrap();
    let (code, text) = status(&run(&tool, &["verify", &manifest, &copy]));
    assert!(
        code == Some(1) && text.contains("row.missing public.orders") && text.contains("[id=42]"),
        "{code:?} {text}"
    );
    let (code, text) = status(&run(&tool, &["verify", &manifest, &server.conninfo("missing")]));
    assert!(code == Some(2) && text.contains("hint: "), "{code:?} {text}");
}
