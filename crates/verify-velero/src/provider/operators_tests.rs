//! Objects as each operator creates them: `cluster/samples`. docs/operators.md says where they come from.

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::source::volume_of;
use crate::cluster::{Credentials, Operator, PostgresCluster, User, database_container};

/// Objects of a namespace.
struct Recorded(Value);

/// What an operator calls its objects, and where its data directory is.
struct Expected {
    operator: Operator,
    cluster: &'static str,
    members: &'static [&'static str],
    primary: &'static str,
    container: &'static str,
    directory: &'static str,
    /// Claim, and the path of the data directory in it.
    volume: (&'static str, &'static str),
    service: &'static str,
    secret: &'static str,
    user_key: &'static str,
}

impl Recorded {
    fn load(name: &str) -> Self {
        let path = format!("{}/src/cluster/samples/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self(serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    fn of_kind<T: DeserializeOwned>(&self, kind: &str) -> Vec<T> {
        let items = self.0["items"].as_array().unwrap().iter().filter(|item| item["kind"] == kind);
        items.map(|item| serde_json::from_value(item.clone()).unwrap()).collect()
    }

    fn clusters(&self) -> Vec<PostgresCluster> {
        PostgresCluster::among(&self.of_kind::<Pod>("Pod"), &self.of_kind::<Endpoints>("Endpoints"))
    }

    /// Removes a label from all of its objects.
    fn without(mut self, label: &str) -> Self {
        for item in self.0["items"].as_array_mut().unwrap() {
            if let Some(labels) = item["metadata"]["labels"].as_object_mut() {
                labels.remove(label);
            }
        }
        self
    }
}

fn expected(name: &str) -> Expected {
    match name {
        "zalando" => Expected {
            operator: Operator::Zalando,
            cluster: "acid-shop",
            members: &["acid-shop-0", "acid-shop-1", "acid-shop-2"],
            primary: "acid-shop-1",
            container: "postgres",
            directory: "/home/postgres/pgdata/pgroot/data",
            volume: ("pgdata-acid-shop-1", "pgroot/data"),
            service: "acid-shop",
            secret: "postgres.acid-shop.credentials.postgresql.acid.zalan.do",
            user_key: "username",
        },
        "crunchy" => Expected {
            operator: Operator::Crunchy,
            cluster: "hippo",
            members: &["hippo-instance1-4bfk-0", "hippo-instance1-9kzr-0"],
            primary: "hippo-instance1-9kzr-0",
            container: "database",
            directory: "/pgdata/pg17",
            volume: ("hippo-instance1-9kzr-pgdata", "pg17"),
            service: "hippo-primary",
            secret: "hippo-pguser-postgres",
            user_key: "user",
        },
        _ => Expected {
            operator: Operator::CloudNativePg,
            cluster: "shop",
            members: &["shop-1", "shop-2", "shop-3"],
            primary: "shop-1",
            container: "postgres",
            directory: "/var/lib/postgresql/data/pgdata",
            volume: ("shop-1", "pgdata"),
            service: "shop-rw",
            secret: "shop-superuser",
            user_key: "username",
        },
    }
}

const ALL: [&str; 4] = ["cloudnative-pg", "cloudnative-pg-1.18", "zalando", "crunchy"];

#[test]
fn a_database_of_each_operator_is_found_whole() {
    for name in ALL {
        let recorded = Recorded::load(name);
        let expected = expected(name);
        let found = recorded.clusters();
        let [found] = &found[..] else { panic!("{name}: {found:#?}") };
        assert_eq!((found.name.as_str(), found.operator), (expected.cluster, expected.operator));
        let members: Vec<String> = found.pods.iter().map(ResourceExt::name_any).collect();
        assert_eq!(members, expected.members, "{name}");
        assert_eq!(found.primary.as_deref(), Some(expected.primary), "{name}");

        let primary = found.pod(expected.primary).unwrap();
        let container = database_container(primary).unwrap();
        assert_eq!(container.name, expected.container, "{name}");
        let volume = volume_of(primary, container, expected.directory).unwrap();
        assert_eq!((volume.claim.as_str(), volume.path.as_str()), expected.volume, "{name}");

        let services = found.operator.services(&found.name);
        let known: Vec<Service> = recorded.of_kind("Service");
        let service = services.iter().find(|service| known.iter().any(|known| known.name_any() == **service));
        assert_eq!(service.map(String::as_str), Some(expected.service), "{name}");

        let credentials = Credentials::of(found).unwrap();
        assert_eq!(credentials.secret, expected.secret, "{name}");
        assert_eq!(credentials.user, User::Key(expected.user_key.to_owned()), "{name}");
    }
}

#[test]
fn patronis_leader_is_the_primary_also_where_no_label_says_so() {
    for (name, label) in [("zalando", "spilo-role"), ("crunchy", "postgres-operator.crunchydata.com/role")] {
        let found = Recorded::load(name).without(label).clusters();
        assert_eq!(found[0].primary.as_deref(), Some(expected(name).primary), "{name}");
    }
}

#[test]
fn a_cluster_without_a_primary_has_none() {
    let found = Recorded::load("cloudnative-pg").without("role").without("cnpg.io/instanceRole").clusters();
    assert_eq!((found.len(), found[0].primary.as_deref()), (1, None));
}

#[test]
fn what_no_operator_marks_is_no_database() {
    for (name, label) in [("cloudnative-pg", "cnpg.io/podRole"), ("cloudnative-pg", "cnpg.io/cluster")] {
        let found = Recorded::load(name).without(label).clusters();
        assert!(found.is_empty(), "{name} without {label}: {found:#?}");
        let error = super::choose(found, None, "shop").unwrap_err().to_string();
        assert!(error.contains("A database is a pod of a StatefulSet"), "{error}");
    }
}
