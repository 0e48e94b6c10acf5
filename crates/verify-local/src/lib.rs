//! Backups of servers that this machine reaches, kept in a directory, and restored into servers on this machine.
//!
//! [`backup`] copies databases and captures their manifests at the same instant; [`restore`] brings a copy up where it
//! has no network access, compares it with the manifests, and measures how long it took and how much time was lost.
//!
//! A store holds one directory a backup:
//!
//! ```text
//! STORE/NAME/backup.json               what was backed up, when, how, and the hashes of the manifests
//!            manifests/DB.manifest     what every table held
//!            data/  tablespaces/OID/   physical: a base backup
//!            dumps/DB/  globals.sql    logical: dumps in directory format, and the roles
//!            reports/TIME[-DB].json    what restores found
//! STORE/.NAME.partial-PID-…/           a backup that is being written, or the rest of an aborted one
//! ```

mod backup;
mod backup_draft;
mod base_backup;
mod checks;
mod commit_order;
mod commit_records;
mod concurrent;
mod durability;
mod external_copy;
mod in_place;
mod logical_backup;
mod logical_restore;
pub mod lsn;
mod outcome;
pub mod patience;
mod physical_backup;
mod physical_restore;
mod point_in_time;
mod program;
mod provider;
mod recovery;
mod recovery_target;
mod restore;
mod sanitize;
pub mod scratch;
mod self_test;
pub mod server;
mod session;
mod snapshot_backup;
mod store;
mod survey;
pub mod tools;
mod tree;
pub mod wal_archive;
mod wal_segment;
mod wal_timeline;

pub use backup::backup;
pub use checks::{Copy, check_copy, compare, compare_reusing, costs};
pub use durability::check_running;
pub use external_copy::capture_around;
pub use in_place::{Place, VerifiedCopy, restore_in_place};
pub use logical_backup::holds_globals;
pub use outcome::Restored;
pub use point_in_time::PointInTime;
pub use provider::LocalProvider;
pub use recovery_target::RecoveryTarget;
pub use restore::{restore, restore_to};
pub use self_test::self_test_running;
pub use store::{Store, StoredBackup};
pub use survey::{databases, server_databases};
