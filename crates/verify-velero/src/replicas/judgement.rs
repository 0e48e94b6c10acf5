//! What it means that objects are missing, older or different, and the verdict on a copy.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use verify_core::finding::{Severity, Verdict};
use verify_core::not_covered::NotCovered;

use super::inventory::VeleroBackup;
use super::repository::Absence;
use verify_drill::store::{Head, Object};

/// A copy of a backup, held against its original.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[must_use]
pub struct Replica {
    /// The answer.
    pub verdict: Verdict,
    /// The backup.
    pub backup: VeleroBackup,
    /// Where the original is.
    pub from: String,
    /// Where the copy is.
    pub to: String,
    /// What was compared.
    pub depth: Depth,
    /// Objects that are not as they should be.
    pub findings: Vec<ObjectFinding>,
    /// What the copy cannot hold, or what could not be looked at.
    pub not_covered: Vec<NotCovered>,
    /// Objects of the copy that the original lacks; they do no harm.
    pub extra: u64,
    /// The newest backup whose copy is complete.
    pub newest_complete: NewestComplete,
}

/// How many objects were compared, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Depth {
    /// Objects of the original that a restore needs.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// So many were compared by checksums that both services keep.
    pub by_checksum: u64,
    /// So many were read on both sides.
    pub by_reading: u64,
}

/// An object that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[must_use]
pub struct ObjectFinding {
    /// What it is.
    pub code: ObjectCode,
    /// What it means.
    pub severity: Severity,
    /// The key below the prefix.
    pub key: String,
    /// A sentence.
    pub message: String,
    /// What the original's service says of its replication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<String>,
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
    /// There is one.
    Found {
        /// Its name.
        backup: String,
        /// When it began; later writes may be missing from it.
        #[schemars(with = "Option<String>")]
        started_at: Option<Timestamp>,
        /// How long that is ago.
        age_s: Option<i64>,
    },
    /// None of those that were looked at.
    None {
        /// How many, the newest first.
        looked_at: u64,
    },
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// By a checksum that both services keep.
    EqualByChecksum,
    /// By reading both.
    EqualByReading,
    Missing,
    Stale,
    Different,
    /// With the reason.
    Unreadable(String),
    /// The original went while it was looked at.
    Gone,
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

/// Whether two objects are the same by the strongest checksum that both have; nothing where they share none.
pub(super) fn same_by_checksum(original: &Head, copy: &Head) -> Option<bool> {
    let mut shared =
        original.checksums.iter().filter_map(|(kind, value)| Some((value, copy.checksums.get(kind)?)));
    shared.next().map(|(original, copy)| original == copy)
}

/// What a copy is that differs: one that was written before its original was left behind.
pub(super) fn difference(original: &Object, copy: &Object) -> Outcome {
    if copy.modified < original.modified { Outcome::Stale } else { Outcome::Different }
}

/// The finding that an outcome amounts to, where it does.
pub(super) fn finding(
    object: &Object,
    outcome: &Outcome,
    absence: Absence,
    replication: Option<String>,
) -> Option<ObjectFinding> {
    let written = object.modified;
    let (code, severity, message) = match (outcome, absence) {
        (Outcome::EqualByChecksum | Outcome::EqualByReading | Outcome::Gone, _) => return None,
        (Outcome::Missing, Absence::Needed) => {
            (ObjectCode::Missing, Severity::Fail, format!("the copy lacks it; the original is of {written}"))
        }
        (Outcome::Missing, Absence::MayBeNeeded) => (
            ObjectCode::Later,
            Severity::Inconclusive,
            format!(
                "the copy lacks it; it was written after the backup, at {written}, and maintenance may have moved data into it"
            ),
        ),
        (Outcome::Missing, Absence::OfLaterBackup) => (
            ObjectCode::Later,
            Severity::Notice,
            format!("the copy lacks it; it was written after the backup, at {written}"),
        ),
        (Outcome::Missing, Absence::OfRestore) => (
            ObjectCode::Later,
            Severity::Notice,
            format!("the copy lacks it; it is a restore's report of {written}, which no restore reads"),
        ),
        (Outcome::Stale, _) => (
            ObjectCode::Stale,
            Severity::Fail,
            format!("the copy is older than the original of {written}, and different"),
        ),
        (Outcome::Different, _) => (
            ObjectCode::Different,
            Severity::Fail,
            format!("the copy is not the original of {written}, and not older"),
        ),
        (Outcome::Unreadable(reason), _) => (ObjectCode::Unreadable, Severity::Inconclusive, reason.clone()),
    };
    Some(ObjectFinding { code, severity, key: object.key.clone(), message, replication })
}

/// The verdict: nothing that was not looked at is a pass.
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
        assert_eq!(difference(&object(2), &object(1)), Outcome::Stale);
        assert_eq!(difference(&object(2), &object(2)), Outcome::Different);
        assert_eq!(difference(&object(2), &object(3)), Outcome::Different);
    }

    #[test]
    fn an_outcome_becomes_a_finding_and_those_a_verdict() {
        use Absence::{MayBeNeeded, Needed, OfLaterBackup, OfRestore};
        let depth = Depth { objects: 1, ..Depth::default() };
        for (outcome, absence, code, verdict_expected) in [
            (Outcome::EqualByChecksum, Needed, None, Verdict::Pass),
            (Outcome::EqualByReading, Needed, None, Verdict::Pass),
            (Outcome::Gone, Needed, None, Verdict::Pass),
            (Outcome::Missing, Needed, Some("object.missing"), Verdict::Fail),
            (Outcome::Missing, MayBeNeeded, Some("object.later"), Verdict::Inconclusive),
            (Outcome::Missing, OfLaterBackup, Some("object.later"), Verdict::Pass),
            (Outcome::Missing, OfRestore, Some("object.later"), Verdict::Pass),
            (Outcome::Different, OfRestore, Some("object.different"), Verdict::Fail),
            (Outcome::Stale, OfLaterBackup, Some("object.stale"), Verdict::Fail),
            (Outcome::Different, OfLaterBackup, Some("object.different"), Verdict::Fail),
            (Outcome::Unreadable("why".to_owned()), Needed, Some("object.unreadable"), Verdict::Inconclusive),
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
        let missing = finding(&object(0), &Outcome::Missing, Absence::Needed, None);
        let missing: Vec<ObjectFinding> = missing.into_iter().collect();
        assert_eq!(verdict(&depth, &[], &gap), Verdict::Inconclusive);
        assert_eq!(verdict(&depth, &missing, &gap), Verdict::Fail);
        assert_eq!(verdict(&Depth::default(), &[], &[]), Verdict::Inconclusive);
    }
}
