//! Findings of a comparison: data with a stable code, never an error.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The answer: three ways, never a bool; a worse one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[must_use]
pub enum Verdict {
    /// Everything that should be checked was checked, and matches.
    Pass,
    /// No difference was found, but not everything could be checked.
    Inconclusive,
    /// Something differs.
    Fail,
}

impl Verdict {
    /// Returns the verdict of severities; the only place that decides one: one failure fails, one gap is inconclusive.
    pub fn of(severities: impl IntoIterator<Item = Severity>) -> Self {
        severities.into_iter().map(Self::from).max().unwrap_or(Self::Pass)
    }

    /// The verdict on several things together. Where nothing was judged, nothing passed.
    pub fn worst(verdicts: impl IntoIterator<Item = Self>) -> Self {
        verdicts.into_iter().max().unwrap_or(Self::Inconclusive)
    }
}

impl From<Severity> for Verdict {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Notice => Self::Pass,
            Severity::Inconclusive => Self::Inconclusive,
            Severity::Fail => Self::Fail,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::Fail => "fail",
        })
    }
}

/// Effect of a finding on the verdict; the worse is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// An expected difference, reported for completeness.
    Notice,
    /// Something could not be checked.
    Inconclusive,
    /// The restored database is not the one that was backed up.
    Fail,
}

/// Code of a finding. The meaning of a code never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Code {
    /// Rows of the source that the restored table lacks.
    #[serde(rename = "row.missing")]
    RowMissing,
    /// Rows that the source never had.
    #[serde(rename = "row.added")]
    RowAdded,
    /// Rows whose key is on both sides, with other content.
    #[serde(rename = "row.changed")]
    RowChanged,
    /// Rows differ, and could not be identified.
    #[serde(rename = "row.differs")]
    RowDiffers,
    /// A table of the source is missing.
    #[serde(rename = "table.missing")]
    TableMissing,
    /// A table that the source did not have.
    #[serde(rename = "table.added")]
    TableAdded,
    /// A table has other columns than on the source.
    #[serde(rename = "table.columns")]
    TableColumns,
    /// A table is no longer a partition or child of another, or has become one.
    #[serde(rename = "table.parents")]
    TableParents,
    /// Rows are in other partitions than on the source, where the restored server's own partitioning puts them.
    #[serde(rename = "partition.moved")]
    PartitionMoved,
    /// A table could not be read on one of the sides.
    #[serde(rename = "table.unreadable")]
    TableUnreadable,
    /// The server found a table's data damaged when it read them.
    #[serde(rename = "table.damaged")]
    TableDamaged,
    /// A table was rewritten, truncated or dropped while it was measured or copied.
    #[serde(rename = "table.rewritten")]
    TableRewritten,
    /// A large column was compared by a hash that the server computed.
    #[serde(rename = "table.hashed-on-server")]
    TableHashedOnServer,
    /// An unlogged table is empty, as a crash-like restore leaves it.
    #[serde(rename = "unlogged.lost")]
    UnloggedLost,
    /// A materialised view has other rows, or they could not be compared: it was refreshed, or not.
    #[serde(rename = "matview.differs")]
    MatviewDiffers,
    /// A sequence of the source is missing.
    #[serde(rename = "sequence.missing")]
    SequenceMissing,
    /// A sequence that the source did not have.
    #[serde(rename = "sequence.added")]
    SequenceAdded,
    /// A sequence has another increment, or another CYCLE option.
    #[serde(rename = "sequence.changed")]
    SequenceChanged,
    /// A sequence would return values again.
    #[serde(rename = "sequence.behind")]
    SequenceBehind,
    /// A sequence is further ahead than the source ever was.
    #[serde(rename = "sequence.ahead")]
    SequenceAhead,
    /// A sequence would return a value that its column contains.
    #[serde(rename = "sequence.collides")]
    SequenceCollides,
    /// A sequence could not be read.
    #[serde(rename = "sequence.unreadable")]
    SequenceUnreadable,
    /// An object of the source is missing.
    #[serde(rename = "catalog.missing")]
    CatalogMissing,
    /// An object that the source did not have.
    #[serde(rename = "catalog.added")]
    CatalogAdded,
    /// An object has another definition, owner or other privileges than on the source.
    #[serde(rename = "catalog.differs")]
    CatalogDiffers,
    /// Definitions could not be compared.
    #[serde(rename = "catalog.unknown")]
    CatalogUnknown,
    /// A role or tablespace of the source is missing.
    #[serde(rename = "cluster.missing")]
    ClusterMissing,
    /// A role or tablespace that the source did not have.
    #[serde(rename = "cluster.added")]
    ClusterAdded,
    /// The server, a role, a tablespace or the database as a whole has other properties than on the source.
    #[serde(rename = "cluster.differs")]
    ClusterDiffers,
    /// A database of the source is missing.
    #[serde(rename = "database.missing")]
    DatabaseMissing,
    /// A database that the source did not have.
    #[serde(rename = "database.added")]
    DatabaseAdded,
    /// A database of the source has no manifest.
    #[serde(rename = "database.not-captured")]
    DatabaseNotCaptured,
    /// Prepared transactions are pending.
    #[serde(rename = "cluster.prepared")]
    ClusterPrepared,
    /// What belongs to the whole cluster could not be compared.
    #[serde(rename = "cluster.unknown")]
    ClusterUnknown,
    /// A collation has another version than what is sorted by it was written with.
    #[serde(rename = "collation.changed")]
    CollationChanged,
    /// Something in the copy acts on other systems.
    #[serde(rename = "clone.acts")]
    CloneActs,
    /// Something in the copy would act on other systems once it is in use.
    #[serde(rename = "clone.dormant")]
    CloneDormant,
    /// Whether the copy acts on other systems could not be found out.
    #[serde(rename = "clone.unknown")]
    CloneUnknown,
    /// An invariant does not hold.
    #[serde(rename = "invariant.broken")]
    InvariantBroken,
    /// An invariant could not be evaluated.
    #[serde(rename = "invariant.unknown")]
    InvariantUnknown,
    /// An invariant was already broken on the source.
    #[serde(rename = "invariant.broken-on-source")]
    InvariantBrokenOnSource,
    /// The heartbeat's own rows differ: it continues during a capture and a backup.
    #[serde(rename = "heartbeat.differs")]
    HeartbeatDiffers,
    /// The heartbeat was not running during the capture.
    #[serde(rename = "heartbeat.stale")]
    HeartbeatStale,
    /// The restored database lacks the heartbeat of the source.
    #[serde(rename = "heartbeat.missing")]
    HeartbeatMissing,
    /// The snapshot of the restored copy could not be confirmed.
    #[serde(rename = "snapshot.unproven")]
    SnapshotUnproven,
    /// The copy ends before the snapshot of the manifest: it is older than its backup, or its WAL is truncated.
    #[serde(rename = "copy.older")]
    CopyOlder,
    /// The restored database is the source itself, on the same running server.
    #[serde(rename = "source.same-server")]
    SourceSameServer,
    /// The manifests cannot be compared.
    #[serde(rename = "manifest.incomparable")]
    ManifestIncomparable,
    /// The stored backup is not the one that was taken: files are missing, truncated or modified.
    #[serde(rename = "backup.damaged")]
    BackupDamaged,
    /// An index lacks rows of its table, or pages of an index, a table or its visibility map are damaged.
    #[serde(rename = "integrity.damaged")]
    IntegrityDamaged,
    /// Indexes or pages could not be checked.
    #[serde(rename = "integrity.unknown")]
    IntegrityUnknown,
    /// Rows violate a constraint that is marked valid.
    #[serde(rename = "constraint.violated")]
    ConstraintViolated,
    /// A constraint could not be checked.
    #[serde(rename = "constraint.unknown")]
    ConstraintUnknown,
    /// The restored server does not keep its rows when it is used and started again.
    #[serde(rename = "durability.failed")]
    DurabilityFailed,
    /// Whether it does could not be checked.
    #[serde(rename = "durability.unknown")]
    DurabilityUnknown,
    /// The self-test did damage that this set-up did not see.
    #[serde(rename = "self-test.missed")]
    SelfTestMissed,
    /// The self-test could not run.
    #[serde(rename = "self-test.unknown")]
    SelfTestUnknown,
    /// No table was compared.
    #[serde(rename = "coverage.none")]
    CoverageNone,
    /// A recovery objective was missed.
    #[serde(rename = "objective.missed")]
    ObjectiveMissed,
    /// A recovery objective could not be judged.
    #[serde(rename = "objective.unknown")]
    ObjectiveUnknown,
}

impl Code {
    /// The severity of a finding with this code.
    pub fn severity(self) -> Severity {
        match self {
            Self::RowMissing
            | Self::RowAdded
            | Self::RowChanged
            | Self::RowDiffers
            | Self::TableMissing
            | Self::TableAdded
            | Self::TableColumns
            | Self::TableParents
            | Self::TableDamaged
            | Self::SequenceMissing
            | Self::SequenceAdded
            | Self::SequenceChanged
            | Self::SequenceBehind
            | Self::SequenceAhead
            | Self::SequenceCollides
            | Self::CatalogMissing
            | Self::CatalogAdded
            | Self::CatalogDiffers
            | Self::ClusterMissing
            | Self::ClusterDiffers
            | Self::DatabaseMissing
            | Self::CloneActs
            | Self::InvariantBroken
            | Self::InvariantBrokenOnSource
            | Self::HeartbeatMissing
            | Self::CopyOlder
            | Self::BackupDamaged
            | Self::IntegrityDamaged
            | Self::ConstraintViolated
            | Self::DurabilityFailed
            | Self::SelfTestMissed
            | Self::ObjectiveMissed => Severity::Fail,
            Self::PartitionMoved
            | Self::TableUnreadable
            | Self::TableRewritten
            | Self::UnloggedLost
            | Self::SequenceUnreadable
            | Self::CatalogUnknown
            | Self::InvariantUnknown
            | Self::SnapshotUnproven
            | Self::SourceSameServer
            | Self::ManifestIncomparable
            | Self::IntegrityUnknown
            | Self::ConstraintUnknown
            | Self::ClusterUnknown
            | Self::CollationChanged
            | Self::CloneUnknown
            | Self::DurabilityUnknown
            | Self::SelfTestUnknown
            | Self::DatabaseNotCaptured
            | Self::CoverageNone
            | Self::ObjectiveUnknown => Severity::Inconclusive,
            Self::TableHashedOnServer
            | Self::ClusterAdded
            | Self::DatabaseAdded
            | Self::ClusterPrepared
            | Self::CloneDormant
            | Self::MatviewDiffers
            | Self::HeartbeatDiffers
            | Self::HeartbeatStale => Severity::Notice,
        }
    }

    /// Returns whether a copy of another point in time may differ so, without any damage.
    pub(crate) fn depends_on_instant(self) -> bool {
        matches!(
            self,
            Self::RowMissing
                | Self::RowAdded
                | Self::RowChanged
                | Self::RowDiffers
                | Self::TableMissing
                | Self::TableAdded
                | Self::TableColumns
                | Self::TableParents
                | Self::SequenceMissing
                | Self::SequenceAdded
                | Self::SequenceChanged
                | Self::SequenceBehind
                | Self::SequenceAhead
                | Self::CatalogMissing
                | Self::CatalogAdded
                | Self::CatalogDiffers
                | Self::ClusterMissing
                | Self::ClusterDiffers
                | Self::HeartbeatMissing
        )
    }

    /// The lesser severity that the code has where its cause is known and is not the restore.
    pub fn excused(self) -> Severity {
        match self {
            // The source's rows were damaged before they were backed up.
            Self::TableDamaged => Severity::Inconclusive,
            // The rows are derived from others, or the heartbeat's.
            Self::RowDiffers
            // Each row is where the restored server's partitioning puts it.
            | Self::PartitionMoved
            // An extension that the copy is checked with.
            | Self::CatalogAdded
            // A dump does not carry them.
            | Self::CatalogMissing
            | Self::CatalogDiffers
            | Self::ClusterMissing
            | Self::ClusterDiffers
            // Every index was checked against the new order.
            | Self::CollationChanged
            // A copy of files always loses them.
            | Self::UnloggedLost
            // It would have collided on the source too.
            | Self::SequenceCollides
            // It accepts no connections.
            | Self::DatabaseNotCaptured
            // One of several databases, which has no tables on the source either.
            | Self::CoverageNone
            // The source has the same rows.
            | Self::ConstraintViolated => Severity::Notice,
            code => code.severity(),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[must_use]
pub struct Finding {
    /// Code of the finding.
    code: Code,
    /// Effect on the verdict.
    severity: Severity,
    /// Table, sequence or invariant.
    pub object: String,
    /// Description of the finding, one sentence.
    pub message: String,
    /// Suggested next step.
    #[serde(default, rename = "advice", skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// The rows concerned, by key or as shown rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Rows>,
}

/// The rows of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rows {
    /// The names of rows, sorted by the values of their keys: `id=42`. Rows of an invariant are in the order of its result.
    pub named: Vec<String>,
    /// Lower bound of the number of rows, including the named ones.
    pub at_least: u64,
    /// True if there are more rows than could be identified.
    pub more: bool,
    /// Estimated total number of rows, from the strata, if there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<u64>,
}

impl Finding {
    /// A finding with the severity of its code, without rows or hint.
    pub fn new(code: Code, object: impl fmt::Display, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            object: object.to_string(),
            message: message.into(),
            hint: String::new(),
            rows: None,
        }
    }

    /// With the lesser severity that its code has where the restore is not to blame.
    pub fn excused(mut self) -> Self {
        self.severity = self.code.excused();
        self
    }

    /// The same finding with a suggested next step.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Code of the finding.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Effect on the verdict.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Downgrades a finding in a copy whose snapshot could not be confirmed, so that it is not a failure.
    pub(crate) fn doubt(&mut self) {
        self.severity = self.severity.min(Severity::Inconclusive);
    }

    /// Returns whether the severity is valid for the code; that of a file may not be.
    pub(crate) fn is_consistent(&self) -> bool {
        let full = self.code.severity();
        [full, self.code.excused(), full.min(Severity::Inconclusive)].contains(&self.severity)
    }
}

/// The severities of findings, for [`Verdict::of`].
pub fn severities<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> impl Iterator<Item = Severity> {
    findings.into_iter().map(Finding::severity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides() {
        let verdict =
            |codes: &[Code]| Verdict::of(codes.iter().map(|code| Finding::new(*code, "t", "m").severity()));
        assert_eq!(verdict(&[]), Verdict::Pass);
        assert_eq!(verdict(&[Code::MatviewDiffers]), Verdict::Pass);
        assert_eq!(verdict(&[Code::MatviewDiffers, Code::TableUnreadable]), Verdict::Inconclusive);
        assert_eq!(verdict(&[Code::TableUnreadable, Code::RowMissing]), Verdict::Fail);
        assert_eq!(Code::TableHashedOnServer.to_string(), "table.hashed-on-server");
    }

    #[test]
    fn one_failure_fails_and_nothing_is_no_pass() {
        use Verdict::{Fail, Inconclusive, Pass};
        for (verdicts, expected) in [
            (vec![Pass, Pass], Pass),
            (vec![Pass, Inconclusive], Inconclusive),
            (vec![Inconclusive, Fail, Pass], Fail),
            (vec![], Inconclusive),
        ] {
            assert_eq!(Verdict::worst(verdicts), expected);
        }
    }

    #[test]
    fn a_code_fixes_the_severities_that_a_finding_can_have() {
        let excused = |code| Finding::new(code, "t", "m").excused().severity();
        assert_eq!(excused(Code::TableDamaged), Severity::Inconclusive);
        assert_eq!(excused(Code::SequenceCollides), Severity::Notice);
        assert_eq!(excused(Code::RowMissing), Severity::Fail);
        let mut doubted = Finding::new(Code::RowMissing, "t", "m");
        doubted.doubt();
        assert_eq!((doubted.severity(), doubted.is_consistent()), (Severity::Inconclusive, true));
        let forged = Finding { severity: Severity::Notice, ..doubted };
        assert!(!forged.is_consistent());
    }
}
