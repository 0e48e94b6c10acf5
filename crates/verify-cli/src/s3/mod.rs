//! Objects in S3, and in what speaks its protocol: where a bucket is, who we are there, and reading and writing.
//!
//! What is written is whole or not there, and never replaces what is there unless told to.

mod address;
mod bucket;
mod client;
mod credentials;
mod draft;
mod failure;
mod location;
mod retention;
mod settings;
mod upload;
#[cfg(test)]
mod wire_tests;

pub use address::Address;
pub use bucket::{Bucket, Checksum, Head, Object};
pub use credentials::{Credentials, Secret, credentials, environment_has_credentials};
pub(crate) use draft::Draft;
pub(crate) use failure::Failure;
pub use location::Location;
pub use settings::{RegionTable, Settings};
