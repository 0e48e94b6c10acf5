//! Tables of `state-lab.toml` that say where S3 is.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::location::checked_endpoint;
use super::{Address, Credentials, Location, RetainMode};
use crate::duration::Period;

/// The table `[s3]`: the service that `s3://bucket/key` means.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Table {
    /// The URL of a service other than AWS, as in `https://minio.example:9000`.
    pub endpoint: Option<String>,
    /// The region; that of the environment or of the bucket unless given.
    pub region: Option<String>,
    /// True if the bucket is in the path of a URL, not in its host; the default if an endpoint is given.
    pub path_style: Option<bool>,
    /// A PEM file of certificate authorities to trust besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// The profile in ~/.aws; what the environment says unless given.
    pub profile: Option<String>,
    /// Time for which evidence may not be deleted, by object lock.
    pub retain: Option<Period>,
    /// "governance" or "compliance"; the bucket's own mode, else governance, unless given.
    pub retain_mode: Option<RetainMode>,
}

/// A table `[regions.NAME]`: a place where backups are.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegionTable {
    /// The bucket.
    pub bucket: String,
    /// Prefix of the keys of all backups.
    #[serde(default)]
    pub prefix: String,
    /// The URL of a service other than AWS, as in `https://minio.example:9000`.
    pub endpoint: Option<String>,
    /// The region; that of the environment or of the bucket unless given.
    pub region: Option<String>,
    /// True if the bucket is in the path of a URL, not in its host; the default if an endpoint is given.
    pub path_style: Option<bool>,
    /// A PEM file of certificate authorities to trust besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// The profile in ~/.aws; what the environment says unless given.
    pub profile: Option<String>,
}

impl S3Table {
    /// The bucket of an object.
    pub fn location(&self, address: &Address) -> Result<Location> {
        self.clone().into_location(address.bucket.clone(), "")
    }

    /// The part of a bucket whose keys begin with the address's key.
    pub fn prefix(&self, address: &Address) -> Result<Location> {
        self.clone().into_location(address.bucket.clone(), &address.key)
    }

    fn into_location(self, bucket: String, prefix: &str) -> Result<Location> {
        let Self { endpoint, region, path_style, ca_file, profile, retain, retain_mode } = self;
        let ca_pem = match ca_file {
            None => None,
            Some(path) => Some(fs::read(&path).with_context(|| {
                format!("failed to read the certificate authorities in {}", path.display())
            })?),
        };
        Ok(Location {
            bucket,
            prefix: prefix.trim_matches('/').to_owned(),
            region,
            path_style: path_style.unwrap_or(endpoint.is_some()),
            endpoint: endpoint.map(|endpoint| checked_endpoint(&endpoint)).transpose()?,
            ca_pem,
            credentials: profile.map_or(Credentials::Chain, Credentials::Profile),
            retain,
            retain_mode,
        })
    }
}

impl RegionTable {
    /// The place.
    pub fn location(&self) -> Result<Location> {
        let Self { bucket, prefix, endpoint, region, path_style, ca_file, profile } = self.clone();
        S3Table { endpoint, region, path_style, ca_file, profile, retain: None, retain_mode: None }
            .into_location(bucket, &prefix)
    }
}
