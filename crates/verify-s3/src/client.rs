//! The client of a bucket's service: TLS, proxies, credentials, timeouts.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use aws_config::BehaviorVersion;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials as StaticCredentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::keys::Keys;
use verify_drill::store::{Credentials, Location, Secret};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ATTEMPTS_MAX: u32 = 4;
/// The slowest line on which an upload is not given up: 0.5 Mbit/s.
const UPLOAD_BYTES_PER_SECOND: u64 = 64 << 10;
/// Time limit of a service's answer during clean-up after a signal.
const CLEANUP_TIMEOUT: Duration = Duration::from_millis(500);
/// Region of services other than AWS unless given; AWS also answers there for buckets of other regions.
const DEFAULT_REGION: &str = "us-east-1";

/// Timeouts of a service. None of these limits the time in which an object is read: as long as bytes arrive, a slow
/// line is not a failure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From a request to the first byte of its answer, each time that it is tried.
    pub(crate) answer: Duration,
    /// For all tries of a request together.
    pub(crate) total: Duration,
    /// Between two bytes of an object that is being read.
    pub(crate) silence: Duration,
    /// Until a service has put the parts of an object together.
    pub(crate) assembly: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            total: Duration::from_secs(90),
            silence: Duration::from_secs(60),
            assembly: Duration::from_secs(300),
        }
    }
}

impl Limits {
    /// The limits of a request that carries so many bytes. With one attempt, no second one can find what the first wrote.
    pub(crate) fn upload(&self, bytes: usize, attempts: u32) -> aws_sdk_s3::config::Builder {
        let sending = Duration::from_secs(bytes as u64 / UPLOAD_BYTES_PER_SECOND);
        // An attempt that takes all of its time is repeated once.
        limited(self.answer + sending, attempts, attempts.min(2))
    }

    /// The limits of the request that makes an object of its parts.
    pub(crate) fn assembly(&self) -> aws_sdk_s3::config::Builder {
        limited(self.assembly, 1, 1)
    }

    /// The limits of a request that removes what an interrupted upload left.
    pub(crate) fn cleanup() -> aws_sdk_s3::config::Builder {
        limited(CLEANUP_TIMEOUT, 1, 1)
    }
}

/// Limits of a request whose every attempt may take so long, and all of them together the time of so many.
fn limited(attempt: Duration, attempts: u32, total: u32) -> aws_sdk_s3::config::Builder {
    let connect = CONNECT_TIMEOUT.min(attempt);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(connect)
        .read_timeout(attempt)
        .operation_timeout((connect + attempt) * total)
        .build();
    let retries = RetryConfig::standard().with_max_attempts(attempts);
    aws_sdk_s3::Config::builder().retry_config(retries).timeout_config(timeouts)
}

/// A client for the bucket, in the region where the bucket is.
pub(crate) async fn client(location: &Location, limits: &Limits) -> Result<Client> {
    let builder = builder(location, limits).await?;
    let config = builder.build();
    if config.region().is_some() {
        return Ok(Client::from_conf(config));
    }
    let asking = config.to_builder().region(Region::new(DEFAULT_REGION)).build();
    let region = region_of_bucket(&Client::from_conf(asking), &location.bucket).await;
    let region = region.unwrap_or_else(|| DEFAULT_REGION.to_owned());
    Ok(Client::from_conf(config.to_builder().region(Region::new(region)).build()))
}

async fn builder(location: &Location, limits: &Limits) -> Result<aws_sdk_s3::config::Builder> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(limits.answer)
        .operation_timeout(limits.total)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http_client(location)?)
        .timeout_config(timeouts)
        // Bytes that stop coming are noticed where they are read; five seconds, its default, are a lossy line.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX));
    match &location.credentials {
        Credentials::Chain => {}
        Credentials::Profile(profile) => loader = loader.profile_name(profile),
        Credentials::File { ini, profile } => {
            let Keys { id, secret, token } = Keys::of_file(ini, profile)?;
            let text = |secret: &Secret| String::from_utf8_lossy(secret.reveal()).into_owned();
            let token = token.as_ref().map(text);
            let keys = StaticCredentials::new(id, text(&secret), token, None, "Velero's Secret");
            loader = loader.credentials_provider(keys);
        }
    }
    if let Some(endpoint) = &location.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(region) = &location.region {
        loader = loader.region(Region::new(region.clone()));
    } else if location.endpoint.is_some() {
        // Elsewhere than on AWS there is no machine role to ask.
        let named =
            ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| std::env::var(name).ok());
        loader = loader.region(Region::new(named.unwrap_or_else(|| DEFAULT_REGION.to_owned())));
    }
    let shared = loader.load().await;
    let elsewhere = shared.endpoint_url().is_some();
    let mut builder = aws_sdk_s3::config::Builder::from(&shared)
        .force_path_style(location.path_style || elsewhere_by_environment(location, elsewhere));
    if elsewhere {
        // Services that do not know the newer checksums refuse requests that carry them.
        builder = builder
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    }
    Ok(builder)
}

/// Returns whether only `AWS_ENDPOINT_URL` sets the endpoint, so that it is unknown whether hosts are named after
/// buckets.
fn elsewhere_by_environment(location: &Location, elsewhere: bool) -> bool {
    elsewhere && location.endpoint.is_none()
}

/// TLS by ring alone, the system's authorities and those given, and the proxies of the environment.
fn http_client(location: &Location) -> Result<SharedHttpClient> {
    let mut trust = TrustStore::default();
    if let Some(pem) = &location.ca_pem {
        check_authorities(pem)
            .with_context(|| format!("failed to use the certificate authorities for {location}"))?;
        trust = trust.with_pem_certificate(pem.clone());
    }
    let tls = TlsContext::builder().with_trust_store(trust).build().context("failed to set up TLS")?;
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(Provider::rustls(CryptoMode::Ring))
            .tls_context(tls.clone());
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.build()
    }))
}

/// The HTTP client panics at an invalid certificate.
fn check_authorities(pem: &[u8]) -> Result<()> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| anyhow::anyhow!("it is not a PEM file: {error}"))?;
        store.add(certificate).context("a certificate in it is malformed")?;
    }
    if store.is_empty() {
        bail!("the PEM file contains no certificate");
    }
    Ok(())
}

/// Region of the bucket: AWS says it in the header of every answer, also of a refusal.
async fn region_of_bucket(client: &Client, bucket: &str) -> Option<String> {
    match client.head_bucket().bucket(bucket).send().await {
        Ok(found) => found.bucket_region().map(str::to_owned),
        Err(error) => error
            .raw_response()
            .and_then(|response| response.headers().get("x-amz-bucket-region"))
            .map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_that_are_none_are_refused_before_they_make_the_client_panic() {
        for (pem, reason) in [
            ("", "the PEM file contains no certificate"),
            ("hello", "the PEM file contains no certificate"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "it is not a PEM file"),
            ("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", "is malformed"),
        ] {
            let refused = check_authorities(pem.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(reason), "{pem:?}: {refused}");
        }
    }
}
