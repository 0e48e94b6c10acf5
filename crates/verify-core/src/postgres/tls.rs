//! The TLS client: the authorities that it trusts, the certificate it shows, and what ties a login to the channel.

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
use x509_cert::der::asn1::ObjectIdentifier;

use super::server_hint::NOT_POSTGRESQL;
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

/// The remedy for a handshake that failed for this reason.
pub(super) fn handshake_hint(error: &rustls::Error) -> Option<&'static str> {
    use rustls::AlertDescription as Alert;
    Some(match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "connect by a name that is in the server's certificate (hostaddr gives the address), or use \
                 sslmode=verify-ca where any name will do"
            }
            CertificateError::UnknownIssuer => {
                "name the file of the authority that signed the server's certificate in sslrootcert"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "renew the server's certificate; where it has not expired, correct this machine's clock"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "correct this machine's clock; where it is right, the server's certificate is not valid yet"
            }
            _ => {
                "replace the server's certificate: `openssl s_client -starttls postgres -connect HOST:PORT` shows it"
            }
        },
        rustls::Error::AlertReceived(Alert::CertificateRequired) => {
            "the server asks for a client certificate: name it in sslcert, and its key in sslkey"
        }
        rustls::Error::AlertReceived(
            Alert::UnknownCA | Alert::BadCertificate | Alert::CertificateExpired | Alert::CertificateUnknown,
        ) => "the server refuses the client certificate of sslcert: use one that its ssl_ca_file trusts",
        rustls::Error::AlertReceived(Alert::ProtocolVersion) => {
            "the server speaks other versions of TLS: change ssl_min_protocol_version or ssl_max_protocol_version"
        }
        rustls::Error::InvalidMessage(_) => NOT_POSTGRESQL,
        _ => return None,
    })
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
    let text = fs::read(path).map_err(|error| {
        failed(doing(), error)
            .with_hint("correct sslrootcert or sslcert: the file must exist and be readable")
    })?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| failed(doing(), error))?;
    if certificates.is_empty() {
        let none = Error::new(ErrorKind::Settings, format!("{}: it does not exist", doing()));
        return Err(none.with_hint("name a file of certificates in PEM (-----BEGIN CERTIFICATE-----)"));
    }
    Ok(certificates)
}

/// Checks the server's certificate as far as the settings ask. Signatures of the handshake are always checked:
/// channel binding is useless without them.
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
            Roots::Any => {}
            Roots::File(path) => {
                pinned = load_certificates(path)?;
                roots.add_parsable_certificates(pinned.iter().cloned());
            }
            Roots::System => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let authorities = match &settings.roots {
            Roots::Any => None,
            _ if roots.is_empty() => {
                return Err(Error::new(
                    ErrorKind::Settings,
                    "find a certificate authority to trust: the system has none",
                )
                .with_hint(
                    "install the package ca-certificates, or name the authority's file in sslrootcert",
                ));
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

    /// OpenSSL, and so libpq, trusts a certificate that is in the root file itself, even if it is no
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
        match verify_server_name(&ParsedCertificate::try_from(certificate)?, name) {
            Err(error) if self.forgives(&error, certificate, name) => {}
            other => other?,
        }
        Ok(ServerCertVerified::assertion())
    }

    /// Returns whether an error is about the name alone, and the name is not checked or is in the subject.
    fn forgives(&self, error: &rustls::Error, certificate: &[u8], name: &ServerName<'_>) -> bool {
        let about_name = matches!(
            error,
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            )
        );
        about_name && (!self.check_name || common_name_fits(certificate, name))
    }
}

/// Returns whether the subject's common name is the host's. libpq still looks there when a certificate has no
/// alternative names at all, as those made by hand often do; WebPKI does not.
fn common_name_fits(certificate: &[u8], name: &ServerName<'_>) -> bool {
    const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
    const ALTERNATIVE_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
    let ServerName::DnsName(host) = name else { return false };
    let Ok(parsed) = x509_cert::Certificate::from_der(certificate) else { return false };
    let subject = parsed.tbs_certificate;
    if subject.extensions.iter().flatten().any(|extension| extension.extn_id == ALTERNATIVE_NAME) {
        return false;
    }
    let mut attributes = subject.subject.0.iter().flat_map(|relative| relative.0.iter());
    let Some(common_name) = attributes.find(|attribute| attribute.oid == COMMON_NAME) else { return false };
    let Ok(pattern) = std::str::from_utf8(common_name.value.value()) else { return false };
    let host = host.as_ref();
    match pattern.strip_prefix("*.") {
        // A wildcard matches one label, and never for a whole top-level domain.
        Some(parent) => {
            let after = host.split_once('.').map(|(_, after)| after);
            parent.contains('.') && after.is_some_and(|after| after.eq_ignore_ascii_case(parent))
        }
        None => pattern.eq_ignore_ascii_case(host),
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
            Err(error) if self.forgives(&error, end_entity, server_name) => {
                Ok(ServerCertVerified::assertion())
            }
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A certificate made by openssl with a subject and perhaps an extension.
    fn certificate(subject: &str, extension: Option<&str>) -> CertificateDer<'static> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("crt");
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-days", "2", "-keyout", "/dev/null", "-subj", subject, "-out"]).arg(&file);
        if let Some(extension) = extension {
            command.args(["-addext", extension]);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        load_certificates(&file).unwrap().remove(0)
    }

    #[test]
    fn the_common_name_counts_where_there_is_no_alternative_name() {
        let plain = certificate("/O=x/CN=db.example.org", None);
        let wild = certificate("/CN=*.example.org", None);
        let alternative = certificate("/CN=db.example.org", Some("subjectAltName=DNS:other.example.org"));
        let top = certificate("/CN=*.org", None);
        let table = [
            (&plain, "DB.example.org", true),
            (&plain, "db2.example.org", false),
            (&wild, "db.example.org", true),
            (&wild, "a.db.example.org", false),
            (&wild, "example.org", false),
            (&alternative, "db.example.org", false),
            (&top, "example.org", false),
            (&plain, "127.0.0.1", false),
        ];
        for (certificate, host, fits) in table {
            let name = ServerName::try_from(host).unwrap();
            assert_eq!(common_name_fits(certificate, &name), fits, "{host}");
        }
    }

    #[test]
    fn a_failed_handshake_has_the_hint_of_its_reason() {
        use rustls::{AlertDescription, InvalidMessage};
        for (error, hint) in [
            (CertificateError::NotValidForName.into(), "name that is in the server's certificate"),
            (CertificateError::UnknownIssuer.into(), "sslrootcert"),
            (CertificateError::Expired.into(), "renew the server's certificate"),
            (CertificateError::NotValidYet.into(), "clock"),
            (CertificateError::BadEncoding.into(), "replace the server's certificate"),
            (rustls::Error::AlertReceived(AlertDescription::CertificateRequired), "sslcert"),
            (rustls::Error::AlertReceived(AlertDescription::UnknownCA), "ssl_ca_file"),
            (rustls::Error::AlertReceived(AlertDescription::ProtocolVersion), "ssl_min_protocol_version"),
            (rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType), "host and port"),
        ] {
            assert!(handshake_hint(&error).unwrap().contains(hint), "{error}: {hint}");
        }
        assert_eq!(handshake_hint(&rustls::Error::DecryptError), None);
    }

    #[test]
    fn a_trusted_certificate_is_refused_outside_its_time() {
        let trusted = certificate("/CN=db.example.org", None);
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier { authorities: None, pinned: Vec::new(), check_name: true, provider };
        let name = ServerName::try_from("db.example.org").unwrap();
        let day = std::time::Duration::from_secs(86_400);
        let now = UnixTime::now().as_secs();
        let at = |seconds: u64| {
            let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
            verifier.verify_pinned(&trusted, &name, time).map(|_| ())
        };
        assert_eq!(at(now), Ok(()));
        assert_eq!(at(now - day.as_secs()), Err(CertificateError::NotValidYet.into()));
        assert_eq!(at(now + 3 * day.as_secs()), Err(CertificateError::Expired.into()));
        let other = ServerName::try_from("other.example.org").unwrap();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        assert!(verifier.verify_pinned(&trusted, &other, time).is_err());
    }
}
