//! Evidence: one signed report for each run, chained to the one before, and verified against pinned public keys.
//!
//! A store has one folder for each report, `000001/`, `000002/`, …, with `report.json` and its two signatures.
//! Writing `report.json`, which must not exist yet, claims the number and stores the report in one step; the signatures
//! follow. Each report has the SHA-256 of the report before it, so that the newest one fixes all others.

pub mod bundle;
pub mod chain;
pub mod document;
pub mod entry;
pub mod envelope;
pub mod key;
pub mod keys;
pub mod problem;
pub mod signers;
pub mod sshsig;
pub mod verify;
