//! The `require_auth` setting: by which methods the server may ask us to log in.

use super::printable::printable;
use crate::error::{Error, ErrorKind, Result};

/// Method by which the server asks for a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthMethod {
    /// The server asked for nothing.
    None,
    Password,
    Md5,
    ScramSha256,
    Gss,
    Sspi,
}

const METHODS: [(&str, AuthMethod); 6] = [
    ("none", AuthMethod::None),
    ("password", AuthMethod::Password),
    ("md5", AuthMethod::Md5),
    ("scram-sha-256", AuthMethod::ScramSha256),
    ("gss", AuthMethod::Gss),
    ("sspi", AuthMethod::Sspi),
];

/// The methods that are allowed, or those that are not. The default allows all.
#[derive(Clone, Debug)]
pub(super) struct RequireAuth {
    text: String,
    listed: Vec<AuthMethod>,
    negated: bool,
}

impl RequireAuth {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let refuse = |why: String| Error::new(ErrorKind::Settings, format!("use require_auth: {why}"));
        let negated = text.is_empty() || text.starts_with('!');
        let mut listed = Vec::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            if word.starts_with('!') != negated {
                return Err(refuse("methods with and without \"!\" cannot be mixed".to_owned()));
            }
            let name = word.trim_start_matches('!');
            let Some((_, method)) = METHODS.iter().find(|(known, _)| *known == name) else {
                return Err(refuse(format!("\"{}\" is not a method", printable(name, 40))));
            };
            listed.push(*method);
        }
        Ok(Self { text: text.to_owned(), listed, negated })
    }

    /// The setting as written, where it was given.
    pub(super) fn text(&self) -> Option<&str> {
        (!self.text.is_empty()).then_some(self.text.as_str())
    }

    /// Refuses a method that the setting does not allow.
    pub(super) fn check(&self, method: AuthMethod) -> Result<()> {
        if self.listed.contains(&method) != self.negated {
            return Ok(());
        }
        let asked = METHODS.iter().find(|(_, known)| *known == method).map_or("", |(name, _)| *name);
        Err(Error::new(
            ErrorKind::Authentication,
            format!("log in: the server asks for the method {asked}, which require_auth does not allow"),
        )
        .with_hint(format!(
            "let the server's pg_hba.conf ask for a method of require_auth ({}), or add {asked} to it",
            printable(&self.text, 80)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_allow_and_negated_lists_forbid() {
        let table = [
            ("", AuthMethod::None, true),
            ("scram-sha-256", AuthMethod::ScramSha256, true),
            ("scram-sha-256", AuthMethod::Md5, false),
            ("scram-sha-256,none", AuthMethod::None, true),
            ("!password,!md5", AuthMethod::Password, false),
            ("!password,!md5", AuthMethod::ScramSha256, true),
        ];
        for (text, method, allowed) in table {
            assert_eq!(RequireAuth::parse(text).unwrap().check(method).is_ok(), allowed, "{text} {method:?}");
        }
        for text in ["kerberos", "md5,!none"] {
            assert_eq!(RequireAuth::parse(text).unwrap_err().kind(), &ErrorKind::Settings, "{text}");
        }
    }
}
