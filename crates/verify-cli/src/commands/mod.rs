//! The verbs: each an argument struct and one short function.

#[cfg(feature = "velero")]
pub(crate) mod agent;
pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod capture;
pub(crate) mod cleanup;
pub(crate) mod cluster_flags;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod doctor;
#[cfg(feature = "drill")]
pub(crate) mod drill;
pub(crate) mod evidence;
#[cfg(feature = "velero")]
pub(crate) mod failover;
pub(crate) mod heartbeat;
#[cfg(not(all(feature = "drill", feature = "report", feature = "serve", feature = "velero")))]
pub(crate) mod lacking;
#[cfg(feature = "man")]
pub(crate) mod man;
pub(crate) mod measuring;
pub(crate) mod merge;
pub(crate) mod point_in_time;
#[cfg(feature = "velero")]
mod replica_sides;
#[cfg(feature = "velero")]
pub(crate) mod replicas;
#[cfg(feature = "report")]
pub(crate) mod report;
pub(crate) mod restore;
#[cfg(feature = "serve")]
pub(crate) mod serve;
mod server_capture;
mod server_verify;
pub(crate) mod show;
pub(crate) mod storing;
pub(crate) mod verify;
