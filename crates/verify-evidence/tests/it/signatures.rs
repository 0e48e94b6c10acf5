//! Signatures, by tools that are not ours: ssh-keygen, openssl and, where it is installed, cosign.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use verify_evidence::signers::Signers;
use verify_evidence::{bundle, sshsig};

use crate::samples::{IDENTITY, allow, envelope, key, output, statement};

fn ssh_keygen_accepts(directory: &Path, identity: &str, namespace: &str) -> (bool, String) {
    let mut verify = Command::new("ssh-keygen");
    verify.args(["-Y", "verify", "-f", "allowed_signers", "-I", identity, "-n", namespace]);
    verify.args(["-s", "report.json.sig"]).current_dir(directory);
    output(verify.stdin(File::open(directory.join("report.json")).unwrap()))
}

#[test]
fn ssh_keygen_accepts_the_signature_and_only_of_these_bytes_by_this_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (key, report) = (key(), envelope().to_json().unwrap());
    allow(&key, &path("allowed_signers"));
    fs::write(path("report.json"), &report).unwrap();
    let signature = sshsig::sign(&key, &report).unwrap();
    fs::write(path("report.json.sig"), &signature).unwrap();
    let (accepted, text) = ssh_keygen_accepts(directory.path(), IDENTITY, sshsig::NAMESPACE);
    assert!(accepted && text.contains("Good \"state-lab-report\" signature"), "{text}");
    assert!(!ssh_keygen_accepts(directory.path(), "other", sshsig::NAMESPACE).0);
    assert!(!ssh_keygen_accepts(directory.path(), IDENTITY, "file").0);
    let mut changed = report.clone();
    changed[100] ^= 1;
    fs::write(path("report.json"), &changed).unwrap();
    assert!(!ssh_keygen_accepts(directory.path(), IDENTITY, sshsig::NAMESPACE).0);
    assert_eq!(sshsig::verify(signature.as_bytes(), &report, key.public()), Ok(()));
    assert_eq!(
        sshsig::verify(signature.as_bytes(), &changed, key.public()),
        Err("it is the signature of other bytes".to_owned())
    );
}

#[test]
fn a_signature_of_ssh_keygen_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let (succeeded, text) =
            output(Command::new("ssh-keygen").args(arguments).current_dir(directory.path()));
        assert!(succeeded, "{text}");
    };
    run(&["-q", "-t", "ed25519", "-N", "", "-f", "key"]);
    fs::write(directory.path().join("report.json"), "report").unwrap();
    run(&["-Y", "sign", "-f", "key", "-n", sshsig::NAMESPACE, "report.json"]);
    let key = verify_evidence::key::SigningKey::read(&directory.path().join("key")).unwrap();
    let signature = fs::read(directory.path().join("report.json.sig")).unwrap();
    assert_eq!(String::from_utf8_lossy(&signature), sshsig::sign(&key, b"report").unwrap());
    assert_eq!(sshsig::verify(&signature, b"report", key.public()), Ok(()));
    run(&["-Y", "sign", "-f", "key", "-n", "file", "report.json"]);
}

#[test]
fn allowed_signers_mean_what_they_mean_to_ssh_keygen() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let key = key();
    fs::write(path("report.json"), "report").unwrap();
    fs::write(path("report.json.sig"), sshsig::sign(&key, b"report").unwrap()).unwrap();
    let public = key.public().to_openssh();
    let other = crate::samples::key().public().to_openssh();
    let mut decisions = [0, 0];
    for line in [
        format!("{IDENTITY} {public}"),
        format!("{IDENTITY} {public} a comment"),
        format!("other {public}"),
        format!("other,{IDENTITY} {public}"),
        format!("*@example.com {public}"),
        format!("drills?example.com {public}"),
        format!("drills@example.co {public}"),
        format!("!{IDENTITY},* {public}"),
        format!("*,!drills* {public}"),
        format!("*,!other {public}"),
        format!("{IDENTITY} {other}"),
        format!("{IDENTITY} {other}\n{IDENTITY} {public}"),
        format!("other {public}\n{IDENTITY} {public}"),
        format!("{IDENTITY} namespaces=\"state-lab-report\" {public}"),
        format!("{IDENTITY} namespaces=\"file,state-lab-*\" {public}"),
        format!("{IDENTITY} namespaces=\"file\" {public}"),
        format!("{IDENTITY} namespaces=\"*,!state-lab-report\" {public}"),
        format!("{IDENTITY} valid-after=\"20261121Z\" {public}"),
        format!("{IDENTITY} valid-after=\"202611210300Z\" {public}"),
        format!("{IDENTITY} valid-after=\"20261121030001Z\" {public}"),
        format!("{IDENTITY} valid-before=\"20261121030000Z\" {public}"),
        format!("{IDENTITY} valid-before=\"20261121025959Z\" {public}"),
        format!("{IDENTITY} valid-after=\"20261120Z\",valid-before=\"20261122Z\" {public}"),
        format!("{IDENTITY} namespaces=\"file\",valid-before=\"20261122Z\" {public}"),
    ] {
        fs::write(path("allowed_signers"), format!("# comment\n\n{line}\n")).unwrap();
        let mut verify = Command::new("ssh-keygen");
        verify.args(["-Y", "verify", "-f", "allowed_signers", "-I", IDENTITY, "-n", sshsig::NAMESPACE]);
        verify.args(["-s", "report.json.sig", "-O", "verify-time=20261121030000Z"]);
        verify.current_dir(directory.path()).stdin(File::open(path("report.json")).unwrap());
        let (accepted, text) = output(&mut verify);
        let at = "2026-11-21T03:00:00Z".parse().unwrap();
        let permitted = Signers::read(&path("allowed_signers")).unwrap().permit(key.public(), IDENTITY, at);
        assert_eq!(permitted.is_ok(), accepted, "{line}: {permitted:?}, {text}");
        decisions[usize::from(accepted)] += 1;
    }
    assert!(decisions.iter().all(|count| *count > 8), "{decisions:?}");
}

#[test]
fn openssl_accepts_what_the_bundle_signs() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (key, report) = (key(), envelope().to_json().unwrap());
    let bundle = bundle::sign(&key, &statement(&report)).unwrap();
    let parsed: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
    let dsse = &parsed["dsseEnvelope"];
    let decoded = |text: &serde_json::Value| STANDARD.decode(text.as_str().unwrap()).unwrap();
    fs::write(path("signed"), bundle::pae(&decoded(&dsse["payload"]))).unwrap();
    fs::write(path("sig"), decoded(&dsse["signatures"][0]["sig"])).unwrap();
    fs::write(path("pub.pem"), key.public().to_pem()).unwrap();
    let verify = || {
        let mut verify = Command::new("openssl");
        verify.args(["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "pub.pem", "-sigfile", "sig"]);
        output(verify.args(["-in", "signed"]).current_dir(directory.path()))
    };
    let (accepted, text) = verify();
    assert!(accepted && text.contains("Signature Verified Successfully"), "{text}");
    let mut changed = fs::read(path("signed")).unwrap();
    changed[60] ^= 1;
    fs::write(path("signed"), changed).unwrap();
    assert!(!verify().0);
}

#[test]
fn cosign_accepts_the_bundle_and_only_with_this_report() {
    if Command::new("cosign").arg("version").output().is_err() {
        eprintln!("skipped: cosign not found");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (key, report) = (key(), envelope().to_json().unwrap());
    fs::write(path("report.json"), &report).unwrap();
    fs::write(path("report.json.sigstore.json"), bundle::sign(&key, &statement(&report)).unwrap()).unwrap();
    fs::write(path("pub.pem"), key.public().to_pem()).unwrap();
    let verify = || {
        let mut verify = Command::new("cosign");
        verify.args(["verify-blob-attestation", "--bundle", "report.json.sigstore.json", "--key", "pub.pem"]);
        verify.args(["--insecure-ignore-tlog", "--type", bundle::PREDICATE_TYPE, "report.json"]);
        output(verify.env("HOME", directory.path()).current_dir(directory.path()))
    };
    let (accepted, text) = verify();
    assert!(accepted && text.contains("Verified OK"), "{text}");
    fs::write(path("report.json"), [&report[..], b"\n"].concat()).unwrap();
    assert!(!verify().0);
}

#[test]
fn the_statement_says_what_the_report_says() {
    let report = envelope().to_json().unwrap();
    let key = key();
    let bundle = bundle::sign(&key, &statement(&report)).unwrap();
    let (found, by) = bundle::verify(&bundle, [key.public()].into_iter()).unwrap();
    assert_eq!((found.clone(), by), (statement(&report), key.public()));
    let scope = found.predicate.scope.unwrap();
    assert_eq!((scope.databases, scope.tables, scope.rows, scope.findings), (1, 3, 1_000, 1));
    let other = crate::samples::key().public();
    let refused = bundle::verify(&bundle, [other].into_iter()).unwrap_err();
    assert!(refused.contains("not by an allowed key"), "{refused}");
}
