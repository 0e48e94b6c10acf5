//! Keys of rows in a document, which may be personal data: as they are, hashed with a secret, or left out.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use verify_drill::hint::Hinted;
use verify_drill::store::Secret;

use crate::entry::hex;

/// Key derivation context of BLAKE3, fixed for ever.
const CONTEXT: &str = "state-lab 2026-11 keys of rows in evidence";
/// A shorter secret could be guessed.
const SECRET_BYTES_MIN: usize = 16;
/// Length of a hash in a document.
const HASH_BYTES: usize = 16;
/// Message in place of the result of an invariant, which may be personal data too.
const WITHHELD: &str = "does not hold as expected; its values are withheld";

/// Form of the keys of rows in evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// The keys.
    #[default]
    Plain,
    /// Keyed BLAKE3 of each key: who has the secret recognises a key.
    Hashed,
    /// Only the number of rows.
    None,
}

/// Changes documents before they are stored.
#[derive(Debug)]
pub enum Redaction {
    /// Unchanged.
    Plain,
    /// Keys are hashed with this secret.
    Hashed(Secret),
    /// Keys are left out.
    None,
}

impl Redaction {
    /// Reads the secret, where one is needed. All bytes of its file count, except line breaks at its end.
    ///
    /// # Errors
    ///
    /// If the secret cannot be read or is too short.
    pub fn new(keys: Keys, secret: Option<&Path>) -> Result<Self> {
        match (keys, secret) {
            (Keys::Plain, _) => Ok(Self::Plain),
            (Keys::None, _) => Ok(Self::None),
            (Keys::Hashed, None) => bail!("failed to hash keys of rows: there is no file with the secret"),
            (Keys::Hashed, Some(path)) => {
                let doing = || format!("failed to read the secret for keys of rows in {}", path.display());
                let text = fs::read(path).with_context(doing)?;
                let text = text.trim_ascii_end();
                if text.len() < SECRET_BYTES_MIN {
                    let hint = format!("create one: `openssl rand -hex 32 > {}`", path.display());
                    let short = format!("{}: it is shorter than {SECRET_BYTES_MIN} bytes", doing());
                    return Err(Hinted::new(short, hint).into());
                }
                Ok(Self::Hashed(Secret::new(text)))
            }
        }
    }

    /// Changes the findings of a document.
    pub fn apply(&self, document: &mut Value) {
        if !matches!(self, Self::Plain) {
            self.walk(document);
        }
    }

    fn walk(&self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item)),
            Value::Object(fields) => {
                if fields.contains_key("code") && fields.contains_key("severity") {
                    self.finding(value);
                } else {
                    fields.values_mut().for_each(|field| self.walk(field));
                }
            }
            _ => {}
        }
    }

    fn finding(&self, finding: &mut Value) {
        let object = finding["object"].as_str().unwrap_or_default().to_owned();
        if finding["code"].as_str().is_some_and(|code| code.starts_with("invariant.")) {
            finding["message"] = WITHHELD.into();
        }
        let Some(rows) = finding.get_mut("rows").and_then(Value::as_object_mut) else { return };
        let named = rows.get("named").and_then(Value::as_array).cloned().unwrap_or_default();
        match self {
            Self::Hashed(secret) => {
                let hashed = named.iter().filter_map(Value::as_str).map(|name| hash(secret, &object, name));
                rows.insert("named".to_owned(), hashed.collect());
            }
            _ => {
                rows.insert("named".to_owned(), Value::Array(Vec::new()));
                rows.insert("more".to_owned(), true.into());
            }
        }
    }
}

/// The hash of a row's key in its table.
fn hash(secret: &Secret, object: &str, name: &str) -> Value {
    let key = blake3::derive_key(CONTEXT, secret.reveal());
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(&(object.len() as u64).to_be_bytes()).update(object.as_bytes()).update(name.as_bytes());
    format!("blake3:{}", hex(&hasher.finalize().as_bytes()[..HASH_BYTES])).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        let finding = |code: &str, object: &str, named: &[&str]| {
            json!({
                "code": code, "severity": "fail", "object": object, "message": "is a@example.com, expected 1",
                "rows": { "named": named, "at_least": named.len(), "more": false },
            })
        };
        json!({ "reports": [{ "comparison": { "findings": [
            finding("row.missing", "public.users", &["email=a@example.com", "email=b@example.com"]),
            finding("row.changed", "public.users", &["email=a@example.com"]),
            finding("row.changed", "public.mails", &["email=a@example.com"]),
            finding("invariant.broken", "one user", &["a@example.com"]),
        ] } }] })
    }

    fn applied(redaction: &Redaction) -> Value {
        let mut changed = document();
        redaction.apply(&mut changed);
        changed["reports"][0]["comparison"]["findings"].take()
    }

    #[test]
    fn plain_changes_nothing_and_none_keeps_the_counts() {
        assert_eq!(applied(&Redaction::Plain), document()["reports"][0]["comparison"]["findings"]);
        let none = applied(&Redaction::None);
        assert_eq!(none[0]["rows"], json!({ "named": [], "at_least": 2, "more": true }));
        assert_eq!(none[0]["message"], "is a@example.com, expected 1");
        assert!(!none[3].to_string().contains("a@example.com"), "{none}");
    }

    #[test]
    fn a_hash_is_recognised_by_who_has_the_secret() {
        let hashed = applied(&Redaction::Hashed(Secret::new("0123456789abcdef")));
        let name =
            |finding: usize, row: usize| hashed[finding]["rows"]["named"][row].as_str().unwrap().to_owned();
        assert_eq!(name(0, 0), name(1, 0), "the same key in the same table");
        assert_ne!(name(0, 0), name(0, 1));
        assert_ne!(name(1, 0), name(2, 0), "the same key in another table");
        assert!(name(0, 0).starts_with("blake3:") && name(0, 0).len() == "blake3:".len() + 32);
        let other = applied(&Redaction::Hashed(Secret::new("0123456789abcdeX")));
        assert_ne!(name(0, 0), other[0]["rows"]["named"][0].as_str().unwrap());
        assert!(!hashed[3].to_string().contains("a@example.com"), "{hashed}");
    }

    #[test]
    fn a_secret_is_read_without_its_line_break_and_a_short_one_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, "0123456789abcdef\n").unwrap();
        let Redaction::Hashed(secret) = Redaction::new(Keys::Hashed, Some(&path)).unwrap() else { panic!() };
        assert_eq!(secret.reveal(), b"0123456789abcdef");
        fs::write(&path, "s3cret").unwrap();
        let refused = Redaction::new(Keys::Hashed, Some(&path)).unwrap_err().to_string();
        assert!(refused.contains("shorter than 16 bytes") && !refused.contains("s3cret"), "{refused}");
        Redaction::new(Keys::Hashed, None).unwrap_err();
    }
}
