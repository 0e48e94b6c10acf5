//! The checks of a database, by name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A check that can leave something uncovered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Check {
    /// Not stated, as in files of earlier versions.
    #[default]
    Unstated,
    /// Every row of a table.
    Rows,
    /// The value of a sequence.
    Sequences,
    /// An invariant.
    Invariants,
    /// The definitions of objects.
    Definitions,
    /// What the cluster has besides its databases, and the properties of the database as a whole.
    Cluster,
    /// What a copy would do to other systems.
    Clone,
    /// Writes of prepared transactions.
    PreparedTransactions,
    /// The other databases of the cluster.
    Databases,
    /// Roles, where a logical backup restores them.
    Roles,
    /// Indexes against their tables.
    IndexContents,
    /// Objects that a check of indexes, pages and visibility maps reads, one by one.
    Integrity,
    /// Constraints against the rows, one by one.
    Constraints,
    /// Pages of tables.
    Heap,
    /// Visibility maps of tables.
    Visibility,
    /// Rows after transactions, a vacuum, a checkpoint and a restart.
    Durability,
    /// Damage that is done on purpose, and must be seen.
    SelfTest,
    /// The files of a backup.
    BackupFiles,
    /// The copy of a backup in another place.
    Replica,
}

impl Check {
    /// The checks that a plan may leave out, with their names.
    pub const SELECTABLE: [(&'static str, Self); 11] = [
        ("clone", Self::Clone),
        ("rows", Self::Rows),
        ("sequences", Self::Sequences),
        ("catalog", Self::Definitions),
        ("cluster", Self::Cluster),
        ("invariants", Self::Invariants),
        ("constraints", Self::Constraints),
        ("indexes", Self::IndexContents),
        ("heap", Self::Heap),
        ("visibility", Self::Visibility),
        ("durability", Self::Durability),
    ];

    /// Name of a check that a plan may leave out.
    pub fn name(self) -> Option<&'static str> {
        Self::SELECTABLE.iter().find(|(_, check)| *check == self).map(|(name, _)| *name)
    }
}
