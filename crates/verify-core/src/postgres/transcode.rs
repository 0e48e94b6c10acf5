//! Lets tokio-postgres, which knows UTF-8 alone, read and write the bytes of a database without an encoding: see
//! [`crate::raw_text`].

use super::buffer::{self, HEADER};
use crate::raw_text;

/// Appends a message to a server, with the bytes that the text of its statement represents.
pub(super) fn outgoing(message: &[u8], out: &mut Vec<u8>) {
    let body = message.get(HEADER..).unwrap_or_default();
    let text = match message.first() {
        Some(b'Q') => body.len(),
        // The names of the statement and of types surround the statement.
        Some(b'P') => {
            body.iter().enumerate().filter(|(_, byte)| **byte == 0).nth(1).map_or(0, |(end, _)| end + 1)
        }
        _ => 0,
    };
    match std::str::from_utf8(&body[..text]).map(raw_text::encode) {
        Ok(std::borrow::Cow::Owned(raw)) => {
            out.extend(buffer::message(message[0], &[&raw, &body[text..]].concat()));
        }
        _ => out.extend_from_slice(message),
    }
}

/// Makes text of the values in a DataRow message. A malformed one stays as it is.
pub(super) fn row(message: &mut Vec<u8>) {
    let decoded = || {
        let (count, mut rest) = message.get(HEADER..)?.split_first_chunk::<2>()?;
        let mut body = count.to_vec();
        let mut changed = false;
        for _ in 0..u16::from_be_bytes(*count) {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let Ok(size) = usize::try_from(i32::from_be_bytes(*length)) else {
                body.extend_from_slice(length);
                rest = after;
                continue;
            };
            let (value, after) = after.split_at_checked(size)?;
            let text = text(value);
            changed |= text.as_bytes() != value;
            body.extend(i32::try_from(text.len()).ok()?.to_be_bytes());
            body.extend_from_slice(text.as_bytes());
            rest = after;
        }
        changed.then_some(body)
    };
    if let Some(body) = decoded() {
        *message = buffer::message(message[0], &body);
    }
}

/// Makes text of the names in a RowDescription message.
pub(super) fn column_names(message: &mut Vec<u8>) {
    let decoded = || {
        let (count, mut rest) = message.get(HEADER..)?.split_first_chunk::<2>()?;
        let mut body = count.to_vec();
        let mut changed = false;
        for _ in 0..u16::from_be_bytes(*count) {
            let end = rest.iter().position(|byte| *byte == 0)?;
            let name = text(&rest[..end]);
            changed |= name.as_bytes() != &rest[..end];
            body.extend_from_slice(name.as_bytes());
            // Behind the name and its zero byte: table, column, type, size, modifier and format.
            let (place, after) = rest[end..].split_at_checked(1 + 18)?;
            body.extend_from_slice(place);
            rest = after;
        }
        changed.then_some(body)
    };
    if let Some(body) = decoded() {
        *message = buffer::message(message[0], &body);
    }
}

fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    raw_text::decode(bytes, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn data_row(values: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        for value in values {
            let length = value.as_ref().map_or(-1, |value| i32::try_from(value.len()).unwrap());
            body.extend(length.to_be_bytes());
            body.extend(value.iter().flatten());
        }
        buffer::message(b'D', &body)
    }

    proptest! {
        #[test]
        fn values_become_the_text_that_stands_for_them(
            values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..8)), 0..6),
        ) {
            let mut message = data_row(&values);
            row(&mut message);
            let texts = values.iter().map(|value| value.as_ref().map(|value| text(value).into_bytes()));
            prop_assert_eq!(message, data_row(&texts.collect::<Vec<_>>()));
        }

        #[test]
        fn no_bytes_panic(tag in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut message = buffer::message(tag, &body);
            outgoing(&message.clone(), &mut Vec::new());
            column_names(&mut message);
            row(&mut message);
        }
    }

    #[test]
    fn a_value_that_ends_inside_a_character_stays_apart_from_the_next() {
        let mut message = data_row(&[Some(vec![0xc3]), Some(vec![0xa9])]);
        row(&mut message);
        let apart = ["\u{10fec3}", "\u{10fea9}"].map(|text| Some(text.as_bytes().to_vec()));
        assert_eq!(message, data_row(&apart));
    }

    #[test]
    fn statements_and_names_of_columns_hold_the_bytes_that_they_stand_for() {
        let sent = |tag, text: &str, rest: &[u8]| {
            let mut out = Vec::new();
            outgoing(&buffer::message(tag, &[text.as_bytes(), rest].concat()), &mut out);
            out
        };
        assert_eq!(sent(b'Q', "h\u{10fef6}he\0", b""), buffer::message(b'Q', b"h\xf6he\0"));
        assert_eq!(
            sent(b'P', "\0h\u{10fef6}he\0", b"\0\x01\0\0\0\x19"),
            buffer::message(b'P', b"\0h\xf6he\0\0\x01\0\0\0\x19")
        );
        // Values stay what they are.
        assert_eq!(sent(b'B', "\u{10fef6}", b""), buffer::message(b'B', "\u{10fef6}".as_bytes()));
        let described = |name: &[u8]| buffer::message(b'T', &[b"\0\x01", name, &[0; 19]].concat());
        let mut message = described(b"h\xf6he");
        column_names(&mut message);
        assert_eq!(message, described("h\u{10fef6}he".as_bytes()));
    }
}
