//! Tests of the commands and of what they stand on.

mod backup;
mod command_line;
mod databases;
mod demo;
mod drill;
mod files;
mod program;
mod restore;
mod schemas;
mod scratch;
mod server;
