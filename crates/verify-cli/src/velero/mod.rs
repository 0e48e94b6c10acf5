//! Velero's objects, and what we make of them: pure data and decisions, no client, no clock.
//!
//! Objects are built by [`backup::create`], [`restore::create`] and [`deletion::request`]; what became of them is told
//! by [`judge`], what they hang on by [`waiting`], how far they are by [`transfer`]. Velero's own phase is evidence,
//! not the verdict: a restore that says `Completed` may have filled no volume at all.
//!
//! Written against Velero 1.15 to 1.18. Fields that we do not need are not here, and unknown ones are ignored.

pub(crate) mod artefact;
pub(crate) mod backup;
pub(crate) mod data_movement;
pub(crate) mod deletion;
mod go_duration;
pub(crate) mod judge;
pub(crate) mod label;
pub(crate) mod location;
pub(crate) mod log;
mod message;
pub(crate) mod object;
pub(crate) mod phase;
pub(crate) mod pod_volume;
pub(crate) mod problem;
pub(crate) mod restore;
pub(crate) mod results;
pub(crate) mod retry;
#[cfg(test)]
mod sample;
pub(crate) mod snapshot;
pub(crate) mod snapshot_class;
pub(crate) mod transfer;
pub(crate) mod volume;
pub(crate) mod volume_info;
pub(crate) mod waiting;
