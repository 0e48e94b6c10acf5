//! The commands of `state-lab`.

pub mod cli;
mod commands;
pub mod config;
mod connect;
mod demo;
pub mod document;
pub mod exit;
mod failure;
#[cfg(test)]
mod json_schema;
mod progress;
pub mod render;
mod signals;
mod store;
mod terminal;
