//! The two spellings of a connection string, read into keyword/value pairs: `host=… dbname=…` and `postgresql://…`.
//!
//! Errors name a position and never quote the text: any piece of it may be part of a password.

use crate::error::{Error, ErrorKind, Result};

/// Keywords with their values, in the order written; of a repeated keyword the last one counts.
pub(super) type Pairs = Vec<(String, String)>;

/// Reads a connection string in either spelling. Keywords are not checked here.
pub(super) fn parse(text: &str) -> Result<Pairs> {
    if text.contains('\0') {
        return Err(refuse("it contains a zero byte"));
    }
    match text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://")) {
        Some(rest) => uri(rest),
        None => key_values(text),
    }
}

fn refuse(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Settings, format!("read the connection string: {why}")).with_hint(
        "a connection string looks like postgresql://user@host:5432/database or \"host=… dbname=… user=…\"",
    )
}

fn key_values(text: &str) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    let mut characters = text.char_indices().peekable();
    loop {
        while characters.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
        let Some(&(start, _)) = characters.peek() else { return Ok(pairs) };
        let mut keyword = String::new();
        while let Some((_, c)) = characters.next_if(|(_, c)| *c != '=' && !c.is_ascii_whitespace()) {
            keyword.push(c);
        }
        while characters.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
        if characters.next_if(|(_, c)| *c == '=').is_none() {
            return Err(refuse(format_args!(
                "the word at byte {start} has no \"=\" after it (a value with blanks needs single quotes)"
            )));
        }
        if keyword.is_empty() {
            return Err(refuse(format_args!("no keyword before the \"=\" at byte {start}")));
        }
        while characters.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
        let value = match characters.next_if(|(_, c)| *c == '\'') {
            Some((at, _)) => quoted_value(&mut characters, at)?,
            None => bare_value(&mut characters),
        };
        pairs.push((keyword, value));
    }
}

type Characters<'a> = std::iter::Peekable<std::str::CharIndices<'a>>;

fn quoted_value(characters: &mut Characters<'_>, start: usize) -> Result<String> {
    let mut value = String::new();
    while let Some((_, c)) = characters.next() {
        match c {
            '\'' => return Ok(value),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    Err(refuse(format_args!("the quote opened at byte {start} is not closed")))
}

fn bare_value(characters: &mut Characters<'_>) -> String {
    let mut value = String::new();
    while let Some((_, c)) = characters.next_if(|(_, c)| !c.is_ascii_whitespace()) {
        match c {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    value
}

/// `[user[:password]@][host[:port],…][/dbname][?keyword=value&…]`, after the scheme.
fn uri(rest: &str) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let hosts = match rest[..authority_end].find('@') {
        Some(at) => {
            let (user, password) = match rest[..at].split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (&rest[..at], None),
            };
            store(&mut pairs, "user", user)?;
            if let Some(password) = password {
                store(&mut pairs, "password", password)?;
            }
            &rest[at + 1..]
        }
        None => rest,
    };
    // Behind a password with an unencoded "@" or "/" its rest would become a host or database, which errors name.
    if hosts.split('?').next().is_some_and(|places| places.contains('@')) {
        return Err(refuse("an \"@\" or \"/\" in a user name or password must be written %40 or %2F"));
    }
    let tail = uri_hosts(hosts, &mut pairs)?;
    let (path, query) = match tail.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (tail, None),
    };
    if let Some(database) = path.strip_prefix('/') {
        store(&mut pairs, "dbname", database)?;
    }
    for parameter in query.into_iter().flat_map(|query| query.split('&')).filter(|p| !p.is_empty()) {
        uri_parameter(parameter, &mut pairs)?;
    }
    Ok(pairs)
}

/// Reads the comma-separated hosts with their ports; returns what follows them.
fn uri_hosts<'a>(text: &'a str, pairs: &mut Pairs) -> Result<&'a str> {
    let mut hosts: Vec<&str> = Vec::new();
    let mut ports: Vec<&str> = Vec::new();
    let mut rest = text;
    loop {
        let host;
        if let Some(bracketed) = rest.strip_prefix('[') {
            let Some((address, after)) = bracketed.split_once(']') else {
                return Err(refuse("an IPv6 address misses its closing \"]\""));
            };
            if address.is_empty() || !(after.is_empty() || after.starts_with([':', '/', '?', ','])) {
                return Err(refuse(
                    "an IPv6 address in brackets is empty or followed by something unexpected",
                ));
            }
            (host, rest) = (address, after);
        } else {
            (host, rest) = rest.split_at(rest.find([':', '/', '?', ',']).unwrap_or(rest.len()));
        }
        hosts.push(host);
        if let Some(after) = rest.strip_prefix(':') {
            let port;
            (port, rest) = after.split_at(after.find(['/', '?', ',']).unwrap_or(after.len()));
            ports.push(port);
        } else {
            ports.push("");
        }
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => break,
        }
    }
    store(pairs, "host", &hosts.join(","))?;
    // A list of nothing but commas would ask for more ports than hosts once `?host=` replaces the hosts.
    if ports.iter().any(|port| !port.is_empty()) {
        store(pairs, "port", &ports.join(","))?;
    }
    Ok(rest)
}

fn uri_parameter(parameter: &str, pairs: &mut Pairs) -> Result<()> {
    let Some((keyword, value)) = parameter.split_once('=') else {
        return Err(refuse("a parameter after the \"?\" has no \"=\""));
    };
    if value.contains('=') {
        return Err(refuse("a parameter after the \"?\" has two \"=\"; write %3D for one inside a value"));
    }
    let (keyword, value) = (decode(keyword)?, decode(value)?);
    if keyword.is_empty() {
        return Err(refuse("a parameter after the \"?\" has no keyword"));
    }
    // The spelling of JDBC, which libpq accepts too.
    if keyword == "ssl" && value == "true" {
        pairs.push(("sslmode".into(), "require".into()));
    } else {
        pairs.push((keyword, value));
    }
    Ok(())
}

fn store(pairs: &mut Pairs, keyword: &str, encoded: &str) -> Result<()> {
    if !encoded.is_empty() {
        pairs.push((keyword.into(), decode(encoded)?));
    }
    Ok(())
}

fn decode(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|d| char::from(d).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) if high + low > 0 => bytes.push((high * 16 + low) as u8),
            (Some(0), Some(0)) => return Err(refuse("a URI cannot contain %00")),
            _ => {
                return Err(refuse(
                    "a \"%\" is not followed by two hexadecimal digits (write %25 for \"%\")",
                ));
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| refuse("percent-encoded bytes are not UTF-8"))
}

/// Quotes a value of a connection string.
pub fn conninfo_value(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).expect(text)
    }

    #[test]
    fn both_spellings_are_read() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("  ", &[]),
            ("host=a", &[("host", "a")]),
            (" host = a  port= 5433 ", &[("host", "a"), ("port", "5433")]),
            ("password='it\\'s \\\\ here' user=u", &[("password", "it's \\ here"), ("user", "u")]),
            ("password=a\\ b", &[("password", "a b")]),
            ("host='' user=x", &[("host", ""), ("user", "x")]),
            ("postgresql://", &[]),
            ("postgres://h", &[("host", "h")]),
            ("postgres:///db", &[("dbname", "db")]),
            (
                "postgresql://u:p%40s@h:1/d?sslmode=require&application_name=a%20b",
                &[
                    ("user", "u"),
                    ("password", "p@s"),
                    ("host", "h"),
                    ("port", "1"),
                    ("dbname", "d"),
                    ("sslmode", "require"),
                    ("application_name", "a b"),
                ],
            ),
            ("postgres://a:1,b,[::1]:3/d", &[("host", "a,b,::1"), ("port", "1,,3"), ("dbname", "d")]),
            ("postgres://%2Fvar%2Frun/d", &[("host", "/var/run"), ("dbname", "d")]),
            (
                "postgres:///d?host=/tmp&ssl=true",
                &[("dbname", "d"), ("host", "/tmp"), ("sslmode", "require")],
            ),
            ("postgres://u@/d", &[("user", "u"), ("dbname", "d")]),
        ];
        for (text, expected) in table {
            let expected: Vec<_> = expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert_eq!(pairs(text), expected, "{text}");
        }
    }

    #[test]
    fn malformed_text_is_refused_without_quoting_it() {
        for text in [
            "hunter2",
            "password=x hunter2",
            "password='hunter2",
            "=hunter2",
            "password=a\0hunter2",
            "postgres://u:hunter2%zz@h",
            "postgres://u:hunter2%00@h",
            "postgres://u:hunter2%ff@h",
            "postgres://[::1hunter2",
            "postgres://[]hunter2",
            "postgres://[::1]hunter2",
            "postgres://h?hunter2",
            "postgres://h?password=a=hunter2",
            "postgres://h?=hunter2",
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.kind(), &ErrorKind::Settings, "{text}");
            assert!(!error.to_string().contains("hunter2"), "{text}: {error}");
        }
    }
}
