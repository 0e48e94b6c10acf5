//! The operators of PostgreSQL in Kubernetes: what each marks its objects with, and what it calls them.
//!
//! Labels are what the operators document. docs/operators.md says what was shown with which of them.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

/// Operator of a PostgreSQL cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// Patroni without an operator.
    Patroni,
    /// Zalando's postgres-operator.
    Zalando,
    /// Crunchy's PGO.
    Crunchy,
    /// CloudNativePG.
    CloudNativePg,
    /// A chart of Bitnami's.
    Bitnami,
    /// None: a plain StatefulSet.
    StatefulSet,
}

/// Labels and names of an operator's objects. `{}` in a name is the cluster's.
struct Conventions {
    operator: Operator,
    /// Label with the cluster's name.
    cluster: &'static str,
    /// Label of the pods that run PostgreSQL: others have the cluster's label too.
    member: (&'static str, &'static str),
    /// Labels with the role of a member: that of today, and that of older versions.
    roles: &'static [&'static str],
    /// Values of these labels for the primary.
    primary: &'static [&'static str],
    /// Endpoints with Patroni's leader.
    leader: Option<&'static str>,
    /// Services that lead to the primary.
    services: &'static [&'static str],
    superuser: Option<Superuser>,
}

/// Secret with the credentials of a superuser.
#[derive(Clone, Copy, Debug)]
pub(super) struct Superuser {
    pub secret: &'static str,
    /// Key of the superuser's name.
    pub name_key: &'static str,
    /// What makes the operator create the Secret, where it does not by itself.
    pub hint: Option<&'static str>,
}

/// The more particular first.
const CONVENTIONS: [Conventions; 5] = [
    Conventions {
        operator: Operator::CloudNativePg,
        cluster: "cnpg.io/cluster",
        member: ("cnpg.io/podRole", "instance"),
        roles: &["cnpg.io/instanceRole", "role"],
        primary: &["primary"],
        leader: None,
        services: &["{}-rw"],
        superuser: Some(Superuser {
            secret: "{}-superuser",
            name_key: "username",
            hint: Some("CloudNativePG creates it where the Cluster has `enableSuperuserAccess: true`"),
        }),
    },
    Conventions {
        operator: Operator::Crunchy,
        cluster: "postgres-operator.crunchydata.com/cluster",
        member: ("postgres-operator.crunchydata.com/data", "postgres"),
        roles: &["postgres-operator.crunchydata.com/role"],
        primary: &["master", "primary"],
        leader: Some("{}-ha"),
        services: &["{}-primary"],
        superuser: Some(Superuser {
            secret: "{}-pguser-postgres",
            name_key: "user",
            hint: Some("PGO creates it where the PostgresCluster lists `postgres` in `spec.users`"),
        }),
    },
    Conventions {
        operator: Operator::Zalando,
        cluster: "cluster-name",
        member: ("application", "spilo"),
        roles: &["spilo-role"],
        primary: &["master", "primary"],
        leader: Some("{}"),
        services: &["{}"],
        superuser: Some(Superuser {
            secret: "postgres.{}.credentials.postgresql.acid.zalan.do",
            name_key: "username",
            hint: None,
        }),
    },
    Conventions {
        operator: Operator::Patroni,
        cluster: "cluster-name",
        member: ("application", "patroni"),
        roles: &["role"],
        primary: &["primary", "master"],
        leader: Some("{}"),
        services: &["{}"],
        superuser: None,
    },
    Conventions {
        operator: Operator::Bitnami,
        cluster: "app.kubernetes.io/instance",
        member: ("app.kubernetes.io/name", "postgresql"),
        roles: &["app.kubernetes.io/component"],
        primary: &["primary", "postgresql"],
        leader: None,
        services: &["{}-postgresql-primary", "{}-postgresql", "{}"],
        superuser: None,
    },
];

impl Operator {
    /// The name of the cluster that a pod is a member of by its labels, and the operator of these labels.
    pub(super) fn of(pod: &Pod) -> Option<(String, Self)> {
        let label = |name: &str| pod.labels().get(name).map(String::as_str);
        CONVENTIONS.iter().find_map(|conventions| {
            let (name, value) = conventions.member;
            let cluster = label(conventions.cluster).filter(|_| label(name) == Some(value))?;
            Some((cluster.to_owned(), conventions.operator))
        })
    }

    /// Returns whether a member's labels say that it is the primary.
    pub(super) fn marks_primary(self, pod: &Pod) -> bool {
        self.conventions().is_some_and(|conventions| {
            let role = conventions.roles.iter().find_map(|role| pod.labels().get(*role));
            role.is_some_and(|role| conventions.primary.contains(&role.as_str()))
        })
    }

    /// The Endpoints that hold Patroni's leader.
    pub(super) fn leader_endpoints(self, cluster: &str) -> Option<String> {
        Some(named(self.conventions()?.leader?, cluster))
    }

    /// The Services that lead to the primary, the most particular first.
    pub fn services(self, cluster: &str) -> Vec<String> {
        let services = self.conventions().map_or(&[][..], |conventions| conventions.services);
        services.iter().map(|service| named(service, cluster)).collect()
    }

    /// The Secret of a superuser.
    pub(super) fn superuser(self) -> Option<Superuser> {
        self.conventions()?.superuser
    }

    fn conventions(self) -> Option<&'static Conventions> {
        CONVENTIONS.iter().find(|conventions| conventions.operator == self)
    }
}

/// The name that a pattern of [`Conventions`] gives for a cluster.
pub(super) fn named(pattern: &str, cluster: &str) -> String {
    pattern.replace("{}", cluster)
}
