//! Tests against the servers of fixtures/cluster. Each says so and passes where its servers cannot be reached.

mod accounts;
mod damage;
mod drills;
mod failover;
mod interruption;
mod isolation;
mod object_store;
mod outages;
mod refusals;
mod replicas;
mod s3;
mod support;
