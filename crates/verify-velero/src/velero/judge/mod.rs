//! Decides whether a backup contains the needed data, and whether a restore restored them.
//!
//! Every judgment is a function of what was seen. Velero's phase is one input among others: `Completed` has been seen
//! on restores that filled no volume, and `Failed` beside volumes that were copied completely.

mod backup;
mod finished;
mod location;
#[cfg(test)]
mod messages_tests;
mod restore;

pub use backup::{BackupSeen, backup_problems};
pub use location::location_problem;
pub use restore::{RestoreSeen, restore_problems};

use kube::Resource;

/// An object as problems name it: `Backup nightly-001`.
pub(super) fn named<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{} {}", K::kind(&()), object.meta().name.as_deref().unwrap_or_default())
}
