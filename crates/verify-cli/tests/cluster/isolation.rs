//! A restored copy reaches nobody, nobody reaches it, and nothing of the application starts beside it.

use std::process::{Command, Stdio};

use crate::support::{Database, Leftovers, kubectl, patiently, tried, validation_namespace};

/// What a pod is to reach, or not: a shell command for each.
fn probes(database: &Database) -> Vec<(&'static str, String)> {
    let of = |what: &str, path: &str| {
        kubectl(&["get", "-n", &database.namespace, what, "-o", &format!("jsonpath={{{path}}}")])
    };
    let connect = |host: &str, port: &str| format!("timeout 3 bash -c '</dev/tcp/{host}/{port}'");
    let node = kubectl(&[
        "get",
        "nodes",
        "-o",
        "jsonpath={.items[0].status.addresses[?(@.type==\"InternalIP\")].address}",
    ]);
    let dns = kubectl(&["exec", "-n", &database.namespace, "deploy/writer", "--", "cat", "/etc/resolv.conf"]);
    let dns = dns.lines().find_map(|line| line.strip_prefix("nameserver ")).unwrap().to_owned();
    vec![
        ("the database's Service", connect(&of("service/pg", ".spec.clusterIP"), "5432")),
        ("the database's pod", connect(&of("pod/pg-0", ".status.podIP"), "5432")),
        (
            "the API server",
            connect("$KUBERNETES_SERVICE_HOST", "$KUBERNETES_SERVICE_PORT").replace('\'', "\""),
        ),
        ("a node", connect(&node, "10250")),
        ("DNS", connect(&dns, "53")),
        ("a name", format!("timeout 8 getent hosts pg.{}", database.namespace)),
    ]
}

#[test]
fn a_kept_copy_reaches_nobody_stays_until_cleanup_and_goes_with_it() {
    let Some(database) = Database::shared("a_kept_copy_reaches_nobody") else { return };
    let before = Leftovers::before();
    let name = database.shared_backup("csi");
    let kept = database.state_lab.run(&["restore", "--snapshot", &name, "--keep"]);
    kept.expect(0, "restore_status: success", &["the restored server runs on", "state-lab cleanup"]);
    let hint = kept.stderr.lines().find(|line| line.contains("exec -it")).expect("it says how to connect");
    let namespace = hint.split_whitespace().find(|word| word.starts_with("state-lab-")).unwrap().to_owned();
    let pod = kubectl(&["get", "-n", &namespace, "pods", "-o", "jsonpath={.items[*].metadata.name}"]);
    let reaches = |namespace: &str, pod: &str, command: &str| {
        tried(&["exec", "-n", namespace, pod, "--", "bash", "-c", command]).is_ok()
    };
    for (what, command) in probes(&database) {
        assert!(
            reaches(&database.namespace, "deploy/writer", &command),
            "a pod of the application reaches {what}"
        );
        assert!(!reaches(&namespace, &pod, &command), "the copy reaches {what}");
    }
    let address = kubectl(&["get", "-n", &namespace, "pod", &pod, "-o", "jsonpath={.status.podIP}"]);
    let command = format!("timeout 3 bash -c '</dev/tcp/{address}/5432'");
    assert!(!reaches(&database.namespace, "deploy/writer", &command), "the copy is reached");
    // The server answers to whom it was kept for.
    let (_, conninfo) = hint.split_once("psql \"").unwrap();
    let rows = tried(&[
        "exec",
        "-n",
        &namespace,
        &pod,
        "--",
        "psql",
        "-XAtc",
        "select count(*) from customers",
        conninfo.trim_end_matches('"'),
    ]);
    assert_eq!(rows, Ok("10000".to_owned()));
    // Another run removes what dead runs left, and this is not one.
    database.restore(&name).expect_pass();
    assert_eq!(kubectl(&["get", "-n", &namespace, "pod", &pod, "-o", "jsonpath={.status.phase}"]), "Running");
    let cleaned = database.state_lab.run(&["cleanup"]);
    assert!(cleaned.code == Some(0) && cleaned.stdout.contains(&namespace), "{}", cleaned.told());
    before.expect_none();
}

/// Restores while every pod of the validation namespace is noted; how many there were.
fn watched(database: &Database, method: &str) {
    let name = database.shared_backup(method);
    let before = Leftovers::before();
    let mut watch = Command::new("kubectl");
    watch.args(["get", "pods", "--all-namespaces", "--watch", "--output-watch-events", "-o"]);
    watch.arg(
        "jsonpath={.object.metadata.namespace} {.object.metadata.name} {.object.metadata.labels.app} \
               {.object.spec.nodeName}{\"\\n\"}",
    );
    let watch = watch.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut restore = database.state_lab.start(&["restore", "--snapshot", &name]);
    restore.await_told("asking Velero to fill the volume");
    let namespace = validation_namespace(&name);
    restore.end().expect_pass();
    // A last event, so that those before it have arrived.
    let mut watch = watch;
    watch.kill().unwrap();
    let seen = String::from_utf8(watch.wait_with_output().unwrap().stdout).unwrap();
    let pods: Vec<&str> = seen.lines().filter(|line| line.starts_with(&format!("{namespace} "))).collect();
    assert!(
        pods.iter().any(|pod| pod.contains(&format!(" {namespace}"))),
        "our own pod was not seen: {seen}"
    );
    let strangers: Vec<&&str> =
        pods.iter().filter(|pod| !pod.split(' ').nth(1).unwrap().starts_with("state-lab-")).collect();
    assert_eq!(strangers, Vec::<&&str>::new(), "pods of the application in {namespace}");
    let foreign = format!("select count(*) from writes where namespace <> '{}'", database.namespace);
    assert_eq!(database.sql(&foreign), "0");
    let writers = database.sql("select count(distinct client) from writes");
    assert_eq!(writers, "1", "somebody else wrote to the source");
    database.await_writes();
    before.expect_none();
}

#[test]
fn no_writer_of_a_snapshot_runs() {
    let Some(database) = Database::shared("no_writer_of_a_snapshot_runs") else { return };
    watched(&database, "csi");
}

#[test]
fn no_writer_of_a_backup_of_files_runs() {
    let Some(database) = Database::shared("no_writer_of_a_backup_of_files_runs") else { return };
    watched(&database, "fs");
}

#[test]
fn a_validation_namespace_that_is_deleted_under_us_ends_the_restore() {
    let Some(database) = Database::shared("a_validation_namespace_that_is_deleted") else { return };
    let name = database.shared_backup("csi");
    let before = Leftovers::before();
    let mut restore = database.state_lab.start(&["restore", "--snapshot", &name]);
    restore.await_told("starting a pod on the restored volume");
    let namespace = validation_namespace(&name);
    kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
    // The cluster takes seconds to come to the pods, in which a small copy is proven.
    let _ =
        tried(&["delete", "pods", "--all", "-n", &namespace, "--force", "--grace-period=0", "--wait=false"]);
    let ended = restore.end();
    ended.expect(2, "restore_status: failed", &["error: "]);
    assert!(ended.took.as_secs() < 120, "{}", ended.told());
    patiently(60, "the namespace's end", || tried(&["get", "namespace", &namespace]).err());
    before.expect_none();
    database.restore(&name).expect_pass();
}
