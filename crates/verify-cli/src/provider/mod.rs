//! Who makes and restores backups: PostgreSQL's own programs on this machine, or Velero in a Kubernetes cluster.

mod judging;
pub mod local;
pub mod velero;
mod watch;

pub(crate) use judging::{Found, Judging, metrics_file, report_file, worst};
pub use watch::Watch;
