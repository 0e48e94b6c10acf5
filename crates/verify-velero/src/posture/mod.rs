//! Facts of a cluster that `doctor` judges: objects are read thinly, and become facts by functions that take no client.

mod bucket;
mod json;
mod seen;
mod server;
mod storage;
mod velero;

pub use seen::{look, places};
pub use server::{PodServer, server};

#[cfg(test)]
mod tests;
