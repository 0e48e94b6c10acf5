//! Where backups come from and go to. So far: servers and directories of this machine.

mod judging;
pub mod local;
pub mod velero;
mod watch;

pub(crate) use judging::{Found, Judging, metrics_file, report_file, worst};
pub use watch::Watch;
pub(crate) use watch::interrupted;
