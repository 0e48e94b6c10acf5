//! The PostgreSQL clusters of a namespace: who runs them, which pods they have, which of these is the primary.
//!
//! That a pod is the primary is only believed once the server in it has said so. The dead primary of a Patroni cluster
//! keeps its label, so the leader's Endpoints count before labels.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Endpoints, EnvVar, Pod};
use kube::ResourceExt;

use super::operator::{Operator, named};

/// The port that a container of PostgreSQL exposes.
const PORT: i32 = 5432;

/// A cluster of PostgreSQL in a namespace.
#[derive(Clone, Debug)]
pub struct PostgresCluster {
    /// Its name, as its operator calls it.
    pub name: String,
    pub operator: Operator,
    /// Its pods, by name.
    pub pods: Vec<Pod>,
    /// The pod of the primary, as far as labels and Endpoints show it.
    pub primary: Option<String>,
}

/// Location of a superuser's name and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub user: User,
    pub secret: String,
    pub password_key: String,
    /// What makes its operator create the Secret, where it does not by itself.
    pub hint: Option<&'static str>,
}

/// The name of a role, or the key of the Secret that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    Named(String),
    Key(String),
}

impl PostgresCluster {
    /// All clusters of PostgreSQL among the pods of a namespace, by name.
    pub fn among(pods: &[Pod], endpoints: &[Endpoints]) -> Vec<Self> {
        let mut found: BTreeMap<(String, Operator), Self> = BTreeMap::new();
        for pod in pods {
            let Some((name, operator)) = belongs_to(pod) else { continue };
            let cluster = found.entry((name.clone(), operator)).or_insert_with(|| Self {
                name,
                operator,
                pods: Vec::new(),
                primary: None,
            });
            cluster.pods.push(pod.clone());
        }
        let mut found: Vec<Self> = found.into_values().collect();
        for cluster in &mut found {
            cluster.pods.sort_by_key(ResourceExt::name_any);
            cluster.primary = cluster.leader(endpoints).or_else(|| cluster.labelled());
        }
        found
    }

    /// The pod of this name.
    pub fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.name_any() == name)
    }

    /// The member that holds Patroni's leader key.
    fn leader(&self, endpoints: &[Endpoints]) -> Option<String> {
        let name = self.operator.leader_endpoints(&self.name)?;
        let leader = endpoints.iter().find(|endpoints| endpoints.name_any() == name)?;
        let leader = leader.annotations().get("leader")?;
        self.pod(leader).map(|_| leader.clone())
    }

    /// The pod whose labels say that it is the primary; a ready one before one that is not.
    fn labelled(&self) -> Option<String> {
        let primary = |pod: &&Pod| match self.operator {
            Operator::StatefulSet => ordinal(pod) == Some(0),
            operator => operator.marks_primary(pod),
        };
        let mut primaries: Vec<&Pod> = self.pods.iter().filter(primary).collect();
        primaries.sort_by_key(|pod| !is_ready(pod));
        primaries.first().map(|pod| pod.name_any())
    }
}

/// The cluster that a pod is a member of.
fn belongs_to(pod: &Pod) -> Option<(String, Operator)> {
    database_container(pod)?;
    Operator::of(pod).or_else(|| {
        let set = pod.owner_references().iter().find(|owner| owner.kind == "StatefulSet")?;
        Some((set.name.clone(), Operator::StatefulSet))
    })
}

/// The container of a pod that runs PostgreSQL: the one with its port, else the one with its image.
pub fn database_container(pod: &Pod) -> Option<&Container> {
    let containers = || pod.spec.iter().flat_map(|spec| &spec.containers);
    let port =
        |container: &&Container| container.ports.iter().flatten().any(|port| port.container_port == PORT);
    let image = |container: &&Container| {
        let image = container.image.as_deref().unwrap_or_default();
        ["postgres", "patroni", "spilo"].iter().any(|name| image.contains(name))
    };
    containers().find(port).or_else(|| containers().find(image))
}

/// The secrets that pull a pod's images.
pub fn pull_secrets(pod: &Pod) -> Vec<String> {
    let secrets = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
    secrets.map(|secret| secret.name.clone()).collect()
}

/// Returns whether a pod reports that it is ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn ordinal(pod: &Pod) -> Option<u32> {
    let label = pod.labels().get("apps.kubernetes.io/pod-index").cloned();
    label.or_else(|| Some(pod.name_any().rsplit_once('-')?.1.to_owned()))?.parse().ok()
}

impl Credentials {
    /// Returns the location of a superuser's credentials, from the environment of the database's container, or by the
    /// operator's convention.
    pub fn of(cluster: &PostgresCluster) -> Option<Self> {
        if let Some(superuser) = cluster.operator.superuser() {
            return Some(Self {
                user: User::Key(superuser.name_key.to_owned()),
                secret: named(superuser.secret, &cluster.name),
                password_key: "password".to_owned(),
                hint: superuser.hint,
            });
        }
        let container = cluster.pods.iter().find_map(database_container)?;
        // The variables of Patroni, of the official image, and of Bitnami's.
        const PASSWORDS: [(&str, &str); 4] = [
            ("PATRONI_SUPERUSER_PASSWORD", "PATRONI_SUPERUSER_USERNAME"),
            ("POSTGRES_POSTGRES_PASSWORD", ""),
            ("POSTGRES_PASSWORD", "POSTGRES_USER"),
            ("POSTGRESQL_POSTGRES_PASSWORD", ""),
        ];
        PASSWORDS.iter().find_map(|(password, user)| {
            let reference = variable(container, password)?.value_from.as_ref()?.secret_key_ref.as_ref()?;
            let user = variable(container, user);
            let key = user.and_then(|user| user.value_from.as_ref()?.secret_key_ref.as_ref());
            let user = match (user.and_then(|user| user.value.clone()), key) {
                (Some(user), _) => User::Named(user),
                (None, Some(key)) if key.name == reference.name => User::Key(key.key.clone()),
                _ => User::Named("postgres".to_owned()),
            };
            Some(Self {
                user,
                secret: reference.name.clone(),
                password_key: reference.key.clone(),
                hint: None,
            })
        })
    }
}

fn variable<'a>(container: &'a Container, name: &str) -> Option<&'a EnvVar> {
    container.env.iter().flatten().find(|variable| variable.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, labels: &Value, ready: bool) -> Pod {
        let secret = |key: &str| json!({ "secretKeyRef": { "name": "credentials", "key": key } });
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "labels": labels,
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "1" }],
            },
            "spec": { "containers": [
                { "name": "exporter", "image": "metrics" },
                { "name": "database", "image": "x", "ports": [{ "containerPort": 5432 }], "env": [
                    { "name": "POSTGRES_USER", "value": "owner" },
                    { "name": "POSTGRES_PASSWORD", "valueFrom": secret("password") },
                ] },
            ] },
            "status": { "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
        }))
        .unwrap()
    }

    fn endpoints(name: &str, leader: &str) -> Endpoints {
        serde_json::from_value(json!({ "metadata": { "name": name, "annotations": { "leader": leader } } }))
            .unwrap()
    }

    #[test]
    fn each_operator_is_known_by_its_labels() {
        use Operator::{Bitnami, CloudNativePg, Crunchy, Patroni, StatefulSet, Zalando};
        let crunchy = "postgres-operator.crunchydata.com";
        for (labels, name, operator) in [
            (
                json!({ "cnpg.io/cluster": "c", "cnpg.io/instanceRole": "primary", "cnpg.io/podRole": "instance" }),
                "c",
                CloudNativePg,
            ),
            (
                json!({ format!("{crunchy}/cluster"): "c", format!("{crunchy}/role"): "master",
                     format!("{crunchy}/data"): "postgres" }),
                "c",
                Crunchy,
            ),
            (json!({ "application": "spilo", "cluster-name": "z", "spilo-role": "master" }), "z", Zalando),
            (json!({ "application": "patroni", "cluster-name": "p", "role": "primary" }), "p", Patroni),
            (json!({ "application": "patroni", "cluster-name": "p", "role": "master" }), "p", Patroni),
            (
                json!({ "app.kubernetes.io/name": "postgresql", "app.kubernetes.io/instance": "b",
                     "app.kubernetes.io/component": "primary" }),
                "b",
                Bitnami,
            ),
            (json!({ "app": "anything" }), "db", StatefulSet),
        ] {
            let found = PostgresCluster::among(&[pod("db-0", &labels, true)], &[]);
            let found: Vec<_> =
                found.iter().map(|f| (f.name.as_str(), f.operator, f.primary.as_deref())).collect();
            assert_eq!(found, [(name, operator, Some("db-0"))], "{labels}");
        }
    }

    #[test]
    fn the_leader_key_counts_before_the_label_of_a_dead_primary() {
        let labels = |role: &str| json!({ "application": "patroni", "cluster-name": "pg", "role": role });
        let pods = [pod("pg-0", &labels("primary"), false), pod("pg-1", &labels("primary"), true)];
        let primary = |endpoints: &[Endpoints]| PostgresCluster::among(&pods, endpoints)[0].primary.clone();
        assert_eq!(primary(&[]).as_deref(), Some("pg-1"), "a ready pod before one that is not");
        assert_eq!(primary(&[endpoints("pg", "pg-0")]).as_deref(), Some("pg-0"));
        assert_eq!(primary(&[endpoints("pg", "absent")]).as_deref(), Some("pg-1"));
    }

    #[test]
    fn what_is_no_database_is_none() {
        let other: Pod = serde_json::from_value(json!({
            "metadata": { "name": "orders-0", "labels": { "application": "patroni", "cluster-name": "pg" } },
            "spec": { "containers": [{ "name": "app", "image": "orders" }] },
        }))
        .unwrap();
        assert!(PostgresCluster::among(&[other], &[]).is_empty());
    }

    #[test]
    fn credentials_are_those_that_the_container_is_given() {
        let clusters = PostgresCluster::among(&[pod("db-0", &json!({}), true)], &[]);
        let expected = Credentials {
            user: User::Named("owner".to_owned()),
            secret: "credentials".to_owned(),
            password_key: "password".to_owned(),
            hint: None,
        };
        assert_eq!(Credentials::of(&clusters[0]), Some(expected));
    }
}
