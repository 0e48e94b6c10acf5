//! Whether another region's copy of a Velero backup is complete and equal, by content.
//!
//! Replication that says COMPLETED proves that something was sent once. A copy counts when its content is that of the
//! original now.

mod inventory;
mod judgement;
mod reading;
mod repository;
mod survey;

pub use inventory::{Phase, VeleroBackup};
pub use judgement::{Depth, NewestComplete, ObjectCode, ObjectFinding, Replica};
pub use reading::Reading;
pub use survey::compare;
