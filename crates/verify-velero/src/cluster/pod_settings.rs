//! Configuration of every pod of state-lab: resources, pull secrets, nodes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Requests of a container that reads a database or runs one, for resources that the configuration neither requests nor
/// limits. There is no limit by default: a slow verification lengthens every drill, and what PostgreSQL needs depends on
/// the data. A server that is killed for its memory would look like a backup that cannot be restored.
const DEFAULT_REQUESTS: [(&str, &str); 2] = [("cpu", "100m"), ("memory", "512Mi")];
/// Request and limit of a container that copies the program, tries a connection or sleeps, likewise.
const HELPER_DEFAULTS: [(&str, &str, &str); 2] = [("cpu", "10m", "1"), ("memory", "32Mi", "128Mi")];

/// Settings of every pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSettings {
    pub resources: Resources,
    pub pull_secrets: Vec<String>,
    pub node_selector: BTreeMap<String, String>,
    pub tolerations: Vec<Toleration>,
}

/// Requests and limits of each container, as in Kubernetes: { cpu = "500m", memory = "1Gi" }.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Resources that the scheduler has to find on a node; cpu = "100m" and memory = "512Mi" unless requested or
    /// limited otherwise, less for containers that only prepare the pod.
    pub requests: BTreeMap<String, Quantity>,
    /// Limits of a container; needed in namespaces whose quota counts limits. None unless given, except for containers
    /// that only prepare the pod.
    pub limits: BTreeMap<String, Quantity>,
}

/// An amount of a resource, as "500m", "2" or "1Gi".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Quantity(String);

/// A taint that the pods tolerate, as in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Toleration {
    /// The taint's key; every taint without one.
    pub key: Option<String>,
    /// Comparison of the taint's value; Equal unless given.
    pub operator: Option<Operator>,
    /// The taint's value, for Equal.
    pub value: Option<String>,
    /// The taint's effect; every effect unless given.
    pub effect: Option<Effect>,
    /// Time for which a taint of the effect NoExecute is tolerated; unlimited unless given.
    pub toleration_seconds: Option<u32>,
}

/// Comparison of a taint's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The values are equal.
    Equal,
    /// The value does not count.
    Exists,
}

/// Effect of a taint on pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Effect {
    /// The pods are not scheduled.
    NoSchedule,
    /// The pods are scheduled only if no other node is available.
    PreferNoSchedule,
    /// The pods are evicted.
    NoExecute,
}

impl TryFrom<String> for Quantity {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        const SUFFIXES: [&str; 14] =
            ["", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        let number_ends = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
        let (number, suffix) = text.split_at(number_ends.unwrap_or(text.len()));
        let positive = number.parse::<f64>().is_ok_and(|number| number > 0.0);
        if positive && number.starts_with(|first: char| first.is_ascii_digit()) && SUFFIXES.contains(&suffix)
        {
            return Ok(Self(text));
        }
        Err(format!(
            "invalid quantity {text:?}: expected an amount as in Kubernetes, such as \"500m\" or \"1Gi\""
        ))
    }
}

impl From<Quantity> for String {
    fn from(quantity: Quantity) -> Self {
        quantity.0
    }
}

impl Resources {
    /// The `resources` of a container that reads a database or runs one.
    pub fn of_container(&self) -> Value {
        self.or_defaults(DEFAULT_REQUESTS.map(|(name, request)| (name, request, None)))
    }

    /// The `resources` of a container that only prepares a pod or keeps it.
    pub fn of_helper(&self) -> Value {
        self.or_defaults(HELPER_DEFAULTS.map(|(name, request, limit)| (name, request, Some(limit))))
    }

    /// Adds the request and limit of each resource of which the configuration says nothing: next to an amount of its own,
    /// a default could be a request above a limit, which Kubernetes refuses. It requests what is only limited.
    fn or_defaults(&self, defaults: [(&str, &str, Option<&str>); 2]) -> Value {
        let (mut requests, mut limits) = (json!(self.requests), json!(self.limits));
        for (name, request, limit) in defaults {
            if self.requests.contains_key(name) || self.limits.contains_key(name) {
                continue;
            }
            requests[name] = json!(request);
            if let Some(limit) = limit {
                limits[name] = json!(limit);
            }
        }
        match limits == json!({}) {
            true => json!({ "requests": requests }),
            false => json!({ "requests": requests, "limits": limits }),
        }
    }
}

impl PodSettings {
    /// The `imagePullSecrets` of a pod that has some already.
    pub fn image_pull_secrets(&self, own: &[String]) -> Value {
        let mut names: Vec<&String> = own.iter().collect();
        names.extend(self.pull_secrets.iter().filter(|name| !own.contains(name)));
        json!(names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>())
    }

    /// The `tolerations` of a pod.
    pub fn tolerations(&self) -> Vec<Value> {
        self.tolerations.iter().map(Toleration::object).collect()
    }
}

impl Toleration {
    fn object(&self) -> Value {
        let Self { key, operator, value, effect, toleration_seconds } = self;
        let fields = [
            ("key", json!(key)),
            ("operator", json!(operator)),
            ("value", json!(value)),
            ("effect", json!(effect)),
            ("tolerationSeconds", json!(toleration_seconds)),
        ];
        fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

#[cfg(test)]
impl PodSettings {
    /// One of each.
    pub fn sample() -> Self {
        let resources = "[requests]\nmemory = '1Gi'\n[limits]\ncpu = '2'\nmemory = '2Gi'\n";
        let toleration = "key = 'dedicated'\nvalue = 'drills'\neffect = 'NoSchedule'\n";
        Self {
            resources: toml::from_str(resources).unwrap(),
            pull_secrets: vec!["mirror".to_owned()],
            node_selector: BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]),
            tolerations: vec![toml::from_str(toleration).unwrap()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_requested_nor_limited_has_a_default_request() {
        let resources = |text: &str| toml::from_str::<Resources>(text).unwrap().of_container();
        let default = json!({ "requests": { "cpu": "100m", "memory": "512Mi" } });
        assert_eq!(resources(""), default);
        assert_eq!(
            resources("requests = { cpu = '1' }"),
            json!({ "requests": { "cpu": "1", "memory": "512Mi" } })
        );
        // A default request above the limit would be refused.
        assert_eq!(
            resources("limits = { memory = '128Mi' }"),
            json!({ "requests": { "cpu": "100m" }, "limits": { "memory": "128Mi" } })
        );
        assert_eq!(
            PodSettings::sample().resources.of_container(),
            json!({ "requests": { "memory": "1Gi" }, "limits": { "cpu": "2", "memory": "2Gi" } })
        );
    }

    #[test]
    fn what_only_prepares_a_pod_has_limits_unless_the_configuration_has_others() {
        let resources = |text: &str| toml::from_str::<Resources>(text).unwrap().of_helper();
        assert_eq!(
            resources(""),
            json!({
                "requests": { "cpu": "10m", "memory": "32Mi" }, "limits": { "cpu": "1", "memory": "128Mi" },
            })
        );
        // A request above the default limit would be refused.
        assert_eq!(
            resources("requests = { memory = '1Gi' }\nlimits = { cpu = '2' }"),
            json!({ "requests": { "memory": "1Gi" }, "limits": { "cpu": "2" } })
        );
        assert_eq!(
            PodSettings::sample().resources.of_helper(),
            PodSettings::sample().resources.of_container()
        );
    }

    #[test]
    fn quantities_that_kubernetes_refuses_are_refused_before_anything_is_made() {
        for text in ["500m", "2", "0.5", "1Gi", "100M", "1k"] {
            assert!(Quantity::try_from(text.to_owned()).is_ok(), "{text}");
        }
        for text in ["", "m", "1 Gi", "1GB", "-1", "1gi", ".5", "1.2.3", "0"] {
            let refused = Quantity::try_from(text.to_owned()).unwrap_err();
            assert!(refused.contains("as in Kubernetes"), "{text}: {refused}");
        }
    }

    #[test]
    fn tolerations_have_the_fields_of_kubernetes() {
        let [toleration] = &PodSettings::sample().tolerations()[..] else { panic!("one toleration") };
        assert_eq!(*toleration, json!({ "key": "dedicated", "value": "drills", "effect": "NoSchedule" }));
        let exists = Toleration {
            operator: Some(Operator::Exists),
            toleration_seconds: Some(5),
            ..Toleration::default()
        };
        assert_eq!(exists.object(), json!({ "operator": "Exists", "tolerationSeconds": 5 }));
    }
}
