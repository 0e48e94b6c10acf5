//! The TLS client: whom it trusts, the certificate it shows, and what ties a login to the channel.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion, version,
};
use x509_cert::der::Decode;

use super::tls_settings::{ClientCertificate, Roots, SslMode, TlsSettings, TlsVersion, check_key_file};
use crate::error::{Error, ErrorKind, Result};

/// The name by which PostgreSQL 17 and later know their protocol inside TLS.
pub(super) const PROTOCOL: &[u8] = b"postgresql";

/// The configuration for one connection.
pub(super) fn client_config(settings: &TlsSettings) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let versions: &[&SupportedProtocolVersion] = match (settings.version_min, settings.version_max) {
        (TlsVersion::V1_3, _) => &[&version::TLS13],
        (_, TlsVersion::V1_2) => &[&version::TLS12],
        _ => &[&version::TLS13, &version::TLS12],
    };
    let verifier = Arc::new(Verifier::new(settings, &provider)?);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| failed("choose TLS versions", error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &settings.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let (chain, key) = load_client(client)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| failed(format!("use the key {}", client.key.display()), error))?
        }
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.enable_sni = settings.server_name_indication;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn failed(doing: impl Into<String>, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::with_source(ErrorKind::Settings, doing, error)
}

fn load_client(client: &ClientCertificate) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    check_key_file(&client.key)?;
    let key = PrivateKeyDer::from_pem_file(&client.key).map_err(|error| {
        failed(format!("read the private key {} (PEM, not encrypted)", client.key.display()), error)
    })?;
    Ok((load_certificates(&client.certificate)?, key))
}

fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let doing = || format!("read the certificates in {}", path.display());
    let text = fs::read(path).map_err(|error| failed(doing(), error))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| failed(doing(), error))?;
    if certificates.is_empty() {
        return Err(Error::new(ErrorKind::Settings, format!("{}: there is none", doing())));
    }
    Ok(certificates)
}

/// Checks the server's certificate as far as the settings ask. Signatures of the handshake are always checked:
/// channel binding is worth nothing without them.
#[derive(Debug)]
struct Verifier {
    /// None where any certificate will do.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// Trusted certificates, for a server whose own certificate is the trusted one.
    pinned: Vec<CertificateDer<'static>>,
    check_name: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(settings: &TlsSettings, provider: &Arc<CryptoProvider>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let mut pinned = Vec::new();
        match &settings.roots {
            Roots::Nobody => {}
            Roots::File(path) => {
                pinned = load_certificates(path)?;
                roots.add_parsable_certificates(pinned.iter().cloned());
            }
            Roots::System => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let authorities = match &settings.roots {
            Roots::Nobody => None,
            _ if roots.is_empty() => {
                return Err(Error::new(ErrorKind::Settings, "find a certificate authority to trust: there is none"));
            }
            _ => Some(
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                    .build()
                    .map_err(|error| failed("use the certificate authorities", error))?,
            ),
        };
        let check_name = settings.mode == SslMode::VerifyFull;
        Ok(Self { authorities, pinned, check_name, provider: Arc::clone(provider) })
    }

    /// OpenSSL, and so libpq, trusts a certificate that stands in the root file itself, even when it is no
    /// authority. WebPKI does not, so this is decided here: the same bytes, still valid, for the right name.
    fn verify_pinned(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = x509_cert::Certificate::from_der(certificate)
            .map_err(|_| rustls::Error::from(CertificateError::BadEncoding))?;
        let validity = parsed.tbs_certificate.validity;
        if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
            return Err(CertificateError::NotValidYet.into());
        }
        if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
            return Err(CertificateError::Expired.into());
        }
        if self.check_name {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authorities) = &self.authorities else { return Ok(ServerCertVerified::assertion()) };
        if self.pinned.iter().any(|pinned| pinned.as_ref() == end_entity.as_ref()) {
            return self.verify_pinned(end_entity, server_name, now);
        }
        match authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The chain was verified before the name, so only the name is forgiven here.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.check_name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
