//! An ErrorResponse of a server as an error of this crate.

use super::printable::printable;
use super::server_hint::server_hint;
use crate::error::{Error, ErrorKind};

/// Characters of hostile text that an error may hold.
const LIMIT: usize = 1_000;

/// The error that the body of an ErrorResponse describes. The text is the server's: shortened, on one line.
pub(super) fn server_error(body: &[u8]) -> Error {
    let field = |wanted: u8| {
        fields(body).find(|(tag, _)| *tag == wanted).map(|(_, value)| String::from_utf8_lossy(value))
    };
    let sqlstate =
        field(b'C').filter(|code| code.len() == 5 && code.bytes().all(|b| b.is_ascii_alphanumeric()));
    let sqlstate = sqlstate.map_or_else(|| "XX000".to_owned(), std::borrow::Cow::into_owned);
    // The field V is the severity untranslated, from 9.6 on.
    let severity = field(b'V').or_else(|| field(b'S')).unwrap_or_default();
    let mut text = format!("{}: {}", printable(&severity, 20), field(b'M').unwrap_or_default());
    if let Some(detail) = field(b'D') {
        text.push_str(&format!(" ({detail})"));
    }
    if let Some(hint) = field(b'H') {
        text.push_str(&format!("; hint: {hint}"));
    }
    let text = format!("{} [{sqlstate}]", printable(&text, LIMIT));
    let hint = server_hint(&sqlstate, &field(b'R').unwrap_or_default(), &field(b'M').unwrap_or_default());
    let error = Error::new(ErrorKind::Server { sqlstate }, text);
    hint.into_iter().fold(error, Error::with_hint)
}

/// The fields of an ErrorResponse: a tag and a text, each ended by a zero byte.
fn fields(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    body.split(|byte| *byte == 0).filter_map(|field| field.split_first().map(|(tag, value)| (*tag, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_all_and_the_kind_says_what() {
        let error = server_error(b"SFEHLER\0VERROR\0C42P01\0Mno \x1b[1mtable\nhere\0Dd\0Hh\0\0");
        assert_eq!(error.kind(), &ErrorKind::Server { sqlstate: "42P01".into() });
        assert_eq!(error.to_string(), "ERROR: no [1mtable here (d); hint: h [42P01]");
    }

    #[test]
    fn hostile_bodies_stay_short_and_harmless() {
        let mut body = b"C42\xff01\0M".to_vec();
        body.extend(vec![b'x'; 100_000]);
        let error = server_error(&body);
        assert!(error.to_string().chars().count() < 1_100);
        assert_eq!(error.sqlstate(), Some("XX000"));
        assert_eq!(server_error(b"").to_string(), ": [XX000]");
    }
}
