//! What a backup's or restore's log complains of.

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;

use super::artefact::UNPACKED_LEN_MAX;
use super::message::shown;

/// The most lines of each level that are kept; the first ones, since what follows is often their consequence.
const LINES_MAX: usize = 20;

/// The complaints in a log, each level in the log's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Complaints {
    /// Lines of the level `error` and above.
    pub(crate) errors: Lines,
    /// Lines of the level `warning`.
    pub(crate) warnings: Lines,
    /// Whether the log is longer than what we read of it.
    pub(crate) cut: bool,
}

/// Some lines, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    /// Fit to be shown.
    pub(crate) shown: Vec<String>,
    /// Those that are not shown.
    pub(crate) left_out: usize,
}

/// The complaints in a packed log.
///
/// # Errors
///
/// If it is not gzip or is cut.
pub(crate) fn decode(packed: &[u8]) -> Result<Complaints> {
    decode_within(packed, UNPACKED_LEN_MAX)
}

fn decode_within(packed: &[u8], len_max: u64) -> Result<Complaints> {
    let mut unpacked = BufReader::new(MultiGzDecoder::new(packed).take(len_max));
    let mut complaints = Complaints::default();
    let mut line = Vec::new();
    while unpacked.read_until(b'\n', &mut line).context("failed to unpack Velero's log")? > 0 {
        if let Some((level, text)) = complaint(&String::from_utf8_lossy(&line)) {
            complaints.of(level).add(text);
        }
        line.clear();
    }
    complaints.cut = unpacked.into_inner().limit() == 0;
    Ok(complaints)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Warning,
    Error,
}

impl Complaints {
    fn of(&mut self, level: Level) -> &mut Lines {
        match level {
            Level::Warning => &mut self.warnings,
            Level::Error => &mut self.errors,
        }
    }
}

impl Lines {
    fn add(&mut self, text: String) {
        if self.shown.len() < LINES_MAX { self.shown.push(text) } else { self.left_out += 1 }
    }
}

/// What a line complains of, if it does: its message, its error, and what it is about.
fn complaint(line: &str) -> Option<(Level, String)> {
    let fields = fields(line);
    let field = |names: [&str; 2]| {
        fields.iter().find(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| value.as_str())
    };
    // The second name of each is that of Velero's JSON format.
    let level = match field(["level", "log.level"])? {
        "warning" | "warn" => Level::Warning,
        "error" | "fatal" | "panic" => Level::Error,
        _ => return None,
    };
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
    Some((level, shown(&text)))
}

/// The fields of a line, of logfmt or of JSON, as the server was told to write it.
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
    fn lines_that_complain_are_told_apart() {
        let table = [
            (r#"time="2026-11-21T08:17:31Z" level=info msg="all is well""#, None),
            (
                r#"time="2026-11-21T08:17:31Z" level=error msg="Error executing hook" error="exit code 1\nstderr: \"no\"" hookPhase=pre name=pg-0 namespace=app"#,
                Some((Level::Error, r#"app/pg-0: Error executing hook: exit code 1 stderr: "no""#)),
            ),
            ("level=warning msg=slow", Some((Level::Warning, "slow"))),
            (r#"level=error msg="a \x1b[2J b" error=x=y"#, Some((Level::Error, r"a \x1b[2J b: x=y"))),
            ("level=error msg=\"raw \u{1b}[2J\"", Some((Level::Error, r"raw \u{1b}[2J"))),
            (r#"level=error msg="never closed"#, Some((Level::Error, "never closed"))),
            (
                r#"{"log.level":"error","message":"failed","error.message":"why","error":{"x":1},"name":"pg-0"}"#,
                Some((Level::Error, "pg-0: failed: why")),
            ),
            ("{no json", None),
            ("goroutine 1 [running]:", None),
            ("", None),
        ];
        for (line, expected) in table {
            let expected = expected.map(|(level, text)| (level, text.to_owned()));
            assert_eq!(complaint(line), expected, "{line}");
        }
    }

    #[test]
    fn many_lines_are_counted_and_errors_are_not_lost_among_warnings() {
        let mut log = "level=warning msg=slow\n".repeat(LINES_MAX + 5);
        log.push_str("level=error msg=broken");
        let complaints = decode(&pack(log.as_bytes())).unwrap();
        let expected = Complaints {
            errors: Lines { shown: vec!["broken".to_owned()], left_out: 0 },
            warnings: Lines { shown: vec!["slow".to_owned(); LINES_MAX], left_out: 5 },
            cut: false,
        };
        assert_eq!(complaints, expected);
    }

    #[test]
    fn a_log_that_is_too_long_is_read_as_far_as_the_limit() {
        let log = pack(b"level=error msg=first\nlevel=error msg=second\n");
        let first = decode_within(&log, 22).unwrap();
        assert_eq!((first.errors.shown, first.cut), (vec!["first".to_owned()], true));
        let both = decode_within(&log, 100).unwrap();
        assert_eq!((both.errors.shown.len(), both.cut), (2, false));
        assert!(decode(b"plain").is_err());
    }
}
