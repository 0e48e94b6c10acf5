//! Signatures as `ssh-keygen -Y sign` makes them (OpenSSH, PROTOCOL.sshsig).

use anyhow::{Context, Result};
use ssh_key::{Algorithm, HashAlg, LineEnding, Signature, SshSig};

use crate::key::{PublicKey, SigningKey};

/// Namespace of the signatures of reports, so that a signature for another purpose does not count.
pub const NAMESPACE: &str = "state-lab-report";

/// Signs a message.
///
/// # Errors
///
/// If the signature cannot be encoded.
pub fn sign(key: &SigningKey, message: &[u8]) -> Result<String> {
    let signature = SshSig::signed_data(NAMESPACE, HashAlg::Sha512, message).map(|signed| key.sign(&signed));
    signature
        .and_then(|signature| armored(key.public(), signature))
        .context("failed to make an SSHSIG signature")
}

/// Verifies the signature of a message with this key. Every byte of the signature counts.
///
/// # Errors
///
/// The reason why it is not the key's signature of the message.
pub fn verify(signature: &[u8], message: &[u8], key: PublicKey) -> Result<(), String> {
    let parsed = SshSig::from_pem(signature).map_err(|_| "it is not an SSHSIG signature".to_owned())?;
    let bytes = parsed.signature_bytes();
    // What it says of its key, namespace and hash counts only where it is what we would have written.
    let expected = armored(key, bytes.to_vec()).map_err(|_| "it is not an Ed25519 signature".to_owned())?;
    if expected.as_bytes() != signature {
        return Err(format!("it is not a signature in the namespace {NAMESPACE} by the key {key}"));
    }
    let signed =
        SshSig::signed_data(NAMESPACE, HashAlg::Sha512, message).map_err(|error| error.to_string())?;
    if key.verifies(&signed, bytes) { Ok(()) } else { Err("it is the signature of other bytes".to_owned()) }
}

fn armored(key: PublicKey, signature: Vec<u8>) -> ssh_key::Result<String> {
    let signature = Signature::new(Algorithm::Ed25519, signature)?;
    let mut text = SshSig::new(key.data(), NAMESPACE, HashAlg::Sha512, signature)?.to_pem(LineEnding::LF)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
