//! Velero's objects, and what we make of them: pure data and decisions, no client, no clock.
//!
//! Objects are built by [`backup::create`], [`restore::create`] and [`deletion::request`]; their result is reported
//! by [`judge`], what they hang on by [`waiting`], how far they are by [`transfer`]. Velero's own phase is evidence,
//! not the verdict: a restore that says `Completed` may have filled no volume at all.
//!
//! Written against Velero 1.15 to 1.18. Fields that we do not need are not here, and unknown ones are ignored.

pub mod artefact;
pub mod backup;
pub mod data_movement;
pub mod deletion;
mod go_duration;
pub mod judge;
pub mod label;
pub mod location;
pub mod log;
mod message;
pub mod object;
pub mod phase;
pub mod pod_volume;
pub mod restore;
pub mod results;
pub mod retry;
#[cfg(test)]
mod sample;
pub mod snapshot;
pub mod snapshot_class;
pub mod transfer;
pub mod volume;
pub mod volume_info;
pub mod waiting;
