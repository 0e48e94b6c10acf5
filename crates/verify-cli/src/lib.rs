//! The commands of `state-lab`.

mod all_servers;
pub mod cli;
mod commands;
pub mod config;
mod connect;
mod demo;
pub mod document;
mod evidence;
pub mod exit;
mod failure;
mod framing;
mod globals;
mod journal_file;
#[cfg(test)]
mod json_schema;
mod key_file;
#[cfg(not(all(
    feature = "drill",
    feature = "report",
    feature = "s3",
    feature = "serve",
    feature = "velero"
)))]
mod lacking;
mod posture;
mod progress;
mod providers;
pub mod render;
mod risks;
mod signals;
mod store;
mod stored_evidence;
mod terminal;
