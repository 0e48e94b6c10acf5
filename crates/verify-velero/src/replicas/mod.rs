//! Comparison of another region's copy of a Velero backup, by content.
//!
//! Replication that says COMPLETED shows that something was sent once. A copy counts when its content is that of the
//! original now.

mod comparison;
mod inventory;
mod judgement;
mod repository;
mod survey;

pub use comparison::ReadPolicy;
pub use inventory::{Phase, VeleroBackup};
pub use judgement::{Depth, NewestComplete, ObjectCode, ObjectFinding, Replica};
pub use survey::compare;
