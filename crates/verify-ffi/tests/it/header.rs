//! The header, generated from the code.

use std::path::Path;

/// `UPDATE_HEADER=1 cargo test -p verify-ffi` writes it.
#[test]
fn the_header_is_that_of_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let bindings =
        cbindgen::Builder::new().with_config(config).with_src(root.join("src/abi.rs")).generate().unwrap();
    let mut generated = Vec::new();
    bindings.write(&mut generated);
    let generated = String::from_utf8(generated).unwrap();
    let path = root.join("include/state_lab.h");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    assert!(generated.contains("state_lab_status state_lab_capture("), "{generated}");
    let hint = "include/state_lab.h is stale: run UPDATE_HEADER=1 cargo test -p verify-ffi";
    assert_eq!(std::fs::read_to_string(path).unwrap(), generated, "{hint}");
}
