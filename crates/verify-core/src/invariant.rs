//! The application's own rules: SQL whose result must be empty, a given value, or the same on both sides.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invariant {
    /// Name of the invariant.
    pub name: String,
    /// One statement that reads. Names without a schema are looked up in `pg_catalog` and `public`.
    pub sql: String,
    /// Expected result.
    pub expect: Expect,
}

/// Expected result of an invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// No rows: every row that comes is an offender.
    NoRows,
    /// One row of one column with this text.
    Value(String),
    /// The same rows in the same order as on the source.
    Same,
}

/// Result of running an invariant under the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Evaluated.
    Result(ResultSet),
    /// Not evaluated, for this reason.
    Broken(String),
}

/// The result of a query, limited in number and width.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResultSet {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The first rows, as text, each value cut to [`VALUE_CHARS_MAX`].
    pub rows: Vec<Vec<Option<String>>>,
    /// Total number of rows.
    pub row_count: u64,
    /// BLAKE3 over all rows, uncut, in hexadecimal.
    pub digest: String,
}

/// Maximum number of offending rows that are kept and displayed.
pub const ROWS_SHOWN_MAX: usize = 20;
/// A shown value is cut to so many characters.
pub const VALUE_CHARS_MAX: usize = 120;
/// A result of more rows is refused: an invariant is a rule, not an export.
pub const ROWS_MAX: u64 = 100_000;

/// An invariant with its outcome, as a manifest keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evaluated {
    /// The rule.
    #[serde(flatten)]
    pub invariant: Invariant,
    /// Its outcome.
    pub outcome: Outcome,
}

/// Judgement of an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Judgement {
    /// The invariant holds.
    Holds,
    /// The invariant does not hold, with a sentence.
    Broken(String),
    /// The invariant could not be evaluated, with a sentence.
    Unknown(String),
}

/// Collects a result set row by row.
#[derive(Debug)]
pub struct ResultCollector {
    hasher: blake3::Hasher,
    result: ResultSet,
}

impl ResultCollector {
    /// Of a result with these columns.
    pub fn new(columns: Vec<String>) -> Self {
        let result = ResultSet { columns, rows: Vec::new(), row_count: 0, digest: String::new() };
        Self { hasher: blake3::Hasher::new(), result }
    }

    /// Adds a row.
    pub fn push(&mut self, row: &[Option<&str>]) {
        for value in row {
            // Length-prefixed, NULL apart from empty, so that equal digests mean equal rows.
            let length = value.map_or(-1, |text| text.len() as i64);
            self.hasher.update(&length.to_be_bytes());
            self.hasher.update(value.unwrap_or_default().as_bytes());
        }
        self.result.row_count += 1;
        if self.result.rows.len() < ROWS_SHOWN_MAX {
            self.result.rows.push(row.iter().map(|value| value.map(cut)).collect());
        }
    }

    /// The result.
    pub fn finish(mut self) -> ResultSet {
        self.result.digest = self.hasher.finalize().to_hex().to_string();
        self.result
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl Invariant {
    /// Judges the outcome on the restored side, given the source's.
    pub fn judge(&self, source: Option<&Outcome>, restored: &Outcome) -> Judgement {
        let restored = match restored {
            Outcome::Result(result) => result,
            Outcome::Broken(reason) => return Judgement::Unknown(format!("could not run: {reason}")),
        };
        match &self.expect {
            Expect::NoRows if restored.row_count == 0 => Judgement::Holds,
            Expect::NoRows => {
                Judgement::Broken(format!("returned {}, expected none", rows(restored.row_count)))
            }
            Expect::Value(value) => match &restored.rows[..] {
                [row] if restored.row_count == 1 && row.len() == 1 => match &row[0] {
                    Some(found) if found == value => Judgement::Holds,
                    Some(found) => Judgement::Broken(format!("is {found}, expected {value}")),
                    None => Judgement::Broken(format!("is NULL, expected {value}")),
                },
                _ => Judgement::Broken(format!(
                    "returned {} of {} columns, expected the single value {value}",
                    rows(restored.row_count),
                    restored.columns.len()
                )),
            },
            Expect::Same => match source {
                None => Judgement::Unknown("was not captured on the source".to_owned()),
                Some(Outcome::Broken(reason)) => {
                    Judgement::Unknown(format!("could not run on the source: {reason}"))
                }
                Some(Outcome::Result(source)) if source.digest == restored.digest => Judgement::Holds,
                Some(Outcome::Result(source)) => Judgement::Broken(format!(
                    "returned {}, on the source {}",
                    displayed(restored),
                    displayed(source)
                )),
            },
        }
    }
}

fn rows(count: u64) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

fn displayed(result: &ResultSet) -> String {
    match &result.rows[..] {
        [row] if row.len() == 1 => row[0].clone().unwrap_or_else(|| "NULL".to_owned()),
        _ => format!("{} (digest {:.12})", rows(result.row_count), result.digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(rows: &[&[Option<&str>]]) -> Outcome {
        let mut collector = ResultCollector::new(vec!["a".to_owned()]);
        rows.iter().for_each(|row| collector.push(row));
        Outcome::Result(collector.finish())
    }

    fn judge(expect: Expect, source: Option<&Outcome>, restored: &Outcome) -> Judgement {
        Invariant { name: "i".into(), sql: "select".into(), expect }.judge(source, restored)
    }

    #[test]
    fn every_expectation_has_its_three_answers() {
        let (none, one, two) = (result(&[]), result(&[&[Some("1")]]), result(&[&[Some("2")]]));
        let broken = Outcome::Broken("no such table".to_owned());
        let value = || Expect::Value("1".to_owned());
        assert_eq!(judge(Expect::NoRows, None, &none), Judgement::Holds);
        assert_eq!(
            judge(Expect::NoRows, None, &one),
            Judgement::Broken("returned 1 row, expected none".into())
        );
        assert_eq!(judge(value(), None, &one), Judgement::Holds);
        assert_eq!(judge(value(), None, &two), Judgement::Broken("is 2, expected 1".into()));
        assert!(matches!(judge(value(), None, &none), Judgement::Broken(_)));
        assert_eq!(judge(Expect::Same, Some(&one), &one), Judgement::Holds);
        assert_eq!(
            judge(Expect::Same, Some(&one), &two),
            Judgement::Broken("returned 2, on the source 1".into())
        );
        assert!(matches!(judge(Expect::Same, None, &one), Judgement::Unknown(_)));
        assert!(matches!(judge(Expect::Same, Some(&broken), &one), Judgement::Unknown(_)));
        assert!(matches!(judge(value(), None, &broken), Judgement::Unknown(_)));
    }

    #[test]
    fn the_digest_sees_null_and_borders() {
        let digests = [
            result(&[&[Some("")]]),
            result(&[&[None]]),
            result(&[&[Some("ab"), Some("")]]),
            result(&[&[Some("a"), Some("b")]]),
        ];
        for (i, left) in digests.iter().enumerate() {
            assert!(digests.iter().skip(i + 1).all(|right| left != right));
        }
    }

    #[test]
    fn values_and_rows_are_limited() {
        let mut collector = ResultCollector::new(vec!["a".to_owned()]);
        let long = "ä".repeat(1_000);
        (0..100).for_each(|_| collector.push(&[Some(&long)]));
        let result = collector.finish();
        assert_eq!((result.rows.len(), result.row_count), (ROWS_SHOWN_MAX, 100));
        assert_eq!(result.rows[0][0].as_ref().unwrap().chars().count(), VALUE_CHARS_MAX + 1);
    }
}
