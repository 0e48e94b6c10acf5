//! The commands of `state-lab`.

pub mod scratch;
pub mod server;
