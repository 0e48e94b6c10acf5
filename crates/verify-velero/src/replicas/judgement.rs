//! Meaning of missing, older and different objects, and the verdict on a copy.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use verify_core::finding::{Severity, Verdict};
use verify_core::not_covered::NotCovered;

use super::inventory::VeleroBackup;
use super::repository::Absence;
use verify_drill::store::{Head, Object};

/// A copy of a backup, compared with its original.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[must_use]
pub struct Replica {
    /// The answer.
    pub verdict: Verdict,
    /// The backup.
    pub backup: VeleroBackup,
    /// Location of the original.
    pub from: String,
    /// Location of the copy.
    pub to: String,
    /// Number of compared objects.
    pub depth: Depth,
    /// Objects that are not as they should be.
    pub findings: Vec<ObjectFinding>,
    /// Objects that the copy cannot contain, or that could not be checked.
    pub not_covered: Vec<NotCovered>,
    /// Objects of the copy that the original lacks; they do no harm.
    pub extra: u64,
    /// The newest backup whose copy is complete.
    pub newest_complete: NewestComplete,
}

/// Number of compared objects, and the method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Depth {
    /// Objects of the original that a restore needs.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Number of objects compared by checksums that both services store.
    pub by_checksum: u64,
    /// Number of objects read on both sides.
    pub by_reading: u64,
}

/// An object that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[must_use]
pub struct ObjectFinding {
    /// Code.
    pub code: ObjectCode,
    /// Severity, which the code fixes; a difference that no restore needs is a notice.
    severity: Severity,
    /// The key below the prefix.
    pub key: String,
    /// A sentence.
    pub message: String,
    /// Replication status of the original.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<String>,
}

impl ObjectFinding {
    /// A finding of the code's severity, with the replication status of the original.
    pub fn new(code: ObjectCode, key: &str, message: String, replication: Option<String>) -> Self {
        let severity = match code {
            ObjectCode::Missing | ObjectCode::Stale | ObjectCode::Different => Severity::Fail,
            ObjectCode::Later | ObjectCode::Unreadable => Severity::Inconclusive,
        };
        Self { code, severity, key: key.to_owned(), message, replication }
    }

    /// Returns its severity.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// The same as a notice, if it is of an object that was written later and that no restore needs.
    fn excused(self) -> Self {
        match self.code {
            ObjectCode::Later => Self { severity: Severity::Notice, ..self },
            _ => self,
        }
    }
}

/// The code of a finding. Its text never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectCode {
    /// The copy lacks an object.
    Missing,
    /// The copy of an object is older, and different.
    Stale,
    /// The copy of an object is different, and not older.
    Different,
    /// The copy lacks an object of the repository that was written after the backup, or a report of a restore.
    Later,
    /// An object could not be read on one of the sides.
    Unreadable,
}

/// The newest backup whose copy is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum NewestComplete {
    /// Found.
    Found {
        /// Its name.
        backup: String,
        /// Start of the backup; later writes may be missing from it.
        #[schemars(with = "Option<String>")]
        started_at: Option<Timestamp>,
        /// Age of the backup.
        age_s: Option<i64>,
    },
    /// None of those that were checked.
    None {
        /// Number of checked backups, the newest first.
        looked_at: u64,
    },
}

/// Result of comparing one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ObjectComparison {
    /// By a checksum that both services keep.
    EqualByChecksum,
    /// By reading both.
    EqualByReading,
    Missing,
    Stale,
    Different,
    /// With the reason.
    Unreadable(String),
    /// The original was deleted during the comparison.
    Deleted,
}

impl ObjectCode {
    /// `object.missing`
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "object.missing",
            Self::Stale => "object.stale",
            Self::Different => "object.different",
            Self::Later => "object.later",
            Self::Unreadable => "object.unreadable",
        }
    }
}

impl JsonSchema for ObjectCode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ObjectCode".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let all = [Self::Missing, Self::Stale, Self::Different, Self::Later, Self::Unreadable];
        schemars::json_schema!({ "type": "string", "enum": all })
    }
}

impl Serialize for ObjectCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Returns whether two objects are the same by the strongest checksum that both have; `None` if they share none.
pub(super) fn same_by_checksum(original: &Head, copy: &Head) -> Option<bool> {
    let mut shared =
        original.checksums.iter().filter_map(|(kind, value)| Some((value, copy.checksums.get(kind)?)));
    shared.next().map(|(original, copy)| original == copy)
}

/// Returns the kind of difference of a copy: one that was written before its original is stale.
pub(super) fn difference(original: &Object, copy: &Object) -> ObjectComparison {
    if copy.modified < original.modified { ObjectComparison::Stale } else { ObjectComparison::Different }
}

/// The finding that an outcome amounts to, where it does.
pub(super) fn finding(
    object: &Object,
    outcome: &ObjectComparison,
    absence: Absence,
    replication: Option<String>,
) -> Option<ObjectFinding> {
    let written = object.modified;
    let (code, message) = match (outcome, absence) {
        (
            ObjectComparison::EqualByChecksum | ObjectComparison::EqualByReading | ObjectComparison::Deleted,
            _,
        ) => return None,
        (ObjectComparison::Missing, Absence::Needed) => {
            (ObjectCode::Missing, format!("the copy lacks it; the original is of {written}"))
        }
        (ObjectComparison::Missing, Absence::MayBeNeeded) => (
            ObjectCode::Later,
            format!(
                "the copy lacks it; it was written after the backup, at {written}, and maintenance may have moved data into it"
            ),
        ),
        (ObjectComparison::Missing, Absence::OfLaterBackup) => {
            (ObjectCode::Later, format!("the copy lacks it; it was written after the backup, at {written}"))
        }
        (ObjectComparison::Missing, Absence::OfRestore) => (
            ObjectCode::Later,
            format!("the copy lacks it; it is a restore's report of {written}, which no restore reads"),
        ),
        (ObjectComparison::Stale, _) => {
            (ObjectCode::Stale, format!("the copy is older than the original of {written}, and different"))
        }
        (ObjectComparison::Different, _) => {
            (ObjectCode::Different, format!("the copy is not the original of {written}, and not older"))
        }
        (ObjectComparison::Unreadable(reason), _) => (ObjectCode::Unreadable, reason.clone()),
    };
    let found = ObjectFinding::new(code, &object.key, message, replication);
    let needed = matches!(absence, Absence::Needed | Absence::MayBeNeeded);
    Some(if needed { found } else { found.excused() })
}

/// The verdict: an object that was not compared is never a pass.
pub(super) fn verdict(depth: &Depth, findings: &[ObjectFinding], not_covered: &[NotCovered]) -> Verdict {
    let open = !not_covered.is_empty() || depth.objects == 0;
    let found = findings.iter().map(|finding| finding.severity);
    Verdict::of(found.chain(open.then_some(Severity::Inconclusive)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use verify_core::not_covered::Check;
    use verify_drill::store::Checksum;

    fn object(second: i64) -> Object {
        let modified = Timestamp::from_second(second).unwrap();
        Object { key: "k".to_owned(), size: 1, etag: None, modified }
    }

    #[test]
    fn the_strongest_shared_checksum_decides_and_without_one_nothing_does() {
        let head = |checksums: &[(Checksum, &str)]| Head {
            size: 1,
            modified: Timestamp::UNIX_EPOCH,
            checksums: checksums
                .iter()
                .map(|(kind, value)| (*kind, (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            replication: None,
            locked_until: None,
        };
        use Checksum::{Crc32, Crc32C, Sha256};
        for (original, copy, expected) in [
            (head(&[]), head(&[]), None),
            (head(&[(Sha256, "a")]), head(&[]), None),
            (head(&[(Sha256, "a")]), head(&[(Crc32, "a")]), None),
            (head(&[(Crc32, "a")]), head(&[(Crc32C, "a")]), None),
            (head(&[(Sha256, "a")]), head(&[(Sha256, "a")]), Some(true)),
            (head(&[(Sha256, "a"), (Crc32, "b")]), head(&[(Sha256, "x"), (Crc32, "b")]), Some(false)),
            (head(&[(Sha256, "a"), (Crc32, "b")]), head(&[(Crc32, "b")]), Some(true)),
        ] {
            assert_eq!(same_by_checksum(&original, &copy), expected);
        }
    }

    #[test]
    fn a_copy_that_differs_is_stale_where_it_is_older() {
        assert_eq!(difference(&object(2), &object(1)), ObjectComparison::Stale);
        assert_eq!(difference(&object(2), &object(2)), ObjectComparison::Different);
        assert_eq!(difference(&object(2), &object(3)), ObjectComparison::Different);
    }

    #[test]
    fn an_outcome_becomes_a_finding_and_those_a_verdict() {
        use Absence::{MayBeNeeded, Needed, OfLaterBackup, OfRestore};
        let depth = Depth { objects: 1, ..Depth::default() };
        for (outcome, absence, code, verdict_expected) in [
            (ObjectComparison::EqualByChecksum, Needed, None, Verdict::Pass),
            (ObjectComparison::EqualByReading, Needed, None, Verdict::Pass),
            (ObjectComparison::Deleted, Needed, None, Verdict::Pass),
            (ObjectComparison::Missing, Needed, Some("object.missing"), Verdict::Fail),
            (ObjectComparison::Missing, MayBeNeeded, Some("object.later"), Verdict::Inconclusive),
            (ObjectComparison::Missing, OfLaterBackup, Some("object.later"), Verdict::Pass),
            (ObjectComparison::Missing, OfRestore, Some("object.later"), Verdict::Pass),
            (ObjectComparison::Different, OfRestore, Some("object.different"), Verdict::Fail),
            (ObjectComparison::Stale, OfLaterBackup, Some("object.stale"), Verdict::Fail),
            (ObjectComparison::Different, OfLaterBackup, Some("object.different"), Verdict::Fail),
            (
                ObjectComparison::Unreadable("why".to_owned()),
                Needed,
                Some("object.unreadable"),
                Verdict::Inconclusive,
            ),
        ] {
            let found = finding(&object(0), &outcome, absence, Some("PENDING".to_owned()));
            assert_eq!(found.as_ref().map(|finding| finding.code.as_str()), code, "{outcome:?}");
            let findings: Vec<ObjectFinding> = found.into_iter().collect();
            assert_eq!(verdict(&depth, &findings, &[]), verdict_expected, "{outcome:?}");
        }
    }

    #[test]
    fn what_was_not_looked_at_is_no_pass_and_excuses_no_failure() {
        let gap = [NotCovered::new(Check::Replica, "volume a/b", "elsewhere")];
        let depth = Depth { objects: 1, ..Depth::default() };
        let missing = finding(&object(0), &ObjectComparison::Missing, Absence::Needed, None);
        let missing: Vec<ObjectFinding> = missing.into_iter().collect();
        assert_eq!(verdict(&depth, &[], &gap), Verdict::Inconclusive);
        assert_eq!(verdict(&depth, &missing, &gap), Verdict::Fail);
        assert_eq!(verdict(&Depth::default(), &[], &[]), Verdict::Inconclusive);
    }
}
