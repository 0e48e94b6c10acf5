//! state-lab for other languages: capture, verify and compare as calls that take text and return bytes.
//!
//! [`abi`] is the C interface, whose header is `include/state_lab.h`. [`call`] has the same calls for Rust: verify-python is
//! built on them. docs/embedding.md is the user's guide.

pub mod abi;
pub mod call;
mod options;
pub mod progress;
