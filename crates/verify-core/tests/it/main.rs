//! Tests of verify-core on real PostgreSQL servers.

mod connection;
mod login;
mod temporary_server;
