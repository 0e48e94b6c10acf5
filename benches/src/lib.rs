//! Benchmarks beside the COPY floor.

pub mod floor;
pub mod machine;
pub mod pairs;
pub mod peers;
pub mod workload;
