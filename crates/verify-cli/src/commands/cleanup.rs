//! `cleanup`: removes what earlier runs left behind.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::storing::StoreFlag;
use crate::cli::Globals;
use crate::config::Config;
use crate::exit::Exit;
use verify_drill::interrupt;
use verify_local::scratch;
use verify_velero::cluster::{Cluster, lease};
use verify_velero::failover;
use verify_velero::provider::{KeptServers, Removal, sweep};

/// Remove what earlier runs left behind
///
/// Servers and directories of runs that were killed, restored servers that were kept, and backups that were never
/// finished; also in a Kubernetes cluster where the configuration has a [velero] table, or with --context or
/// --velero-namespace. Runs that are at work, and whole backups, are left alone.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Cleanup {
    #[command(flatten)]
    store: StoreFlag,
    /// Also clean up the cluster of this context of the kubeconfig
    /// [default: the configuration's, where it has [velero]]
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
        let config = globals.config()?;
        let store = self.store.open(&config)?;
        let local: Vec<PathBuf> = scratch::sweep_with_kept().into_iter().chain(store.sweep()).collect();
        let mut all = Removal {
            removed: local.iter().map(|path| path.display().to_string()).collect(),
            ..Removal::default()
        };
        let in_cluster =
            self.context.is_some() || self.velero_namespace.is_some() || config.velero().is_some();
        if in_cluster {
            match self.sweep_cluster(&config, globals) {
                Ok(swept) => all.add(swept),
                // What was removed on this machine is told all the same.
                Err(error) => all.left.push(format!("objects in the cluster: {error:#}")),
            }
        }
        globals.terminal().result(&all, |_| told(&all, in_cluster))?;
        Ok(match all.is_whole() {
            true => Exit::PASS,
            false if interrupt::asked() => Exit::INTERRUPTED,
            false => Exit::COULD_NOT_RUN,
        })
    }

    fn sweep_cluster(&self, config: &Config, globals: &Globals) -> Result<Removal> {
        let configured = config.velero().cloned().unwrap_or_default();
        let cluster = Cluster::connect(self.context.as_deref().or(configured.context.as_deref()))?;
        let velero_namespace = self.velero_namespace.as_deref().unwrap_or(configured.velero_namespace());
        let mut swept = sweep(&cluster, velero_namespace, KeptServers::Remove, &|doing| globals.tell(doing))?;
        swept.add(failover::sweep(&cluster)?);
        Ok(swept)
    }
}

/// What was removed and what was not, in words. Of a cluster that was not asked nothing is known.
fn told(all: &Removal, in_cluster: bool) -> String {
    let removed = all.removed.iter().map(|what| format!("removed: {what}\n"));
    let left = all.left.iter().map(|what| format!("left: {what}\n"));
    let at_work = all.at_work.iter().map(|run| {
        format!(
            "running: the run {run}; if it was killed, clean up again in {} s\n",
            lease::PATIENCE.as_secs()
        )
    });
    let told: String = removed.chain(left).chain(at_work).collect();
    match (told.is_empty(), in_cluster) {
        (false, _) => told,
        (true, true) => "nothing was left behind\n".to_owned(),
        (true, false) => "nothing was left behind on this machine\n".to_owned(),
    }
}
