//! Texts of Velero and of the services that it uses, safe to be shown.

use verify_core::table::shown_text;

/// The longest message that is shown, in characters. Errors of Go wrap each other for a thousand.
const SHOWN_LEN_MAX: usize = 400;
/// Number of characters of a long message's beginning that are kept; the rest is its end, which has the cause.
const HEAD_LEN: usize = 120;

/// One line without control characters, long ones without their middle: the beginning says what was tried, the end
/// why it failed.
pub(super) fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let len = line.chars().count();
    if len <= SHOWN_LEN_MAX {
        return shown_text(&line);
    }
    let head: String = line.chars().take(HEAD_LEN).collect();
    let tail: String = line.chars().skip(len - (SHOWN_LEN_MAX - HEAD_LEN)).collect();
    shown_text(&format!("{head} … {tail}"))
}

/// A status's message, if it is not empty.
pub(super) fn non_empty(message: &str) -> Option<String> {
    (!message.trim().is_empty()).then(|| shown(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_short_printable_line() {
        assert_eq!(shown(" a\n b\tc \u{1b}[2J"), r"a b c \u{1b}[2J");
        let long = format!("could not open: {} BLOB not found", "because ".repeat(200));
        let shown = shown(&long);
        assert_eq!(shown.chars().count(), SHOWN_LEN_MAX + 3);
        assert!(shown.starts_with("could not open: because") && shown.ends_with("BLOB not found"), "{shown}");
        assert_eq!((non_empty(" \n"), non_empty("x")), (None, Some("x".to_owned())));
    }
}
