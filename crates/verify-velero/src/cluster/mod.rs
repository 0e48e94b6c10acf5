//! Kubernetes: its API, commands in pods, the PostgreSQL clusters that run there, and what we create ourselves.
//!
//! Objects are built and judged by functions that take no client; only [`Cluster`] and [`Session`] speak to a cluster.

mod agent_pod;
mod applied;
mod client;
mod error;
#[cfg(test)]
pub(crate) mod fake_server;
mod forward;
mod kind;
mod label;
pub mod lease;
mod look;
mod operator;
mod pod_settings;
mod pod_state;
mod postgres;
mod session;

pub use agent_pod::{AgentPod, Mount, Placing, TOOL};
pub use client::Cluster;
pub use error::{Refusal, Unanswered, recognise, refusal_hint};
pub use forward::Forward;
pub use kind::{Evicted, Kind, Namespaced, object};
pub use label::{Component, KEPT, RUN, Run, labels, selector};
pub use lease::LiveRun;
pub use look::Looked;
pub use operator::Operator;
pub use pod_settings::{PodSettings, Resources, Toleration};
pub use pod_state::{End, PodState, Waiting, is_over};
pub use postgres::{Credentials, PostgresCluster, User, database_container, is_ready, pull_secrets};
pub use session::{Said, Session, output_of};
