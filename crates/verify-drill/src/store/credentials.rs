//! Credentials for S3: the SDK's own chain, a profile of the user, or Velero's Secret.

use std::fmt;

/// Environment variables from which the SDK's chain finds credentials.
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

/// Credentials.
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

impl Secret {
    /// Hides these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Selects the credentials: those of the environment, then Velero's Secret, then what the SDK finds elsewhere.
pub fn credentials(environment_has: bool, of_velero: Option<Credentials>) -> Credentials {
    match of_velero {
        Some(credentials) if !environment_has => credentials,
        _ => Credentials::Chain,
    }
}

/// Returns whether the environment has credentials for the SDK's chain.
pub fn environment_has_credentials() -> bool {
    CHAIN_VARIABLES.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn no_debug_shows_a_secret() {
        let file = Credentials::File { ini: Secret::new("s3cret"), profile: "p".to_owned() };
        assert_eq!(format!("{file:?}"), r#"File { ini: (hidden), profile: "p" }"#);
    }
}
