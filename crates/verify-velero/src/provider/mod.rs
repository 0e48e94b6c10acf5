//! Backups by Velero in a Kubernetes cluster, and their restores into a namespace of our own.
//!
//! [`backup`] captures a database in the mode that its copy needs, lets Velero take the copy, and believes only what
//! every object of it says. [`restore`] has Velero fill volumes where nothing runs, brings them up where nothing can be
//! reached, and holds them against the manifests. What proves a backup lies beside it in the bucket of its location:
//!
//! ```text
//! backups/NAME/state-lab/backup.json            what was backed up, and the hashes of the manifests
//!              state-lab/manifests/DB.manifest  what every table held
//!              state-lab/reports/TIME-DB.json   what restores found
//!              state-lab/reports/TIME.prom      the same as metrics
//! ```

mod agent_call;
mod announcement;
mod backup;
mod basebackup_claim;
mod claim_state;
mod evidence;
mod fate;
mod filling;
mod following;
mod latest;
mod method;
mod modifier;
mod place;
mod preflight;
mod record;
mod removal;
mod restore;
mod settings;
mod source;
mod storage;
mod sweep;
mod waiting;

pub use announcement::Said;
pub use backup::{BackupRequest, TakenBackup, backup};
pub use evidence::place_of;
pub use latest::latest;
pub use method::Method;
pub use record::Record;
pub use removal::Removal;
pub use restore::{Kept, RestoreRequest, RestoredCopy, restore};
pub use settings::Settings;
pub use source::{choose, login};
pub use sweep::{KeptServers, sweep};
