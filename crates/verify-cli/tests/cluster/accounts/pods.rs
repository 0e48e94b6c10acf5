//! What a pod must not be, whoever makes it: alone, or in the template of a job.

use serde_json::{Value, json};

use super::account::Request;
use super::{Escape, escape};

type Change = fn(&mut Value);

/// Changes of a pod's spec, each with what the refusal says.
const SPECS: &[(&str, Change, &str)] = &[
    ("the node's processes", |pod| pod["hostPID"] = true.into(), "nothing with their node"),
    ("the node's network", |pod| pod["hostNetwork"] = true.into(), "nothing with their node"),
    ("the node's IPC", |pod| pod["hostIPC"] = true.into(), "nothing with their node"),
    ("a node by its name", |pod| pod["nodeName"] = "worker-1".into(), "do not choose it"),
    (
        "a port of the node",
        |pod| first(pod)["ports"] = json!([{ "containerPort": 80, "hostPort": 80 }]),
        "their node",
    ),
    ("the node's files", |pod| volume(pod, json!({ "hostPath": { "path": "/" } })), "claims and emptyDirs"),
    (
        "a Secret as files",
        |pod| volume(pod, json!({ "secret": { "secretName": "s" } })),
        "claims and emptyDirs",
    ),
    (
        "a token as a file",
        |pod| {
            volume(pod, json!({ "projected": { "sources": [{ "serviceAccountToken": { "path": "t" } }] } }));
        },
        "claims and emptyDirs",
    ),
    (
        "a Secret as environment",
        |pod| first(pod)["envFrom"] = json!([{ "secretRef": { "name": "s" } }]),
        "no Secret",
    ),
    (
        "a key of a Secret",
        |pod| {
            first(pod)["env"] =
                json!([{ "name": "P", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }]);
        },
        "no Secret",
    ),
    (
        "a block device",
        |pod| first(pod)["volumeDevices"] = json!([{ "name": "data", "devicePath": "/dev/x" }]),
        "no block device",
    ),
    ("its account's token", |pod| pod["automountServiceAccountToken"] = true.into(), "no token"),
    ("another account", |pod| pod["serviceAccountName"] = "builder".into(), "no account but default"),
    (
        "a privileged container",
        |pod| {
            first(pod)["securityContext"] =
                json!({ "privileged": true, "capabilities": { "drop": ["ALL"] } });
        },
        "no privileges",
    ),
    (
        "more rights than its parent",
        |pod| first(pod)["securityContext"]["allowPrivilegeEscalation"] = true.into(),
        "no privileges",
    ),
    (
        "a capability",
        |pod| first(pod)["securityContext"]["capabilities"]["add"] = json!(["SYS_ADMIN"]),
        "no capabilities",
    ),
    (
        "the default capabilities",
        |pod| first(pod)["securityContext"]["capabilities"] = json!({}),
        "no capabilities",
    ),
    (
        "a privileged container that comes first",
        |pod| pod["initContainers"][0]["securityContext"] = json!({ "privileged": true }),
        "no privileges",
    ),
    ("root", |pod| pod["securityContext"]["runAsUser"] = 0.into(), "as root"),
    ("root in a container", |pod| first(pod)["securityContext"]["runAsUser"] = 0.into(), "as root"),
    ("whatever user", |pod| pod["securityContext"]["runAsNonRoot"] = false.into(), "as root"),
    (
        "every system call",
        |pod| pod["securityContext"]["seccompProfile"]["type"] = "Unconfined".into(),
        "keep their profiles",
    ),
    (
        "a setting of the kernel",
        |pod| pod["securityContext"]["sysctls"] = json!([{ "name": "kernel.shm_rmid_forced", "value": "1" }]),
        "keep their profiles",
    ),
    (
        "all of /proc",
        |pod| {
            pod["hostUsers"] = false.into();
            first(pod)["securityContext"]["procMount"] = "Unmasked".into();
        },
        "no privileges",
    ),
    (
        "requests of the kubelet",
        |pod| {
            first(pod)["lifecycle"] = json!({ "postStart": { "httpGet": { "host": "pg.app", "port": 80 } } });
        },
        "no probes",
    ),
    (
        "the system's priority",
        |pod| pod["priorityClassName"] = "system-node-critical".into(),
        "no system priority",
    ),
];

fn first(pod: &mut Value) -> &mut Value {
    &mut pod["containers"][0]
}

fn volume(pod: &mut Value, mut volume: Value) {
    volume["name"] = "more".into();
    pod["volumes"].as_array_mut().unwrap().push(volume);
}

/// All of them, of an object that holds a pod at `template`, a JSON pointer.
pub(super) fn escapes(path: &str, object: &Value, template: &str) -> Vec<Escape> {
    let changed = |at: &str, change: &dyn Fn(&mut Value)| {
        let mut object = object.clone();
        change(object.pointer_mut(&format!("{template}{at}")).unwrap());
        Request::create(path, &object)
    };
    let by = "'state-lab-pods'";
    let specs = SPECS.iter().map(|(what, change, why)| escape(what, changed("/spec", change), by, why));
    let mut escapes: Vec<Escape> = specs.collect();
    let hook = |metadata: &mut Value| {
        metadata["annotations"] = json!({ "pre.hook.backup.velero.io/command": "[\"id\"]" });
    };
    let selected = |metadata: &mut Value| metadata["labels"]["app"] = "pg".into();
    escapes.push(escape("a hook of Velero's", changed("/metadata", &hook), by, "no hooks"));
    escapes.push(escape("a label of the application", changed("/metadata", &selected), by, "no other"));
    escapes
}
