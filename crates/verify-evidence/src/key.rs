//! Ed25519 keys: the private key that signs reports, and the public keys that verify them.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{HashAlg, LineEnding, PrivateKey};
use verify_drill::hint::Hinted;
use verify_drill::store::Secret;

/// A larger file is not a key.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Permissions of the group and of others.
const ALL_BUT_OWNER: u32 = 0o077;
/// The same, but that the group may read.
const ALL_BUT_GROUP: u32 = 0o037;
/// `SubjectPublicKeyInfo` of an Ed25519 key (RFC 8410 §4), up to the key itself.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A private key. No Debug shows it.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

/// A public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// A private key that was generated, as the text of its file.
#[derive(Debug)]
pub struct GeneratedKey {
    /// The private key in OpenSSH's format, without a passphrase.
    pub file: Secret,
    /// The public key.
    pub public: PublicKey,
}

impl SigningKey {
    /// Reads a key without a passphrase: OpenSSH's format, or PKCS#8 in PEM. Only its owner may read it; a group may,
    /// if the file has another owner, as that of a Secret has in a pod.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, other users may read it, or it is not an Ed25519 key.
    pub fn read(path: &Path) -> Result<Self> {
        let doing = || format!("failed to read the signing key {}", path.display());
        let file = File::open(path).with_context(doing)?;
        let found = file.metadata().with_context(doing)?;
        if !found.is_file() {
            bail!("{}: it is not a regular file", doing());
        }
        let mode = found.permissions().mode() & 0o777;
        let is_own = found.uid() == rustix::process::geteuid().as_raw();
        let (forbidden, hint) = match is_own {
            true => (
                ALL_BUT_OWNER,
                format!("make it readable for its owner alone: `chmod 600 {}`", path.display()),
            ),
            false => (
                ALL_BUT_GROUP,
                "in Kubernetes, set `defaultMode: 0440` at the volume of the Secret".to_owned(),
            ),
        };
        if mode & forbidden != 0 {
            return Err(Hinted::new(
                format!("{}: other users may access it (mode {mode:04o})", doing()),
                hint,
            )
            .into());
        }
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut text).with_context(doing)?;
        Self::parse(&text).with_context(doing)
    }

    /// Reads the text of a key file. No error shows any of it.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let begins = |label: &str| {
            let marker = format!("-----BEGIN {label}-----");
            text.windows(marker.len()).any(|window| window == marker.as_bytes())
        };
        if begins("OPENSSH PRIVATE KEY") {
            let Ok(key) = PrivateKey::from_openssh(text) else {
                bail!("it is damaged, or not an Ed25519 key in OpenSSH's format")
            };
            if key.is_encrypted() {
                return Err(encrypted());
            }
            let KeypairData::Ed25519(pair) = key.key_data() else { return Err(not_ed25519()) };
            let pair = Ed25519KeyPair::from_seed_and_public_key(pair.private.as_ref(), &pair.public.0);
            return pair.map(Self::new).map_err(|_| anyhow::anyhow!("its private and public halves differ"));
        }
        if begins("ENCRYPTED PRIVATE KEY") {
            return Err(encrypted());
        }
        let Ok(der) = PrivatePkcs8KeyDer::from_pem_slice(text) else {
            return Err(Hinted::new(
                "it is neither a key in OpenSSH's format nor a PKCS#8 key in PEM",
                "create a key with `state-lab evidence keygen`",
            )
            .into());
        };
        match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()) {
            Ok(pair) => Ok(Self::new(pair)),
            Err(rejected) if rejected.to_string() == "WrongAlgorithm" => Err(not_ed25519()),
            Err(_) => bail!("it is damaged"),
        }
    }

    /// Generates a key. `comment` goes into its file.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub fn generate(comment: &str) -> Result<GeneratedKey> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).ok().context("failed to get random numbers from the system")?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok().context("failed to generate a key")?;
        let public = Self::new(pair).public;
        let pair = Ed25519Keypair {
            public: Ed25519PublicKey(public.0),
            private: Ed25519PrivateKey::from_bytes(&seed),
        };
        let text = PrivateKey::new(KeypairData::Ed25519(pair), comment)
            .and_then(|key| key.to_openssh(LineEnding::LF))
            .context("failed to write the key in OpenSSH's format")?;
        Ok(GeneratedKey { file: Secret::new(text.as_bytes()), public })
    }

    fn new(pair: Ed25519KeyPair) -> Self {
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Self { pair, public: PublicKey(public) }
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The signature of a message, of 64 bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public)
    }
}

impl PublicKey {
    /// Reads `ssh-ed25519 AAAA… comment`.
    ///
    /// # Errors
    ///
    /// If it is not a public key of this kind.
    pub fn from_openssh(text: &str) -> Result<Self> {
        let Ok(key) = ssh_key::PublicKey::from_openssh(text) else {
            bail!("it is not a public key in OpenSSH's format")
        };
        match key.key_data() {
            KeyData::Ed25519(key) => Ok(Self(key.0)),
            _ => Err(not_ed25519()),
        }
    }

    /// `ssh-ed25519 AAAA…`
    pub fn to_openssh(self) -> String {
        ssh_key::PublicKey::from(self.data()).to_openssh().unwrap_or_default()
    }

    /// The key as PEM, as openssl and cosign read it.
    pub fn to_pem(self) -> String {
        let der = [&SPKI_PREFIX[..], &self.0].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    /// Returns whether the signature of the message was made with the private key.
    #[must_use]
    pub(crate) fn verifies(self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }

    pub(crate) fn data(self) -> KeyData {
        KeyData::Ed25519(Ed25519PublicKey(self.0))
    }
}

impl fmt::Display for PublicKey {
    /// The fingerprint, as `ssh-keygen -l` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.data().fingerprint(HashAlg::Sha256).fmt(f)
    }
}

fn encrypted() -> anyhow::Error {
    let hint =
        "state-lab runs unattended: use a key without a passphrase, in a file that only its user can read";
    Hinted::new("it is encrypted with a passphrase", hint).into()
}

fn not_ed25519() -> anyhow::Error {
    Hinted::new("it is not an Ed25519 key", "create one with `state-lab evidence keygen`").into()
}
