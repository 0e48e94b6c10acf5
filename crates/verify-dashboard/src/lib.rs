//! The dashboard: what the stored reports say now, each report, the history, and runs that have not finished. It only reads.
//!
//! Every page works without scripts; one small script shows changes without a reload. Names from databases are hostile: pages
//! escape all text, and a policy allows no script but that one.
#![expect(missing_docs, reason = "an internal crate of the program, whose names say what they are")]

mod access;
mod pages;
mod posture_pages;
mod routes;
mod server;
mod snapshot;

pub use access::{Access, Token};
pub use server::{Listening, Settings, listen};
pub use snapshot::LookAtPosture;
