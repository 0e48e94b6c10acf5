//! The name of a snapshot that another session exported.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// The name of an exported snapshot: the result of `pg_export_snapshot()`, as for `pg_dump --snapshot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotId {
    text: String,
    /// The number of the session, and that of its transaction.
    session: u32,
    transaction: u32,
}

impl SnapshotId {
    /// The virtual transaction that exported it, as `pg_locks` shows it.
    pub(super) fn virtual_transaction(&self) -> String {
        format!("{}/{}", self.session, self.transaction)
    }
}

impl FromStr for SnapshotId {
    type Err = Error;

    /// From two numbers of eight hexadecimal digits and a decimal one: `00000003-0000001B-1`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let read = || {
            let (session, rest) = text.split_once('-')?;
            let (transaction, number) = rest.split_once('-')?;
            let decimal =
                (1..=10).contains(&number.len()) && number.bytes().all(|digit| digit.is_ascii_digit());
            let (session, transaction) = (hexadecimal(session)?, hexadecimal(transaction)?);
            decimal.then(|| Self { text: text.to_owned(), session, transaction })
        };
        read().ok_or_else(|| {
            let text = "read the name of a snapshot: it is not of the form 00000003-0000001B-1";
            Error::new(ErrorKind::Settings, text)
                .with_hint("give the result of SELECT pg_export_snapshot() as it is")
        })
    }
}

/// A number of eight digits, as the server prints it; no other spelling names the same file.
fn hexadecimal(digits: &str) -> Option<u32> {
    let known = |digit: u8| matches!(digit, b'0'..=b'9' | b'A'..=b'F');
    (digits.len() == 8 && digits.bytes().all(known)).then(|| u32::from_str_radix(digits, 16).ok())?
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_form_that_servers_print_is_a_name() {
        let id: SnapshotId = "00000003-0000001B-1".parse().unwrap();
        assert_eq!(
            (id.to_string().as_str(), id.virtual_transaction().as_str()),
            ("00000003-0000001B-1", "3/27")
        );
        for bad in [
            "",
            "00000003-0000001B",
            "00000003-0000001B-",
            "00000003-0000001b-1",
            "3-1B-1",
            "+0000003-0000001B-1",
            "00000003-0000001B-1-1",
            "00000003-0000001B-12345678901",
            "../../00000003-0000001B-1",
            "00000003-0000001B-1'",
            "00000003-0000001B-１",
        ] {
            let error = bad.parse::<SnapshotId>().unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Settings), "{bad}");
        }
    }
}
