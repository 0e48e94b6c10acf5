//! Results as people read them: pure functions of what was measured.

mod advice;
#[cfg(all(test, feature = "velero"))]
mod claims_tests;
pub(crate) mod document;
pub(crate) mod failover;
pub mod manifest;
pub(crate) mod replica;
pub(crate) mod restore;
mod style;
pub mod text;
pub(crate) mod velero;

pub(crate) use style::Ink;
pub use style::Style;
