//! Tests of verify-core on real PostgreSQL servers.

mod bounded;
mod cluster;
mod connection;
mod constraints;
mod definitions;
mod dump;
mod engine;
#[cfg(feature = "async")]
mod examples;
mod fence;
mod hostile;
mod imported;
mod integrity;
mod login;
mod look_up;
mod manifest;
mod measure;
mod memory;
mod messages;
mod not_covered;
mod obstacles;
mod pace;
mod partitions;
mod parts;
mod paused_standby;
mod reuse;
mod samples;
mod screen;
mod self_test;
mod silence;
mod standby;
mod temporary_server;
mod time_travel;
