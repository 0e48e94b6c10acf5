//! `s3://bucket/key`: the name of an object.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Result, bail};

const SCHEME: &str = "s3://";

/// The name of an object, or of a folder where the key is a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The bucket.
    pub bucket: String,
    /// The key, without a slash before it. It may be empty.
    pub key: String,
}

impl Address {
    /// The address that a path of the command line is, where it is one.
    pub fn of_path(path: &Path) -> Result<Option<Self>> {
        match path.to_str().filter(|text| text.starts_with(SCHEME)) {
            None => Ok(None),
            Some(text) => {
                let address: Self = text.parse()?;
                if address.key.is_empty() || address.key.ends_with('/') {
                    bail!("invalid address {text:?}: it has no key; use s3://bucket/key");
                }
                Ok(Some(address))
            }
        }
    }
}

impl FromStr for Address {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (bucket, key) = match text.strip_prefix(SCHEME) {
            None => bail!("invalid address {text:?}: it must begin with s3://"),
            Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
        };
        let plain = bucket.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if bucket.is_empty() || !plain {
            // The text may be `key:secret@bucket`.
            bail!("invalid bucket name in an S3 address (not shown here)");
        }
        // Clients and proxies resolve these, and would then sign another key.
        if key.split('/').any(|part| part == "." || part == "..") || key.starts_with('/') {
            bail!(
                "invalid address {text:?}: a key must not start with \"/\" or contain the parts \".\" or \"..\""
            );
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.bucket, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_bucket_and_a_key() {
        for (text, bucket, key) in [
            ("s3://b/k", "b", "k"),
            ("s3://backups.example/a/b c/ü.json", "backups.example", "a/b c/ü.json"),
            ("s3://b/a//b", "b", "a//b"),
            ("s3://b/", "b", ""),
            ("s3://b", "b", ""),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address, Address { bucket: bucket.into(), key: key.into() }, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_a_secret_in_it_not_shown() {
        for text in
            ["", "b/k", "s3:/b/k", "s3://", "s3:///k", "s3://b//k", "s3://b/../c", "s3://b/./c", "s3://a b/k"]
        {
            text.parse::<Address>().unwrap_err();
        }
        let shown = "s3://key:s3cret@b/k".parse::<Address>().unwrap_err().to_string();
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn a_path_that_is_to_be_an_object_names_one() {
        let of_path = |text: &str| Address::of_path(Path::new(text));
        assert_eq!(of_path("/backups/s3").unwrap(), None);
        assert_eq!(of_path("s3://b/k").unwrap().unwrap().to_string(), "s3://b/k");
        for text in ["s3://b", "s3://b/", "s3://b/k/"] {
            assert!(of_path(text).unwrap_err().to_string().contains("it has no key"), "{text}");
        }
    }
}
