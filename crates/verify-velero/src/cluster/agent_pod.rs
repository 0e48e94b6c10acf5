//! The pod that state-lab runs in beside a database: the database's own image, with our program copied into it.
//!
//! So the database's programs, its user and its volumes are there, and nothing has to be installed. The program's only
//! work until somebody runs another command in the pod is to wait; see [`crate::agent`].

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::core::ObjectMeta;
use serde_json::{Value, json};

use super::kind::object;
use super::label::{Component, Run, labels};
use super::pod_settings::PodSettings;

/// The container that commands run in.
pub(super) const CONTAINER: &str = "state-lab";
/// Path of the program in the pod.
pub const TOOL: &str = "/state-lab/state-lab";
/// Directory of the program, and of what is small and may go with the pod.
const DIRECTORY: &str = "/state-lab";
/// A pod that is removed is given so long to stop its server.
const GRACE_SECONDS: i64 = 5;
/// Time after which the cluster deletes a finished job that was not removed.
const JOB_KEPT_SECONDS: i32 = 600;

/// Specification of a pod of state-lab.
#[derive(Clone, Debug)]
pub struct AgentPod {
    /// Its name, and that of its job.
    pub name: String,
    pub namespace: String,
    pub run: Run,
    pub component: Component,
    /// The image that holds our program.
    pub tool_image: String,
    /// The image that it runs in: the database's.
    pub image: String,
    pub image_pull_secrets: Vec<String>,
    /// The user and group that own the database's files.
    pub account: (i64, i64),
    /// Claims of the same namespace.
    pub mounts: Vec<Mount>,
    /// Directory of scratch directories; beside the program unless given.
    pub scratch: Option<String>,
    pub annotations: BTreeMap<String, String>,
    /// Time after which the cluster terminates it, even if the caller is lost.
    pub deadline: Duration,
    /// True if it has to wait until it is isolated.
    pub gated: bool,
    /// Node that it has to run on; any unless given.
    pub placing: Option<Placing>,
    pub settings: PodSettings,
}

/// Placement of a pod. It stays there when the node is lost, with all that it has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placing {
    On(String),
    Off(String),
}

/// A claim in a pod. The volume has the claim's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub claim: String,
    pub path: String,
}

impl AgentPod {
    /// A pod without a controller.
    pub fn pod(&self) -> Pod {
        let mut spec = self.spec();
        spec.active_deadline_seconds = Some(self.deadline_seconds());
        Pod { metadata: self.metadata(), spec: Some(spec), status: None }
    }

    /// A job of one pod, which is not tried again.
    pub fn job(&self) -> Job {
        let template = json!({
            "metadata": { "labels": labels(&self.run, self.component), "annotations": self.annotations },
            "spec": self.spec(),
        });
        let spec = json!({
            "backoffLimit": 0,
            "activeDeadlineSeconds": self.deadline_seconds(),
            "ttlSecondsAfterFinished": JOB_KEPT_SECONDS,
            "template": template,
        });
        Job { metadata: self.metadata(), spec: Some(object(spec)), status: None }
    }

    fn metadata(&self) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.name.clone()),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels(&self.run, self.component)),
            annotations: (!self.annotations.is_empty()).then(|| self.annotations.clone()),
            ..ObjectMeta::default()
        }
    }

    fn deadline_seconds(&self) -> i64 {
        i64::try_from(self.deadline.as_secs()).unwrap_or(i64::MAX)
    }

    fn spec(&self) -> PodSpec {
        let (user, group) = self.account;
        let own = json!({ "name": "tool", "mountPath": DIRECTORY });
        let init = |name: &str, args: Value| {
            json!({
                "name": name,
                "image": self.tool_image,
                "imagePullPolicy": "IfNotPresent",
                "args": args,
                "securityContext": confined(),
                "resources": self.settings.resources.of_helper(),
                "volumeMounts": [own],
            })
        };
        let gate = self.gated.then(|| init("gate", json!(["agent", "gate"])));
        let tool = init("tool", json!(["agent", "install", TOOL]));
        let mut mounts = vec![own.clone()];
        let mut volumes = vec![json!({ "name": "tool", "emptyDir": {} })];
        for Mount { claim, path } in &self.mounts {
            mounts.push(json!({ "name": claim, "mountPath": path }));
            volumes.push(json!({ "name": claim, "persistentVolumeClaim": { "claimName": claim } }));
        }
        let tolerations: Vec<Value> = self
            .placing
            .iter()
            .flat_map(|_| Placing::tolerations())
            .chain(self.settings.tolerations())
            .collect();
        object(json!({
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "imagePullSecrets": self.settings.image_pull_secrets(&self.image_pull_secrets),
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": user,
                "runAsGroup": group,
                // A new volume belongs to root.
                "fsGroup": group,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "initContainers": gate.into_iter().chain([tool]).collect::<Vec<_>>(),
            "containers": [{
                "name": CONTAINER,
                "image": self.image,
                "imagePullPolicy": "IfNotPresent",
                "command": [TOOL, "agent", "wait"],
                "env": [{ "name": "TMPDIR", "value": self.scratch.as_deref().unwrap_or(DIRECTORY) }],
                "securityContext": confined(),
                "resources": self.settings.resources.of_container(),
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
            "affinity": self.placing.as_ref().map(Placing::affinity),
            "nodeSelector": self.node_selector(),
            "tolerations": (!tolerations.is_empty()).then_some(tolerations),
        }))
    }

    /// The labels that its node must have; none for a pod whose node is named.
    fn node_selector(&self) -> Option<&BTreeMap<String, String>> {
        let selector = &self.settings.node_selector;
        (!selector.is_empty() && !matches!(self.placing, Some(Placing::On(_)))).then_some(selector)
    }
}

impl Placing {
    fn affinity(&self) -> Value {
        let (operator, node) = match self {
            Self::On(node) => ("In", node),
            Self::Off(node) => ("NotIn", node),
        };
        let term =
            json!({ "matchFields": [{ "key": "metadata.name", "operator": operator, "values": [node] }] });
        json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term] } } })
    }

    /// Only of what a lost node gets: it must not be placed where nothing else may run.
    fn tolerations() -> [Value; 2] {
        let stays = |key: &str| json!({ "key": key, "operator": "Exists", "effect": "NoExecute" });
        [stays("node.kubernetes.io/unreachable"), stays("node.kubernetes.io/not-ready")]
    }
}

fn confined() -> Value {
    json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(gated: bool) -> AgentPod {
        AgentPod {
            name: "state-lab-nightly".to_owned(),
            namespace: "app".to_owned(),
            run: Run::new(),
            component: Component::Validation,
            tool_image: "tool:1".to_owned(),
            image: "postgres:15".to_owned(),
            image_pull_secrets: vec!["registry".to_owned()],
            account: (999, 998),
            mounts: vec![Mount { claim: "data".to_owned(), path: "/volume".to_owned() }],
            scratch: None,
            annotations: BTreeMap::new(),
            deadline: Duration::from_secs(60),
            gated,
            placing: None,
            settings: PodSettings::default(),
        }
    }

    #[test]
    fn it_has_what_the_configuration_says_of_every_pod() {
        let spec = AgentPod { settings: PodSettings::sample(), ..pod(true) }
            .job()
            .spec
            .unwrap()
            .template
            .spec
            .unwrap();
        let secrets = spec.image_pull_secrets.unwrap();
        let secrets: Vec<&str> = secrets.iter().map(|secret| secret.name.as_str()).collect();
        assert_eq!(secrets, ["registry", "mirror"]);
        assert_eq!(spec.node_selector.unwrap()["disk"], "ssd");
        assert_eq!(spec.tolerations.unwrap()[0].key.as_deref(), Some("dedicated"));
        let containers: Vec<_> = spec.init_containers.unwrap().into_iter().chain(spec.containers).collect();
        assert_eq!(containers.len(), 3);
        for container in containers {
            // A quota on limits refuses a pod of which one container has none.
            let limits = container.resources.unwrap().limits.unwrap();
            assert_eq!(
                (limits["cpu"].0.as_str(), limits["memory"].0.as_str()),
                ("2", "2Gi"),
                "{}",
                container.name
            );
        }
        let spec = pod(true).job().spec.unwrap().template.spec.unwrap();
        let memory = |container: &k8s_openapi::api::core::v1::Container| {
            let limits = container.resources.as_ref().unwrap().limits.as_ref();
            limits.map(|limits| limits["memory"].0.clone())
        };
        let of_helpers: Vec<_> = spec.init_containers.iter().flatten().map(memory).collect();
        assert_eq!(of_helpers, [Some("128Mi".to_owned()), Some("128Mi".to_owned())]);
        assert_eq!(memory(&spec.containers[0]), None, "a server that is killed would look like a bad backup");
        let placed = |placing| {
            let pod = AgentPod { placing: Some(placing), settings: PodSettings::sample(), ..pod(false) };
            pod.pod().spec.unwrap()
        };
        assert_eq!(placed(Placing::On("n".to_owned())).node_selector, None, "its node is named");
        let off = placed(Placing::Off("n".to_owned()));
        assert_eq!((off.node_selector.unwrap().len(), off.tolerations.unwrap().len()), (1, 3));
    }

    #[test]
    fn it_runs_where_it_has_to_and_stays_there() {
        let placed = |placing| AgentPod { placing, ..pod(false) }.pod().spec.unwrap();
        assert_eq!((placed(None).affinity, placed(None).tolerations), (None, None));
        for (placing, operator) in
            [(Placing::On("n".to_owned()), "In"), (Placing::Off("n".to_owned()), "NotIn")]
        {
            let spec = placed(Some(placing));
            let required = spec.affinity.unwrap().node_affinity.unwrap();
            let terms =
                required.required_during_scheduling_ignored_during_execution.unwrap().node_selector_terms;
            let fields = terms[0].match_fields.as_ref().unwrap();
            assert_eq!(
                (fields[0].operator.as_str(), fields[0].values.as_deref()),
                (operator, Some(&["n".to_owned()][..]))
            );
            let tolerations = spec.tolerations.unwrap();
            assert!(tolerations.iter().all(|toleration| toleration.effect.as_deref() == Some("NoExecute")));
        }
    }

    #[test]
    fn nothing_in_it_is_privileged_and_the_gate_comes_first() {
        let job = pod(true).job().spec.unwrap();
        assert_eq!((job.backoff_limit, job.active_deadline_seconds), (Some(0), Some(60)));
        let spec = job.template.spec.unwrap();
        assert_eq!(spec.automount_service_account_token, Some(false));
        let security = spec.security_context.unwrap();
        assert_eq!((security.run_as_user, security.run_as_group), (Some(999), Some(998)));
        let init = spec.init_containers.unwrap();
        let names: Vec<&str> = init.iter().map(|container| container.name.as_str()).collect();
        assert_eq!(names, ["gate", "tool"]);
        let mounted = |container: &k8s_openapi::api::core::v1::Container| {
            container.volume_mounts.iter().flatten().any(|mount| mount.name == "data")
        };
        assert!(!init.iter().any(mounted), "what runs before the gate is through must not see the data");
        assert!(mounted(&spec.containers[0]));
        for container in init.iter().chain(&spec.containers) {
            let security = container.security_context.as_ref().unwrap();
            assert_eq!(security.allow_privilege_escalation, Some(false), "{}", container.name);
        }
    }

    #[test]
    fn a_pod_that_nobody_removes_ends_by_itself() {
        let spec = pod(false).pod().spec.unwrap();
        assert_eq!(spec.active_deadline_seconds, Some(60));
        assert_eq!(spec.init_containers.unwrap().len(), 1);
        assert_eq!(spec.restart_policy.as_deref(), Some("Never"));
    }
}
