//! The verbs: each an argument struct and one short function.

pub(crate) mod agent;
pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod capture;
pub(crate) mod cleanup;
mod cluster_flags;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod failover;
pub(crate) mod heartbeat;
pub(crate) mod measuring;
mod replica_sides;
pub(crate) mod replicas;
pub(crate) mod restore;
pub(crate) mod show;
pub(crate) mod storing;
pub(crate) mod verify;
