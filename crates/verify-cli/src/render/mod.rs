//! Results as text: pure functions of what was measured.

#[cfg(all(test, feature = "velero"))]
mod claims_tests;
pub(crate) mod doctor;
pub(crate) mod document;
pub(crate) mod evidence;
pub(crate) mod explanation;
#[cfg(feature = "velero")]
pub(crate) mod failover;
pub mod manifest;
mod next_step;
pub(crate) mod part;
mod problem;
#[cfg(feature = "velero")]
pub(crate) mod replica;
pub(crate) mod restore;
pub(crate) mod server;
mod style;
pub mod text;

pub(crate) use style::Ink;
pub use style::Style;
