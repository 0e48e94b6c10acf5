//! `cleanup`: removes what earlier runs left behind.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::storing::{StoreFlag, tell_step};
use crate::cli::Globals;
use crate::cluster::Cluster;
use crate::exit::Exit;
use crate::failover;
use crate::provider::velero::{Removal, sweep};
use crate::scratch;

/// Where Velero is unless it is said.
const VELERO_NAMESPACE: &str = "velero";

/// Remove what earlier runs left behind
///
/// Servers and directories of runs that were killed, restored servers that were kept, and backups that were never
/// finished; with --context or --velero-namespace also what runs left in a Kubernetes cluster. Runs that are at work,
/// and whole backups, are left alone.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Cleanup {
    #[command(flatten)]
    store: StoreFlag,
    /// Also clean up the cluster of this context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Also clean up the cluster, where Velero is in this namespace [default: velero]
    #[arg(long, value_name = "NAME")]
    velero_namespace: Option<String>,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab cleanup
    state-lab cleanup --store /var/backups/state-lab
    state-lab cleanup --context production";

impl Cleanup {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let store = self.store.open(&globals.config()?)?;
        let local: Vec<PathBuf> = scratch::sweep_with_kept().into_iter().chain(store.sweep()).collect();
        let mut all = Removal {
            removed: local.iter().map(|path| path.display().to_string()).collect(),
            left: Vec::new(),
        };
        if self.context.is_some() || self.velero_namespace.is_some() {
            match self.sweep_cluster(globals) {
                Ok(swept) => all.add(swept),
                // What was removed on this machine is told all the same.
                Err(error) => all.left.push(format!("what may be in the cluster: {error:#}")),
            }
        }
        globals.terminal().result(&all, |_| told(&all))?;
        Ok(if all.is_whole() { Exit::PASS } else { Exit::COULD_NOT_RUN })
    }

    fn sweep_cluster(&self, globals: &Globals) -> Result<Removal> {
        let cluster = Cluster::connect(self.context.as_deref())?;
        let velero_namespace = self.velero_namespace.as_deref().unwrap_or(VELERO_NAMESPACE);
        let mut swept = sweep(&cluster, velero_namespace, &|doing| tell_step(globals, doing))?;
        swept.add(failover::sweep(&cluster)?);
        Ok(swept)
    }
}

/// What was removed and what was not, in words.
fn told(all: &Removal) -> String {
    if all.removed.is_empty() && all.left.is_empty() {
        return "nothing was left behind\n".to_owned();
    }
    let removed = all.removed.iter().map(|what| format!("removed: {what}\n"));
    removed.chain(all.left.iter().map(|what| format!("left: {what}\n"))).collect()
}
