//! The data of `tls-server-end-point` (RFC 5929): a hash of the server's certificate, by its own signature's hash.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_cert::der::Decode;
use x509_cert::der::asn1::{Any, ContextSpecific, ObjectIdentifier};
use x509_cert::der::{Encode, Reader, SliceReader};
use x509_cert::spki::{AlgorithmIdentifier, AlgorithmIdentifierOwned};

/// The binding for a certificate in DER; `None` where its signature names no single hash, as Ed25519.
pub(super) fn tls_server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    Some(match signature_hash(&parsed.signature_algorithm)? {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// MD5 and SHA-1 are replaced by SHA-256, as the RFC asks.
fn signature_hash(algorithm: &AlgorithmIdentifierOwned) -> Option<Hash> {
    Some(match algorithm.oid.to_string().as_str() {
        // RSA with MD5, SHA-1 and SHA-256; ECDSA and DSA, each with SHA-1 and SHA-256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2"
        | "1.2.840.10040.4.3"
        | "2.16.840.1.101.3.4.3.2" => Hash::Sha256,
        "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" => Hash::Sha224,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Hash::Sha384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Hash::Sha512,
        "1.2.840.113549.1.1.10" => pss_hash(algorithm.parameters.as_ref()?)?,
        _ => return None,
    })
}

/// The hash in the parameters of RSASSA-PSS; SHA-1 where it is left out.
fn pss_hash(parameters: &Any) -> Option<Hash> {
    let der = parameters.to_der().ok()?;
    let mut reader = SliceReader::new(&der).ok()?;
    let hash: Option<ContextSpecific<AlgorithmIdentifier<Any>>> = reader
        .sequence(|fields| {
            let hash = ContextSpecific::decode_explicit(fields, x509_cert::der::TagNumber::N0)?;
            // The other parameters say nothing about the hash.
            fields.read_slice(fields.remaining_len())?;
            Ok(hash)
        })
        .ok()?;
    let Some(hash) = hash else { return Some(Hash::Sha256) };
    hash_by_name(&hash.value.oid)
}

fn hash_by_name(oid: &ObjectIdentifier) -> Option<Hash> {
    Some(match oid.to_string().as_str() {
        "1.2.840.113549.2.5" | "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Hash::Sha256,
        "2.16.840.1.101.3.4.2.2" => Hash::Sha384,
        "2.16.840.1.101.3.4.2.3" => Hash::Sha512,
        "2.16.840.1.101.3.4.2.4" => Hash::Sha224,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn algorithm(oid: &str, parameters: Option<&[u8]>) -> AlgorithmIdentifierOwned {
        let parameters = parameters.map(|der| Any::from_der(der).unwrap());
        AlgorithmIdentifierOwned { oid: ObjectIdentifier::new(oid).unwrap(), parameters }
    }

    #[test]
    fn the_hash_follows_the_signature() {
        // SEQUENCE { [0] { SEQUENCE { OID sha512, NULL } }, [2] { INTEGER 64 } }
        let pss: &[u8] = &[
            0x30, 0x16, 0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x03, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x40,
        ];
        let table = [
            (algorithm("1.2.840.113549.1.1.5", None), Some(Hash::Sha256)),
            (algorithm("1.2.840.113549.1.1.13", None), Some(Hash::Sha512)),
            (algorithm("1.2.840.10045.4.3.3", None), Some(Hash::Sha384)),
            (algorithm("1.2.840.113549.1.1.10", Some(pss)), Some(Hash::Sha512)),
            (algorithm("1.2.840.113549.1.1.10", Some(&[0x30, 0x00])), Some(Hash::Sha256)),
            (algorithm("1.3.101.112", None), None),
        ];
        for (algorithm, expected) in table {
            assert_eq!(signature_hash(&algorithm), expected, "{}", algorithm.oid);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_binding() {
        assert_eq!(tls_server_end_point(b"nonsense"), None);
    }
}
