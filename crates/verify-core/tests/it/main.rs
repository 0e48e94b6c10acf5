//! Tests of verify-core on real PostgreSQL servers.

mod connection;
mod login;
mod measure;
mod temporary_server;
