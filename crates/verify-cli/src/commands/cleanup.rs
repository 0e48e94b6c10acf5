//! `cleanup`: removes what earlier runs left behind.

use anyhow::Result;
use clap::Args;

use super::cluster_flags::ClusterFlags;
use super::storing::{self, StoreFlag};
use crate::exit::Exit;
use crate::globals::Globals;
use crate::providers::{self, Options};
use verify_drill::interrupt;
use verify_drill::provider::Removal;

/// Remove what earlier runs left behind
///
/// Removes servers and directories of killed runs, restored servers that were kept, and incomplete backups; also
/// in a Kubernetes cluster if the configuration has a [velero] table, or with --context or --velero-namespace.
/// Does not touch active runs and complete backups.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Cleanup {
    #[command(flatten)]
    store: StoreFlag,
    /// Also clean up the cluster of this context of the kubeconfig
    /// [default: the configuration's, if it has [velero]]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Also clean up the cluster whose Velero is in this namespace [default: velero]
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
        let Self { store, context, velero_namespace } = self;
        let in_cluster = context.is_some() || velero_namespace.is_some() || config.has_velero();
        let cluster = ClusterFlags::of(context, velero_namespace);
        let remove = |provider: &str| {
            let provider = providers::choose(Some(provider), None, &config)?;
            let provider = (provider.open)(&Options::new(&config, &store, &cluster))?;
            storing::with_steps(globals, None, |watch| provider.remove_leftovers(watch))
        };
        let mut all = remove("local")?;
        if in_cluster {
            match remove("velero") {
                Ok(removal) => all.add(removal),
                // What was removed on this machine is reported all the same.
                Err(error) => all.left.push(format!("objects in the cluster: {error:#}")),
            }
        }
        globals.terminal().result(&all, |_| text(&all, in_cluster))?;
        Ok(match all.is_whole() {
            true => Exit::PASS,
            false if interrupt::asked() => Exit::INTERRUPTED,
            false => Exit::COULD_NOT_RUN,
        })
    }
}

/// Text of the removed objects and of those that are left. Of a cluster that was not asked nothing is known.
fn text(all: &Removal, in_cluster: bool) -> String {
    let removed = all.removed.iter().map(|what| format!("removed: {what}\n"));
    let left = all.left.iter().map(|what| format!("left: {what}\n"));
    let at_work = all.at_work.iter().map(|run| {
        format!(
            "running: the run {run}; if it was killed, clean up again in {} s\n",
            all.dead_after.as_secs()
        )
    });
    let lines: String = removed.chain(left).chain(at_work).collect();
    match (lines.is_empty(), in_cluster) {
        (false, _) => lines,
        (true, true) => "nothing was left behind\n".to_owned(),
        (true, false) => "nothing was left behind on this machine\n".to_owned(),
    }
}
