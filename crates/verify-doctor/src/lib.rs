//! Posture before the disaster: checks that find what would harm the next restore of a PostgreSQL database.
//!
//! Facts are gathered thinly: those of a server and its machine here, those of Kubernetes and of buckets in the crates
//! that speak to them. Judgements are pure functions from [`Facts`] to findings, and [`CHECKS`] is the one table of them.
//! A check that could not be made is never silently absent: it is inconclusive, with the right that it needs.
#![expect(missing_docs, reason = "an internal crate of the program, whose names say what they are")]

mod check;
mod code;
mod document;
pub mod drift;
mod examination;
mod fact;
pub mod facts;
mod judge;
pub mod postgres;

pub use check::{Answer, Check, Found, Gap, Source};
pub use code::CHECKS;
pub use document::markdown;
pub use examination::{Examination, Finding, NotApplicable, Risks, Selection, Unknown, examine};
pub use fact::{Fact, Missing, known};
pub use facts::{Facts, Objectives};
