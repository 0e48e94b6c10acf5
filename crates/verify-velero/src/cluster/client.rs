//! The way to a cluster's API server.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use kube::{Api, Client, Config, Resource};

use super::kind::{Kind, Server};
use verify_drill::runtime::{block_on, unless_interrupted};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A cluster that we speak to.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    server: Server,
    namespace: String,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Cluster {
    /// The cluster of a context of the kubeconfig; without one that of the current context, or the one that we run in.
    ///
    /// # Errors
    ///
    /// If there is no configuration, no such context, or credentials that cannot be read.
    pub fn connect(context: Option<&str>) -> Result<Self> {
        let doing = || match context {
            Some(context) => format!("failed to use the context {context:?} of the kubeconfig"),
            None => "failed to find a Kubernetes cluster: set KUBECONFIG, or run inside one".to_owned(),
        };
        // The HTTP and TLS layers are built on the runtime's own threads.
        let connected = async {
            let mut config = match context {
                Some(context) => {
                    let options = KubeConfigOptions {
                        context: Some(context.to_owned()),
                        ..KubeConfigOptions::default()
                    };
                    Config::from_custom_kubeconfig(Kubeconfig::read()?, &options).await?
                }
                None => Config::infer().await?,
            };
            config.connect_timeout = Some(CONNECT_TIMEOUT);
            // Streams of commands are idle for as long as the commands are.
            config.read_timeout = None;
            config.write_timeout = None;
            let (server, namespace) =
                (Server::new(&config.cluster_url.to_string()), config.default_namespace.clone());
            anyhow::Ok(Self { client: Client::try_from(config)?, server, namespace })
        };
        block_on(unless_interrupted(connected))?.with_context(doing)
    }

    /// A cluster without a kubeconfig.
    #[cfg(test)]
    pub(super) fn at(server: Server) -> Self {
        let client = block_on(async {
            let config = Config::new(server.url.parse().expect("a URL"));
            Client::try_from(config).expect("a client")
        });
        Self { client, server, namespace: "default".to_owned() }
    }

    /// A cluster whose requests a service answers.
    #[cfg(test)]
    pub(super) fn of_client(client: impl FnOnce() -> Client) -> Self {
        let client = block_on(async { client() });
        Self { client, server: Server::new("http://fake/"), namespace: "default".to_owned() }
    }

    /// The client, for objects of any kind.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The API server.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Returns the name of the current context of the kubeconfig; `None` without one.
    pub fn current_context() -> Option<String> {
        Kubeconfig::read().ok()?.current_context
    }

    /// The namespace of the context.
    pub fn default_namespace(&self) -> &str {
        &self.namespace
    }

    /// The objects of a kind in a namespace.
    pub fn of<K>(&self, namespace: &str) -> Kind<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Kind::new(Api::namespaced(self.client.clone(), namespace), &self.server)
    }

    /// The objects of a kind in every namespace; they can only be listed.
    pub fn everywhere<K>(&self) -> Kind<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Kind::new(Api::all(self.client.clone()), &self.server)
    }

    /// The objects of a kind that belongs to no namespace.
    pub fn global<K>(&self) -> Kind<K>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>,
    {
        Kind::new(Api::all(self.client.clone()), &self.server)
    }
}
