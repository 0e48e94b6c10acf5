//! Text of unknown origin, made safe for an error on a terminal.

/// At most `limit` characters of `text`, on one line, without control or direction-changing characters.
pub(super) fn printable(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit + 4));
    for (count, character) in text.trim().chars().enumerate() {
        if count == limit {
            out.push('…');
            break;
        }
        match character {
            '\n' | '\r' | '\t' => out.push(' '),
            // Bidirectional overrides and zero-width characters make a line read differently from what it says.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {}
            other if other.is_control() => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn hostile_text_becomes_one_short_line() {
        assert_eq!(printable("a\x1b[31mred\nb\u{202e}c", 100), "a[31mred bc");
        assert_eq!(printable("abcdef", 3), "abc…");
    }
}
