//! Flags of the commands that work in a Kubernetes cluster, over what `[velero]` of the configuration says.

use clap::Args;

#[cfg(feature = "velero")]
use crate::config::Config;
#[cfg(feature = "velero")]
use verify_velero::provider::Settings;

const KUBERNETES: &str = "Kubernetes";

/// Location of a database in a cluster.
#[derive(Args, Clone, Debug)]
pub(crate) struct DatabaseFlags {
    /// The context of the kubeconfig [default: the configuration's, else the current one]
    #[arg(long, value_name = "NAME", help_heading = KUBERNETES)]
    context: Option<String>,
    /// The database's namespace [default: the configuration's, else the context's]
    #[arg(short, long, value_name = "NAME", help_heading = KUBERNETES)]
    namespace: Option<String>,
    /// The PostgreSQL cluster, if the namespace has several
    #[arg(long, value_name = "NAME", help_heading = KUBERNETES)]
    cluster: Option<String>,
    /// Image of state-lab, for its pods
    #[arg(long, value_name = "IMAGE", help_heading = KUBERNETES)]
    image: Option<String>,
}

/// Location of a database and its backups in a cluster.
#[derive(Args, Clone, Debug)]
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

#[cfg(feature = "velero")]
impl DatabaseFlags {
    /// The configuration's settings with these flags over them.
    pub(crate) fn settings(&self, config: &Config) -> Settings {
        let Self { context, namespace, cluster, image } = self.clone();
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

#[cfg(feature = "velero")]
impl ClusterFlags {
    /// The configuration's settings with these flags over them.
    pub(crate) fn settings(&self, config: &Config) -> Settings {
        let Self { database, location, velero_namespace } = self.clone();
        let of_file = database.settings(config);
        Settings {
            location: location.or(of_file.location),
            velero_namespace: velero_namespace.or(of_file.velero_namespace),
            ..of_file
        }
    }
}

impl ClusterFlags {
    /// Returns whether the command line names a cluster, a namespace or anything in them.
    pub(crate) fn is_given(&self) -> bool {
        let Self { database, location, velero_namespace } = self;
        let DatabaseFlags { context, namespace, cluster, image: _ } = database;
        [context, namespace, cluster, location, velero_namespace].into_iter().any(Option::is_some)
    }

    /// The flags of a command that has only these.
    pub(crate) fn of(context: Option<String>, velero_namespace: Option<String>) -> Self {
        let database = DatabaseFlags { context, namespace: None, cluster: None, image: None };
        Self { database, location: None, velero_namespace }
    }
}
