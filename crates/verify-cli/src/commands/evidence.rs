//! `evidence`: keys for signed reports, and the verification of stored ones.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;
use verify_drill::store::{Draft as _, Existing, FileDraft};
use verify_evidence::key::SigningKey;
use verify_evidence::signers::{self, Signers};
use verify_evidence::verify;

use crate::exit::Exit;
use crate::framing::Document;
use crate::globals::Globals;
use crate::{render, store};

/// Create keys that sign reports, and verify stored reports
///
/// With an [evidence] table in state-lab.toml, every run of verify, compare, restore, failover, replicas and drill stores its
/// report, chained to the one before, and signed if there is a key. docs/evidence.md is the guide for auditors.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Evidence {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Keygen(Keygen),
    Verify(Verify),
}

/// Create a key that signs reports
///
/// Writes the private key to FILE, readable for its owner alone, the public key to FILE.pub, and the same as PEM, which
/// cosign and openssl read, to FILE.pem. Prints the line of the allowed signers: give it to the auditors.
#[derive(Args)]
#[command(after_help = KEYGEN_EXAMPLES)]
struct Keygen {
    /// The private key's file; it must not exist
    #[arg(short, long = "out", value_name = "FILE")]
    out: PathBuf,
    /// Name under which the key signs
    #[arg(long, value_name = "NAME", value_parser = signers::identity)]
    identity: String,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab evidence keygen -o evidence.key --identity drills@example.com
    state-lab evidence verify";

const KEYGEN_EXAMPLES: &str = "\
EXAMPLES:
    state-lab evidence keygen -o evidence.key --identity drills@example.com \\
        >> allowed_signers";

/// Verify the signatures, the order and the verdicts of all stored reports
///
/// Only keys in the file of allowed signers are trusted, never one in the store. Exit status: 0, 1 if a report was
/// modified, replaced, moved or signed with another key, 3 if a report or a signature is missing.
///
/// The deletion of the newest reports cannot be seen in the store: keep the SHA-256 of the newest report elsewhere, and
/// give it as --expect-head.
#[derive(Args)]
#[command(after_help = VERIFY_EXAMPLES)]
struct Verify {
    /// The store: a folder, or s3://bucket/prefix [default: that of the configuration]
    #[arg(value_name = "STORE")]
    store: Option<PathBuf>,
    /// Allowed signers, as for `ssh-keygen -Y verify` [default: those of the configuration]
    #[arg(long, value_name = "FILE")]
    signers: Option<PathBuf>,
    /// SHA-256 of a report that must be there: the newest one when it was written down
    #[arg(long, value_name = "HASH", value_parser = sha256)]
    expect_head: Option<String>,
}

const VERIFY_EXAMPLES: &str = "\
EXAMPLES:
    state-lab evidence verify s3://evidence/drills --signers allowed_signers";

/// A new key.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NewKey<'a> {
    /// Name under which the key signs.
    identity: &'a str,
    /// Fingerprint of the key.
    fingerprint: String,
    /// The line of the allowed signers.
    allowed_signer: String,
    /// The private key's file.
    private_key: &'a Path,
    /// The public key's file, in OpenSSH's format.
    public_key: &'a Path,
    /// The public key's file, as PEM.
    public_key_pem: &'a Path,
}

impl Document for NewKey<'_> {
    const FORMAT: &'static str = "state-lab-evidence-key";
}

impl Evidence {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        match self.action {
            Action::Keygen(keygen) => keygen.run(globals),
            Action::Verify(verify) => verify.run(globals),
        }
    }
}

impl Keygen {
    fn run(self, globals: &Globals) -> Result<Exit> {
        let Self { out, identity } = self;
        let (public, pem) = (with_suffix(&out, ".pub"), with_suffix(&out, ".pem"));
        // All of them before the first is written.
        let drafts = [&public, &pem, &out].map(|path| FileDraft::new(path, Existing::Refuse));
        let [public_draft, pem_draft, private_draft] = drafts;
        let (public_draft, pem_draft, private_draft) = (public_draft?, pem_draft?, private_draft?);
        let key = SigningKey::generate(&identity)?;
        let line = format!("{} {identity}\n", key.public.to_openssh());
        for (draft, content) in [
            (private_draft, key.file.reveal()),
            (public_draft, line.as_bytes()),
            (pem_draft, key.public.to_pem().as_bytes()),
        ] {
            Box::new(draft).keep(&mut |to| Ok(to.write_all(content)?))?;
        }
        for path in [&public, &pem] {
            fs::set_permissions(path, Permissions::from_mode(0o644))
                .with_context(|| format!("failed to make {} readable for others", path.display()))?;
        }
        let created = NewKey {
            identity: &identity,
            fingerprint: key.public.to_string(),
            allowed_signer: signers::line(&identity, key.public),
            private_key: &out,
            public_key: &public,
            public_key_pem: &pem,
        };
        globals.terminal().result(&created, |_| format!("{}\n", created.allowed_signer))?;
        Ok(Exit::PASS)
    }
}

impl Verify {
    fn run(self, globals: &Globals) -> Result<Exit> {
        let Self { store, signers, expect_head } = self;
        let config = globals.config()?;
        let table = config.evidence();
        let place = config.evidence_store(store.as_deref())?;
        let signers = signers.as_deref().or(table.and_then(|table| table.signers.as_deref()));
        let signers = signers.map(Signers::read).transpose()?;
        let store = store::folder_or_bucket(place, config.s3())?;
        let found = verify::verify(&*store, signers.as_ref(), expect_head.as_deref())
            .with_context(|| format!("failed to verify the reports in {}", store.place()))?;
        globals.terminal().result(&found, |style| render::evidence::evidence(&found, style))?;
        Ok(found.verdict.into())
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Reads a SHA-256.
fn sha256(text: &str) -> Result<String, String> {
    match text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit()) {
        true => Ok(text.to_owned()),
        false => Err("expected a SHA-256: 64 hexadecimal digits".to_owned()),
    }
}
