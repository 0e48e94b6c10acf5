//! Tests against the servers of fixtures/cluster. Each says so and passes where its servers cannot be reached.

mod failover;
mod object_store;
mod replicas;
mod s3;
