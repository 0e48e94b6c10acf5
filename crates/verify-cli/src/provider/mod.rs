//! Where backups come from and go to. So far: servers and directories of this machine.

pub mod local;
mod watch;

pub use watch::Watch;
