//! `state-lab failover` on a cluster: a member that moves with its volume, and the lab's Patroni when a node is lost.
//!
//! A node is only lost where STATE_LAB_RIG can lose one, and only where deploy/lab runs; else these tests say that they
//! were skipped.

use std::env;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// One server, whose volume goes where it goes.
const SINGLE: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: pg}
stringData: {password: test-only}
---
apiVersion: v1
kind: Service
metadata: {name: pg}
spec: {selector: {app: pg}, ports: [{port: 5432}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: pg}
spec:
  replicas: 1
  serviceName: pg
  selector: {matchLabels: {app: pg}}
  template:
    metadata: {labels: {app: pg}}
    spec:
      terminationGracePeriodSeconds: 30
      securityContext: {runAsUser: 999, runAsGroup: 999, fsGroup: 999}
      containers:
        - name: postgres
          image: IMAGE
          imagePullPolicy: IfNotPresent
          env:
            - {name: POSTGRES_PASSWORD, valueFrom: {secretKeyRef: {name: pg, key: password}}}
            - {name: PGDATA, value: /var/lib/postgresql/data/pgdata}
          ports: [{containerPort: 5432}]
          readinessProbe: {exec: {command: [pg_isready, -q, -h, 127.0.0.1]}, periodSeconds: 1}
          volumeMounts: [{name: data, mountPath: /var/lib/postgresql/data}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"#;

#[test]
fn a_single_server_moves_with_its_volume_and_loses_nothing() {
    if skipped("a_single_server_moves_with_its_volume_and_loses_nothing", "KUBECONFIG") {
        return;
    }
    let namespace = Namespace::create();
    let image = env::var("STATE_LAB_POSTGRES_IMAGE").unwrap_or_else(|_| "lab.test/postgres:15".to_owned());
    namespace.apply(&SINGLE.replace("IMAGE", &image));
    patiently(120, "a database", || {
        kubectl(&["-n", &namespace.0, "wait", "--for=condition=Ready", "pod/pg-0", "--timeout=5s"])
    });
    let node = node_of(&namespace.0, "pg-0");

    let elsewhere = drill(&namespace.0, "no-such-node", &[]);
    assert_eq!(elsewhere.status.code(), Some(2), "{elsewhere:?}");
    assert!(
        String::from_utf8_lossy(&elsewhere.stderr).contains(&format!("give --node {node}")),
        "{elsewhere:?}"
    );

    let drilled = drill(&namespace.0, &node, &["--output", "json"]);
    let found = json(&drilled);
    assert_eq!(drilled.status.code(), Some(0), "{found:#}");
    let impact = &found["drill"]["reading"]["read"];
    assert_eq!(found["event"], "primary rescheduled", "{found:#}");
    assert_eq!(found["service_impact"], "transient retry spike (under 30s)", "{found:#}");
    assert_eq!(found["drill"]["moved"], "other-node", "{found:#}");
    assert_eq!(
        (impact["lost"].clone(), impact["recorded_to_end"].clone()),
        (Value::Array(vec![]), Value::Bool(true))
    );
    assert!(impact["acknowledged"].as_u64() > Some(100), "{found:#}");
    assert_ne!(node_of(&namespace.0, "pg-0"), node);
    namespace.expect_nothing_left(&node);
}

#[test]
fn a_node_that_is_killed_costs_nothing_that_was_acknowledged() {
    let Some(lab) = Lab::find("a_node_that_is_killed_costs_nothing_that_was_acknowledged") else { return };
    let node = Lab::primary_node();
    let rig = &lab.rig;
    let (kill, boot) = (format!("{rig} kill $STATE_LAB_NODE"), format!("{rig} boot $STATE_LAB_NODE"));
    let drilled =
        drill("app", &node, &["--how", "command", "--command", &kill, "--undo", &boot, "--output", "json"]);
    let found = json(&drilled);
    assert_eq!(found["event"], "primary rescheduled", "{found:#}");
    assert_eq!(found["drill"]["moved"], "other-member", "{found:#}");
    assert_eq!(found["drill"]["missing"], Value::Array(vec![]), "{found:#}");
    let impact = &found["drill"]["reading"]["read"];
    assert_eq!(
        (impact["lost"].clone(), impact["duplicated"].clone()),
        (Value::Array(vec![]), Value::Array(vec![]))
    );
    assert!(impact["timelines"].as_array().unwrap().len() > 1, "{found:#}");
    // How long it takes depends on the machine too; the verdict must only agree with it.
    let outage_ms = impact["outage_ms"].as_u64().unwrap();
    assert!((1_000..120_000).contains(&outage_ms), "{found:#}");
    assert_eq!(drilled.status.code(), Some(i32::from(outage_ms > 30_000)), "{found:#}");
}

#[test]
fn what_an_asynchronous_primary_acknowledged_alone_is_reported_as_lost() {
    let Some(lab) = Lab::find("what_an_asynchronous_primary_acknowledged_alone_is_reported_as_lost") else {
        return;
    };
    let _mode = Asynchronous::begin();
    let node = Lab::primary_node();
    let rig = &lab.rig;
    let (cut, mend) = (format!("{rig} cut $STATE_LAB_NODE"), format!("{rig} mend $STATE_LAB_NODE"));
    let beside = ["--probe-node", &node, "--rate", "500"];
    let event = ["--how", "command", "--command", &cut, "--undo", &mend, "--output", "json"];
    let drilled = drill("app", &node, &[&beside[..], &event[..]].concat());
    let found = json(&drilled);
    assert_eq!((drilled.status.code(), found["verdict"].as_str()), (Some(1), Some("fail")), "{found:#}");
    assert!(found["service_impact"].as_str().unwrap().contains("lost"), "{found:#}");
    let lost = found["drill"]["reading"]["read"]["lost"].as_array().unwrap();
    let writes = |span: &Value| span["last"].as_u64().unwrap() - span["first"].as_u64().unwrap() + 1;
    assert!(lost.iter().map(writes).sum::<u64>() > 100, "{found:#}");
}

/// deploy/lab, on a cluster whose nodes can be lost.
struct Lab {
    rig: String,
}

/// Patroni commits on one member alone until this value goes.
struct Asynchronous;

impl Lab {
    fn find(test: &str) -> Option<Self> {
        if skipped(test, "KUBECONFIG") || skipped(test, "STATE_LAB_RIG") {
            return None;
        }
        if leader().is_none() {
            eprintln!("skipped: {test}: needs deploy/lab (kubectl apply -k deploy/lab)");
            return None;
        }
        let ready = "--for=jsonpath={.status.readyReplicas}=3";
        patiently(120, "three members", || {
            kubectl(&["-n", "app", "wait", ready, "statefulset/pg", "--timeout=5s"])
        });
        Some(Self { rig: env::var("STATE_LAB_RIG").unwrap() })
    }

    fn primary_node() -> String {
        node_of("app", &patiently(60, "a leader", leader))
    }
}

impl Asynchronous {
    fn begin() -> Self {
        configure("synchronous_mode=false");
        let synchronous = [
            "-n",
            "app",
            "get",
            "endpoints",
            "pg-sync",
            "-o",
            "jsonpath={.metadata.annotations.sync_standby}",
        ];
        patiently(60, "no synchronous member", || kubectl(&synchronous).filter(String::is_empty));
        Self
    }
}

impl Drop for Asynchronous {
    fn drop(&mut self) {
        configure("synchronous_mode=true");
    }
}

fn configure(setting: &str) {
    let leader = patiently(60, "a leader", leader);
    let patronictl =
        ["-n", "app", "exec", &leader, "--", "patronictl", "edit-config", "--force", "-s", setting];
    patiently(60, setting, || kubectl(&patronictl));
}

fn leader() -> Option<String> {
    kubectl(&["-n", "app", "get", "endpoints", "pg", "-o", "jsonpath={.metadata.annotations.leader}"])
        .filter(|leader| !leader.is_empty())
}

/// A namespace that goes with this value.
struct Namespace(String);

impl Namespace {
    fn create() -> Self {
        let name = format!("failover-{}", std::process::id());
        kubectl(&["create", "namespace", &name]).expect("a namespace can be created");
        Self(name)
    }

    fn apply(&self, objects: &str) {
        let path = env::temp_dir().join(format!("{}.yaml", self.0));
        std::fs::write(&path, objects).unwrap();
        kubectl(&["-n", &self.0, "apply", "-f", &path.to_string_lossy()])
            .expect("the objects can be applied");
        std::fs::remove_file(path).unwrap();
    }

    /// Nothing that has our labels, no table, no cordon.
    fn expect_nothing_left(&self, node: &str) {
        let none = |text: String| text.is_empty().then_some(());
        let ours = "app.kubernetes.io/managed-by=state-lab";
        let left = ["-n", &self.0, "get", "pods,leases", "-l", ours, "-o", "name"];
        patiently(30, "no probe", || kubectl(&left).and_then(none));
        let schema = "select nspname from pg_namespace where nspname = 'state_lab'";
        let psql = ["-n", &self.0, "exec", "pg-0", "--", "psql", "-XAtq", "-U", "postgres", "-c", schema];
        patiently(30, "no schema", || kubectl(&psql).and_then(none));
        let cordoned =
            kubectl(&["get", "node", node, "-o", "jsonpath={.spec.unschedulable}{.metadata.annotations}"])
                .unwrap();
        assert!(!cordoned.contains("true{") && !cordoned.contains("cordoned-by"), "{cordoned}");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        kubectl(&["delete", "namespace", &self.0, "--wait=false"]);
    }
}

fn drill(namespace: &str, node: &str, arguments: &[&str]) -> Output {
    let program = env::var("STATE_LAB_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_state-lab").to_owned());
    let image = env::var("STATE_LAB_IMAGE").expect("STATE_LAB_IMAGE is the image of STATE_LAB_BIN");
    let place = ["failover", "--node", node, "--namespace", namespace, "--image", &image];
    let folder = tempfile::tempdir().unwrap();
    Command::new(program)
        .args(place)
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .expect("STATE_LAB_BIN runs")
}

fn json(drilled: &Output) -> Value {
    serde_json::from_slice(&drilled.stdout)
        .unwrap_or_else(|_| panic!("no outcome came: {}", String::from_utf8_lossy(&drilled.stderr)))
}

fn node_of(namespace: &str, pod: &str) -> String {
    kubectl(&["-n", namespace, "get", "pod", pod, "-o", "jsonpath={.spec.nodeName}"])
        .expect("the pod is there")
}

fn skipped(test: &str, variable: &str) -> bool {
    let missing = env::var_os(variable).is_none();
    if missing {
        eprintln!("skipped: {test}: needs {variable}");
    }
    missing
}

/// What kubectl prints, where it succeeds.
fn kubectl(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("kubectl").args(arguments).stdin(Stdio::null()).output().expect("kubectl is on PATH");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn patiently<T>(seconds: u64, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(seconds), "{what}: not within {seconds} s");
        std::thread::sleep(Duration::from_millis(500));
    }
}
