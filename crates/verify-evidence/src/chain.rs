//! The chain: storing a report after the newest one.

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::Value;
use verify_drill::store::Store;

use crate::bundle::{self, Statement};
use crate::document;
use crate::entry::{BUNDLE, REPORT, REPORT_BYTES_MAX, SIGNATURE, folder, is_draft, key, number, sha256};
use crate::envelope::{Envelope, FORMAT, FORMAT_VERSION, Link, Run};
use crate::key::SigningKey;
use crate::sshsig;

/// A number that another run has taken meanwhile costs an attempt.
const ATTEMPTS_MAX: u32 = 200;

/// A key, and the name under which it is among the allowed signers.
#[derive(Debug)]
pub struct Signer {
    /// The key.
    pub key: SigningKey,
    /// The name.
    pub identity: String,
}

/// A report that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Number and SHA-256 of the report, which is now the newest of its store.
    pub head: Link,
    /// Key of the report in the store.
    pub key: String,
}

/// Stores the document of a run after the newest report, signed if there is a signer. `report.json` must not exist yet:
/// writing it claims the number, and is the moment at which the report is stored. The signatures follow, the bundle
/// last.
///
/// # Errors
///
/// If the report cannot be stored, or stored but not signed.
pub fn append(
    store: &dyn Store,
    run: &Run,
    document: &Value,
    signer: Option<&Signer>,
    now: &dyn Fn() -> Timestamp,
) -> Result<Appended> {
    let verdict =
        document::stated(document).map_err(anyhow::Error::msg).context("failed to store the report")?;
    for _ in 0..ATTEMPTS_MAX {
        let (sequence, previous) = end(store)?;
        let envelope = Envelope {
            format: FORMAT.to_owned(),
            version: FORMAT_VERSION,
            sequence,
            previous,
            stored_at: now(),
            run: run.clone(),
            verdict,
            document: document.clone(),
        };
        let text = envelope.to_json()?;
        if text.len() as u64 > REPORT_BYTES_MAX {
            bail!("failed to store the report: it is larger than {REPORT_BYTES_MAX} bytes");
        }
        let head = Link { sequence, sha256: sha256(&text) };
        // Made before the report is stored, so that a key that does not work leaves no unsigned report.
        let signatures = signer.map(|signer| sign(&envelope, &text, &head.sha256, signer)).transpose()?;
        if !claim(store, sequence, &text)? {
            continue;
        }
        for (name, content) in signatures.into_iter().flatten() {
            store.put_new(&key(sequence, name), &content).with_context(|| {
                format!("failed to sign the report {}, which is stored", folder(sequence))
            })?;
        }
        return Ok(Appended { key: key(sequence, REPORT), head });
    }
    bail!(
        "failed to store the report in {}: each of {ATTEMPTS_MAX} numbers was taken by another run",
        store.place()
    )
}

fn sign(
    envelope: &Envelope,
    text: &[u8],
    sha256: &str,
    signer: &Signer,
) -> Result<[(&'static str, Vec<u8>); 2]> {
    let signature = sshsig::sign(&signer.key, text)?;
    let bundle = bundle::sign(&signer.key, &Statement::of(envelope, sha256, &signer.identity))?;
    Ok([(SIGNATURE, signature.into_bytes()), (BUNDLE, bundle)])
}

/// Stores a report under this number; false if another run has taken the number.
fn claim(store: &dyn Store, sequence: u64, text: &[u8]) -> Result<bool> {
    let key = key(sequence, REPORT);
    let Err(error) = store.put_new(&key, text) else { return Ok(true) };
    match store.get(&key, REPORT_BYTES_MAX) {
        Ok(Some(found)) if found != text => Ok(false),
        // Nothing is there, or our own report of which it is not certain that it stays.
        _ => Err(error.context("failed to store the report")),
    }
}

/// The next free number, and the newest report.
fn end(store: &dyn Store) -> Result<(u64, Option<Link>)> {
    let mut numbers: Vec<u64> = store.folders("")?.iter().filter_map(|name| number(name)).collect();
    numbers.sort_unstable_by(|one, other| other.cmp(one));
    let mut next = None;
    for sequence in numbers {
        // A writer that was killed early leaves a folder without objects.
        if next.is_none() {
            let objects = store.list(&format!("{}/", folder(sequence)))?;
            if objects.iter().all(|object| is_draft(&object.key)) {
                continue;
            }
            next = Some(sequence + 1);
        }
        if let Some(text) = store.get(&key(sequence, REPORT), REPORT_BYTES_MAX)? {
            return Ok((next.unwrap_or(1), Some(Link { sequence, sha256: sha256(&text) })));
        }
    }
    Ok((next.unwrap_or(1), None))
}
