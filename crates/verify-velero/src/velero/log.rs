//! Errors in the log of a backup or restore.

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;

use super::artefact::UNPACKED_LEN_MAX;
use super::message::shown;

/// The most lines that are kept; the first ones, since what follows is often their consequence.
const LINES_MAX: usize = 20;

/// The first lines of a packed log that complain of errors, fit to be shown.
///
/// # Errors
///
/// If it is not gzip or is cut.
pub fn decode(packed: &[u8]) -> Result<Vec<String>> {
    decode_within(packed, UNPACKED_LEN_MAX)
}

fn decode_within(packed: &[u8], len_max: u64) -> Result<Vec<String>> {
    let mut unpacked = BufReader::new(MultiGzDecoder::new(packed).take(len_max));
    let mut complaints = Vec::new();
    let mut line = Vec::new();
    while unpacked.read_until(b'\n', &mut line).context("failed to unpack Velero's log")? > 0 {
        if complaints.len() < LINES_MAX {
            complaints.extend(complaint(&String::from_utf8_lossy(&line)));
        }
        line.clear();
    }
    Ok(complaints)
}

/// Returns the error of a line, if it has the level `error` or above: its message, its error, and its object.
fn complaint(line: &str) -> Option<String> {
    let fields = fields(line);
    let field = |names: [&str; 2]| {
        fields.iter().find(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| value.as_str())
    };
    // The second name of each is that of Velero's JSON format.
    if !matches!(field(["level", "log.level"])?, "error" | "fatal" | "panic") {
        return None;
    }
    let mut text = field(["msg", "message"]).unwrap_or_default().to_owned();
    if let Some(error) = field(["error", "error.message"]) {
        text.push_str(": ");
        text.push_str(error);
    }
    let about = [field(["namespace", "namespace"]), field(["name", "name"])];
    let about = about.into_iter().flatten().collect::<Vec<_>>().join("/");
    if !about.is_empty() {
        text = format!("{about}: {text}");
    }
    Some(shown(&text))
}

/// The fields of a line, of logfmt or of JSON, as the server is configured to write it.
fn fields(line: &str) -> Vec<(String, String)> {
    if line.starts_with('{') {
        let Ok(serde_json::Value::Object(object)) = serde_json::from_str(line) else { return Vec::new() };
        let text = |value: serde_json::Value| value.as_str().map(ToOwned::to_owned);
        return object.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect();
    }
    let mut fields = Vec::new();
    let mut rest = line.trim();
    while let Some((name, tail)) = rest.split_once('=') {
        let (value, tail) = value(tail);
        fields.push((name.trim().to_owned(), value));
        rest = tail;
    }
    fields
}

/// The value that this begins with, and what follows it. Values with spaces are quoted, as Go's `%q` does.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(' ').unwrap_or((text, ""));
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => match chars.next() {
                // Lines of a text become one; `shown` leaves no others either.
                Some((_, 'n' | 't' | 'r')) => value.push(' '),
                Some((_, c @ ('"' | '\\'))) => value.push(c),
                // An escape of Go that is already fit to be shown, as \x1b.
                Some((_, c)) => value.extend(['\\', c]),
                None => break,
            },
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::velero::artefact::pack;

    #[test]
    fn lines_with_errors_are_recognised() {
        let table = [
            (r#"time="2026-11-21T08:17:31Z" level=info msg="all is well""#, None),
            (
                r#"time="2026-11-21T08:17:31Z" level=error msg="Error executing hook" error="exit code 1\nstderr: \"no\"" hookPhase=pre name=pg-0 namespace=app"#,
                Some(r#"app/pg-0: Error executing hook: exit code 1 stderr: "no""#),
            ),
            ("level=warning msg=slow", None),
            (r#"level=error msg="a \x1b[2J b" error=x=y"#, Some(r"a \x1b[2J b: x=y")),
            ("level=error msg=\"raw \u{1b}[2J\"", Some(r"raw \u{1b}[2J")),
            (r#"level=error msg="never closed"#, Some("never closed")),
            (
                r#"{"log.level":"error","message":"failed","error.message":"why","error":{"x":1},"name":"pg-0"}"#,
                Some("pg-0: failed: why"),
            ),
            ("{no json", None),
            ("goroutine 1 [running]:", None),
            ("", None),
        ];
        for (line, expected) in table {
            assert_eq!(complaint(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn the_first_errors_are_kept_and_not_lost_among_warnings() {
        let mut log = "level=warning msg=slow\n".repeat(LINES_MAX + 5);
        log.push_str("level=error msg=broken\n");
        log.push_str(&"level=error msg=after\n".repeat(LINES_MAX));
        let mut expected = vec!["after".to_owned(); LINES_MAX];
        expected[0] = "broken".to_owned();
        assert_eq!(decode(&pack(log.as_bytes())).unwrap(), expected);
    }

    #[test]
    fn a_log_that_is_too_long_is_read_as_far_as_the_limit() {
        let log = pack(b"level=error msg=first\nlevel=error msg=second\n");
        assert_eq!(decode_within(&log, 22).unwrap(), ["first"]);
        assert_eq!(decode_within(&log, 100).unwrap(), ["first", "second"]);
        assert!(decode(b"plain").is_err());
    }
}
