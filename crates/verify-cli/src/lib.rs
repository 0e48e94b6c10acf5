//! The commands of `state-lab`.

mod agent;
pub mod cli;
mod commands;
pub mod config;
mod cluster;
mod connect;
mod demo;
mod duration;
pub mod exit;
mod failover;
mod failure;
mod interrupt;
mod progress;
pub mod provider;
pub mod render;
mod runtime;
pub mod scratch;
pub mod server;
mod store;
mod terminal;
#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "decisions first; the provider that acts on them follows")
)]
mod velero;

pub use duration::Period;
