//! Benchmarks beside the COPY floor.

pub mod cost;
pub mod floor;
pub mod machine;
pub mod pairs;
pub mod peers;
pub mod program;
pub mod workload;
