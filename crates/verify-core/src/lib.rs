//! Proves that a restored PostgreSQL database is the one that was backed up: every row, key and sequence.
//!
//! [`capture::capture`] measures a database under one snapshot and gives a [`manifest::Manifest`]; [`verify::verify`] holds a
//! restored database against it, and [`verify::compare_databases`] compares two that are alive. What they find is a
//! [`compare::Comparison`] with a three-way verdict: a mismatch is a value, and `Err` means that we could not find out.
//!
//! The library prints nothing, never exits, and reads neither the environment nor a clock.
//!
//! ```no_run
//! use verify_core::capture::capture;
//! use verify_core::event;
//! use verify_core::finding::Verdict;
//! use verify_core::plan::Plan;
//! use verify_core::postgres::{Environment, Postgres, Settings};
//! use verify_core::verify::verify;
//!
//! # fn main() -> verify_core::Result<()> {
//! let environment = Environment::default();
//! let source = Postgres::new(Settings::parse("host=db dbname=shop", &environment)?);
//! let manifest = capture(&source, &Plan::default(), &event::ignore)?;
//! // … backup, disaster, restore …
//! let restored = Postgres::new(Settings::parse("host=restored dbname=shop", &environment)?);
//! let comparison = verify(&manifest, &restored, &Plan::default(), &event::ignore)?;
//! match comparison.verdict {
//!     Verdict::Pass => { /* safe to serve */ }
//!     Verdict::Fail => { /* comparison.findings names what is lost */ }
//!     Verdict::Inconclusive => { /* comparison.coverage.not_covered says what could not be checked */ }
//! }
//! # Ok(())
//! # }
//! ```

mod beside_rows;
pub mod capture;
pub mod compare;
mod containers;
pub mod database;
pub mod digest;
pub mod error;
pub mod error_hint;
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
pub mod not_covered;
mod order;
mod partitions;
pub mod pass;
pub mod plan;
pub mod postgres;
mod raw_text;
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
