//! Rows of a control query: text values, as the server wrote them.

use std::error::Error as StdError;
use std::ops::Range;
use std::str::FromStr;

use tokio_postgres::SimpleQueryRow;
use tokio_postgres::types::{FromSql, Type, accepts};

use crate::error::{Error, ErrorKind, Result};
use crate::raw_text;

/// One row of text values. A byte that is not UTF-8 is one of the characters U+10FE80 to U+10FEFF, which a statement may
/// hold again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    text: String,
    /// The places of the values in `text`; none for NULL.
    values: Vec<Option<Range<u32>>>,
}

/// The rows of one statement, as many as were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
    /// True if the statement had more rows than were requested.
    pub more: bool,
}

impl Row {
    /// From values in their order.
    fn new<T: AsRef<str>>(values: impl Iterator<Item = Result<Option<T>>>) -> Result<Self> {
        let mut row = Self { text: String::new(), values: Vec::new() };
        for value in values {
            let start = row.text.len();
            let value = value?.map(|value| row.text.push_str(value.as_ref()));
            let range = value.and_then(|()| Some(start.try_into().ok()?..row.text.len().try_into().ok()?));
            row.values.push(range);
        }
        Ok(row)
    }

    /// From the answer to a Query, whose values are text.
    pub(super) fn of_text(row: &SimpleQueryRow) -> Result<Self> {
        Self::new((0..row.len()).map(|i| row.try_get(i).map_err(unreadable)))
    }

    /// From the answer to a statement with parameters, whose values are binary.
    pub(super) fn of_binary(row: &tokio_postgres::Row) -> Result<Self> {
        Self::new((0..row.len()).map(|i| {
            let value = row.try_get::<_, Option<Shown>>(i).map_err(unreadable)?;
            Ok(value.map(|Shown(text)| text))
        }))
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns whether the row has no value.
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

/// The only row that a query must give.
pub(super) fn first(rows: &[Row]) -> Result<&Row> {
    rows.first().ok_or_else(|| Error::new(ErrorKind::Protocol, "read an answer: the server sent no row"))
}

fn unreadable(error: tokio_postgres::Error) -> Error {
    Error::with_source(ErrorKind::Protocol, "read a row", error)
}

/// A binary value of one of the types that our own statements return, as the server would write it.
struct Shown(String);

impl FromSql<'_> for Shown {
    fn from_sql(type_: &Type, raw: &[u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(match *type_ {
            Type::BOOL => if bool::from_sql(type_, raw)? { "t" } else { "f" }.to_owned(),
            Type::INT4 => i32::from_sql(type_, raw)?.to_string(),
            Type::INT8 => i64::from_sql(type_, raw)?.to_string(),
            Type::OID => u32::from_sql(type_, raw)?.to_string(),
            _ => {
                let mut text = String::new();
                raw_text::decode(raw, &mut text);
                text
            }
        }))
    }

    accepts!(BOOL, INT4, INT8, OID, NAME, TEXT, VARCHAR, UNKNOWN, VOID);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[Option<&str>]) -> Row {
        Row::new(values.iter().copied().map(Ok)).unwrap()
    }

    #[test]
    fn typed_values_are_checked() {
        let row = row(&[Some("t"), Some("-7"), None]);
        assert!(row.flag(0).unwrap());
        assert_eq!(row.number::<i64>(1).unwrap(), -7);
        for error in [row.flag(1).map(|_| ()), row.number::<u8>(1).map(|_| ()), row.text(2).map(|_| ())] {
            assert_eq!(error.unwrap_err().kind(), &ErrorKind::Protocol);
        }
        assert_eq!(row.get(9), None);
    }

    #[test]
    fn values_are_kept_apart_from_each_other_and_from_null() {
        let row = row(&[Some("é"), None, Some(""), Some("x")]);
        let values: Vec<_> = (0..row.len()).map(|i| row.get(i)).collect();
        assert_eq!(values, [Some("é"), None, Some(""), Some("x")]);
    }

    #[test]
    fn a_binary_value_reads_as_the_server_writes_it() {
        for (type_, raw, text) in [
            (Type::BOOL, &[1][..], "t"),
            (Type::BOOL, &[0], "f"),
            (Type::INT4, &(-7_i32).to_be_bytes(), "-7"),
            (Type::INT8, &i64::MIN.to_be_bytes(), "-9223372036854775808"),
            (Type::OID, &u32::MAX.to_be_bytes(), "4294967295"),
            (Type::NAME, b"h\xf6he", "h\u{10fef6}he"),
            (Type::VOID, b"", ""),
        ] {
            assert!(Shown::accepts(&type_));
            assert_eq!(Shown::from_sql(&type_, raw).unwrap().0, text, "{type_}");
        }
        assert!(Shown::from_sql(&Type::INT8, &[1, 2]).is_err());
        assert!(!Shown::accepts(&Type::NUMERIC));
    }
}
