//! Evidence: runs whose reports are stored, signed and chained, and their verification by `evidence verify` and ssh-keygen.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::drill::{Drill, list};
use crate::json_schema::validate;
use crate::program::{RunResult, run};

const IDENTITY: &str = "drills@example.com";

/// Creates a key, the file of allowed signers, and a configuration with both.
fn configure(directory: &Path, more: &str) {
    let created = run(directory, &["evidence", "keygen", "-o", "evidence.key", "--identity", IDENTITY]);
    assert_eq!((created.status, created.err.as_str()), (Some(0), ""), "{created:?}");
    fs::write(directory.join("allowed_signers"), &created.out).unwrap();
    let table = format!(
        "[evidence]\nstore = 'evidence'\nkey = 'evidence.key'\nsigners = 'allowed_signers'\nidentity = '{IDENTITY}'\n{more}"
    );
    fs::write(directory.join("state-lab.toml"), table).unwrap();
}

/// A stored report, which must be as the schemas say.
fn report(directory: &Path, sequence: u64) -> Value {
    let path = directory.join(format!("evidence/{sequence:06}/report.json"));
    let report: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for (schema, document) in [("evidence.schema.json", &report), ("output.schema.json", &report["document"])]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(schema);
        let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        validate(&schema, document).unwrap_or_else(|error| panic!("{error}: {document}"));
    }
    report
}

fn ssh_keygen_accepts(directory: &Path, sequence: u64) -> bool {
    let report = directory.join(format!("evidence/{sequence:06}/report.json"));
    let mut verify = Command::new("ssh-keygen");
    verify.args(["-Y", "verify", "-f", "allowed_signers", "-I", IDENTITY, "-n", "state-lab-report", "-s"]);
    verify.arg(report.with_extension("json.sig")).stdin(File::open(report).unwrap()).current_dir(directory);
    verify.output().unwrap().status.success()
}

#[track_caller]
fn verified(directory: &Path, arguments: &[&str], status: i32) -> RunResult {
    let found = run(directory, &[&["evidence", "verify"], arguments].concat());
    assert_eq!(found.status, Some(status), "{found:?}");
    found
}

#[test]
fn every_run_leaves_a_signed_report_that_other_tools_verify() {
    let drill = Drill::new(15);
    let (directory, shop) = (drill.directory(), drill.source.conninfo("shop"));
    drill.source.psql("postgres", "CREATE DATABASE copy TEMPLATE shop").unwrap();
    let copy = drill.source.conninfo("copy");
    configure(directory, "");
    assert_eq!(run(directory, &["capture", &shop, "-o", "m", "-q"]).status, Some(0));
    assert!(!directory.join("evidence").exists(), "a capture is no verification");

    let passed = run(directory, &["verify", "m", &copy, "--trigger", "schedule", "--operator", "Ada", "-q"]);
    assert_eq!((passed.status, passed.err.as_str()), (Some(0), ""), "{passed:?}");
    drill.source.psql("copy", "DELETE FROM accounts WHERE id = 9").unwrap();
    let failed = run(directory, &["compare", &shop, &copy]);
    assert_eq!(failed.status, Some(1), "{failed:?}");
    let line = failed.err.lines().last().unwrap();
    assert!(
        line.starts_with("evidence: 000002/report.json in evidence, signed by drills@example.com; SHA-256 ")
    );
    let head = line.rsplit(' ').next().unwrap();
    let unreachable =
        run(directory, &["verify", "m", "host=127.0.0.1 port=1 user=u dbname=d password=s3cret", "-q"]);
    assert_eq!(unreachable.status, Some(2), "{unreachable:?}");
    let without = run(directory, &["verify", "m", &copy, "--no-evidence", "-q"]);
    assert_eq!(without.status, Some(1), "{without:?}");

    let first = report(directory, 1);
    assert_eq!((&first["verdict"], &first["previous"]), (&"pass".into(), &Value::Null));
    let of_run = &first["run"];
    assert_eq!((&of_run["command"], &of_run["trigger"]), (&"verify".into(), &"schedule".into()));
    assert_eq!(of_run["operator"], "Ada");
    let sha256 = |path: &Path| {
        let output = Command::new("sha256sum").arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap()[..64].to_owned()
    };
    assert_eq!(of_run["config_sha256"], sha256(&directory.join("state-lab.toml")));
    assert_eq!(of_run["tool_sha256"], sha256(Path::new(assert_cmd::cargo::cargo_bin!("state-lab"))));
    let second = report(directory, 2);
    assert_eq!(second["previous"]["sha256"], sha256(&directory.join("evidence/000001/report.json")));
    assert_eq!((&second["verdict"], &second["run"]["command"]), (&"fail".into(), &"compare".into()));
    assert!(second["document"].to_string().contains("id=9"), "{second}");
    let third = report(directory, 3);
    assert_eq!(
        (&third["verdict"], &third["document"]["format"]),
        (&"inconclusive".into(), &"state-lab-error".into())
    );
    assert!(!third.to_string().contains("s3cret"), "{third}");
    assert_eq!(list(&directory.join("evidence")).len(), 3);
    assert!((1..=3).all(|sequence| ssh_keygen_accepts(directory, sequence)));

    let found = verified(directory, &["evidence", "--signers", "allowed_signers", "--expect-head", head], 0);
    assert_eq!(found.out.lines().next(), Some("evidence: pass"));
    let last =
        "\n3 files beside them: not signed, derived from the reports\n3 reports, 3 signed by allowed keys\n";
    assert!(found.out.ends_with(last), "{found:?}");
    let beside = |sequence: u64| directory.join(format!("evidence/{sequence:06}/report.html"));
    let page = fs::read_to_string(beside(2)).unwrap();
    assert_eq!(page, run(directory, &["report", "--run", "2", "--format", "html"]).out);
    assert!(page.contains("id=9") && page.contains("This page is not signed"), "{page}");
    let page = directory.join("evidence/000002/report.json");
    let text = fs::read_to_string(&page).unwrap();
    fs::write(&page, text.replace("id=9", "id=8")).unwrap();
    let found = verified(directory, &["--output", "json"], 1);
    let document: Value = serde_json::from_str(&found.out).unwrap();
    let codes: Vec<&str> = document["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["report.modified", "signature.refused", "chain.broken"]);
    assert!(!ssh_keygen_accepts(directory, 2));
    fs::remove_dir_all(directory.join("evidence/000002")).unwrap();
    let found = verified(directory, &[], 3);
    assert!(found.out.contains("inconclusive: 000002: it does not exist"), "{found:?}");
    verified(directory, &["--expect-head", head], 1);
}

#[test]
fn a_restore_is_evidence_and_keys_of_rows_are_left_out_where_asked() {
    let drill = Drill::new(15);
    let (directory, shop) = (drill.directory(), drill.source.conninfo("shop"));
    let rule = "[[invariants]]\nname = 'none'\nexpect = 'no-rows'\nsql = \"SELECT 's3cret' AS a\"\n";
    configure(directory, &format!("keys = 'none'\n{rule}"));
    assert_eq!(drill.run(&["backup", "--name", "b", &shop]).status, Some(0));
    let restored = drill.run(&["restore", "--snapshot", "b"]);
    assert_eq!(restored.status, Some(1), "{restored:?}");
    assert!(restored.err.contains("evidence: 000001/report.json in evidence, signed by"), "{restored:?}");
    let stored = report(directory, 1);
    assert_eq!((&stored["run"]["command"], &stored["document"]["backup"]), (&"restore".into(), &"b".into()));
    assert_eq!(stored["verdict"], "fail");
    let origin = &stored["document"]["origin"];
    assert_eq!((&origin["provider"], &origin["method"]), (&"local".into(), &"physical (base backup)".into()));
    let record = fs::read(drill.store().join("b/backup.json")).unwrap();
    assert_eq!(origin["record_blake3"], blake3::hash(&record).to_hex().as_str());
    assert_eq!(origin["record_locked_until"], Value::Null);
    assert_eq!(stored["document"]["target"], serde_json::json!({ "isolation": "not-tried" }));
    let page = run(directory, &["report", "--run", "1"]).out;
    for line in
        ["approver: not stated", "next run due: not stated", "deviations: not stated", "isolation: not tried"]
    {
        assert!(page.contains(&format!("\n{line}\n")), "{line}: {page}");
    }
    assert!(page.contains("\nbackup's provider, method: local, physical (base backup)\n"), "{page}");
    assert!(restored.out.contains("s3cret") && !stored.to_string().contains("a=s3cret"), "{stored}");
    verified(directory, &[], 0);
    let failed = drill.run(&["restore", "--snapshot", "none"]);
    assert_eq!(failed.status, Some(2), "{failed:?}");
    assert_eq!(report(directory, 2)["document"]["restore_status"], "failed");
}

#[test]
fn what_was_stated_of_a_run_is_signed_with_it_and_shown() {
    let drill = Drill::new(15);
    let (directory, shop) = (drill.directory(), drill.source.conninfo("shop"));
    configure(directory, "every = '1d'");
    assert_eq!(run(directory, &["capture", &shop, "-o", "m", "-q"]).status, Some(0));
    let stated = [
        "--approver",
        "Grace",
        "--deviation",
        "same host; ticket=OPS-7; due=2026-12-31",
        "--deviation",
        "<b>",
    ];
    let verified_run = run(directory, &[&["verify", "m", &shop, "-q"][..], &stated].concat());
    assert_eq!(verified_run.status, Some(3), "{verified_run:?}");
    let of_run = report(directory, 1)["run"].clone();
    assert_eq!(of_run["approver"], "Grace");
    let deviations = serde_json::json!([{ "text": "same host", "ticket": "OPS-7", "due": "2026-12-31" }, { "text": "<b>" }]);
    assert_eq!(of_run["deviations"], deviations);
    let time = |field: &str| -> jiff::Timestamp { of_run[field].as_str().unwrap().parse().unwrap() };
    assert_eq!(time("next_due_at").duration_since(time("started_at")).as_hours(), 24);
    verified(directory, &[], 0);
    let page = run(directory, &["report", "--run", "1", "--format", "html"]).out;
    for part in [
        "Grace",
        "same host (ticket OPS-7, due 2026-12-31)",
        "&lt;b&gt;",
        "not stated",
        of_run["next_due_at"].as_str().unwrap(),
    ] {
        assert!(page.contains(part) && !page.contains("<b>"), "{part}: {page}");
    }
    // Words of the approver are part of what is signed.
    let path = directory.join("evidence/000001/report.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("Grace", "Eve")).unwrap();
    verified(directory, &[], 1);
    let refused = run(directory, &["verify", "m", &shop, "--deviation", "a; due=soon"]);
    assert!(refused.status == Some(2) && refused.err.contains("due=2026-12-31"), "{refused:?}");
}

#[test]
fn what_cannot_be_stored_is_exit_2_and_the_verdict_is_printed() {
    let drill = Drill::new(15);
    let (directory, shop) = (drill.directory(), drill.source.conninfo("shop"));
    assert_eq!(run(directory, &["capture", &shop, "-o", "m", "-q"]).status, Some(0));
    configure(directory, "");
    // Nothing can be written over a directory.
    fs::create_dir_all(directory.join("evidence/000001/report.json")).unwrap();
    let unstored = run(directory, &["verify", "m", &shop, "-q"]);
    assert_eq!(unstored.status, Some(2), "{unstored:?}");
    assert!(unstored.out.starts_with("integrity_checks: inconclusive\n"), "{unstored:?}");
    assert!(unstored.err.starts_with("error: failed to store the evidence in evidence"), "{unstored:?}");
    // A page that cannot be stored changes nothing.
    fs::remove_dir_all(directory.join("evidence")).unwrap();
    fs::create_dir_all(directory.join("evidence/000001/report.html")).unwrap();
    let stored = run(directory, &["verify", "m", &shop, "-q"]);
    assert_eq!(stored.status, Some(3), "{stored:?}");
    assert!(stored.err.starts_with("the page of the report was not stored: "), "{stored:?}");
    assert!(directory.join("evidence/000001/report.json.sig").exists());
    // What cannot be used is refused before any work.
    let refused = |name: &str, reason: &str| {
        let refused = run(directory, &["verify", "m", &shop]);
        assert_eq!((refused.status, refused.out.as_str()), (Some(2), ""), "{name}: {refused:?}");
        assert!(refused.err.contains(reason), "{name}: {refused:?}");
    };
    let key = directory.join("evidence.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused("a key for all to read", "hint: make it readable for its owner alone: `chmod 600 evidence.key`");
    fs::remove_file(&key).unwrap();
    refused("no key", "failed to read the signing key evidence.key");
    fs::remove_dir_all(directory.join("evidence")).unwrap();
    fs::write(directory.join("evidence"), "").unwrap();
    refused("a file", "failed to create the directory evidence");
}

#[test]
fn without_a_key_a_report_is_stored_and_said_not_to_be_signed() {
    let drill = Drill::new(15);
    let (directory, shop) = (drill.directory(), drill.source.conninfo("shop"));
    fs::write(directory.join("state-lab.toml"), "evidence.store = 'evidence'\n").unwrap();
    assert_eq!(run(directory, &["capture", &shop, "-o", "m", "-q"]).status, Some(0));
    let stored = run(directory, &["verify", "m", &shop, "-q"]);
    assert!(stored.err.contains("not signed, because [evidence] has no key"), "{stored:?}");
    let found = verified(directory, &[], 3);
    assert!(
        found.out.contains("000001: it is not signed: report.json.sig does not exist [signature.missing]")
    );
    assert!(found.out.contains("no allowed signers were given"), "{found:?}");
}

#[test]
fn a_key_is_created_once_for_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let keygen = ["evidence", "keygen", "-o", "k", "--identity", IDENTITY];
    let created = run(directory.path(), &keygen);
    assert_eq!(created.status, Some(0), "{created:?}");
    assert!(created.out.starts_with("drills@example.com namespaces=\"state-lab-report\" ssh-ed25519 AAAA"));
    let mode = |name: &str| fs::metadata(directory.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("k"), mode("k.pub"), mode("k.pem")), (0o600, 0o644, 0o644));
    let private = fs::read(directory.path().join("k")).unwrap();
    let again = run(directory.path(), &keygen);
    assert_eq!(again.status, Some(2), "{again:?}");
    assert_eq!(fs::read(directory.path().join("k")).unwrap(), private);
    fs::remove_file(directory.path().join("k.pub")).unwrap();
    assert_eq!(run(directory.path(), &keygen).status, Some(2));
    let misnamed = run(directory.path(), &["evidence", "keygen", "-o", "l", "--identity", "a b"]);
    assert!(misnamed.err.contains("expected a name of letters, digits and @._+-"), "{misnamed:?}");
    assert!(!directory.path().join("l").exists());
}

#[test]
#[cfg(feature = "velero")]
fn the_nightly_restore_finds_the_key_where_its_settings_say_once_evidence_is_switched_on() {
    let nightly = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nightly");
    let read = |file: &str| fs::read_to_string(nightly.join(file)).unwrap();
    let (settings, restore) = (read("state-lab.toml"), read("restore.yaml"));
    let (before, evidence) = settings.split_once("# [evidence]").unwrap();
    let evidence: Vec<&str> = evidence.lines().map(|line| line.trim_start_matches(['#', ' '])).collect();
    let switched_on = format!("{before}[evidence]{}", evidence.join("\n"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state-lab.toml");
    let refused = |text: &str, expected: &str, other: &str| {
        fs::write(&file, text).unwrap();
        let verified = run(directory.path(), &["verify", "no.manifest", "host=127.0.0.1 port=1"]);
        assert_eq!(verified.status, Some(2), "{verified:?}");
        assert!(verified.err.contains(expected) && !verified.err.contains(other), "{verified:?}");
    };
    refused(&settings, "no.manifest", "evidence");
    let in_a_folder = switched_on.replace("s3://evidence/drills", "evidence");
    refused(&in_a_folder, "failed to read the signing key /etc/state-lab-evidence/key", "s3");
    // The bucket's keys are found in HOME, where the Secret is mounted, under the profile of the settings.
    let nowhere = switched_on.replace("https://minio.example:9000", "http://127.0.0.1:1");
    refused(&nowhere, "no credentials were found", "refused");
    fs::create_dir(directory.path().join(".aws")).unwrap();
    let credentials = "[evidence]\naws_access_key_id = a\naws_secret_access_key = b\n";
    fs::write(directory.path().join(".aws/credentials"), credentials).unwrap();
    refused(&nowhere, "failed to list s3://evidence/drills", "no credentials were found");
    fs::write(&file, switched_on.replace("identity", "identitty")).unwrap();
    assert!(state_lab::config::Config::load(Some(&file), None).is_err());
    for line in [
        "{name: evidence, mountPath: /etc/state-lab-evidence, readOnly: true}",
        "{name: HOME, value: /etc/state-lab-evidence}",
        "items: [{key: key, path: key}, {key: credentials, path: .aws/credentials}]",
        "defaultMode: 0440",
        "fsGroup: 65532",
    ] {
        assert_eq!(restore.matches(line).count(), 1, "{line}");
    }
}
