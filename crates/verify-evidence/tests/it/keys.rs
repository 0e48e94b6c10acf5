//! Keys of ssh-keygen and openssl, and files that must not be used.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use verify_evidence::key::{PublicKey, SigningKey};

use crate::samples::output;

fn run(program: &str, arguments: &[&str], directory: &Path) -> String {
    let (succeeded, text) = output(Command::new(program).args(arguments).current_dir(directory));
    assert!(succeeded, "{program} {arguments:?}: {text}");
    text
}

#[test]
fn a_key_of_ssh_keygen_is_read() {
    let directory = tempfile::tempdir().unwrap();
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "key"], directory.path());
    let key = SigningKey::read(&directory.path().join("key")).unwrap();
    let public = fs::read_to_string(directory.path().join("key.pub")).unwrap();
    assert_eq!(key.public(), PublicKey::from_openssh(&public).unwrap());
    let listed = run("ssh-keygen", &["-l", "-f", "key"], directory.path());
    assert!(listed.contains(&key.public().to_string()), "{listed}");
    assert!(public.starts_with(&key.public().to_openssh()), "{public}");
}

#[test]
fn a_key_of_openssl_is_read_and_its_public_half_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    run("openssl", &["genpkey", "-algorithm", "ed25519", "-out", "key.pem"], directory.path());
    let path = directory.path().join("key.pem");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let pem = run("openssl", &["pkey", "-in", "key.pem", "-pubout"], directory.path());
    assert_eq!(SigningKey::read(&path).unwrap().public().to_pem(), pem);
}

#[test]
fn a_generated_key_is_one_of_openssh() {
    let directory = tempfile::tempdir().unwrap();
    let generated = SigningKey::generate("drills@example.com").unwrap();
    let path = directory.path().join("key");
    fs::write(&path, generated.file.reveal()).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let public = run("ssh-keygen", &["-y", "-f", "key"], directory.path());
    assert_eq!(PublicKey::from_openssh(&public).unwrap(), generated.public);
    assert!(public.trim_end().ends_with("drills@example.com"), "{public}");
    assert_eq!(SigningKey::read(&path).unwrap().public(), generated.public);
    assert_ne!(SigningKey::generate("").unwrap().public, generated.public);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    fs::write(&path, SigningKey::generate("").unwrap().file.reveal()).unwrap();
    for mode in [0o644, 0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let refused = SigningKey::read(&path).unwrap_err().to_string();
        assert!(refused.ends_with(&format!("other users may access it (mode {mode:04o})")), "{refused}");
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        SigningKey::read(&path).unwrap();
    }
    // As the file of a Secret in a pod, which belongs to root, and to a group of the pod's user.
    if std::os::unix::fs::chown(&path, Some(65_534), None).is_err() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    for (mode, is_read) in [(0o440, true), (0o400, true), (0o444, false), (0o460, false)] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(SigningKey::read(&path).is_ok(), is_read, "{mode:o}");
    }
}

#[test]
fn what_is_not_a_usable_key_says_why_and_shows_nothing_of_it() {
    let directory = tempfile::tempdir().unwrap();
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "s3cret", "-f", "locked"], directory.path());
    run("ssh-keygen", &["-q", "-t", "ecdsa", "-N", "", "-f", "ecdsa"], directory.path());
    run("ssh-keygen", &["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "rsa"], directory.path());
    run("openssl", &["genpkey", "-algorithm", "x25519", "-out", "x25519"], directory.path());
    let encrypted = ["genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:s3cret", "-out", "sealed"];
    run("openssl", &encrypted, directory.path());
    let whole = SigningKey::generate("").unwrap().file;
    let whole = String::from_utf8(whole.reveal().to_vec()).unwrap();
    let middle = whole.lines().nth(2).unwrap().to_owned();
    let cut = whole.replace(&middle, "");
    let swapped = whole.replace(&middle, &middle.chars().rev().collect::<String>());
    let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    for (text, reason) in [
        (read("locked"), "encrypted with a passphrase"),
        (read("sealed"), "encrypted with a passphrase"),
        (read("x25519"), "not an Ed25519 key"),
        (cut, "damaged"),
        (swapped, "damaged"),
        (read("locked.pub"), "neither a key in OpenSSH's format nor a PKCS#8 key"),
        (format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", &middle[..64]), "damaged"),
        (format!("-----BEGIN PRIVATE {middle}"), "neither a key"),
        (String::new(), "neither a key"),
    ] {
        let refused = format!("{:#}", SigningKey::parse(text.as_bytes()).unwrap_err());
        assert!(refused.contains(reason), "{reason}: {refused}");
        let shown = |line: &str| line.len() > 20 && !line.starts_with('-') && refused.contains(line);
        assert!(!text.lines().any(shown), "{refused}");
    }
    for name in ["ecdsa", "rsa"] {
        SigningKey::parse(read(name).as_bytes()).unwrap_err();
    }
}

#[test]
fn no_debug_shows_a_key() {
    let generated = SigningKey::generate("").unwrap();
    let text = String::from_utf8(generated.file.reveal().to_vec()).unwrap();
    let key = SigningKey::parse(text.as_bytes()).unwrap();
    assert_eq!(format!("{key:?}"), format!("SigningKey({})", generated.public));
    assert!(format!("{generated:?}").contains("file: (hidden)"));
}
