//! Scope and limits of a verification.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::digest::HashAlgorithm;
use crate::invariant::Invariant;

/// Relation of a capture's snapshot to a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One exported snapshot; a `pg_dump --snapshot` under the same one is exact.
    #[default]
    SharedSnapshot,
    /// Additionally an open transaction keeps every row version of the snapshot until a physical copy
    /// is cut, so that the copy can be read as of the snapshot.
    TimeTravel,
    /// The snapshot of a standby whose replay the caller has paused ([`crate::postgres::PausedReplay`]) until a physical
    /// copy is complete.
    PausedStandby,
}

/// A whole order to measure a database.
///
/// ```
/// use std::num::NonZeroUsize;
/// use verify_core::plan::{Mode, Plan};
///
/// let plan = Plan::default().with_mode(Mode::TimeTravel).with_jobs(NonZeroUsize::MIN);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// Relation of the capture to a backup.
    pub mode: Mode,
    /// The hash function of the rows.
    pub hash: HashAlgorithm,
    /// Number of parallel connections.
    pub jobs: NonZeroUsize,
    /// The application's own rules.
    pub invariants: Vec<Invariant>,
    /// Rules of one database alone, by its name on the source.
    #[serde(default)]
    pub invariants_of: BTreeMap<String, Vec<Invariant>>,
    /// Limits on what the server is asked to bear.
    pub limits: Limits,
    /// Checks of a restored database that are left out.
    #[serde(default)]
    pub skip: BTreeSet<Check>,
    /// Seed of a self-test; none runs without.
    #[serde(default)]
    pub self_test: Option<u64>,
    /// True if the caller restored the database, with the roles and the properties of databases, to a server with settings of its own.
    /// Then the loss of a role is a failure, also in a copy of a dump, and the server's settings are not compared.
    #[serde(default)]
    pub own_restore: bool,
    /// True if the point in time that the restored database shows is unknown. Then no difference that it may explain is a failure, and
    /// nothing passes.
    #[serde(default)]
    pub bounded: bool,
}

/// Limits on what the server is asked to bear.
///
/// ```
/// use verify_core::plan::{Limits, Plan};
///
/// let mut limits = Limits::default();
/// limits.lock_timeout_ms = 2_000;
/// let plan = Plan::default().with_limits(limits);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Limits {
    /// Time to wait for a lock that another session holds.
    pub lock_timeout_ms: u32,
    /// Time limit of one invariant.
    pub invariant_timeout_ms: u32,
    /// Time to wait for transactions that were open before a time-travel capture.
    pub anchor_timeout_ms: u32,
    /// Time without data from a server before a second connection checks that it still works. Zero never looks.
    #[serde(default = "stall_timeout_ms")]
    pub stall_timeout_ms: u32,
    /// Bytes of rows read from the database in a second, over all connections. Below 64 KiB a server may take its reader for dead.
    #[serde(default)]
    pub max_rate: Option<u64>,
    /// Bytes of WAL that a standby may be behind. While one is further behind, next to nothing is read.
    #[serde(default)]
    pub max_replication_lag: Option<u64>,
    /// Client sessions that may run a statement at the same time, without those of this program's name (`application_name`). While there
    /// are more, next to nothing is read.
    #[serde(default)]
    pub max_active_sessions: Option<u32>,
    /// Age of the snapshot at which the work ends with [`ErrorKind::LimitReached`](crate::ErrorKind::LimitReached).
    #[serde(default)]
    pub max_snapshot_age_ms: Option<u64>,
}

impl Plan {
    /// The same with this way to tie the capture to a backup.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// The same with this hash function.
    #[must_use]
    pub fn with_hash(self, hash: HashAlgorithm) -> Self {
        Self { hash, ..self }
    }

    /// The same with this many connections.
    #[must_use]
    pub fn with_jobs(self, jobs: NonZeroUsize) -> Self {
        Self { jobs, ..self }
    }

    /// The same with these rules alone, for any database.
    #[must_use]
    pub fn with_invariants(self, invariants: impl IntoIterator<Item = Invariant>) -> Self {
        Self { invariants: invariants.into_iter().collect(), invariants_of: BTreeMap::new(), ..self }
    }

    /// The same with rules of one database alone besides, by its name on the source.
    #[must_use]
    pub fn with_invariants_of(self, invariants_of: BTreeMap<String, Vec<Invariant>>) -> Self {
        Self { invariants_of, ..self }
    }

    /// The rules for a database.
    pub fn invariants_for(&self, database: &str) -> impl Iterator<Item = &Invariant> {
        self.invariants.iter().chain(self.invariants_of.get(database).into_iter().flatten())
    }

    /// The same for a copy of this database, whatever its name.
    pub(crate) fn for_copy_of(&self, database: &str) -> Self {
        self.clone().with_invariants(self.invariants_for(database).cloned())
    }

    /// The same without these checks of a restored database. Without rows nothing passes.
    #[must_use]
    pub fn without(self, checks: impl IntoIterator<Item = Check>) -> Self {
        Self { skip: checks.into_iter().collect(), ..self }
    }

    /// The same for a database that the caller restored.
    #[must_use]
    pub fn of_own_restore(self) -> Self {
        Self { own_restore: true, ..self }
    }

    /// The same for a restored database of an unknown point in time.
    #[must_use]
    pub fn of_unknown_instant(self) -> Self {
        Self { bounded: true, ..self }
    }

    /// The same with a self-test that makes its choices from this seed.
    #[must_use]
    pub fn with_self_test(self, seed: Option<u64>) -> Self {
        Self { self_test: seed, ..self }
    }

    /// Returns whether a check of a restored database is to run.
    pub fn runs(&self, check: Check) -> bool {
        !self.skip.contains(&check)
    }

    /// Returns whether something of a manifest is left out.
    pub(crate) fn skips_compared(&self) -> bool {
        let compared = [Check::Rows, Check::Sequences, Check::Definitions, Check::Cluster, Check::Invariants];
        compared.iter().any(|check| !self.runs(*check))
    }

    /// The same within these limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}

impl Limits {
    /// Returns whether a limit depends on what the server is doing.
    pub(crate) fn depend_on_activity(&self) -> bool {
        self.max_replication_lag.is_some()
            || self.max_active_sessions.is_some()
            || self.max_snapshot_age_ms.is_some()
    }

    /// The same without the limits that depend on what the server is doing.
    pub(crate) fn without_activity(self) -> Self {
        Self { max_replication_lag: None, max_active_sessions: None, max_snapshot_age_ms: None, ..self }
    }

    /// The longest silence.
    pub(crate) fn stall_timeout(self) -> Option<Duration> {
        (self.stall_timeout_ms > 0).then(|| Duration::from_millis(self.stall_timeout_ms.into()))
    }
}

fn stall_timeout_ms() -> u32 {
    120_000
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lock_timeout_ms: 10_000,
            invariant_timeout_ms: 60_000,
            anchor_timeout_ms: 60_000,
            stall_timeout_ms: stall_timeout_ms(),
            max_rate: None,
            max_replication_lag: None,
            max_active_sessions: None,
            max_snapshot_age_ms: None,
        }
    }
}

impl Default for Plan {
    /// A shared snapshot, BLAKE3, two connections, no invariants.
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            hash: HashAlgorithm::default(),
            jobs: NonZeroUsize::MIN.saturating_add(1),
            invariants: Vec::new(),
            invariants_of: BTreeMap::new(),
            limits: Limits::default(),
            skip: BTreeSet::new(),
            self_test: None,
            own_restore: false,
            bounded: false,
        }
    }
}
