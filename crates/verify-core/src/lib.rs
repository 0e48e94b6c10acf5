//! Proves that a restored PostgreSQL database is the one that was backed up.

mod beside_rows;
pub mod capture;
pub mod compare;
pub mod database;
pub mod digest;
pub mod error;
pub mod event;
pub mod finding;
pub mod heartbeat;
pub mod invariant;
pub mod key;
pub mod large_row;
pub mod layout;
mod look_up;
pub mod manifest;
pub mod manifest_file;
pub mod measure;
pub mod names;
pub mod pass;
pub mod plan;
pub mod postgres;
pub mod report;
pub mod row;
mod rows;
pub mod sequence;
pub mod sketch;
pub mod table;
pub mod timeline;
pub mod value;
pub mod verify;
mod work;

pub use error::{Error, ErrorKind, Result};
