//! Benchmarks beside the COPY floor.
