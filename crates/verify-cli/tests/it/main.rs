//! Tests of the commands and of what they stand on.

mod command_line;
mod databases;
mod files;
mod program;
mod schemas;
mod scratch;
mod server;
