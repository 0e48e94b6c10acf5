//! Public keys that are trusted, in OpenSSH's `allowed_signers` format (ssh-keygen(1), ALLOWED SIGNERS).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::key::PublicKey;
use crate::sshsig::NAMESPACE;

/// A longer name is refused.
const IDENTITY_CHARS_MAX: usize = 128;

/// Reads a name under which reports may be signed: one that means itself among the allowed signers.
///
/// # Errors
///
/// If it has other characters than letters, digits and `@._+-`.
pub fn identity(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@._+-".contains(c);
    if text.is_empty() || text.len() > IDENTITY_CHARS_MAX || !text.chars().all(plain) {
        return Err("expected a name of letters, digits and @._+-, as in drills@example.com".to_owned());
    }
    Ok(text.to_owned())
}

/// The line of the allowed signers for a key that signs reports.
pub fn line(identity: &str, key: PublicKey) -> String {
    format!("{identity} namespaces=\"{NAMESPACE}\" {}", key.to_openssh())
}

/// Keys that are trusted, each for some names, namespaces and times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signers {
    lines: Vec<Line>,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// Patterns of the names that may sign with the key.
    principals: String,
    key: PublicKey,
    /// Patterns of the namespaces in which the key may sign; all unless given.
    namespaces: Option<String>,
    valid_after: Option<Timestamp>,
    valid_before: Option<Timestamp>,
}

impl Signers {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or a line cannot be understood.
    pub fn read(path: &Path) -> Result<Self> {
        let doing = || format!("failed to read the allowed signers in {}", path.display());
        let text = fs::read_to_string(path).with_context(doing)?;
        Self::parse(&text).with_context(doing)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// If a line cannot be understood, or the file has no line.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lines = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                lines.push(Line::parse(line).with_context(|| format!("line {}", i + 1))?);
            }
        }
        if lines.is_empty() {
            bail!("it has no line");
        }
        Ok(Self { lines })
    }

    /// The trusted keys.
    pub fn keys(&self) -> impl Iterator<Item = PublicKey> {
        self.lines.iter().map(|line| line.key)
    }

    /// Checks whether the key was trusted to sign reports under this name at this time.
    ///
    /// # Errors
    ///
    /// The reason why it was not.
    pub fn permit(&self, key: PublicKey, identity: &str, at: Timestamp) -> Result<(), String> {
        let mut reason = format!("the key {key} is not among the allowed signers");
        for line in self.lines.iter().filter(|line| line.key == key) {
            match line.permit(identity, at) {
                Ok(()) => return Ok(()),
                Err(refused) => reason = format!("the key {key} {refused}"),
            }
        }
        Err(reason)
    }
}

impl Line {
    /// `NAME[,NAME…] [OPTION[,OPTION…]] ssh-ed25519 KEY [COMMENT]`
    fn parse(line: &str) -> Result<Self> {
        let (principals, rest) = line.split_once([' ', '\t']).context("it has no key")?;
        if principals.contains('"') {
            bail!("quoted principals are not supported");
        }
        let rest = rest.trim_start();
        let (options, key) = if is_key_type(rest) { ("", rest) } else { split_options(rest)? };
        let mut parsed = Self {
            principals: principals.to_owned(),
            key: PublicKey::from_openssh(key)?,
            namespaces: None,
            valid_after: None,
            valid_before: None,
        };
        for option in options_of(options)? {
            match option {
                ("namespaces", Some(list)) => parsed.namespaces = Some(list.to_owned()),
                ("valid-after", Some(time)) => parsed.valid_after = Some(time_of(time)?),
                ("valid-before", Some(time)) => parsed.valid_before = Some(time_of(time)?),
                // An authority would have to be looked up in certificates, which signatures of reports do not have.
                (name, _) => bail!("the option {name:?} is not supported"),
            }
        }
        Ok(parsed)
    }

    fn permit(&self, identity: &str, at: Timestamp) -> Result<(), String> {
        if !in_list(&self.principals, identity) {
            return Err(format!("is allowed for {}, not for {identity}", self.principals));
        }
        if let Some(namespaces) = self.namespaces.as_ref().filter(|list| !in_list(list, NAMESPACE)) {
            return Err(format!("is allowed for the namespaces {namespaces}, not for {NAMESPACE}"));
        }
        if let Some(after) = self.valid_after.filter(|after| at < *after) {
            return Err(format!("is valid from {after} on, and the report is of {at}"));
        }
        if let Some(before) = self.valid_before.filter(|before| at > *before) {
            return Err(format!("was valid until {before}, and the report is of {at}"));
        }
        Ok(())
    }
}

fn is_key_type(text: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| text.starts_with(prefix))
}

/// Splits at the first blank outside quotes.
fn split_options(text: &str) -> Result<(&str, &str)> {
    let mut quoted = false;
    let end = text.find(|c: char| {
        quoted ^= c == '"';
        !quoted && (c == ' ' || c == '\t')
    });
    let (options, key) = text.split_at(end.context("it has no key")?);
    Ok((options, key.trim_start()))
}

/// The options, each with its value.
fn options_of(mut text: &str) -> Result<Vec<(&str, Option<&str>)>> {
    let mut options = Vec::new();
    while !text.is_empty() {
        let end = text.find([',', '=']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let (value, rest) = match rest.strip_prefix("=\"") {
            Some(rest) => {
                let (value, rest) = rest.split_once('"').context("a quote is not closed")?;
                (Some(value), rest)
            }
            None => (None, rest),
        };
        options.push((name, value));
        text = match rest.strip_prefix(',') {
            Some(rest) => rest,
            None if rest.is_empty() => rest,
            None => bail!("the option {name:?} is not followed by a comma"),
        };
    }
    Ok(options)
}

/// Reads `YYYYMMDD[HHMM[SS]]Z`.
fn time_of(text: &str) -> Result<Timestamp> {
    let Some(digits) = text.strip_suffix(['Z', 'z']) else {
        // ssh-keygen would take the verifier's time zone.
        bail!("the time {text:?} has no Z at its end; give it in UTC")
    };
    let format = match digits.len() {
        8 => "%Y%m%d %H%M%S",
        12 => "%Y%m%d%H%M %S",
        _ => "%Y%m%d%H%M%S",
    };
    let padded = match digits.len() {
        8 => format!("{digits} 000000"),
        12 => format!("{digits} 00"),
        _ => digits.to_owned(),
    };
    let time = DateTime::strptime(format, padded)
        .ok()
        .and_then(|time| TimeZone::UTC.to_timestamp(time).ok())
        .with_context(|| format!("the time {text:?} is not YYYYMMDD[HHMM[SS]]Z"))?;
    Ok(time)
}

/// Returns whether a list of patterns has the text: one matches, and none with a `!` does (ssh_config(5), PATTERNS).
fn in_list(list: &str, text: &str) -> bool {
    let mut found = false;
    for pattern in list.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches(pattern.as_bytes(), text.as_bytes()) => return false,
            Some(_) => {}
            None => found |= matches(pattern.as_bytes(), text.as_bytes()),
        }
    }
    found
}

/// Matches `*` and `?`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // The last star, and the text that it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, t) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn permit(line: &str, identity: &str, at: &str) -> Result<(), String> {
        let key = PublicKey::from_openssh(KEY).unwrap();
        Signers::parse(line).unwrap().permit(key, identity, at.parse().unwrap())
    }

    #[test]
    fn a_key_is_trusted_for_its_names_namespaces_and_times_alone() {
        let at = "2026-11-21T03:00:00Z";
        for line in [
            format!("drills {KEY}"),
            format!("# ours\n\n  a,dr*\t{KEY} comment of it"),
            format!("drills namespaces=\"file,state-lab-*\" {KEY}"),
            format!("drills valid-after=\"20261121Z\",valid-before=\"202611210300Z\" {KEY}"),
            format!("drills namespaces=\"git\" {KEY}\ndrills {KEY}"),
        ] {
            assert_eq!(permit(&line, "drills", at), Ok(()), "{line}");
        }
        for (line, reason) in [
            (format!("drill {KEY}"), "is allowed for drill, not for drills"),
            (format!("*,!drills {KEY}"), "is allowed for *,!drills, not for drills"),
            (format!("drills namespaces=\"git\" {KEY}"), "is allowed for the namespaces git"),
            (
                format!("drills valid-after=\"20261121030001Z\" {KEY}"),
                "is valid from 2026-11-21T03:00:01Z on",
            ),
            (format!("drills valid-before=\"20261121Z\" {KEY}"), "was valid until 2026-11-21T00:00:00Z"),
            (
                "drills ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEqF2r/6Sb1xV2ODhuQoNoQxmXZsXcBRtGBG4sVYXKbZ"
                    .to_owned(),
                "is not among the allowed signers",
            ),
        ] {
            let refused = permit(&line, "drills", at).unwrap_err();
            assert!(refused.contains(reason), "{line}: {refused}");
        }
    }

    #[test]
    fn a_line_that_is_not_understood_is_refused_with_its_number() {
        for (line, reason) in [
            ("drills", "it has no key"),
            ("drills ssh-ed25519 AAAA", "not a public key"),
            ("drills ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQE=", "it is not an Ed25519 key"),
            ("* cert-authority ssh-ed25519 KEY", "\"cert-authority\" is not supported"),
            ("* no-touch-required,namespaces=\"a\" KEY", "\"no-touch-required\" is not supported"),
            ("* namespaces=\"a KEY", "it has no key"),
            ("* namespaces=\"a\"valid-after=\"20260101Z\" KEY", "not followed by a comma"),
            ("* valid-after=\"20260101\" KEY", "has no Z at its end"),
            ("* valid-after=\"20261301Z\" KEY", "is not YYYYMMDD"),
            ("* valid-after=\"2026Z\" KEY", "is not YYYYMMDD"),
            ("\"a b\" KEY", "quoted principals"),
        ] {
            let line = line.replace("ssh-ed25519 KEY", KEY).replace("KEY", KEY);
            let refused = format!("{:#}", Signers::parse(&format!("\n{line}")).unwrap_err());
            assert!(refused.starts_with("line 2: ") && refused.contains(reason), "{line}: {refused}");
        }
        assert!(Signers::parse("# none\n").unwrap_err().to_string().contains("it has no line"));
    }

    #[test]
    fn patterns_match_as_in_openssh() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("", "", true),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*b*b", "abab", true),
            ("*@example.com", "x@example.com", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
