//! Rows of a control query: text values, as the server wrote them.

use std::ops::Range;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};
use crate::raw_text;

/// One row of text values. A byte that is no UTF-8 is one of the characters U+10FE80 to U+10FEFF, which a statement may
/// hold again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    text: String,
    /// The places of the values in `text`; none for NULL.
    values: Vec<Option<Range<u32>>>,
}

/// The rows of one statement, as many as were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
    /// Whether the statement had more rows than were asked for.
    pub more: bool,
}

impl Row {
    /// Reads the body of a DataRow message.
    pub(super) fn decode(body: &[u8]) -> Result<Self> {
        let malformed = || Error::new(ErrorKind::Protocol, "read a row: its message is malformed");
        let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(malformed)?;
        let count = u16::from_be_bytes(*count);
        let mut text = String::with_capacity(rest.len());
        let mut values = Vec::with_capacity(count.into());
        for _ in 0..count {
            let (length, after) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
            let length = i32::from_be_bytes(*length);
            if length == -1 {
                (rest, _) = (after, values.push(None));
                continue;
            }
            let length = usize::try_from(length).map_err(|_| malformed())?;
            let (value, after) = after.split_at_checked(length).ok_or_else(malformed)?;
            let offset = |at: usize| u32::try_from(at).map_err(|_| malformed());
            let start = offset(text.len())?;
            raw_text::decode(value, &mut text);
            values.push(Some(start..offset(text.len())?));
            rest = after;
        }
        if rest.is_empty() { Ok(Self { text, values }) } else { Err(malformed()) }
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The bytes that the row keeps in memory, about.
    pub(super) fn size(&self) -> usize {
        self.text.len() + self.values.len() * size_of::<Option<Range<u32>>>() + size_of::<Self>()
    }

    /// A value; `None` for NULL and for a column that does not exist.
    pub fn get(&self, index: usize) -> Option<&str> {
        let range = self.values.get(index)?.as_ref()?;
        self.text.get(range.start as usize..range.end as usize)
    }

    /// A value that must be there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] where it is NULL or missing.
    pub fn text(&self, index: usize) -> Result<&str> {
        self.get(index).ok_or_else(|| {
            Error::new(ErrorKind::Protocol, format!("read column {} of a row: it has no value", index + 1))
        })
    }

    /// A number that must be there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] where it is NULL, missing, or no such number.
    pub fn number<N: FromStr>(&self, index: usize) -> Result<N> {
        self.text(index)?.parse().map_err(|_| {
            let wanted = std::any::type_name::<N>();
            Error::new(ErrorKind::Protocol, format!("read column {} of a row as {wanted}", index + 1))
        })
    }

    /// A boolean that must be there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] where it is NULL, missing, or no boolean.
    pub fn flag(&self, index: usize) -> Result<bool> {
        match self.text(index)? {
            "t" => Ok(true),
            "f" => Ok(false),
            _ => {
                Err(Error::new(ErrorKind::Protocol, format!("read column {} of a row as boolean", index + 1)))
            }
        }
    }
}

/// The names in the body of a RowDescription message.
pub(super) fn column_names(body: &[u8]) -> Result<Vec<String>> {
    let malformed = || Error::new(ErrorKind::Protocol, "read the columns of a result: malformed");
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(malformed)?;
    let mut names = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let end = rest.iter().position(|byte| *byte == 0).ok_or_else(malformed)?;
        let mut name = String::new();
        raw_text::decode(&rest[..end], &mut name);
        names.push(name);
        // Behind the name: table, column, type, size, modifier and format.
        rest = rest.get(end + 1 + 18..).ok_or_else(malformed)?;
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(values: &[Option<String>]) -> Vec<u8> {
        let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        for value in values {
            match value {
                None => body.extend((-1_i32).to_be_bytes()),
                Some(text) => {
                    body.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                    body.extend(text.as_bytes());
                }
            }
        }
        body
    }

    proptest! {
        #[test]
        fn values_come_back(values in proptest::collection::vec(proptest::option::of(".*"), 0..8)) {
            // What represents a raw byte comes back as the bytes of its own UTF-8, see raw_text.
            prop_assume!(!values.iter().flatten().any(|value| value.contains(|c| raw_text::raw_byte(c).is_some())));
            let row = Row::decode(&encode(&values)).unwrap();
            let seen: Vec<_> = (0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect();
            prop_assert_eq!(seen, values);
        }

        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Row::decode(&body);
            let _ = column_names(&body);
        }
    }

    #[test]
    fn typed_values_are_checked() {
        let values = [Some("t".to_owned()), Some("-7".to_owned()), None];
        let row = Row::decode(&encode(&values)).unwrap();
        assert!(row.flag(0).unwrap());
        assert_eq!(row.number::<i64>(1).unwrap(), -7);
        for error in [row.flag(1).map(|_| ()), row.number::<u8>(1).map(|_| ()), row.text(2).map(|_| ())] {
            assert_eq!(error.unwrap_err().kind(), &ErrorKind::Protocol);
        }
        assert_eq!(row.get(9), None);
    }

    #[test]
    fn a_value_that_ends_inside_a_character_stays_apart_from_the_next() {
        let body = [0, 2, 0, 0, 0, 1, 0xc3, 0, 0, 0, 1, 0xa9];
        let row = Row::decode(&body).unwrap();
        assert_eq!((row.get(0), row.get(1)), (Some("\u{10fec3}"), Some("\u{10fea9}")));
    }
}
