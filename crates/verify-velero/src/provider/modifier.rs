//! Changes that Velero has to make in restored pods, so that nothing of the application starts.
//!
//! Velero fills the volumes of file-system backups only in a pod that it restores itself. Every restored pod is held
//! back by a scheduling gate. The one pod that carries the volume loses it together with all else that it was: it is
//! left with that volume, and with Velero's own init container, which waits for the data.
//!
//! Velero restores an object unchanged where a patch fails, and goes on. So the gate comes first, in a rule of its own:
//! a pod that cannot be changed stays behind it.
//!
//! deploy/nightly/restore-bounds.yaml admits this text and no other, so that the account of the nightly restore cannot have
//! Velero, a cluster-admin, change what it restores.

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cluster::{Component, PodSettings, Run, labels, lease};

/// The container that Velero puts first when it has data for a pod's volume.
const VELERO_WAIT: &str = "restore-wait";
const GATE: &str = "state-lab.dev/hold";
const CONTAINER: &str = "hold";
const GRACE_SECONDS: i64 = 1;

/// The rules, in the order of their fields: the admission policy compares the text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rules {
    version: &'static str,
    resource_modifier_rules: [Rule; 2],
}

#[derive(Serialize)]
struct Rule {
    conditions: Conditions,
    patches: Vec<Patch>,
}

/// Objects that a rule matches. A Restore has one namespace, so that none is named here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    group_resource: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name_regex: Option<String>,
}

#[derive(Serialize)]
struct Patch {
    operation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'static str>,
    path: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

impl Patch {
    fn new(operation: &'static str, path: &'static str, value: Value) -> Self {
        Self { operation, from: None, path, value: Some(text(value)) }
    }

    fn r#move(from: &'static str, path: &'static str) -> Self {
        Self { operation: "move", from: Some(from), path, value: None }
    }
}

/// The pod that is to be left of an application, and what it was.
#[derive(Clone, Debug)]
pub(super) struct Modifier {
    /// The pod that carried the volume.
    pub pod: String,
    /// Name of the volume in it. Velero finds it by this name.
    pub volume: String,
    /// The claim behind it.
    pub claim: String,
    /// An image that has `sleep`: the database's.
    pub image: String,
    /// Configuration of every pod.
    pub settings: PodSettings,
    /// The user and group that own the database's files.
    pub account: (i64, i64),
}

impl Modifier {
    /// The ConfigMap that a Restore of this run names, for Velero's namespace.
    pub(super) fn config_map(&self, run: &Run, velero_namespace: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(lease::name(run));
        map.metadata.namespace = Some(velero_namespace.to_owned());
        map.metadata.labels = Some(labels(run, Component::Validation));
        map.data = Some([("rules.yaml".to_owned(), text_of(&self.rules(run)))].into());
        map
    }

    fn rules(&self, run: &Run) -> Rules {
        let labels = || json!(labels(run, Component::Validation));
        let hold_back = vec![
            Patch::new("add", "/spec/schedulingGates", json!([{ "name": GATE }])),
            // No Service and no controller is to find it.
            Patch::new("add", "/metadata/labels", labels()),
        ];
        let keep_one = vec![
            // Without Velero's container there is no data to wait for, and the pod stays behind the gate.
            Patch::new("test", "/spec/initContainers/0/name", json!(VELERO_WAIT)),
            Patch::r#move("/spec/initContainers/0", "/held"),
            Patch::new("replace", "/spec", self.spec()),
            Patch::r#move("/held", "/spec/initContainers/0"),
            Patch::new("add", "/metadata/labels", labels()),
            Patch::new("add", "/metadata/annotations", json!({})),
        ];
        let pods = |resource_name_regex: Option<String>, patches: Vec<Patch>| Rule {
            conditions: Conditions { group_resource: "pods", resource_name_regex },
            patches,
        };
        let this_one = format!("^{}$", self.pod.replace('.', "[.]"));
        Rules {
            version: "v1",
            resource_modifier_rules: [pods(None, hold_back), pods(Some(this_one), keep_one)],
        }
    }

    fn spec(&self) -> Value {
        let (user, group) = self.account;
        let mut spec = json!({
            "restartPolicy": "Never",
            "serviceAccountName": "default",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "imagePullSecrets": self.settings.image_pull_secrets(&[]),
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": user,
                "runAsGroup": group,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "initContainers": [],
            "containers": [{
                "name": CONTAINER,
                "image": self.image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["sleep", "infinity"],
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                "resources": self.settings.resources.of_helper(),
                "volumeMounts": [{ "name": self.volume, "mountPath": "/volume" }],
            }],
            "volumes": [{ "name": self.volume, "persistentVolumeClaim": { "claimName": self.claim } }],
        });
        if !self.settings.node_selector.is_empty() {
            spec["nodeSelector"] = json!(self.settings.node_selector);
        }
        if !self.settings.tolerations.is_empty() {
            spec["tolerations"] = json!(self.settings.tolerations());
        }
        spec
    }
}

/// The rules as JSON, which is YAML.
fn text_of(rules: &Rules) -> String {
    serde_json::to_string(rules).unwrap_or_else(|error| panic!("rules are not JSON: {error}"))
}

/// A value as Velero wants it: text, which it quotes again unless it looks like an object or an array.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodSpec;

    fn modifier() -> Modifier {
        Modifier {
            pod: "pg.0".to_owned(),
            volume: "basebackup".to_owned(),
            claim: "pg-basebackup".to_owned(),
            image: "postgres:15".to_owned(),
            settings: PodSettings::sample(),
            account: (999, 998),
        }
    }

    fn rules(run: &Run) -> Value {
        let data = modifier().config_map(run, "velero").data.unwrap();
        assert_eq!(data.len(), 1, "Velero refuses a ConfigMap with more");
        serde_json::from_str(&data["rules.yaml"]).unwrap()
    }

    #[test]
    fn the_gate_comes_first_and_does_not_depend_on_the_rest() {
        let rules = rules(&Run::new());
        let rules = rules["resourceModifierRules"].as_array().unwrap();
        let conditions: Vec<&Value> = rules.iter().map(|rule| &rule["conditions"]).collect();
        let pods = json!({ "groupResource": "pods" });
        let one = json!({ "groupResource": "pods", "resourceNameRegex": "^pg[.]0$" });
        assert_eq!(conditions, [&pods, &one]);
        let first = json!({
            "operation": "add", "path": "/spec/schedulingGates", "value": r#"[{"name":"state-lab.dev/hold"}]"#,
        });
        assert_eq!(rules[0]["patches"][0], first);
    }

    #[test]
    fn the_one_pod_keeps_nothing_but_the_volume_and_veleros_container() {
        let run = Run::new();
        let rules = rules(&run);
        let patches = rules["resourceModifierRules"][1]["patches"].as_array().unwrap();
        let steps: Vec<String> = patches
            .iter()
            .map(|patch| {
                let from = patch["from"].as_str().unwrap_or("value");
                format!("{} {from} {}", patch["operation"].as_str().unwrap(), patch["path"].as_str().unwrap())
            })
            .collect();
        assert_eq!(
            steps,
            [
                "test value /spec/initContainers/0/name",
                "move /spec/initContainers/0 /held",
                "replace value /spec",
                "move /held /spec/initContainers/0",
                "add value /metadata/labels",
                "add value /metadata/annotations",
            ]
        );
        assert_eq!(patches[0]["value"], "restore-wait");
        let value = |index: usize| -> Value {
            serde_json::from_str(patches[index]["value"].as_str().unwrap()).unwrap()
        };
        assert_eq!(value(4), json!(labels(&run, Component::Validation)));
        let spec: PodSpec = serde_json::from_value(value(2)).unwrap();
        assert_eq!(spec.scheduling_gates, None);
        assert_eq!(spec.automount_service_account_token, Some(false));
        assert_eq!(spec.init_containers, Some(Vec::new()));
        let [volume] = &spec.volumes.unwrap()[..] else { panic!("one volume") };
        assert_eq!(volume.name, "basebackup");
        assert_eq!(volume.persistent_volume_claim.as_ref().unwrap().claim_name, "pg-basebackup");
        let [container] = &spec.containers[..] else { panic!("one container") };
        assert_eq!((&container.env, &container.env_from), (&None, &None));
        assert_eq!(container.resources.as_ref().unwrap().limits.as_ref().unwrap()["cpu"].0, "2");
        assert_eq!(spec.image_pull_secrets.unwrap()[0].name, "mirror");
        assert_eq!(spec.node_selector.unwrap()["disk"], "ssd");
        assert_eq!(spec.tolerations.unwrap()[0].value.as_deref(), Some("drills"));
    }

    /// The pattern of the admission policy, as the texts between its holes. A hole takes a JSON string without any escape
    /// but that of a quotation mark.
    fn admitted() -> Vec<String> {
        let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/nightly/restore-bounds.yaml");
        let policy = std::fs::read_to_string(policy).unwrap();
        let lines = policy.lines().filter_map(|line| line.trim().strip_prefix("r'"));
        let pattern: String = lines.map(|line| &line[..line.rfind('\'').unwrap()]).collect();
        let pattern = pattern.strip_prefix('^').unwrap().strip_suffix('$').unwrap();
        let plain = |text: &str| text.replace(r#"\\""#, "\0").replace('\\', "").replace('\0', r#"\""#);
        pattern.split(r#"([^"\\]|\\")*"#).map(plain).collect()
    }

    fn is_admitted(mut text: &str) -> bool {
        let pieces = admitted();
        for (index, piece) in pieces.iter().enumerate() {
            let end = if index == 0 { Some(0) } else { text.find(piece.as_str()) };
            let Some(end) = end.filter(|end| text[*end..].starts_with(piece.as_str())) else { return false };
            let hole = text[..end].replace(r#"\""#, "");
            if hole.contains(['"', '\\']) {
                return false;
            }
            text = &text[end + piece.len()..];
        }
        text.is_empty()
    }

    #[test]
    fn the_admission_policy_knows_this_text() {
        assert_eq!(admitted().len(), 5, "{:?}", admitted());
        let run = Run::new();
        // With pull secrets, resources, node selector and tolerations.
        let text = text_of(&modifier().rules(&run));
        assert!(is_admitted(&text), "{text}\nis not what deploy/nightly/restore-bounds.yaml admits");
        for forbidden in [r#"\"op\""#, r#"\"path\""#, r#"\"from\""#] {
            assert!(!text.contains(forbidden), "{forbidden} in a value: {text}");
        }
        assert!(!is_admitted(
            &text.replace(r#""groupResource":"pods""#, r#""groupResource":"persistentvolumes""#)
        ));
        assert!(!is_admitted(&text.replacen("replace", "add", 1)));
        assert!(!is_admitted(&text.replace("sleep", r"\u0073leep")));
    }
}
