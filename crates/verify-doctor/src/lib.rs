//! Posture before the disaster: checks that find what would harm the next restore of a PostgreSQL database.
//!
//! Facts are gathered thinly: those of a server and its machine here, those of Kubernetes and of buckets in the crates
//! that speak to them. Judgements are pure functions from [`Facts`] to findings, and [`CHECKS`] is the one table of them.
//! What could not be looked at is never silently absent: it is inconclusive, with the right that it needs.
#![expect(missing_docs, reason = "an internal crate of the program, whose names say what they are")]

pub mod archive;
pub mod backups;
pub mod catalogue;
mod check;
mod code;
mod document;
pub mod drift;
mod durability;
mod examination;
mod facts;
mod heartbeat;
pub mod machine;
mod outgoing;
pub mod postgres;
pub mod replication;
pub mod restore_side;
mod server;
mod shell;

pub use check::{Answer, Check, Fact, Found, Gap, Missing, Source};
pub use code::CHECKS;
pub use document::markdown;
pub use examination::{Examination, Finding, NotApplicable, Selection, Unknown, examine};
pub use facts::{Facts, Objectives};
pub use server::{Server, Settings};
