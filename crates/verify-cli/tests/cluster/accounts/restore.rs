//! The account of the nightly restore.

use serde_json::{Value, json};

use super::account::Request;
use super::objects::{
    RULES, event, job, labels, lease, modifier, namespace, restore_of, restore_of_files, run_name, with,
};
use super::prey::{Prey, velero_path};
use super::{Escape, ROLE, escape, pods};

const PLACE: &str = "'state-lab-restore'";
const VELERO: &str = "'state-lab-restore-velero'";

fn network_policy(egress: &Value) -> Value {
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "n" },
        "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": egress } })
}

fn quota() -> Value {
    json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "q" }, "spec": { "hard": { "pods": "4" } } })
}

/// Paths of kinds in a namespace.
struct Paths {
    core: String,
    jobs: String,
    policies: String,
}

impl Paths {
    fn of(namespace: &str) -> Self {
        Self {
            core: format!("/api/v1/namespaces/{namespace}"),
            jobs: format!("/apis/batch/v1/namespaces/{namespace}/jobs"),
            policies: format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"),
        }
    }
}

fn volume(name: &str) -> String {
    format!("/api/v1/persistentvolumes/{name}")
}

fn content(name: &str) -> String {
    format!("/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents/{name}")
}

fn reclaim(policy: &str) -> Value {
    json!({ "spec": { "persistentVolumeReclaimPolicy": policy } })
}

fn cancel() -> Value {
    json!({ "spec": { "cancel": true } })
}

/// What a restore does.
pub(super) fn work(prey: &Prey) -> Vec<(&'static str, Request)> {
    let place = Paths::of(&prey.place());
    let (create, patch, delete) = (Request::create, Request::patch, Request::delete);
    let next = run_name(&prey.next_run);
    let named = |kind: &str, name: &str| format!("{}/{name}", velero_path(kind));
    let velero = "/api/v1/namespaces/velero";
    let leases = "/apis/coordination.k8s.io/v1/namespaces/velero/leases";
    vec![
        ("a namespace", create("/api/v1/namespaces", &namespace(&next, &prey.next_run))),
        ("its removal", delete(&place.core)),
        ("a network policy", create(&place.policies, &network_policy(&Value::Null))),
        ("a quota", create(&format!("{}/resourcequotas", place.core), &quota())),
        (
            "no token",
            patch(
                &format!("{}/serviceaccounts/default", place.core),
                &json!({ "automountServiceAccountToken": false }),
            ),
        ),
        ("a job", create(&place.jobs, &job(prey))),
        ("a command", Request::exec(&prey.place(), "held", &["/state-lab/state-lab", "agent", "run"])),
        ("the removal of a pod", delete(&format!("{}/pods/held", place.core))),
        ("a volume that goes", patch(&volume(&prey.named("ours")), &reclaim("Delete"))),
        ("a volume that is forgotten", delete(&volume(&prey.named("ours")))),
        (
            "a content that stays",
            patch(&content(&prey.named("ours")), &json!({ "spec": { "deletionPolicy": "Retain" } })),
        ),
        ("a content that is forgotten", delete(&content(&prey.named("ours")))),
        ("a Restore", create(&velero_path("restores"), &restore_of(prey, "proven"))),
        ("a Restore of files", create(&velero_path("restores"), &restore_of_files(prey))),
        ("its modifier", create(&format!("{velero}/configmaps"), &modifier(prey, RULES))),
        ("the removal of a Restore", delete(&named("restores", &prey.place()))),
        ("the removal of its modifier", delete(&format!("{velero}/configmaps/{}", prey.place()))),
        ("a transfer's end", patch(&named("podvolumerestores", &prey.named("ours")), &cancel())),
        (
            "the outcome",
            create(
                &format!("{velero}/events"),
                &with(
                    &event("Backup", "velero.io/v1"),
                    &json!({ "metadata": { "name": next, "labels": labels(&prey.next_run, "validation") } }),
                ),
            ),
        ),
        ("a lease", create(leases, &lease(&next, &labels(&prey.next_run, "validation")))),
        (
            "its renewal",
            patch(&format!("{leases}/{}", prey.place()), &json!({ "spec": { "leaseTransitions": 1 } })),
        ),
        ("its end", delete(&format!("{leases}/{}", prey.place()))),
    ]
}

pub(super) fn escapes(prey: &Prey) -> Vec<Escape> {
    let place = Paths::of(&prey.place());
    let mut all = pods::escapes(&place.jobs, &job(prey), "/spec/template");
    all.extend(in_namespaces(prey));
    all.extend(of_storage(prey));
    all.extend(of_restores(prey));
    all.extend(of_modifiers(prey));
    all.extend(of_others(prey));
    all
}

fn in_namespaces(prey: &Prey) -> Vec<Escape> {
    let (place, database) = (Paths::of(&prey.place()), Paths::of(&prey.database));
    let (create, patch, delete) = (Request::create, Request::patch, Request::delete);
    let only = "validation namespaces only";
    let next = namespace(&run_name(&prey.next_run), &prey.next_run);
    let labelled = |labels: Value| {
        create("/api/v1/namespaces", &with(&next, &json!({ "metadata": { "labels": labels } })))
    };
    let enforce = |level: Value| labelled(json!({ "pod-security.kubernetes.io/enforce": level }));
    let account = |namespace: &Paths, fields: Value| {
        patch(&format!("{}/serviceaccounts/default", namespace.core), &fields)
    };
    let no_token = || json!({ "automountServiceAccountToken": false });
    let role = json!({ "automountServiceAccountToken": false,
        "metadata": { "annotations": { "eks.amazonaws.com/role-arn": "arn" } } });
    let baseline = "enforces the newest baseline";
    vec![
        escape(
            "another name",
            create("/api/v1/namespaces", &namespace("state-lab-evil", "evil")),
            PLACE,
            only,
        ),
        escape("a privileged namespace", enforce("privileged".into()), "'state-lab-namespaces'", baseline),
        escape("a namespace that enforces nothing", enforce(Value::Null), "'state-lab-namespaces'", baseline),
        escape(
            "an old baseline",
            labelled(json!({ "pod-security.kubernetes.io/enforce-version": "v1.0" })),
            "'state-lab-namespaces'",
            baseline,
        ),
        escape("another run's", labelled(json!({ "state-lab.dev/run": prey.run })), PLACE, only),
        escape(
            "relabelling",
            patch(&place.core, &json!({ "metadata": { "labels": { "a": "b" } } })),
            ROLE,
            "patch",
        ),
        escape("the end of the database", delete(&database.core), PLACE, only),
        escape("the end of velero", delete("/api/v1/namespaces/velero"), PLACE, only),
        escape("a job beside the database", create(&database.jobs, &job(prey)), PLACE, only),
        escape(
            "a policy beside the database",
            create(&database.policies, &network_policy(&Value::Null)),
            PLACE,
            only,
        ),
        escape(
            "a quota for the database",
            create(&format!("{}/resourcequotas", database.core), &quota()),
            PLACE,
            only,
        ),
        escape(
            "a way out",
            create(&place.policies, &network_policy(&json!([{}]))),
            PLACE,
            "that allow nothing",
        ),
        escape("no policy", delete(&format!("{}/state-lab", place.policies)), ROLE, "delete"),
        escape("the database's account", account(&database, no_token()), PLACE, only),
        escape("a role of the cloud", account(&place, role), PLACE, "changes nothing else of it"),
        escape(
            "a token again",
            account(&place, json!({ "automountServiceAccountToken": true })),
            PLACE,
            "takes the token",
        ),
        escape(
            "a pod",
            create(&format!("{}/pods", place.core), &job(prey)["spec"]["template"]),
            ROLE,
            "create",
        ),
        escape("the end of the primary", delete(&format!("{}/pods/pg-0", database.core)), PLACE, only),
        escape("a command in the primary", Request::exec(&prey.database, "pg-0", &["id"]), PLACE, only),
        escape(
            "a container more",
            patch(&format!("{}/pods/held/ephemeralcontainers", place.core), &json!({ "spec": {} })),
            ROLE,
            "ephemeralcontainers",
        ),
        escape(
            "a token",
            create(&format!("{}/serviceaccounts/default/token", place.core), &json!({ "spec": {} })),
            ROLE,
            "serviceaccounts/token",
        ),
        escape(
            "a port",
            create(&format!("{}/pods/held/portforward", place.core), &json!({})),
            ROLE,
            "portforward",
        ),
    ]
}

fn of_storage(prey: &Prey) -> Vec<Escape> {
    let (patch, delete) = (Request::patch, Request::delete);
    let [theirs, ours] = ["theirs", "ours"].map(|name| prey.named(name));
    let clone = format!("velero-clone-{}", prey.run);
    let only = "validation namespaces only";
    let provisioned = "provisioned for its claim";
    let unclaimed = json!({ "spec": { "claimRef": { "namespace": prey.database } } });
    let destroyed = json!({ "spec": { "deletionPolicy": "Delete" } });
    let secret = json!({ "spec": { "deletionPolicy": "Retain" },
        "metadata": { "annotations": { "snapshot.storage.kubernetes.io/deletion-secret-name": "s" } } });
    vec![
        escape("the end of production's volume", delete(&volume(&theirs)), PLACE, only),
        escape(
            "production's volume with its claim",
            patch(&volume(&theirs), &reclaim("Delete")),
            PLACE,
            only,
        ),
        escape(
            "production's volume, restored as it was",
            patch(&volume(&clone), &reclaim("Delete")),
            PLACE,
            provisioned,
        ),
        escape("a volume of another claim", patch(&volume(&ours), &unclaimed), PLACE, provisioned),
        escape("the end of production's content", delete(&content(&theirs)), PLACE, only),
        escape("production's snapshot", patch(&content(&theirs), &destroyed), PLACE, only),
        escape("the backup's snapshot", patch(&content(&ours), &destroyed), PLACE, "snapshots retained"),
        escape("a Secret for the storage", patch(&content(&ours), &secret), PLACE, "nothing else of them"),
    ]
}

fn of_restores(prey: &Prey) -> Vec<Escape> {
    let restores = velero_path("restores");
    let of = |restore: &Value, changes: Value| Request::create(&restores, &with(restore, &changes));
    let (snapshot, files) = (restore_of(prey, "proven"), restore_of_files(prey));
    let spec = |fields: Value| of(&snapshot, json!({ "spec": fields }));
    let named = |name: &str| of(&snapshot, json!({ "metadata": { "name": name } }));
    let (database, target) = (prey.database.as_str(), run_name(&prey.next_run));
    let hook = json!({ "resources": [{ "name": "h", "postHooks": [{ "exec": { "command": ["id"] } }] }] });
    let (nothing_else, one, volumes) = ("for nothing else", "one namespace, into", "restore volumes");
    vec![
        escape(
            "a Backup of others",
            of(&restore_of(prey, "theirs"), json!({})),
            "'state-lab-backups'",
            "did not make it",
        ),
        escape(
            "a namespace of no run",
            spec(json!({ "namespaceMapping": { database: "stolen" } })),
            VELERO,
            one,
        ),
        escape("where it was", spec(json!({ "namespaceMapping": null })), VELERO, one),
        escape(
            "another run's namespace",
            spec(json!({ "namespaceMapping": { database: prey.place() } })),
            VELERO,
            one,
        ),
        escape("a second namespace", spec(json!({ "includedNamespaces": [database, "other"] })), VELERO, one),
        escape(
            "every namespace",
            spec(json!({ "includedNamespaces": ["*"], "namespaceMapping": { "*": target } })),
            VELERO,
            one,
        ),
        escape("no namespace named", spec(json!({ "includedNamespaces": null })), VELERO, one),
        escape("Secrets", spec(json!({ "includedResources": ["secrets"] })), VELERO, volumes),
        escape("every kind", spec(json!({ "includedResources": ["*"] })), VELERO, volumes),
        escape("no kind named", spec(json!({ "includedResources": null })), VELERO, volumes),
        escape(
            "changes of what there is",
            spec(json!({ "existingResourcePolicy": "update" })),
            VELERO,
            nothing_else,
        ),
        escape("a hook", spec(json!({ "hooks": hook })), VELERO, nothing_else),
        escape("cluster resources", spec(json!({ "includeClusterResources": true })), VELERO, nothing_else),
        escape(
            "statuses",
            spec(json!({ "restoreStatus": { "includedResources": ["*"] } })),
            VELERO,
            nothing_else,
        ),
        escape("a schedule", spec(json!({ "scheduleName": "s" })), VELERO, nothing_else),
        escape("several selectors", spec(json!({ "orLabelSelectors": [{}] })), VELERO, nothing_else),
        escape("ports of nodes", spec(json!({ "preserveNodePorts": true })), VELERO, nothing_else),
        escape(
            "an outcome",
            of(&snapshot, json!({ "status": { "phase": "Completed" } })),
            VELERO,
            nothing_else,
        ),
        escape(
            "pods as they were",
            of(&files, json!({ "spec": { "resourceModifier": null } })),
            VELERO,
            "modifier of the run",
        ),
        escape(
            "another modifier",
            of(&files, json!({ "spec": { "resourceModifier": { "name": "theirs" } } })),
            VELERO,
            "modifier of the run",
        ),
        escape("a Restore of another name", named("nightly"), VELERO, "of its runs only"),
        escape(
            "a schedule's label",
            of(&snapshot, json!({ "metadata": { "labels": { "velero.io/schedule-name": "s" } } })),
            VELERO,
            "of its runs only",
        ),
        escape(
            "the end of a Restore",
            Request::delete(&format!("{restores}/{}", prey.named("theirs"))),
            VELERO,
            "of its runs only",
        ),
    ]
}

fn of_modifiers(prey: &Prey) -> Vec<Escape> {
    let maps = "/api/v1/namespaces/velero/configmaps";
    let rules = |rules: &str| Request::create(maps, &modifier(prey, rules));
    let named = |metadata: Value| {
        Request::create(maps, &with(&modifier(prey, RULES), &json!({ "metadata": metadata })))
    };
    let hold = "that hold pods back";
    let step = r#"{\"a\":1}},{\"op\":\"replace\",\"path\":\"/kind\",\"value\":{\"b\":1}"#;
    vec![
        escape(
            "changes of volumes",
            rules(&RULES.replace(r#":"pods"}"#, r#":"persistentvolumes"}"#)),
            VELERO,
            hold,
        ),
        escape(
            "pods that start",
            rules(&RULES.replace("/spec/schedulingGates", "/metadata/a")),
            VELERO,
            hold,
        ),
        escape(
            "a step within a value",
            rules(&RULES.replace(r#"{\"restartPolicy\":\"Never\"}"#, step)),
            VELERO,
            hold,
        ),
        escape("an escaped step", rules(&RULES.replace("Never", r"\u0022")), VELERO, hold),
        escape(
            "a third rule",
            rules(&RULES.replace("}]}]}", r#"}]},{"conditions":{"groupResource":"*"}}]}"#)),
            VELERO,
            hold,
        ),
        escape("YAML", rules("version: v1\nresourceModifierRules: []"), VELERO, hold),
        escape(
            "a plugin's settings",
            named(json!({ "labels": { "velero.io/plugin-config": "" } })),
            VELERO,
            "of its runs only",
        ),
        escape("another name", named(json!({ "name": "node-agent-config" })), VELERO, "of its runs only"),
        escape(
            "the end of a ConfigMap",
            Request::delete(&format!("{maps}/{}", prey.named("theirs"))),
            VELERO,
            "of its runs only",
        ),
    ]
}

fn of_others(prey: &Prey) -> Vec<Escape> {
    let transfer = |name: &str| format!("{}/{}", velero_path("podvolumerestores"), prey.named(name));
    let moved = json!({ "spec": { "cancel": true, "pod": { "namespace": "kube-system" } } });
    let leases = "/apis/coordination.k8s.io/v1/namespaces/velero/leases";
    let events = "/api/v1/namespaces/velero/events";
    let metadata = json!({ "metadata": { "name": run_name(&prey.next_run), "labels": labels(&prey.next_run, "validation") } });
    let runs = "leases of runs only";
    let theirs = format!("{leases}/{}", prey.named("theirs"));
    let holder = json!({ "spec": { "holderIdentity": "me" } });
    vec![
        escape(
            "the end of a transfer",
            Request::patch(&transfer("theirs"), &cancel()),
            VELERO,
            "of its own restores only",
        ),
        escape(
            "another pod for a transfer",
            Request::patch(&transfer("ours"), &moved),
            VELERO,
            "nothing else of them",
        ),
        escape(
            "an event of a pod",
            Request::create(events, &with(&event("Pod", "v1"), &metadata)),
            VELERO,
            "events of Backups",
        ),
        escape(
            "a lease of another name",
            Request::create(leases, &lease("velero", &json!({}))),
            "'state-lab-leases'",
            runs,
        ),
        escape("the lease of others", Request::patch(&theirs, &holder), "'state-lab-leases'", runs),
        escape("the end of a lease of others", Request::delete(&theirs), "'state-lab-leases'", runs),
        escape(
            "a Backup",
            Request::delete(&format!("{}/{}", velero_path("backups"), prey.named("proven"))),
            ROLE,
            "delete",
        ),
        escape(
            "a password",
            Request::get(&format!("/api/v1/namespaces/{}/secrets/pg", prey.database)),
            ROLE,
            "secrets",
        ),
        escape("every Secret of velero", Request::get("/api/v1/namespaces/velero/secrets"), ROLE, "secrets"),
    ]
}
