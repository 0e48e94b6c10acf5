//! Kubernetes: its API, commands in pods, the PostgreSQL clusters that run there, and what we create ourselves.
//!
//! Objects are built and judged by functions that take no client; only [`Cluster`] and [`Session`] speak to a cluster.

mod agent_pod;
mod client;
mod error;
mod kind;
mod label;
pub(crate) mod lease;
mod pod_settings;
mod pod_state;
mod postgres;
mod session;

pub(crate) use agent_pod::{AgentPod, Mount, Placing, TOOL};
pub(crate) use client::Cluster;
pub(crate) use error::{Refusal, Unanswered, refusal_hint};
pub(crate) use kind::{Evicted, Kind, Namespaced, object};
pub(crate) use label::{Component, KEPT, RUN, Run, labels, selector};
pub(crate) use lease::LiveRun;
pub(crate) use pod_settings::{PodSettings, Resources, Toleration};
pub(crate) use pod_state::{End, PodState, Waiting, is_over};
pub(crate) use postgres::{
    Credentials, Operator, PostgresCluster, User, database_container, is_ready, pull_secrets,
};
pub(crate) use session::{Said, Session, output_of};
