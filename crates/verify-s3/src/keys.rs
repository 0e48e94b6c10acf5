//! Keys in an AWS credentials file.

use anyhow::{Result, bail};
use verify_drill::store::Secret;

/// Keys that do not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: Secret,
    pub(crate) token: Option<Secret>,
}

impl Keys {
    /// The keys of a profile in an AWS credentials file.
    ///
    /// Nothing else of the file is followed: anyone who may write a Secret could otherwise run programs here
    /// (`credential_process`), or have files read (`web_identity_token_file`).
    pub(crate) fn of_file(ini: &Secret, profile: &str) -> Result<Self> {
        let doing = format!("failed to find credentials in the profile {profile:?} of Velero's Secret");
        let Ok(text) = std::str::from_utf8(ini.reveal()) else {
            bail!("{doing}: it is not UTF-8 text");
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
                "{doing}: it uses a role or a program, which is not allowed in a Secret; set AWS_PROFILE to a \
                 profile of your own"
            ),
            _ => bail!("{doing}: it lacks aws_access_key_id and aws_secret_access_key"),
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
            ("[default]\naws_access_key_id=s3cret", "it lacks aws_access_key_id and aws_secret_access_key"),
            ("[default]\ncredential_process=/bin/s3cret", "uses a role or a program"),
            ("[default]\nrole_arn=s3cret", "uses a role or a program"),
        ] {
            let refused = keys(ini, "default").unwrap_err().to_string();
            assert!(refused.contains(reason) && !refused.contains("s3cret"), "{ini:?}: {refused}");
        }
        assert!(
            Keys::of_file(&Secret::new([0xff]), "default")
                .unwrap_err()
                .to_string()
                .ends_with("it is not UTF-8 text")
        );
    }

    #[test]
    fn no_debug_shows_a_secret() {
        let shown =
            format!("{:?}", keys("[p]\naws_access_key_id=id\naws_secret_access_key=s3cret", "p").unwrap());
        assert!(!shown.contains("s3cret") && shown.contains("(hidden)"), "{shown}");
    }
}
