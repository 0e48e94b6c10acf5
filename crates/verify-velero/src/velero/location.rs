//! BackupStorageLocation: the bucket that backups are kept in.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::phase::Phase;

/// Specification of a location.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "BackupStorageLocation",
    namespaced,
    status = "LocationStatus",
    doc = "A place for backups."
)]
#[kube(
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    attr = "cfg_attr(all(), serde(default))"
)]
#[serde(rename_all = "camelCase", default)]
pub struct LocationSpec {
    /// The plugin that speaks to it, as `aws`.
    pub provider: String,
    /// True for Velero's default location.
    pub default: bool,
    /// `ReadOnly` where no backup may be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<String>,
    /// The bucket.
    pub object_storage: ObjectStorage,
    /// The plugin's settings, as `region` and `s3Url`.
    pub config: BTreeMap<String, String>,
    /// Credentials of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialReference>,
}

/// A key of a Secret beside the location.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CredentialReference {
    /// The Secret.
    pub name: String,
    /// The key.
    pub key: String,
}

/// A bucket, or a folder of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectStorage {
    /// The bucket.
    pub bucket: String,
    /// The folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Authorities of certificates, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<ByteString>,
}

/// Status of Velero's last validation: every minute by default, so that an outage may not be known yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocationStatus {
    /// `Available` or `Unavailable`.
    pub phase: Phase,
    /// Reason why it is not available.
    pub message: String,
}

impl LocationSpec {
    /// Text of the location: `bucket velero at http://minio:9000`.
    pub(super) fn in_words(&self) -> String {
        let bucket = &self.object_storage.bucket;
        match self.config.get("s3Url") {
            Some(address) => format!("bucket {bucket} at {address}"),
            None => format!("bucket {bucket}"),
        }
    }
}
