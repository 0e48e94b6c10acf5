//! Kubernetes and Velero: backups and restores by Velero, failover drills, copies in another region, and the agent that
//! works in pods. The one crate that names kube.
#![expect(missing_docs, reason = "an internal crate of the program, whose names say what they are")]

pub mod agent;
pub mod cluster;
pub mod failover;
pub mod posture;
pub mod provider;
pub mod replicas;
pub mod velero;

pub use cluster::recognise;
