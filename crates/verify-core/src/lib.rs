//! Verifies that a restored PostgreSQL database is the one that was backed up: every row, key and sequence.
//!
//! [`capture::capture`] measures a database under one snapshot and gives a [`manifest::Manifest`]; [`verify::verify`] holds a
//! restored database against it, [`verify::compare_databases`] compares two that are alive, and [`screen::screen_databases`] screens them. What they find is a
//! [`compare::Comparison`] with a three-way verdict: a mismatch is a value, and `Err` means that we could not find out.
//!
//! The library prints nothing, never exits, and reads neither the environment nor a clock.
//!
//! # A backup tool that verifies its restores
//!
//! ```no_run
//! use std::ops::ControlFlow;
//!
//! use verify_core::capture::capture;
//! use verify_core::event::Event;
//! use verify_core::finding::Verdict;
//! use verify_core::invariant::{Expect, Invariant};
//! use verify_core::manifest::Manifest;
//! use verify_core::plan::Plan;
//! use verify_core::postgres::{Environment, Postgres, Settings};
//! use verify_core::verify::verify;
//!
//! # fn main() -> verify_core::Result<()> {
//! let plan = Plan::default().with_invariants([Invariant {
//!     name: "every order has a customer".to_owned(),
//!     sql: "SELECT o.id FROM orders o LEFT JOIN customers c ON c.id = o.customer WHERE c.id IS NULL".to_owned(),
//!     expect: Expect::NoRows,
//! }]);
//! let progress = |event: Event| {
//!     if let Event::TableRead { table, rows } = event {
//!         eprintln!("{table}: {rows} rows");
//!     }
//!     // `Break` ends the work.
//!     ControlFlow::Continue(())
//! };
//!
//! // With the backup: one pass over the source, and a file that goes where the backup goes.
//! let environment = Environment::default();
//! let source = Postgres::new(Settings::parse("host=db user=backup dbname=shop", &environment)?);
//! let mut file = Vec::new();
//! capture(&source, &plan, &progress)?.write(&mut file)?;
//!
//! // With the restore: the source need not exist any more.
//! let restored = Postgres::new(Settings::parse("host=restored user=backup dbname=shop", &environment)?);
//! let comparison = verify(&Manifest::read(&file[..])?, &restored, &plan, &progress)?;
//! match comparison.verdict() {
//!     Verdict::Pass => println!("{} tables are as they were", comparison.coverage().tables),
//!     Verdict::Fail => comparison.findings().iter().for_each(|found| println!("{}: {}", found.object, found.message)),
//!     Verdict::Inconclusive => println!("not checked: {:?}", comparison.coverage().not_covered),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `examples/backup_tool.rs` is this as a program, and `examples/async_backup_tool.rs` one on tokio with its own
//! `tokio_postgres::Config`, a limit of time, and every kind of error.
//!
//! # Errors, progress, ending
//!
//! An [`Error`] has a [kind](ErrorKind) to act on, says whether to [try again](Error::is_retryable), and often what to
//! [do about it](Error::hint). Its text contains the whole chain of causes. An [`event::Event`] callback shows progress and can end the work;
//! a [`cancellation::Cancellation`] ends it from another thread, within a running statement too.
//!
//! # Features
//!
//! - `tls` (default): connections over TLS. Without it `sslmode=require` and stricter are refused.
//! - `async`: `asynchronous`, the same calls for programs that run on tokio.

#[cfg(feature = "async")]
pub mod asynchronous;
pub mod cancellation;
pub mod capture;
pub mod capture_part;
mod check;
pub mod chunks;
pub mod compare;
mod compare_cluster;
mod compare_definitions;
mod compare_heartbeat;
mod compare_invariants;
mod compare_sequences;
mod containers;
pub mod cost;
pub mod database;
pub mod databases;
pub mod definition;
pub mod digest;
pub mod error;
pub mod error_hint;
pub mod event;
pub mod finding;
pub mod heartbeat;
pub mod invariant;
pub mod journal;
pub mod key;
pub mod large_row;
pub mod layout;
mod look_up;
pub mod manifest;
pub mod manifest_file;
pub mod measure;
pub mod merge;
pub mod names;
pub mod not_covered;
mod order;
mod pace;
pub mod partial;
mod partitions;
pub mod plan;
pub mod postgres;
mod raw_text;
pub mod report;
pub mod reprint;
pub mod reuse;
pub mod row;
pub mod row_list;
mod rows;
pub mod scan;
pub mod screen;
pub mod self_test;
pub mod sequence;
mod server_hash;
pub mod sketch;
pub mod table;
mod table_sums;
pub mod timeline;
pub mod value;
pub mod verify;
mod work;

pub use error::{Error, ErrorKind, Result};

/// The crates whose types are in this one's interface.
pub use {jiff, serde_json, tokio_postgres};
