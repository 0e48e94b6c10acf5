//! Gaps of a manifest, and objects that no comparison covers, so that a pass does not claim more than was checked.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::check::Check;
use crate::compare::ComparisonDraft;
use crate::database::{NOT_POPULATED, UNLOGGED_IN_RECOVERY};
use crate::definition::Definitions;
use crate::finding::{Severity, Verdict};
use crate::invariant::Outcome;
use crate::manifest::{Content, Manifest, Source, TableEntry};
use crate::table::TableKind;

/// Something that a check did not cover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotCovered {
    /// The check.
    #[serde(default)]
    pub check: Check,
    /// The object that it did not cover.
    pub object: String,
    /// Reason.
    pub reason: String,
}

impl NotCovered {
    /// The gap that a check is which the plan leaves out.
    pub(crate) fn skipped(check: Check) -> Self {
        Self::new(check, check.name().unwrap_or_default(), "skipped by --skip or --checks")
    }

    /// A gap of a check.
    pub fn new(check: Check, object: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self { check, object: object.to_string(), reason: reason.into() }
    }

    /// The gap that another database of the same cluster is.
    pub(crate) fn other_database(name: &str) -> Self {
        Self::new(Check::Databases, format_args!("database {name}"), "another database of the same cluster")
    }
}

/// A kind of object that is not compared.
struct Kind {
    /// Name in reports. Stays the same, for scripts.
    object: &'static str,
    /// Objects of this kind.
    what: &'static str,
    /// The check that would compare it.
    check: Check,
    /// The catalogues that hold it, whole or in part.
    catalogues: &'static [&'static str],
}

const KINDS: [Kind; 3] = [
    Kind {
        object: "subscriptions and replication",
        what: "what subscriptions connect to and whether they are enabled, replication origins and slots",
        check: Check::Definitions,
        catalogues: &["pg_replication_origin", "pg_subscription_rel"],
    },
    Kind {
        object: "secrets of foreign servers",
        what: "values of options that may be secrets, and options of user mappings,",
        check: Check::Definitions,
        catalogues: &[],
    },
    Kind {
        object: "secrets of roles and settings",
        what: "passwords of roles, and values of settings that may be secrets,",
        check: Check::Cluster,
        catalogues: &[],
    },
];

/// The catalogues whose objects are listed as not compared, whole or in part.
pub fn catalogues_not_compared() -> impl Iterator<Item = &'static str> {
    KINDS.iter().flat_map(|kind| kind.catalogues.iter().copied())
}

impl ComparisonDraft<'_> {
    /// Lists what no comparison of rows covers.
    pub(crate) fn beyond(&mut self, source: &Manifest, restored: &Manifest) {
        for table in &source.header.source.foreign_tables {
            self.not_covered(Check::Rows, table, "a foreign table: its rows are on another server");
        }
        for Kind { object, what, check, .. } in &KINDS {
            self.not_covered(*check, object, format!("{what} are not compared"));
        }
        self.not_covered(
            Check::IndexContents,
            "contents of indexes",
            "not checked against their tables; amcheck's bt_index_check('…', true) does that for b-trees",
        );
        self.prepared_transactions(&source.header.source, &restored.header.source);
        for database in &source.header.source.other_databases {
            self.coverage.not_covered.push(NotCovered::other_database(database));
        }
    }

    /// Lists prepared transactions: their writes are in no snapshot until they are committed, and a dump omits them.
    fn prepared_transactions(&mut self, source: &Source, restored: &Source) {
        let (ours, theirs) = (source.prepared_transactions, restored.prepared_transactions);
        if (ours, theirs) == (Some(0), Some(0)) {
            return;
        }
        let pending =
            |count: Option<u64>| count.map_or("an unknown number".to_owned(), |count| count.to_string());
        let reason = format!(
            "{} pending on the source, {} in the restored database: their writes are not committed, so they are not compared",
            pending(ours),
            pending(theirs)
        );
        self.not_covered(Check::PreparedTransactions, "prepared transactions", reason);
    }
}

impl Manifest {
    /// Objects of the database that could not be measured, with the reasons; a database of which nothing was measured
    /// is one.
    pub fn not_covered(&self) -> Vec<NotCovered> {
        self.gaps().map(|(_, gap)| gap).collect()
    }

    /// Returns the verdict on the coverage: fail if the server found data damaged, inconclusive if something, or
    /// everything, could not be measured.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self.gaps().map(|(severity, _)| severity))
    }

    /// Returns the verdict on the coverage of one of several databases: one without tables, as `postgres` usually is, is no gap then.
    pub fn verdict_of_several(&self) -> Verdict {
        if self.tables.is_empty() {
            return Verdict::of(self.gaps_of_objects().map(|(severity, _)| severity));
        }
        self.verdict()
    }

    fn gaps(&self) -> impl Iterator<Item = (Severity, NotCovered)> {
        let empty = !self.tables.iter().any(TableEntry::is_measured);
        let nothing = NotCovered::new(Check::Rows, "tables", "no table of the database was measured");
        self.gaps_of_objects().chain(empty.then_some((Severity::Inconclusive, nothing)))
    }

    fn gaps_of_objects(&self) -> impl Iterator<Item = (Severity, NotCovered)> {
        let tables = self.tables.iter().filter_map(|entry| {
            let (severity, reason) = match &entry.content {
                Content::Rows { .. } => return None,
                // There is nothing to measure.
                Content::Unreadable(reason) if reason == NOT_POPULATED => return None,
                Content::Damaged(reason) => (Severity::Fail, reason),
                // It was refreshed meanwhile; its rows are derived from others.
                Content::Rewritten(reason) if entry.table.kind == TableKind::MaterializedView => {
                    (Severity::Notice, reason)
                }
                // A standby has none of its rows, and neither has a copy of it.
                Content::Unreadable(reason) if reason == UNLOGGED_IN_RECOVERY => (Severity::Notice, reason),
                Content::Rewritten(reason) | Content::Unreadable(reason) => (Severity::Inconclusive, reason),
            };
            Some((severity, NotCovered::new(Check::Rows, entry.name(), reason)))
        });
        let sequences = self.sequences.iter().filter_map(|sequence| {
            let unread = sequence.earliest.is_none() || sequence.latest.is_none();
            let reason = sequence.unreadable.as_deref().unwrap_or("its value could not be read");
            let severity =
                if reason == UNLOGGED_IN_RECOVERY { Severity::Notice } else { Severity::Inconclusive };
            unread.then(|| (severity, NotCovered::new(Check::Sequences, &sequence.name, reason)))
        });
        let invariants = self.invariants.iter().filter_map(|evaluated| match &evaluated.outcome {
            Outcome::Result(_) => None,
            Outcome::Broken(reason) => {
                Some(NotCovered::new(Check::Invariants, &evaluated.invariant.name, reason))
            }
        });
        let all_unread = match &self.definitions {
            Definitions::Read(_) => None,
            Definitions::Unread(reason) => {
                Some((Severity::Inconclusive, NotCovered::new(Check::Definitions, "definitions", reason)))
            }
        };
        let unread = self.definitions.unread().map(|definition| {
            let reason = definition.unread.as_deref().unwrap_or_default();
            (definition.unread_severity(), NotCovered::new(Check::Definitions, definition, reason))
        });
        let definitions = unread.chain(all_unread);
        tables.chain(definitions).chain(sequences).chain(invariants.map(|gap| (Severity::Inconclusive, gap)))
    }
}
