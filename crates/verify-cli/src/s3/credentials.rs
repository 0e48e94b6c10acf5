//! Who we are for S3: the SDK's own chain, a profile of the user's, or the Secret that Velero uses.

use std::fmt;

use anyhow::{Result, bail};

/// Variables of the environment that tell the SDK's chain where credentials are.
const CHAIN_VARIABLES: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
];

/// Bytes that no Debug shows. Only [`Secret::reveal`] gives them out, so that every use can be found by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Whatever the SDK finds: environment, files in `~/.aws`, a role of the pod or machine.
    Chain,
    /// A profile of the files in `~/.aws`.
    Profile(String),
    /// The content of a Secret of Velero's: an AWS credentials file.
    File {
        /// The file.
        ini: Secret,
        /// The profile in it.
        profile: String,
    },
}

/// Keys that do not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) token: Option<Secret>,
}

impl Secret {
    /// Hides these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    pub(super) fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Whose credentials to use: what the environment says wins, then the Secret of Velero, then what the
/// SDK finds elsewhere.
pub fn credentials(environment_has: bool, of_velero: Option<Credentials>) -> Credentials {
    match of_velero {
        Some(credentials) if !environment_has => credentials,
        _ => Credentials::Chain,
    }
}

/// Whether the environment tells the SDK's chain where credentials are.
pub fn environment_has_credentials() -> bool {
    CHAIN_VARIABLES.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

impl Keys {
    /// The keys of a profile in an AWS credentials file.
    ///
    /// Nothing else of the file is followed: whoever may write a Secret would otherwise run programs here
    /// (`credential_process`), or have files read (`web_identity_token_file`).
    pub(super) fn of_file(ini: &Secret, profile: &str) -> Result<Self> {
        let doing = format!("failed to find credentials in the profile {profile:?} of Velero's Secret");
        let Ok(text) = std::str::from_utf8(ini.reveal()) else {
            bail!("{doing}: it is no text");
        };
        let (mut inside, mut found, mut indirect) = (false, false, false);
        let (mut id, mut secret, mut token) = (None, None, None);
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                let name = name.trim();
                inside = name.strip_prefix("profile ").map_or(name, str::trim) == profile;
                found |= inside;
            } else if let Some((key, value)) = line.split_once('=').filter(|_| inside) {
                let value = value.trim().to_owned();
                match key.trim() {
                    "aws_access_key_id" => id = Some(value),
                    "aws_secret_access_key" => secret = Some(Secret::new(value)),
                    "aws_session_token" => token = Some(Secret::new(value)),
                    "role_arn" | "credential_process" | "web_identity_token_file" | "source_profile" => {
                        indirect = true;
                    }
                    _ => {}
                }
            }
        }
        match (id, secret) {
            (Some(id), Some(secret)) => Ok(Self { id, secret, token }),
            _ if !found => bail!("{doing}: there is no such profile"),
            _ if indirect => bail!(
                "{doing}: it names a role or a program, which is not followed from a Secret; set AWS_PROFILE to a \
                 profile of your own"
            ),
            _ => bail!("{doing}: it holds no aws_access_key_id and aws_secret_access_key"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(ini: &str, profile: &str) -> Result<Keys> {
        Keys::of_file(&Secret::new(ini), profile)
    }

    #[test]
    fn the_environment_wins_then_the_secret_then_what_the_sdk_finds() {
        let secret = || Credentials::File { ini: Secret::new("x"), profile: "default".to_owned() };
        for (environment_has, of_velero, chosen) in [
            (true, Some(secret()), Credentials::Chain),
            (true, None, Credentials::Chain),
            (false, Some(secret()), secret()),
            (false, None, Credentials::Chain),
        ] {
            assert_eq!(credentials(environment_has, of_velero), chosen);
        }
    }

    #[test]
    fn keys_are_those_of_the_profile() {
        let ini = "# of the cluster\n[default]\naws_access_key_id=one\naws_secret_access_key = a=b/c\n\n\
                   [ profile other ]\naws_access_key_id = two\naws_secret_access_key = d\naws_session_token = t\r\n";
        let one = Keys { id: "one".into(), secret: Secret::new("a=b/c"), token: None };
        assert_eq!(keys(ini, "default").unwrap(), one);
        let two = Keys { id: "two".into(), secret: Secret::new("d"), token: Some(Secret::new("t")) };
        assert_eq!(keys(ini, "other").unwrap(), two);
    }

    #[test]
    fn a_secret_that_holds_no_keys_says_why() {
        for (ini, reason) in [
            ("[other]\naws_access_key_id=s3cret", "there is no such profile"),
            ("aws_access_key_id=s3cret\naws_secret_access_key=s3cret", "there is no such profile"),
            (
                "[default]\naws_access_key_id=s3cret",
                "it holds no aws_access_key_id and aws_secret_access_key",
            ),
            ("[default]\ncredential_process=/bin/s3cret", "names a role or a program"),
            ("[default]\nrole_arn=s3cret", "names a role or a program"),
        ] {
            let refused = keys(ini, "default").unwrap_err().to_string();
            assert!(refused.contains(reason) && !refused.contains("s3cret"), "{ini:?}: {refused}");
        }
        assert!(
            Keys::of_file(&Secret::new([0xff]), "default")
                .unwrap_err()
                .to_string()
                .ends_with("it is no text")
        );
    }

    #[test]
    fn no_debug_shows_a_secret() {
        let shown =
            format!("{:?}", keys("[p]\naws_access_key_id=id\naws_secret_access_key=s3cret", "p").unwrap());
        assert!(!shown.contains("s3cret") && shown.contains("(hidden)"), "{shown}");
        let file = Credentials::File { ini: Secret::new("s3cret"), profile: "p".to_owned() };
        assert_eq!(format!("{file:?}"), r#"File { ini: (hidden), profile: "p" }"#);
    }
}
