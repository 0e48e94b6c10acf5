//! The commands of `state-lab`.

mod agent;
pub mod cli;
mod cluster;
mod commands;
pub mod config;
mod connect;
mod demo;
pub mod document;
mod duration;
pub mod exit;
mod failover;
mod failure;
mod interrupt;
#[cfg(test)]
mod json_schema;
mod process_group;
mod progress;
pub mod provider;
pub mod render;
pub mod replicas;
mod runtime;
pub mod s3;
pub mod scratch;
pub mod server;
mod store;
mod terminal;
mod velero;

pub use duration::Period;
