//! The account of the nightly backup.

use serde_json::{Value, json};

use super::account::Request;
use super::objects::{backup, deletion_of, labels, lease, pod, run_name, with};
use super::prey::{Prey, velero_path};
use super::{Escape, ROLE, escape, pods};

const PLACE: &str = "'state-lab-backup'";
const VELERO: &str = "'state-lab-backup-velero'";

/// How the program asks where the data directory is: the one command for a pod that is not its own.
fn inspect() -> String {
    let source = include_str!("../../../src/provider/velero/source.rs");
    let (_, command) = source.split_once("const INSPECT: &str = r#\"").unwrap();
    command.split_once("\"#;").unwrap().0.to_owned()
}

fn cancel() -> Value {
    json!({ "spec": { "cancel": true } })
}

fn proven() -> Value {
    json!({ "metadata": { "labels": { "state-lab.dev/unproven": null } } })
}

/// What a backup does.
pub(super) fn work(prey: &Prey) -> Vec<(&'static str, Request)> {
    let pods = format!("/api/v1/namespaces/{}/pods", prey.database);
    let named = |kind: &str, name: &str| format!("{}/{}", velero_path(kind), prey.named(name));
    let leases = "/apis/coordination.k8s.io/v1/namespaces/velero/leases";
    let plain = with(&pod(prey), &json!({ "spec": { "volumes": [{ "name": "tool", "emptyDir": {} }] } }));
    vec![
        ("a pod with the claim", Request::create(&pods, &pod(prey))),
        ("a pod without", Request::create(&pods, &plain)),
        ("its removal", Request::delete(&format!("{pods}/{}", prey.place()))),
        (
            "a command in it",
            Request::exec(&prey.database, &prey.place(), &["/state-lab/state-lab", "agent", "run"]),
        ),
        ("where the data are", Request::exec(&prey.database, "pg-0", &["sh", "-c", &inspect()])),
        ("the keys of the bucket", Request::get("/api/v1/namespaces/velero/secrets/cloud-credentials")),
        ("a Backup", Request::create(&velero_path("backups"), &backup(prey))),
        ("that it is verifiable", Request::patch(&named("backups", "unproven"), &proven())),
        (
            "that one is deleted",
            Request::create(&velero_path("deletebackuprequests"), &deletion_of(prey, "unproven")),
        ),
        ("a transfer's end", Request::patch(&named("podvolumebackups", "ours"), &cancel())),
        (
            "a lease",
            Request::create(leases, &lease(&run_name(&prey.next_run), &labels(&prey.next_run, "backup"))),
        ),
        ("its end", Request::delete(&format!("{leases}/{}", prey.place()))),
    ]
}

pub(super) fn escapes(prey: &Prey) -> Vec<Escape> {
    let path = format!("/api/v1/namespaces/{}/pods", prey.database);
    let mut all = pods::escapes(&path, &pod(prey), "");
    all.extend(beside_the_database(prey));
    all.extend(of_backups(prey));
    all.extend(of_others(prey));
    all
}

fn beside_the_database(prey: &Prey) -> Vec<Escape> {
    let core = format!("/api/v1/namespaces/{}", prey.database);
    let pods = format!("{core}/pods");
    let exec = |command: &[&str]| Request::exec(&prey.database, "pg-0", command);
    let claims = |names: &[&str]| {
        let volume = |name: &&str| json!({ "name": name, "persistentVolumeClaim": { "claimName": name } });
        let mut volumes: Vec<Value> = names.iter().map(volume).collect();
        volumes.push(json!({ "name": "tool", "emptyDir": {} }));
        Request::create(&pods, &with(&pod(prey), &json!({ "spec": { "volumes": volumes } })))
    };
    let claim = "the claim that its role lets it use";
    let more = format!("{}; id", inspect());
    let named = with(&pod(prey), &json!({ "metadata": { "name": "pg-1" } }));
    vec![
        escape("a command in the primary", exec(&["id"]), PLACE, "pods of its own only"),
        escape(
            "a shell in the primary",
            exec(&["sh", "-c", "cat /proc/1/environ"]),
            PLACE,
            "pods of its own only",
        ),
        escape("a command more", exec(&["sh", "-c", &more]), PLACE, "pods of its own only"),
        escape("the data's claim", claims(&["data-pg-0"]), PLACE, claim),
        escape("a second claim", claims(&["basebackup", "data-pg-0"]), PLACE, claim),
        escape("another name", Request::create(&pods, &named), "'state-lab-pods'", "named after their run"),
        escape(
            "the end of the primary",
            Request::delete(&format!("{pods}/pg-0")),
            PLACE,
            "pods of its own only",
        ),
        escape("a label on the primary", Request::patch(&format!("{pods}/pg-0"), &json!({})), ROLE, "patch"),
        escape(
            "a port",
            Request::create(&format!("{pods}/pg-0/portforward"), &json!({})),
            ROLE,
            "portforward",
        ),
        escape(
            "a container more",
            Request::patch(&format!("{pods}/pg-0/ephemeralcontainers"), &json!({})),
            ROLE,
            "ephemeralcontainers",
        ),
        escape(
            "a token",
            Request::create(&format!("{core}/serviceaccounts/default/token"), &json!({})),
            ROLE,
            "token",
        ),
        escape("another Secret", Request::get(&format!("{core}/secrets/other")), ROLE, "secrets"),
        escape(
            "a pod elsewhere",
            Request::create("/api/v1/namespaces/velero/pods", &pod(prey)),
            ROLE,
            "create",
        ),
        escape("a command in velero", Request::exec("velero", "velero-0", &["id"]), ROLE, "pods/exec"),
    ]
}

fn of_backups(prey: &Prey) -> Vec<Escape> {
    let backups = velero_path("backups");
    let of = |changes: Value| Request::create(&backups, &with(&backup(prey), &changes));
    let spec = |fields: Value| of(json!({ "spec": fields }));
    let labelled = |labels: Value| of(json!({ "metadata": { "labels": labels } }));
    let hook = json!({ "resources": [{ "name": "h", "pre": [{ "exec": { "command": ["id"] } }] }] });
    let named = |name: &str| format!("{backups}/{}", prey.named(name));
    let (nothing_else, one, marks) =
        ("for nothing else", "one namespace, in which", "changes nothing else of them");
    let patch = |name: &str, fields: Value| Request::patch(&named(name), &fields);
    let runs = "of its runs only";
    vec![
        escape("a hook", spec(json!({ "hooks": hook })), VELERO, nothing_else),
        escape("cluster resources", spec(json!({ "includeClusterResources": true })), VELERO, nothing_else),
        escape(
            "a policy",
            spec(json!({ "resourcePolicy": { "kind": "configmap", "name": "p" } })),
            VELERO,
            nothing_else,
        ),
        escape(
            "files of running servers",
            spec(json!({ "orderedResources": { "pods": "a/b" } })),
            VELERO,
            nothing_else,
        ),
        escape("an outcome", of(json!({ "status": { "phase": "Completed" } })), VELERO, nothing_else),
        escape(
            "one that passes for proven",
            labelled(json!({ "state-lab.dev/unproven": null })),
            VELERO,
            nothing_else,
        ),
        escape("a schedule's", labelled(json!({ "velero.io/schedule-name": "s" })), VELERO, nothing_else),
        escape("nobody's", labelled(json!({ "app.kubernetes.io/managed-by": null })), VELERO, runs),
        escape("another namespace", spec(json!({ "includedNamespaces": ["kube-system"] })), VELERO, one),
        escape(
            "a namespace more",
            spec(json!({ "includedNamespaces": [prey.database, "velero"] })),
            VELERO,
            one,
        ),
        escape("every namespace", spec(json!({ "includedNamespaces": ["*"] })), VELERO, one),
        escape("no namespace named", spec(json!({ "includedNamespaces": null })), VELERO, one),
        escape("a Backup of others", patch("theirs", proven()), VELERO, runs),
        escape("a shorter life", patch("unproven", json!({ "spec": { "ttl": "1s" } })), VELERO, marks),
        escape(
            "another outcome",
            patch("unproven", json!({ "status": { "phase": "Completed" } })),
            VELERO,
            marks,
        ),
        escape(
            "another maker",
            patch("unproven", json!({ "metadata": { "labels": { "state-lab.dev/run": "0" } } })),
            VELERO,
            marks,
        ),
        escape(
            "a mark again",
            patch("proven", json!({ "metadata": { "labels": { "state-lab.dev/unproven": "true" } } })),
            VELERO,
            marks,
        ),
        escape("the end of others'", Request::delete(&named("theirs")), VELERO, runs),
        escape("the end of a proven one", Request::delete(&named("proven")), VELERO, "wait for their turn"),
        escape(
            "the end of one that has begun",
            Request::delete(&named("unproven")),
            VELERO,
            "wait for their turn",
        ),
    ]
}

fn of_others(prey: &Prey) -> Vec<Escape> {
    let requests = velero_path("deletebackuprequests");
    let deletion = |backup: &str| deletion_of(prey, backup);
    let named = with(&deletion("unproven"), &json!({ "metadata": { "name": "now" } }));
    let transfer = |name: &str| format!("{}/{}", velero_path("podvolumebackups"), prey.named(name));
    let moved = json!({ "spec": { "cancel": true, "node": "elsewhere" } });
    let leases = "/apis/coordination.k8s.io/v1/namespaces/velero/leases";
    let theirs = format!("{leases}/{}", prey.named("theirs"));
    let runs = "leases of runs only";
    let backups = "'state-lab-backups'";
    vec![
        escape(
            "the deletion of others'",
            Request::create(&requests, &deletion("theirs")),
            backups,
            "did not make it",
        ),
        escape(
            "the deletion of a proven one",
            Request::create(&requests, &deletion("proven")),
            backups,
            "it is verifiable",
        ),
        escape("a deletion of another name", Request::create(&requests, &named), VELERO, "of its runs only"),
        escape(
            "the end of a transfer",
            Request::patch(&transfer("theirs"), &cancel()),
            backups,
            "did not make it",
        ),
        escape(
            "a transfer elsewhere",
            Request::patch(&transfer("ours"), &moved),
            VELERO,
            "nothing else of them",
        ),
        escape(
            "a lease of another name",
            Request::create(leases, &lease("velero", &json!({}))),
            "'state-lab-leases'",
            runs,
        ),
        escape(
            "the lease of others",
            Request::patch(&theirs, &json!({ "spec": { "holderIdentity": "me" } })),
            "'state-lab-leases'",
            runs,
        ),
        escape("the end of a lease of others", Request::delete(&theirs), "'state-lab-leases'", runs),
        escape("a Restore", Request::create(&velero_path("restores"), &json!({})), ROLE, "create"),
        escape("a namespace", Request::create("/api/v1/namespaces", &json!({})), ROLE, "create"),
    ]
}
