//! Base backups and archives of real servers.

mod archived;
mod commit_order;
mod point_in_time;
