//! docs/evidence.md lists every code, with the exit status that it leads to.

use std::path::Path;

use verify_core::finding::Severity;
use verify_evidence::bundle::PREDICATE_TYPE;
use verify_evidence::entry::{BUNDLE, REPORT, SIGNATURE};
use verify_evidence::problem::Code;
use verify_evidence::sshsig::NAMESPACE;

#[test]
fn every_code_is_documented_with_its_exit_status() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/evidence.md");
    let text = std::fs::read_to_string(path).unwrap();
    let schema = serde_json::to_value(schemars::schema_for!(Code)).unwrap();
    let codes = schema["oneOf"].as_array().unwrap();
    assert!(codes.len() > 10, "{schema}");
    for code in codes {
        let code: Code = serde_json::from_value(code["const"].clone()).unwrap();
        let status = match code.severity() {
            Severity::Notice => 0,
            Severity::Fail => 1,
            Severity::Inconclusive => 3,
        };
        let line = text.lines().find(|line| line.starts_with(&format!("| `{code}` | ")));
        assert!(line.is_some_and(|line| line.ends_with(&format!(" | {status} |"))), "{code}: {line:?}");
    }
    let rows = text.lines().filter(|line| line.starts_with("| `") && line.contains(". | ")).count();
    assert_eq!(rows, codes.len());
    for name in [REPORT, SIGNATURE, BUNDLE, NAMESPACE, PREDICATE_TYPE] {
        assert!(text.contains(name), "{name}");
    }
}
