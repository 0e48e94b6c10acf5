//! Proves that a restored PostgreSQL database is the one that was backed up.

pub mod error;
pub mod postgres;

pub use error::{Error, ErrorKind, Result};
