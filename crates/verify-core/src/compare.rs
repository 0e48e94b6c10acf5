//! Two measurements become findings. Nothing here reads a database; [`crate::verify`] does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::compare_definitions;
use crate::database::{Deviation, NOT_POPULATED, Placement, UNLOGGED_IN_RECOVERY};
use crate::finding::{Code, Finding, Verdict, severities};
use crate::heartbeat;
use crate::journal::MeasuredEarlier;
use crate::manifest::{Consistency, Content, Manifest, TableEntry};
use crate::not_covered::{Check, NotCovered};
use crate::partitions::Moved;
use crate::rows::{Differing, Excuse};
use crate::self_test::SelfTest;
use crate::table::{Encoding, TableKind, TableName};

/// Result of comparing a restored database with its source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[must_use]
pub struct Comparison {
    /// The answer.
    verdict: Verdict,
    /// Findings, the worst first.
    findings: Vec<Finding>,
    /// Depth of the comparison.
    coverage: Coverage,
    /// Checks that ran, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ran: Vec<Ran>,
    /// Damage that was done on purpose, and seen or not; none where no self-test ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    self_test: Option<SelfTest>,
}

/// Checks that ran together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ran {
    /// The checks.
    pub checks: Vec<Check>,
    /// Duration, in milliseconds.
    pub duration_ms: u64,
}

impl Comparison {
    /// Judges findings.
    pub fn new(mut findings: Vec<Finding>, coverage: Coverage) -> Self {
        findings.sort_by_key(|finding| Reverse(finding.severity()));
        Self {
            verdict: Verdict::of(severities(&findings)),
            findings,
            coverage,
            ran: Vec::new(),
            self_test: None,
        }
    }

    /// The answer, that of the findings.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(severities(&self.findings))
    }

    /// Findings, the worst first.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Depth of the comparison.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Adds what another check of the same database found, behind what is as bad; the verdict counts both checks.
    pub fn join(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
        let (ran, self_test) = (std::mem::take(&mut self.ran), self.self_test.take());
        let joined = Self::new(std::mem::take(&mut self.findings), std::mem::take(&mut self.coverage));
        *self = Self { ran, self_test, ..joined };
    }

    /// Checks that ran, in order, with the time that they took.
    pub fn ran(&self) -> &[Ran] {
        &self.ran
    }

    /// Result of the self-test, if it ran.
    pub fn self_test(&self) -> Option<&SelfTest> {
        self.self_test.as_ref()
    }

    /// Notes the result of the self-test.
    pub fn set_self_test(&mut self, test: SelfTest) {
        self.self_test = Some(test);
    }

    /// Notes that checks ran.
    pub fn add_ran(&mut self, ran: Ran) {
        self.ran.push(ran);
    }

    /// Returns the tables whose every row was compared and is equal to the source's.
    pub fn equal_tables(&self, source: &Manifest) -> BTreeSet<TableName> {
        let doubts = [
            Code::SnapshotUnproven,
            Code::CopyOlder,
            Code::SourceSameServer,
            Code::ManifestIncomparable,
            Code::CoverageNone,
        ];
        if self.findings.iter().any(|finding| doubts.contains(&finding.code())) {
            return BTreeSet::new();
        }
        let expected = [Code::TableHashedOnServer, Code::ConstraintViolated, Code::ConstraintUnknown];
        let findings = self.findings.iter().filter(|finding| !expected.contains(&finding.code()));
        let gaps = self.coverage.not_covered.iter().filter(|gap| gap.check == Check::Rows);
        let named: BTreeSet<&str> = findings
            .map(|finding| finding.object.as_str())
            .chain(gaps.map(|gap| gap.object.as_str()))
            .collect();
        let is_named = |name: &TableName| named.contains(name.to_string().as_str());
        let equal = source.tables.iter().filter(|entry| {
            entry.is_measured()
                && !is_named(entry.name())
                && !entry.table.partition_of.as_ref().is_some_and(is_named)
        });
        equal.map(|entry| entry.name().clone()).collect()
    }

    /// Adds a finding that explains others, before what is as bad.
    pub fn lead(&mut self, finding: Finding) {
        self.findings.insert(0, finding);
        self.join([]);
    }

    /// Adds what a check did not cover. It leaves the verdict as it is: where it matters, a finding says so.
    pub fn not_covered(&mut self, gaps: impl IntoIterator<Item = NotCovered>) {
        self.coverage.not_covered.extend(gaps);
    }

    /// Drops the gap that indexes were not checked against their tables, for a check that names its own gaps.
    ///
    /// A collation with another version is no more than a notice then: the indexes have its order.
    pub fn indexes_were_checked(&mut self) {
        self.coverage.not_covered.retain(|gap| gap.check != Check::IndexContents);
        let excuse = |finding: Finding| match finding.code() {
            Code::CollationChanged => finding.excused(),
            _ => finding,
        };
        self.findings = std::mem::take(&mut self.findings).into_iter().map(excuse).collect();
        self.join([]);
    }

    /// Excuses that no table was compared, for one of several databases, whose source has no tables: `postgres` usually has none.
    pub fn source_has_no_tables(&mut self) {
        let excuse = |finding: Finding| match finding.code() {
            Code::CoverageNone => finding.excused(),
            _ => finding,
        };
        self.findings = std::mem::take(&mut self.findings).into_iter().map(excuse).collect();
        self.join([]);
    }

    /// Drops the gap that another database of the cluster is, where it is compared as well.
    pub fn database_was_compared(&mut self, name: &str) {
        let gap = NotCovered::other_database(name);
        self.coverage.not_covered.retain(|other| *other != gap);
    }

    /// Returns whether verdict and findings agree; those of a file may not.
    pub(crate) fn is_consistent(&self) -> bool {
        self.verdict == self.verdict() && self.findings.iter().all(Finding::is_consistent)
    }
}

/// Compared objects, and those that were not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Tables whose every row was compared.
    pub tables: u64,
    /// Their rows on the source.
    pub rows: u64,
    /// The bytes of those rows.
    pub bytes: u64,
    /// Sequences compared.
    pub sequences: u64,
    /// Objects whose definitions were compared.
    #[serde(default)]
    pub definitions: u64,
    /// Invariants evaluated.
    pub invariants: u64,
    /// Objects that were not compared, with the reason.
    pub not_covered: Vec<NotCovered>,
    /// Those of the tables whose measurement was made before, by an interrupted run or by other processes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<MeasuredEarlier>,
}

/// Fewer tables than this are not worth another thread: most are equal.
const TABLES_MIN: usize = 64;

/// Compares two measurements.
pub fn compare(source: &Manifest, restored: &Manifest) -> Comparison {
    let mut draft = ComparisonDraft::new(source, restored, None);
    draft.compare_cluster(source, restored, false);
    draft.finish()
}

/// A comparison whose differing tables are not named yet, so that they can be looked up first.
pub(crate) struct ComparisonDraft<'a> {
    pub findings: Vec<Finding>,
    pub coverage: Coverage,
    /// Differences of the restored side that do not count as failures.
    pub doubts: Doubts,
    pub differing: Vec<Differing<'a>>,
    /// Objects whose definitions read differently, until [`ComparisonDraft::settle_definitions`] decides.
    pub definitions: Vec<compare_definitions::Differing<'a>>,
    /// Partitioned tables whose rows may only have moved, until [`ComparisonDraft::settle`] decides.
    pub moved: Vec<Moved<'a>>,
    /// True if rows were counted and hashed by the servers alone, which verifies no table.
    screened: bool,
}

impl<'a> ComparisonDraft<'a> {
    /// `deviation` is the reason why the restored side is not the requested snapshot, if its reader gives one.
    pub(crate) fn new(source: &'a Manifest, restored: &'a Manifest, deviation: Option<Deviation>) -> Self {
        Self::begin(source, restored, deviation, false)
    }

    /// The same of two databases whose digests were computed by the servers, without names of rows.
    pub(crate) fn of_screen(source: &'a Manifest, restored: &'a Manifest) -> Self {
        Self::begin(source, restored, None, true)
    }

    fn begin(
        source: &'a Manifest,
        restored: &'a Manifest,
        deviation: Option<Deviation>,
        screened: bool,
    ) -> Self {
        let mut draft = Self { screened, ..Self::empty() };
        let older = matches!(deviation, Some(Deviation::Older(_)));
        match deviation.or_else(|| moved_on(source, restored)) {
            Some(Deviation::Unproven(reason)) => draft.unproven(
                &reason,
                "restore the backup again as it was taken, or take a new one; see docs/consistency.md",
            ),
            Some(Deviation::Older(reason)) => draft.findings.push(self::older(&reason)),
            Some(Deviation::Unknown) => draft.bounded(source, restored),
            None => {}
        }
        if source.header.source.is_same_database(&restored.header.source) {
            draft.findings.push(same_server());
        }
        let keyed_alike =
            (source.header.hash, source.header.key) == (restored.header.hash, restored.header.key);
        if !keyed_alike {
            draft.findings.push(incomparable());
        }
        let files = draft.doubts != Doubts::OfInstant && source.header.consistency.is_of_files();
        let travelled = files && !matches!(source.header.consistency, Consistency::CommitOrder(_));
        let fenced = files && matches!(source.header.consistency, Consistency::Fence(_));
        draft.tables(
            source,
            restored,
            Circumstances { travelled, files, fenced, older, keyed_alike, screened },
        );
        // In a copy of files no row ever moves.
        if !files {
            draft.moved = Moved::take(&mut draft.differing, source, restored);
        }
        draft.sequences(source, restored);
        draft.definitions = draft.compare_definitions(source, restored);
        draft.invariants(source, restored);
        draft.pulse(source, restored);
        draft.beyond(source, restored);
        draft
    }

    pub(crate) fn empty() -> Self {
        Self {
            findings: Vec::new(),
            coverage: Coverage::default(),
            doubts: Doubts::None,
            differing: Vec::new(),
            definitions: Vec::new(),
            moved: Vec::new(),
            screened: false,
        }
    }

    /// The restored side is not confirmed to show the snapshot of the manifest: no difference is a failure.
    pub(crate) fn unproven(&mut self, reason: &str, hint: &str) {
        self.doubts = Doubts::All;
        self.findings.push(Finding::new(Code::SnapshotUnproven, "snapshot", reason).with_hint(hint));
    }

    /// The restored side shows an unknown point in time: what is equal is verified, and what time may explain is no failure.
    fn bounded(&mut self, source: &Manifest, restored: &Manifest) {
        self.doubts = Doubts::OfInstant;
        let bound = match &restored.pulse.beat {
            Some(beat) => format!("its newest heartbeat is of {}", beat.written_at),
            None => "it has no heartbeat that would show how far it goes".to_owned(),
        };
        let message = format!(
            "the point in time of the copy is unknown: {bound}, and the manifest is of {}; rows that differ may have been written before \
             or after it",
            source.header.captured_at
        );
        self.findings.push(Finding::new(Code::SnapshotUnproven, "snapshot", message).with_hint(
            "capture the manifest with the backup (`state-lab backup`), so that both are of one snapshot; see docs/consistency.md",
        ));
    }

    /// A restored table changed while it was read: its differences are not confirmed.
    pub(crate) fn disturbed(&mut self, source: &Manifest, name: &TableName, reason: &str) {
        self.differing.retain(|differing| differing.table.name != *name);
        // That it was dropped when it was to be read is the same cause.
        let object = name.to_string();
        let changed = [Code::TableRewritten, Code::MatviewDiffers];
        self.findings.retain(|finding| finding.object != object || !changed.contains(&finding.code()));
        self.not_covered(Check::Rows, name, reason);
        let root = source.table(name).and_then(|entry| entry.table.partition_of.as_ref());
        if let Some(place) = self.moved.iter().position(|moved| Some(&moved.root) == root) {
            let moved = self.moved.remove(place);
            let message = "rows moved between its partitions, of which one changed while it was read";
            self.not_covered(Check::Rows, &moved.root, message);
            self.find(Code::TableRewritten, &moved.root, message);
        }
        self.find(rewritten(source.table(name)), name, format!("changed while it was read: {reason}"));
    }

    pub(crate) fn finish(mut self) -> Comparison {
        for moved in std::mem::take(&mut self.moved) {
            let reason = "the restored database was not available".to_owned();
            self.settle(moved, Placement::Unknown(reason));
        }
        self.settle_definitions(Vec::new());
        let differing = std::mem::take(&mut self.differing);
        let findings: Vec<_> = differing.into_par_iter().map(Differing::findings).collect();
        self.findings.extend(findings.into_iter().flatten());
        if self.coverage.tables == 0 && !self.screened {
            self.findings.push(Finding::new(
                Code::CoverageNone,
                "tables",
                "no table was compared, so nothing is verified",
            ));
        }
        match self.doubts {
            Doubts::None => {}
            Doubts::OfInstant => {
                let dependent =
                    self.findings.iter_mut().filter(|finding| finding.code().depends_on_instant());
                dependent.for_each(Finding::doubt);
            }
            Doubts::All => self.findings.iter_mut().for_each(Finding::doubt),
        }
        Comparison::new(self.findings, self.coverage)
    }

    pub(crate) fn not_covered(
        &mut self,
        check: Check,
        object: impl std::fmt::Display,
        reason: impl Into<String>,
    ) {
        self.coverage.not_covered.push(NotCovered::new(check, object, reason));
    }

    pub(crate) fn find(&mut self, code: Code, object: impl std::fmt::Display, message: impl Into<String>) {
        self.findings.push(Finding::new(code, object, message));
    }

    fn tables(&mut self, source: &'a Manifest, restored: &'a Manifest, circumstances: Circumstances) {
        let tables = source.tables.par_iter().with_min_len(TABLES_MIN);
        let parts: Vec<Self> = tables
            .map(|ours| {
                let mut part = Self::empty();
                match restored.table(ours.name()) {
                    None => part.missing(ours),
                    Some(theirs) => part.table(ours, theirs, circumstances),
                }
                part
            })
            .collect();
        parts.into_iter().for_each(|part| self.add(part));
        for theirs in restored.tables.iter().filter(|theirs| source.table(theirs.name()).is_none()) {
            let message = format!("the source has no such table{}", row_count_text(theirs));
            self.find(Code::TableAdded, theirs.name(), message);
        }
    }

    /// Adds what was found in one table.
    fn add(&mut self, part: Self) {
        self.findings.extend(part.findings);
        self.differing.extend(part.differing);
        let Coverage { tables, rows, bytes, sequences, definitions, invariants, not_covered, earlier } =
            part.coverage;
        self.coverage.tables += tables;
        self.coverage.rows += rows;
        self.coverage.bytes += bytes;
        self.coverage.sequences += sequences;
        self.coverage.definitions += definitions;
        self.coverage.invariants += invariants;
        self.coverage.not_covered.extend(not_covered);
        self.coverage.earlier.extend(earlier);
    }

    fn missing(&mut self, ours: &TableEntry) {
        let rows = match &ours.content {
            Content::Rows { digest, .. } => format!(" with its {} rows", digest.rows),
            _ => String::new(),
        };
        self.find(Code::TableMissing, ours.name(), format!("the table is missing{rows}"));
    }

    fn table(&mut self, ours: &'a TableEntry, theirs: &'a TableEntry, circumstances: Circumstances) {
        let columns = column_differences(ours, theirs);
        if !columns.is_empty() {
            self.find(Code::TableColumns, ours.name(), columns.join("; "));
        }
        self.parents(ours, theirs);
        if circumstances.travelled
            && !circumstances.older
            && ours.filenode != theirs.filenode
            && ours.table.kind != TableKind::LargeObjects
        {
            let message = match ours.table.kind {
                TableKind::MaterializedView => "the view was refreshed between the capture and the copy",
                _ => "the table was truncated or rewritten between the capture and the copy",
            };
            self.find(rewritten(Some(ours)), ours.name(), message);
            self.not_covered(Check::Rows, ours.name(), message);
            return;
        }
        let (digest, bytes) = match (&ours.content, &theirs.content) {
            (Content::Rows { digest, bytes, .. }, Content::Rows { .. }) => (digest, bytes),
            (ours_content, theirs_content) => {
                self.unread(ours, ours_content, theirs_content, circumstances);
                return;
            }
        };
        if ours.table.columns.iter().any(|column| column.encoding == Encoding::Sha256) {
            let message = "values too large to transfer were compared by a SHA-256 that the server computed";
            self.find(Code::TableHashedOnServer, ours.name(), message);
        }
        if !circumstances.keyed_alike || !same_layout(ours, theirs) {
            self.counts_only(ours, theirs, circumstances);
            return;
        }
        let differing = Differing::new(ours, theirs)
            .map(|rows| if circumstances.screened { rows.unnamed() } else { rows });
        if differing.is_some() && ours.table.unlogged && theirs.table.unlogged && theirs.rows() == 0 {
            self.unlogged_lost(ours, circumstances);
            return;
        }
        if !circumstances.screened {
            self.coverage.tables += 1;
            self.coverage.rows += digest.rows;
            self.coverage.bytes += bytes;
        }
        let excuse = match circumstances {
            Circumstances { fenced: true, .. } if ours.table.kind != TableKind::Table => {
                Some(Excuse::Unlocked)
            }
            Circumstances { files: true, .. } => None,
            _ => excuse(ours),
        };
        self.differing.extend(differing.map(|rows| rows.excused(excuse)));
    }

    /// A partition that was detached still has its rows, and who reads the whole does not get them.
    fn parents(&mut self, ours: &TableEntry, theirs: &TableEntry) {
        if ours.table.parents == theirs.table.parents {
            return;
        }
        let parents_text = |entry: &TableEntry| match &entry.table.parents[..] {
            [] => "none".to_owned(),
            parents => parents.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        let message =
            format!("its parents are {}, on the source {}", parents_text(theirs), parents_text(ours));
        self.find(Code::TableParents, ours.name(), message);
    }

    fn unread(
        &mut self,
        ours: &TableEntry,
        source: &Content,
        restored: &Content,
        circumstances: Circumstances,
    ) {
        if circumstances.files && ours.table.unlogged && matches!(source, Content::Rows { .. }) {
            self.unlogged_lost(ours, circumstances);
            return;
        }
        if matches!(source, Content::Unreadable(reason) if reason == UNLOGGED_IN_RECOVERY) {
            let message = "unlogged, and the source was a standby, which has none of its rows";
            self.not_covered(Check::Rows, ours.name(), message);
            self.findings.push(Finding::new(Code::UnloggedLost, ours.name(), message).excused());
            return;
        }
        let empty =
            |content: &Content| matches!(content, Content::Unreadable(reason) if reason == NOT_POPULATED);
        if empty(source) && empty(restored) {
            return;
        }
        for (side, content) in [(Side::Source, source), (Side::Restored, restored)] {
            let (code, reason) = match content {
                Content::Rows { .. } => continue,
                Content::Unreadable(reason)
                    if reason == NOT_POPULATED && ours.table.kind == TableKind::MaterializedView =>
                {
                    (Code::MatviewDiffers, reason)
                }
                Content::Unreadable(reason) => (Code::TableUnreadable, reason),
                Content::Rewritten(reason) => (rewritten(Some(ours)), reason),
                Content::Damaged(reason) => (Code::TableDamaged, reason),
            };
            let message = match side {
                Side::Source => format!("could not be read on the source: {reason}"),
                Side::Restored => format!("could not be read in the restored database: {reason}"),
            };
            self.not_covered(Check::Rows, ours.name(), message.clone());
            let finding = Finding::new(code, ours.name(), message);
            self.findings.push(if side == Side::Source { finding.excused() } else { finding });
        }
    }

    /// A restore from files rightly empties an unlogged table; a restore from a dump does not.
    fn unlogged_lost(&mut self, ours: &TableEntry, circumstances: Circumstances) {
        let rows = ours.rows();
        let finding = if circumstances.files {
            let message = format!("unlogged, so a restore from files empties it; it had {rows} rows");
            Finding::new(Code::UnloggedLost, ours.name(), message).excused()
        } else {
            let message = format!(
                "unlogged, and now empty; it had {rows} rows, which a restore from files loses and one from a dump does not"
            );
            Finding::new(Code::UnloggedLost, ours.name(), message)
        };
        self.not_covered(Check::Rows, ours.name(), finding.message.clone());
        self.findings.push(finding);
    }

    /// Rows of different keys or layouts: a different count is damage, an equal one verifies nothing.
    fn counts_only(&mut self, ours: &TableEntry, theirs: &TableEntry, circumstances: Circumstances) {
        let (source, restored) = (ours.rows(), theirs.rows());
        if source != restored {
            let message = format!("the source had {source} rows, the restored table has {restored}");
            self.find(Code::RowDiffers, ours.name(), message);
        }
        let reason = if circumstances.keyed_alike {
            "its rows were only counted, since its columns differ"
        } else {
            "its rows were only counted, since the two were captured under different keys"
        };
        self.not_covered(Check::Rows, ours.name(), reason);
    }
}

/// Code of a table whose rows were replaced before they could be compared. A materialised view's are derived from
/// others, and somebody refreshes it every few minutes.
fn rewritten(ours: Option<&TableEntry>) -> Code {
    match ours.map(|ours| ours.table.kind) {
        Some(TableKind::MaterializedView) => Code::MatviewDiffers,
        _ => Code::TableRewritten,
    }
}

/// Reason why a table may differ where the manifest's snapshot is not read again.
fn excuse(ours: &TableEntry) -> Option<Excuse> {
    let name = ours.name();
    if ours.table.kind == TableKind::MaterializedView {
        Some(Excuse::Derived)
    } else if name.schema == heartbeat::SCHEMA && name.name == heartbeat::TABLE {
        Some(Excuse::Heartbeat)
    } else {
        None
    }
}

/// Findings that are not failures, since the restored side is not known to show the snapshot of the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubts {
    /// None: it shows the snapshot, or is known to be older.
    None,
    /// Those that another point in time explains.
    OfInstant,
    /// All.
    All,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Restored,
}

#[derive(Clone, Copy)]
struct Circumstances {
    /// The source's snapshot was read again in a physical copy.
    travelled: bool,
    /// The restored side is a copy of files.
    files: bool,
    /// That copy was cut while no table was written to.
    fenced: bool,
    /// The copy ends before that snapshot, so that it was read as it is.
    older: bool,
    /// Both sides hashed under the same key.
    keyed_alike: bool,
    /// The servers hashed the rows.
    screened: bool,
}

/// Reason why `restored` is not known to show the snapshot of `source`, if it is not.
fn moved_on(source: &Manifest, restored: &Manifest) -> Option<Deviation> {
    match &source.header.consistency {
        Consistency::TimeTravel(_) if source.header.snapshot != restored.header.snapshot => Some(Deviation::Unproven(
            "the manifest belongs to a physical copy that is still in recovery, but this server has left recovery"
                .to_owned(),
        )),
        // A copy that was promoted may have replayed more, and been written to.
        Consistency::PausedStandby(position) if position.replay_lsn != restored.header.lsn => {
            Some(Deviation::Unproven(format!(
                "the manifest belongs to a copy that is in recovery at the WAL position {}, but this server is at {}",
                position.replay_lsn, restored.header.lsn
            )))
        }
        // Only who reads the copy itself finds out whether the fence stood when it was cut.
        fence @ Consistency::Fence(_) if *fence != restored.header.consistency => Some(Deviation::Unproven(
            "the manifest belongs to a copy that was cut behind a fence, and this one is not known to have been".to_owned(),
        )),
        _ => None,
    }
}

fn older(reason: &str) -> Finding {
    let message = format!("the copy is older than its manifest, or its WAL is truncated: {reason}");
    Finding::new(Code::CopyOlder, "copy", message).with_hint(
        "do not use this copy; check that the storage returned the copy of this backup and all of its WAL, and \
         take another backup",
    )
}

fn same_server() -> Finding {
    Finding::new(
        Code::SourceSameServer,
        "source",
        "the restored database is the source itself: both have the same system identifier, database OID and server \
         start time, so the comparison verifies no backup",
    )
    .with_hint("restore the backup into another server or database, and verify that one")
}

fn incomparable() -> Finding {
    Finding::new(
        Code::ManifestIncomparable,
        "manifest",
        "the two were captured under different keys, so only numbers of rows could be compared",
    )
    .with_hint("compare a manifest with a database (`verify`), or two databases (`compare`)")
}

/// Returns whether the rows of both were encoded in the same way.
pub(crate) fn same_layout(ours: &TableEntry, theirs: &TableEntry) -> bool {
    let layout = |entry: &TableEntry| {
        let columns = entry.table.columns.iter().map(|column| (column.name.clone(), column.encoding));
        columns.collect::<Vec<_>>()
    };
    layout(ours) == layout(theirs)
}

/// In words, how the columns of a restored table differ.
pub(crate) fn column_differences(ours: &TableEntry, theirs: &TableEntry) -> Vec<String> {
    let columns = |entry: &'_ TableEntry| -> BTreeMap<String, String> {
        let found = entry.columns_found.as_ref().unwrap_or(&entry.table.columns);
        found.iter().map(|column| (column.name.clone(), column.type_name.clone())).collect()
    };
    let (source, restored) = (columns(ours), columns(theirs));
    let mut differences = Vec::new();
    if ours.table.kind != theirs.table.kind {
        differences.push("it is another type of relation than on the source".to_owned());
    }
    for (name, type_name) in &source {
        match restored.get(name) {
            None => differences.push(format!("column {name} is missing")),
            Some(other) if other != type_name => {
                differences.push(format!("column {name} is {other}, on the source {type_name}"));
            }
            Some(_) => {}
        }
    }
    let added = restored.keys().filter(|name| !source.contains_key(*name));
    differences.extend(added.map(|name| format!("column {name} is not on the source")));
    differences
}

fn row_count_text(entry: &TableEntry) -> String {
    match &entry.content {
        Content::Rows { digest, .. } => format!("; this one has {} rows", digest.rows),
        _ => String::new(),
    }
}
