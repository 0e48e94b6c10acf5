//! The checks on real servers: each finds the bad state that it is for, and is silent on its good twin.

mod backups;
mod examined;
mod machine;
mod restore_side;
mod server;
