//! Target of the drill: the PostgreSQL cluster, the Service that clients write through, the credentials.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use kube::ResourceExt;

use super::primary::Primary;
use crate::agent::Conninfo;
use crate::cluster::{Cluster, PostgresCluster};
use crate::provider::{Settings, choose, login};

const PORT: u16 = 5432;

/// Selection of the target.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub settings: Settings,
    pub service: Option<String>,
    pub database: String,
}

/// Target of the drill.
#[derive(Clone, Debug)]
pub(super) struct DrillTarget {
    pub namespace: String,
    pub postgres: PostgresCluster,
    /// The primary, according to labels and Endpoints.
    pub primary: Primary,
    pub service: String,
    pub database: Conninfo,
}

impl DrillTarget {
    /// Finds it.
    ///
    /// # Errors
    ///
    /// If there is no such cluster, several, none with a primary, or no way to write to it.
    pub(super) fn find(cluster: &Cluster, wanted: &Wanted) -> Result<Self> {
        let Wanted { settings, service, database } = wanted;
        let namespace = settings.namespace_in(cluster);
        let pods = cluster.of::<Pod>(namespace).list("")?;
        let endpoints = cluster.of::<Endpoints>(namespace).list("")?;
        let found = PostgresCluster::among(&pods, &endpoints);
        let postgres = choose(found, settings.cluster.as_deref(), namespace)?;
        let Some(primary) = primary(&postgres) else {
            bail!("failed to find the primary of {namespace}/{}: no pod is marked as primary", postgres.name);
        };
        let service = match service {
            Some(service) => service.clone(),
            None => {
                let services = cluster.of::<Service>(namespace).list("")?;
                service_of(&postgres, &services).with_context(|| {
                    format!(
                        "failed to find the Service of the primary of {namespace}/{}: give --service",
                        postgres.name
                    )
                })?
            }
        };
        let (user, password) = login(cluster, namespace, &postgres, settings)?;
        let database = Conninfo::new(&service, PORT, &user, &password, database);
        Ok(Self { namespace: namespace.to_owned(), postgres, primary, service, database })
    }

    /// The same cluster of PostgreSQL as it is now; no pods where none are left.
    pub(super) fn look_again(&self, pods: &[Pod], endpoints: &[Endpoints]) -> Option<PostgresCluster> {
        let same = |found: &PostgresCluster| {
            found.name == self.postgres.name && found.operator == self.postgres.operator
        };
        PostgresCluster::among(pods, endpoints).into_iter().find(same)
    }
}

/// The primary's primary, where there is a primary.
pub(super) fn primary(postgres: &PostgresCluster) -> Option<Primary> {
    postgres.primary.as_deref().and_then(|name| postgres.pod(name)).map(Primary::of)
}

/// The Service that leads to the primary, by the convention of the cluster's operator.
fn service_of(postgres: &PostgresCluster, services: &[Service]) -> Option<String> {
    let known = |wanted: &String| services.iter().any(|service| service.name_any() == *wanted);
    if let Some(found) = postgres.operator.services(&postgres.name).into_iter().find(known) {
        return Some(found);
    }
    // With one server, any Service that leads to it will do, preferably one with a stable address.
    let primary = postgres.pod(postgres.primary.as_deref()?)?;
    let mut leading: Vec<&Service> = services
        .iter()
        .filter(|service| {
            let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let selects = |(name, value): (&String, &String)| primary.labels().get(name) == Some(value);
            postgres.pods.len() == 1
                && selector.is_some_and(|labels| !labels.is_empty() && labels.iter().all(selects))
        })
        .collect();
    leading.sort_by_key(|service| (is_headless(service), service.name_any()));
    leading.first().map(|service| service.name_any())
}

fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(name: &str, spec: &Value) -> Service {
        serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap()
    }

    fn pod(name: &str, labels: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "labels": labels,
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "1" }],
            },
            "spec": { "containers": [{ "name": "postgres", "image": "postgres:15" }] },
        }))
        .unwrap()
    }

    #[test]
    fn the_service_of_the_primary_is_the_customary_one() {
        let patroni = json!({ "application": "patroni", "cluster-name": "pg", "role": "primary" });
        let native = json!({ "cnpg.io/cluster": "c", "cnpg.io/podRole": "instance", "cnpg.io/instanceRole": "primary" });
        let plain = json!({ "app": "db" });
        let services = [
            service("pg-repl", &json!({ "selector": { "role": "replica" } })),
            service("pg", &json!({})),
            service("c-r", &json!({ "selector": { "cnpg.io/cluster": "c" } })),
            service("c-rw", &json!({})),
            service("db-all", &json!({ "clusterIP": "None", "selector": { "app": "db" } })),
            service("shop", &json!({ "clusterIP": "10.0.0.1", "selector": { "app": "db" } })),
            service("other", &json!({ "clusterIP": "10.0.0.2", "selector": { "app": "other" } })),
        ];
        for (pods, expected) in [
            (vec![pod("pg-0", &patroni)], Some("pg")),
            (vec![pod("c-1", &native)], Some("c-rw")),
            (vec![pod("db-0", &plain)], Some("shop")),
            // The selector of a Service does not say to which of several servers it leads.
            (vec![pod("db-0", &plain), pod("db-1", &plain)], None),
        ] {
            let postgres = &PostgresCluster::among(&pods, &[])[0];
            assert_eq!(service_of(postgres, &services).as_deref(), expected, "{}", postgres.name);
        }
        let headless = &services[4..5];
        let postgres = &PostgresCluster::among(&[pod("db-0", &json!({ "app": "db" }))], &[])[0];
        assert_eq!(service_of(postgres, headless).as_deref(), Some("db-all"));
        assert_eq!(service_of(&PostgresCluster::among(&[pod("pg-0", &patroni)], &[])[0], headless), None);
    }
}
