//! Results as people read them: pure functions of what was measured.

mod advice;
pub(crate) mod document;
pub(crate) mod failover;
pub mod manifest;
pub(crate) mod openmetrics;
pub(crate) mod quantity;
pub(crate) mod replica;
pub(crate) mod restore;
mod style;
pub mod text;
pub(crate) mod velero;

pub(crate) use style::Ink;
pub use style::Style;
