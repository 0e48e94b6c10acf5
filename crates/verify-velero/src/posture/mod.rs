//! What `doctor` judges of a cluster: objects are read thinly, and become facts by functions that take no client.

mod bucket;
mod json;
mod seen;
mod storage;
mod velero;

pub use seen::{look, places};

#[cfg(test)]
mod tests;
