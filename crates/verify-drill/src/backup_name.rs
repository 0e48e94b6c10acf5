//! The name of a backup, which is also the name of its directory.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const CHARACTERS_MAX: usize = 63;

/// 1 to 63 of `A-Z a-z 0-9 . _ -`, the first no dot and no dash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct BackupName(String);

impl BackupName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BackupName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if text.is_empty() || text.len() > CHARACTERS_MAX {
            return Err(format!("a name has 1 to {CHARACTERS_MAX} characters"));
        }
        // A dash would look like a flag, a dot hides the directory.
        if !text.chars().all(allowed) || text.starts_with(['.', '-']) {
            return Err(
                "a name consists of letters, digits, dots, dashes and underscores, and starts with a letter, \
                 digit or underscore"
                    .to_owned(),
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for BackupName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<BackupName> for String {
    fn from(name: BackupName) -> Self {
        name.0
    }
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A database's name as that of a file: what is not plain becomes `%` and two hexadecimal digits.
pub fn file_safe(database: &str) -> String {
    database.bytes().fold(String::new(), |mut name, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(byte.into()),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_store_are_refused() {
        for name in ["nightly-001", "a", "2026-11-21_v1.0", &"x".repeat(63)] {
            assert_eq!(name.parse::<BackupName>().unwrap().as_str(), name);
        }
        for name in ["", ".", "..", ".hidden", "-n", "a/b", "a b", "ä", "a\n", &"x".repeat(64)] {
            assert!(name.parse::<BackupName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn databases_of_any_name_get_files_of_their_own() {
        assert_eq!(file_safe("shop"), "shop");
        assert_eq!(file_safe("../a b%"), "%2e%2e%2fa%20b%25");
        assert_ne!(file_safe("a%20b"), file_safe("a b"));
    }
}
