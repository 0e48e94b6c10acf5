//! Sigstore bundles (v0.3) with a DSSE envelope around an in-toto Statement (v1), signed by a key that is not in it.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use verify_core::finding::Verdict;

use crate::document;
use crate::entry::REPORT;
use crate::envelope::{Envelope, Link, Run};
use crate::key::{PublicKey, SigningKey};

/// Type of the predicate.
pub const PREDICATE_TYPE: &str = "urn:state-lab:report:v1";
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// Signed statement about a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    /// The statement about the subject.
    pub predicate: Predicate,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    name: String,
    digest: Sha256,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sha256 {
    sha256: String,
}

/// The statement about a report; all but the signer's name follows from the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predicate {
    /// Name under which the key is among the allowed signers.
    pub signer: String,
    /// Number of the report in its store.
    pub sequence: u64,
    /// The report before this one.
    pub previous: Option<Link>,
    /// Time at which the report was stored.
    pub stored_at: Timestamp,
    /// The verdict.
    pub verdict: Verdict,
    /// The compared databases; absent if the run compared no databases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Circumstances of the run.
    pub run: Run,
}

/// Totals of the comparison of all databases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Databases.
    pub databases: u64,
    /// Tables whose every row was compared.
    pub tables: u64,
    /// Their rows on the source.
    pub rows: u64,
    /// The bytes of those rows.
    pub bytes: u64,
    /// Findings, notices included.
    pub findings: u64,
    /// Objects that were not compared.
    pub not_covered: u64,
}

impl Statement {
    /// The statement about a report with this SHA-256.
    pub fn of(envelope: &Envelope, sha256: &str, signer: &str) -> Self {
        let Envelope { format: _, version: _, sequence, previous, stored_at, run, verdict, document } =
            envelope;
        Self {
            kind: STATEMENT_TYPE.to_owned(),
            subject: vec![Subject { name: REPORT.to_owned(), digest: Sha256 { sha256: sha256.to_owned() } }],
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: Predicate {
                signer: signer.to_owned(),
                sequence: *sequence,
                previous: previous.clone(),
                stored_at: *stored_at,
                verdict: *verdict,
                scope: Scope::of(document),
                run: run.clone(),
            },
        }
    }

    /// The SHA-256 of the report, in hexadecimal.
    pub fn sha256(&self) -> Option<&str> {
        match self.subject.as_slice() {
            [subject] => Some(&subject.digest.sha256),
            _ => None,
        }
    }
}

impl Scope {
    fn of(document: &serde_json::Value) -> Option<Self> {
        let reports = document::reports(document).ok().filter(|reports| !reports.is_empty())?;
        let mut scope = Self::default();
        for report in &reports {
            let coverage = report.comparison().coverage();
            scope.databases += 1;
            scope.tables += coverage.tables;
            scope.rows += coverage.rows;
            scope.bytes += coverage.bytes;
            scope.findings += report.findings().count() as u64;
            scope.not_covered += coverage.not_covered.len() as u64;
        }
        Some(scope)
    }
}

/// Signs a statement.
///
/// # Errors
///
/// If it cannot be written as JSON.
pub fn sign(key: &SigningKey, statement: &Statement) -> Result<Vec<u8>> {
    let payload = serde_json::to_vec(statement).context("failed to write the statement as JSON")?;
    let signature = key.sign(&pae(&payload));
    Bundle::new(key.public(), &payload, &signature).to_json().context("failed to write the bundle as JSON")
}

/// Verifies a bundle with one of these keys. Every byte of the bundle counts.
///
/// # Errors
///
/// The reason why none of the keys signed it.
pub fn verify(
    bundle: &[u8],
    mut keys: impl Iterator<Item = PublicKey>,
) -> Result<(Statement, PublicKey), String> {
    let not = |_| "it is not a Sigstore bundle as state-lab writes it".to_owned();
    let parsed: Bundle = serde_json::from_slice(bundle).map_err(not)?;
    let payload =
        STANDARD.decode(&parsed.envelope.payload).map_err(|_| "its payload is not Base64".to_owned())?;
    let [signature] = parsed.envelope.signatures.as_slice() else {
        return Err(format!("it has {} signatures instead of one", parsed.envelope.signatures.len()));
    };
    let signature = STANDARD.decode(&signature.sig).map_err(|_| "its signature is not Base64".to_owned())?;
    let signed = pae(&payload);
    let key = keys
        .find(|key| key.verifies(&signed, &signature))
        .ok_or("its signature is not by an allowed key, or not of its content")?;
    let expected = Bundle::new(key, &payload, &signature).to_json().map_err(|error| error.to_string())?;
    if expected != bundle {
        return Err("its bytes are not those that were written with the signature".to_owned());
    }
    let statement = serde_json::from_slice(&payload)
        .map_err(|error| format!("its signed content is not a statement about a report: {error}"))?;
    Ok((statement, key))
}

/// Pre-authentication encoding of DSSE: the bytes that are signed.
pub fn pae(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bundle {
    media_type: String,
    verification_material: Material,
    #[serde(rename = "dsseEnvelope")]
    envelope: Dsse,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    public_key: Hint,
}

/// Names the key; it is not the key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hint {
    hint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Dsse {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    sig: String,
    keyid: String,
}

impl Bundle {
    fn new(key: PublicKey, payload: &[u8], signature: &[u8]) -> Self {
        let signature = Signature { sig: STANDARD.encode(signature), keyid: key.to_string() };
        Self {
            media_type: MEDIA_TYPE.to_owned(),
            verification_material: Material { public_key: Hint { hint: key.to_string() } },
            envelope: Dsse {
                payload: STANDARD.encode(payload),
                payload_type: PAYLOAD_TYPE.to_owned(),
                signatures: vec![signature],
            },
        }
    }

    fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        Ok(text)
    }
}
