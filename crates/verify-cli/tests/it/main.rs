//! Tests of the commands and of their foundations.

mod all_databases;
mod all_servers;
mod backup;
mod command_line;
mod databases;
mod demo;
mod doctor;
mod drill;
mod evidence;
mod files;
mod game_days;
mod hints;
mod history;
mod json;
#[path = "../../src/json_schema.rs"]
mod json_schema;
#[cfg(feature = "serve")]
mod monitoring;
#[cfg(feature = "man")]
mod packaging;
mod parts;
mod pgbouncer;
mod point_in_time;
mod privileges;
mod program;
mod relay;
mod restorable;
mod restore;
mod resume;
#[cfg(feature = "drill")]
mod runbook;
mod schemas;
mod scratch;
mod server;
mod silent_services;
mod snapshot;
mod tools;
mod waits;
