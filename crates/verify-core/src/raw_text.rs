//! Bytes that need not be UTF-8 as text, and back: names in a database without an encoding, and in the catalogues that
//! databases of several encodings share.
//!
//! A byte that is part of no UTF-8 character becomes a private-use character of its own, U+10FE80 to U+10FEFF. Where such
//! a character is in the bytes already, each of its bytes becomes one, so that no two names become the same.

use std::borrow::Cow;

const FIRST: u32 = 0x10_fe80;

/// The byte that a character represents, where it represents one.
pub(crate) fn raw_byte(c: char) -> Option<u8> {
    let offset = u32::from(c).checked_sub(FIRST)?;
    u8::try_from(offset + 0x80).ok()
}

fn push_raw(text: &mut String, byte: u8) {
    // Only bytes from 0x80 on are part of no character.
    text.extend(u32::from(byte).checked_sub(0x80).and_then(|offset| char::from_u32(FIRST + offset)));
}

/// Appends bytes as text.
pub(crate) fn decode(bytes: &[u8], text: &mut String) {
    for chunk in bytes.utf8_chunks() {
        if chunk.valid().contains(|c| raw_byte(c).is_some()) {
            for c in chunk.valid().chars() {
                match raw_byte(c) {
                    Some(_) => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_raw(text, byte)),
                    None => text.push(c),
                }
            }
        } else {
            text.push_str(chunk.valid());
        }
        chunk.invalid().iter().for_each(|byte| push_raw(text, *byte));
    }
}

/// The bytes of a text.
pub(crate) fn encode(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(|c| raw_byte(c).is_some()) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match raw_byte(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(bytes: &[u8]) -> String {
        let mut text = String::new();
        decode(bytes, &mut text);
        text
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let text = decoded(&bytes);
            let encoded = encode(&text);
            prop_assert_eq!(&*encoded, &bytes[..]);
        }

        #[test]
        fn ordinary_text_stays(text in "\\PC*") {
            prop_assume!(!text.contains(|c| raw_byte(c).is_some()));
            let decoded = decoded(text.as_bytes());
            let encoded = encode(&text);
            prop_assert_eq!(&*encoded, text.as_bytes());
            prop_assert_eq!(decoded, text);
        }
    }

    #[test]
    fn a_byte_and_the_character_for_it_differ() {
        assert_eq!(decoded(b"h\xf6he"), "h\u{10fef6}he");
        let spelled = "h\u{10fef6}he".as_bytes();
        assert_ne!(decoded(spelled), decoded(b"h\xf6he"));
        assert_eq!(&*encode(&decoded(spelled)), spelled);
    }
}
