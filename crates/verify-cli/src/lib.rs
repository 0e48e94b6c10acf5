//! The commands of `state-lab`.

mod agent;
pub mod cli;
mod cluster;
mod commands;
pub mod config;
mod connect;
mod demo;
pub mod document;
pub mod exit;
mod failover;
mod failure;
#[cfg(test)]
mod json_schema;
mod progress;
pub mod provider;
pub mod render;
pub mod replicas;
mod signals;
mod store;
mod terminal;
mod velero;
