//! Location of a bucket, and its settings.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Credentials;
use crate::duration::Period;

/// A folder of a bucket, its service, and who we are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The bucket.
    pub bucket: String,
    /// Prefix of all keys, without slashes around it; empty for the whole bucket.
    pub prefix: String,
    /// The region; that of the environment or of the bucket unless given.
    pub region: Option<String>,
    /// The URL of a service other than AWS.
    pub endpoint: Option<String>,
    /// True if the bucket is in the path of a URL, not in its host.
    pub path_style: bool,
    /// Certificate authorities to trust besides those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// Credentials.
    pub credentials: Credentials,
    /// Time for which written objects may not be deleted.
    pub retain: Option<Period>,
    /// Strictness of that; the bucket's own, else governance, unless given.
    pub retain_mode: Option<RetainMode>,
}

/// Strictness of an object lock; the stricter is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RetainMode {
    /// Who has the permission to bypass it may delete the object.
    Governance,
    /// Nobody may delete the object before its time.
    Compliance,
}

impl Location {
    /// The place that a `BackupStorageLocation` of Velero's AWS plugin names, from its `spec`.
    ///
    /// # Errors
    ///
    /// Settings that would weaken what we find, or that cannot be followed.
    pub fn of_backup_location(
        bucket: &str,
        prefix: &str,
        config: &BTreeMap<String, String>,
        ca_cert: Option<Vec<u8>>,
        credentials: Credentials,
    ) -> Result<Self> {
        let doing = format!("failed to use the BackupStorageLocation of the bucket {bucket:?}");
        let flag = |key: &str| match config.get(key).map(String::as_str) {
            None | Some("" | "false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => bail!("{doing}: {key} is {other:?}, neither true nor false"),
        };
        if flag("insecureSkipTLSVerify")? {
            bail!(
                "{doing}: it has insecureSkipTLSVerify, so that another server could impersonate the bucket; set the \
                 authority of its certificate in spec.objectStorage.caCert"
            );
        }
        if let Some(key) = ["customerKeyEncryptionFile"].into_iter().find(|key| config.contains_key(*key)) {
            bail!("{doing}: it has {key}: objects encrypted with a customer key cannot be read");
        }
        let text = |key: &str| config.get(key).filter(|value| !value.is_empty()).cloned();
        let credentials = match (credentials, text("profile")) {
            (Credentials::File { ini, profile: _ }, Some(profile)) => Credentials::File { ini, profile },
            (credentials, _) => credentials,
        };
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            region: text("region"),
            // `publicUrl` is for clients outside the cluster, which follow signed links.
            endpoint: text("s3Url").map(|url| checked_endpoint(&url)).transpose()?,
            path_style: flag("s3ForcePathStyle")?,
            ca_pem: ca_cert.filter(|pem| !pem.is_empty()),
            credentials,
            retain: None,
            retain_mode: None,
        })
    }
}

impl fmt::Display for Location {
    /// `s3://bucket/prefix at https://minio.example:9000`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "s3://{}{slash}{}", self.bucket, self.prefix)?;
        match &self.endpoint {
            Some(endpoint) => write!(f, " at {endpoint}"),
            None => Ok(()),
        }
    }
}

/// The URL of a service, without a slash at its end.
pub(super) fn checked_endpoint(url: &str) -> Result<String> {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    // The text before an @ may be a password.
    if host.is_none_or(|host| host.is_empty() || host.contains(['@', '?', '#', ' ']) || host.starts_with('/'))
    {
        bail!("invalid S3 endpoint (not shown here); it must look like https://minio.example:9000");
    }
    Ok(url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Secret;

    fn of_backup_location(config: &[(&str, &str)]) -> Result<Location> {
        let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let credentials = Credentials::File { ini: Secret::new("x"), profile: "default".to_owned() };
        Location::of_backup_location("velero", "/a/b/", &config, Some(Vec::new()), credentials)
    }

    #[test]
    fn a_backup_location_says_where_the_bucket_is() {
        let plain = Location {
            bucket: "velero".to_owned(),
            prefix: "a/b".to_owned(),
            region: None,
            endpoint: None,
            path_style: false,
            ca_pem: None,
            credentials: Credentials::File { ini: Secret::new("x"), profile: "default".to_owned() },
            retain: None,
            retain_mode: None,
        };
        assert_eq!(of_backup_location(&[]).unwrap(), plain);
        let minio = [
            ("region", "minio"),
            ("s3Url", "http://10.0.0.1:9000/"),
            ("publicUrl", "https://elsewhere"),
            ("s3ForcePathStyle", "true"),
            ("insecureSkipTLSVerify", "false"),
            ("profile", "b"),
            ("checksumAlgorithm", ""),
        ];
        let found = of_backup_location(&minio).unwrap();
        assert_eq!(found.to_string(), "s3://velero/a/b at http://10.0.0.1:9000");
        let expected = Location {
            region: Some("minio".to_owned()),
            endpoint: Some("http://10.0.0.1:9000".to_owned()),
            path_style: true,
            credentials: Credentials::File { ini: Secret::new("x"), profile: "b".to_owned() },
            ..plain
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        for (key, value, reason) in [
            ("insecureSkipTLSVerify", "true", "spec.objectStorage.caCert"),
            ("s3ForcePathStyle", "yes", "s3ForcePathStyle is \"yes\", neither true nor false"),
            ("customerKeyEncryptionFile", "/key", "cannot be read"),
            ("s3Url", "minio:9000", "it must look like https://"),
        ] {
            let refused = of_backup_location(&[(key, value)]).unwrap_err().to_string();
            assert!(refused.contains(reason), "{key}: {refused}");
        }
    }

    #[test]
    fn an_endpoint_is_a_url_without_a_password() {
        assert_eq!(checked_endpoint("https://minio:9000/").unwrap(), "https://minio:9000");
        for url in
            ["", "minio", "https://", "https:///x", "https://u:s3cret@h", "ftp://s3cret", "http://h?s3cret"]
        {
            assert!(!checked_endpoint(url).unwrap_err().to_string().contains("s3cret"), "{url}");
        }
    }
}
