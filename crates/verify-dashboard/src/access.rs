//! Access to the dashboard: for everyone on this machine, or for holders of the token.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, bail};
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A shorter token could be guessed.
const TOKEN_CHARS_MIN: usize = 16;
const TOKEN_BYTES_MAX: usize = 4_096;

/// Access to the dashboard.
#[derive(Debug)]
pub enum Access {
    /// Every client that reaches the address.
    Everyone,
    /// Requests that name this machine by one of its loopback names: no page of another site can read through a browser here.
    ThisMachine,
    /// Clients with the token: as a bearer token, or as the password of any user.
    Token(Token),
}

/// A secret, kept as its hash.
pub struct Token(blake3::Hash);

impl Access {
    /// Returns whether a request may be answered; otherwise the status that refuses it.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), StatusCode> {
        match self {
            Self::Everyone => Ok(()),
            Self::ThisMachine => {
                let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
                if is_loopback(host) { Ok(()) } else { Err(StatusCode::FORBIDDEN) }
            }
            Self::Token(token) => match offered(headers) {
                Some(offered) if token.is(&offered) => Ok(()),
                _ => Err(StatusCode::UNAUTHORIZED),
            },
        }
    }

    /// The access that an address needs at least: none but loopback is without a token.
    ///
    /// # Errors
    ///
    /// If the address is reachable by others, and neither a token nor `everyone` is given.
    pub fn choose(address: SocketAddr, token: Option<Token>, everyone: bool) -> Result<Self> {
        match (token, everyone) {
            (Some(token), _) => Ok(Self::Token(token)),
            (None, true) => Ok(Self::Everyone),
            (None, false) if address.ip().is_loopback() => Ok(Self::ThisMachine),
            (None, false) => {
                bail!("failed to listen on {address}: others can reach it, and there is no token")
            }
        }
    }
}

impl Token {
    /// Reads the first line of a file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or the token is short.
    pub fn read(path: &Path) -> Result<Self> {
        let doing = || format!("failed to read the token in {}", path.display());
        let text = std::fs::read_to_string(path).with_context(doing)?;
        let token = text.lines().next().unwrap_or_default().trim();
        if token.chars().count() < TOKEN_CHARS_MIN || token.len() > TOKEN_BYTES_MAX {
            bail!("{}: it must have {TOKEN_CHARS_MIN} characters at least", doing());
        }
        Ok(Self(blake3::hash(token.as_bytes())))
    }

    /// Compares in constant time, since the comparison of hashes is.
    fn is(&self, offered: &[u8]) -> bool {
        blake3::hash(offered) == self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// The secret in a request: `Bearer TOKEN`, or the password of `Basic`, which browsers ask for.
fn offered(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(rest.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn only_loopback_needs_no_token() {
        let choose = |address: &str, everyone| {
            Access::choose(address.parse().unwrap(), None, everyone).map(|access| format!("{access:?}"))
        };
        assert_eq!(choose("127.0.0.1:80", false).unwrap(), "ThisMachine");
        assert_eq!(choose("[::1]:80", false).unwrap(), "ThisMachine");
        assert_eq!(choose("0.0.0.0:80", true).unwrap(), "Everyone");
        let refused = choose("0.0.0.0:80", false).unwrap_err().to_string();
        assert!(refused.contains("there is no token"), "{refused}");
    }

    #[test]
    fn a_name_of_another_site_is_refused() {
        for (host, expected) in [
            ("localhost:8080", Ok(())),
            ("127.0.0.1", Ok(())),
            ("[::1]:8080", Ok(())),
            ("attacker.example:8080", Err(StatusCode::FORBIDDEN)),
            ("localhost.attacker.example", Err(StatusCode::FORBIDDEN)),
            ("", Err(StatusCode::FORBIDDEN)),
        ] {
            assert_eq!(Access::ThisMachine.check(&headers(header::HOST, host)), expected, "{host}");
        }
    }

    #[test]
    fn a_token_is_a_bearer_token_or_a_password() {
        let access = Access::Token(Token(blake3::hash(b"0123456789abcdef")));
        let refused = Err(StatusCode::UNAUTHORIZED);
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (value, expected) in [
            ("Bearer 0123456789abcdef", Ok(())),
            (&basic("anyone:0123456789abcdef"), Ok(())),
            (&basic("0123456789abcdef:"), refused),
            ("Bearer 0123456789abcdeF", refused),
            ("Bearer ", refused),
            ("0123456789abcdef", refused),
            ("Basic ???", refused),
        ] {
            assert_eq!(access.check(&headers(header::AUTHORIZATION, value)), expected, "{value}");
        }
        assert_eq!(access.check(&HeaderMap::new()), refused);
    }
}
