//! Buckets of S3, and of what speaks its protocol, as stores. The one crate that names the AWS SDK.

mod bucket;
mod client;
mod failure;
mod keys;
mod object_draft;
mod posture;
mod retention;
mod upload;
#[cfg(test)]
mod wire_tests;

pub use bucket::Bucket;
pub use failure::recognise;
pub use posture::posture;
