//! Flags of the commands that work in a Kubernetes cluster, over what `[velero]` of the configuration says.

use clap::{Args, ValueEnum};

use crate::config::Config;
use verify_velero::provider::Settings;

const KUBERNETES: &str = "Kubernetes";

/// Where a database is in a cluster.
#[derive(Args)]
pub(crate) struct DatabaseFlags {
    /// The context of the kubeconfig [default: the configuration's, else the current one]
    #[arg(long, value_name = "NAME", help_heading = KUBERNETES)]
    context: Option<String>,
    /// The database's namespace [default: the configuration's, else the context's]
    #[arg(short, long, value_name = "NAME", help_heading = KUBERNETES)]
    namespace: Option<String>,
    /// The cluster of PostgreSQL, where the namespace has several
    #[arg(long, value_name = "NAME", help_heading = KUBERNETES)]
    cluster: Option<String>,
    /// The image of state-lab, for the pods that it works in
    #[arg(long, value_name = "IMAGE", help_heading = KUBERNETES)]
    image: Option<String>,
}

/// Where a database and its backups are in a cluster.
#[derive(Args)]
pub(crate) struct ClusterFlags {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Velero's BackupStorageLocation [default: Velero's own default]
    #[arg(long, value_name = "NAME", help_heading = KUBERNETES)]
    location: Option<String>,
    /// Velero's namespace [default: velero]
    #[arg(long, value_name = "NAME", help_heading = KUBERNETES)]
    velero_namespace: Option<String>,
}

/// Who makes and restores backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Provider {
    /// PostgreSQL's own programs, on this machine
    Local,
    /// Velero, in a Kubernetes cluster
    Velero,
}

impl Provider {
    /// The one that was asked for; else Velero where the configuration has a [velero] table.
    pub(crate) fn choose(asked: Option<Self>, config: &Config) -> Self {
        asked.unwrap_or(match config.velero() {
            Some(_) => Self::Velero,
            None => Self::Local,
        })
    }
}

impl DatabaseFlags {
    /// The configuration's settings with these flags over them.
    pub(crate) fn settings(self, config: &Config) -> Settings {
        let Self { context, namespace, cluster, image } = self;
        let of_file = config.velero().cloned().unwrap_or_default();
        Settings {
            context: context.or(of_file.context),
            namespace: namespace.or(of_file.namespace),
            cluster: cluster.or(of_file.cluster),
            image: image.or(of_file.image),
            ..of_file
        }
    }
}

impl ClusterFlags {
    /// The configuration's settings with these flags over them.
    pub(crate) fn settings(self, config: &Config) -> Settings {
        let Self { database, location, velero_namespace } = self;
        let of_file = database.settings(config);
        Settings {
            location: location.or(of_file.location),
            velero_namespace: velero_namespace.or(of_file.velero_namespace),
            ..of_file
        }
    }
}
