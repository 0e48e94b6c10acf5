//! The server of a database in a cluster, reached through the pod of its primary.

use std::fmt;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Endpoints, Pod};
use verify_core::postgres;

use crate::agent::Conninfo;
use crate::cluster::{Forward, PostgresCluster};
use crate::provider::{self, Settings};

const PORT: u16 = 5432;

/// A server that is reached while this value exists.
pub struct PodServer {
    /// `namespace/pod`.
    pub place: String,
    forward: Forward,
    user: String,
    password: String,
    databases: Vec<String>,
}

impl fmt::Debug for PodServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PodServer({}@{})", self.user, self.place)
    }
}

/// Reaches the server in the pod of the primary, as the superuser whose credentials backups use.
///
/// # Errors
///
/// If the namespace has no primary, or the account may neither read the credentials nor forward a port of the pod.
pub fn server(settings: &Settings) -> Result<PodServer> {
    let cluster = settings.connect()?;
    let namespace = settings.namespace_in(&cluster);
    let pods = cluster.of::<Pod>(namespace);
    let found = PostgresCluster::among(&pods.list("")?, &cluster.of::<Endpoints>(namespace).list("")?);
    let found = provider::choose(found, settings.cluster.as_deref(), namespace)?;
    let primary = found.primary.as_ref();
    let primary = primary.with_context(|| format!("failed to find the primary of {}", found.name))?;
    let (user, password) = provider::login(&cluster, namespace, &found, settings)?;
    let forward = Forward::start(&pods, primary, PORT)?;
    let place = format!("{namespace}/{primary}");
    Ok(PodServer { place, forward, user, password, databases: settings.databases.clone() })
}

impl PodServer {
    /// Names of its databases: those of the settings, else all but `postgres` and the templates.
    ///
    /// # Errors
    ///
    /// If the server does not answer.
    pub fn databases(&self) -> Result<Vec<String>> {
        if self.databases.is_empty() {
            return verify_local::databases(&self.settings("template1")?);
        }
        Ok(self.databases.clone())
    }

    /// Settings of a connection to one of its databases.
    ///
    /// # Errors
    ///
    /// If the credentials make no connection string.
    pub fn settings(&self, database: &str) -> Result<postgres::Settings> {
        let (host, port) = (self.forward.address().ip().to_string(), self.forward.address().port());
        let conninfo = Conninfo::new(&host, port, &self.user, &self.password, database);
        conninfo.with("connect_timeout", "30").settings()
    }
}
