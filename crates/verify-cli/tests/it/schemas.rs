//! The JSON Schemas in docs/ are those of the code. `UPDATE_SCHEMAS=1 cargo test -p state-lab schemas` writes them.

use std::path::Path;

use serde_json::Value;

#[track_caller]
fn check(file: &str, schema: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
    let generated = format!("{}\n", serde_json::to_string_pretty(schema).unwrap());
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == generated, "docs/{file} is not what the code gives: run with UPDATE_SCHEMAS=1");
}

#[test]
fn the_configuration() {
    check("state-lab.schema.json", &state_lab::config::schema());
}

#[test]
fn drill_files() {
    check("drill.schema.json", &verify_gameday::file::schema());
}

#[test]
fn stored_reports() {
    check("evidence.schema.json", &verify_evidence::envelope::schema());
}

#[test]
fn the_manifest() {
    check("manifest.schema.json", &verify_core::manifest_file::schema());
}

#[test]
fn the_output() {
    check("output.schema.json", &state_lab::document::schema());
}

#[test]
fn the_report() {
    check("report.schema.json", &verify_core::report::schema());
}

#[test]
fn every_code_of_a_finding_is_documented() {
    let schema = serde_json::to_value(schemars::schema_for!(verify_core::finding::Code)).unwrap();
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/findings.md"))
        .unwrap();
    let codes: Vec<&str> =
        schema["oneOf"].as_array().unwrap().iter().map(|code| code["const"].as_str().unwrap()).collect();
    assert!(codes.len() > 25, "{codes:?}");
    let documented = text.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(documented, codes.len());
    for code in codes {
        assert!(text.contains(&format!("| `{code}` |")), "{code}");
    }
}
