//! A PostgreSQL server of one pod in a namespace of its own, with a writer that never rests.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::kubectl::{apply, kubectl, patiently};
use super::state_lab::{Ended, StateLab};

const PASSWORD: &str = "test-only";

/// The database, and how to run state-lab on it. It goes with this value.
pub(crate) struct Database {
    pub(crate) namespace: String,
    pub(crate) state_lab: StateLab,
    /// The configuration of `state_lab`.
    pub(crate) settings: String,
    reaper: Child,
    backups: AtomicU32,
    /// By method, those that tests share.
    shared_backups: Mutex<BTreeMap<String, String>>,
}

/// Removes a namespace, and the backups of it, once its standard input ends: also when a test was killed.
const REAPER: &str = r#"
trap '' INT TERM HUP
read -r _
kubectl delete namespace "$1" --wait=false
backups='{range .items[?(@.spec.includedNamespaces[0]=="'$1'")]}{.metadata.name} {.metadata.uid}{"\n"}{end}'
kubectl -n velero get backups.velero.io -o jsonpath="$backups" | while read -r name uid; do
    kubectl create -f - <<END
{"apiVersion": "velero.io/v1", "kind": "DeleteBackupRequest", "spec": {"backupName": "$name"}, "metadata": {"namespace":
"velero", "name": "$name", "labels": {"velero.io/backup-name": "$name", "velero.io/backup-uid": "$uid"}}}
END
done"#;

/// The data: with values that do not fit into a page, a table without a key, and a sequence.
const DATA: &str = "
create table customers (id int primary key, name text not null, joined timestamptz);
insert into customers select i, 'customer ' || i, now() - i * interval '1 hour' from generate_series(1, 10000) i;
create table orders (id bigserial primary key, customer int references customers, total numeric(12, 2), note text);
insert into orders (customer, total, note)
    select 1 + i % 10000, (i % 9973) / 100.0, md5(i::text) from generate_series(1, 20000) i;
create index on orders (note);
create table documents (id int primary key, body text);
insert into documents select i, (select string_agg(md5((i * 1000 + j)::text), '') from generate_series(1, 300) j)
    from generate_series(1, 200) i;
create table events (at timestamptz, what text);
insert into events select now(), 'event ' || i from generate_series(1, 2000) i;
create table writes (id bigserial primary key, client inet, namespace text, at timestamptz default now());
checkpoint;";

/// Changes of all kinds, by a session that says where it comes from.
const WRITER: &str = r#"
while :; do
    while sleep 0.03; do cat <<END || break
insert into writes (client, namespace) values (inet_client_addr(), '$NAMESPACE');
update orders set total = total + 1, note = md5(random()::text) where id = 1 + (random() * 19999)::int;
update documents set body = reverse(body) where id = 1 + (random() * 199)::int;
insert into events values (now(), 'written');
delete from events where ctid in (select ctid from events limit 1);
END
    done | psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 "host=pg.$SOURCE dbname=app user=postgres connect_timeout=2"
    sleep 0.5
done"#;

impl Database {
    fn new(test: &str) -> Option<Self> {
        if std::env::var_os("KUBECONFIG").is_none() {
            eprintln!("skipped: {test}: needs a cluster with Velero (KUBECONFIG)");
            return None;
        }
        let database = Self::begin();
        database.create();
        Some(database)
    }

    /// The one that all tests share that damage nothing.
    pub(crate) fn shared(test: &str) -> Option<Arc<Self>> {
        // Nobody drops it: its reaper notices when the process has ended.
        static SHARED: Mutex<Option<Arc<Database>>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.is_none() {
            *shared = Some(Arc::new(Self::new(test)?));
        }
        shared.clone()
    }

    fn begin() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static BEGAN: OnceLock<u128> = OnceLock::new();
        let began = BEGAN.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis());
        let namespace = format!("drill-{began:x}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let image = std::env::var("STATE_LAB_IMAGE").expect("STATE_LAB_IMAGE is the image of STATE_LAB_BIN");
        let settings = format!(
            "[velero]\nnamespace = \"{namespace}\"\nimage = \"{image}\"\nbasebackup_claim = \"basebackup\"\n\
             replica_location = \"region-b\"\nttl = \"2h\"\npatience = \"60s\"\n"
        );
        let mut reaper = Command::new("sh");
        reaper.args(["-c", REAPER, "reaper", &namespace]).stdin(Stdio::piped()).process_group(0);
        reaper.stdout(Stdio::null()).stderr(Stdio::null());
        Self {
            state_lab: StateLab::new(&settings),
            settings,
            reaper: reaper.spawn().unwrap(),
            namespace,
            backups: AtomicU32::new(0),
            shared_backups: Mutex::default(),
        }
    }

    fn create(&self) {
        let namespace = &self.namespace;
        let image =
            std::env::var("STATE_LAB_POSTGRES_IMAGE").unwrap_or_else(|_| "lab.test/postgres:15".to_owned());
        kubectl(&["create", "namespace", namespace]);
        let writer = serde_json::to_string(WRITER).unwrap();
        let claim = "accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}";
        apply(&format!(
            r#"
apiVersion: v1
kind: Secret
metadata: {{name: pg, namespace: {namespace}}}
stringData: {{password: {PASSWORD}}}
---
apiVersion: v1
kind: Service
metadata: {{name: pg, namespace: {namespace}}}
spec: {{selector: {{app: pg}}, ports: [{{port: 5432}}]}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: basebackup, namespace: {namespace}}}
spec: {{{claim}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: pg, namespace: {namespace}}}
spec:
  replicas: 1
  serviceName: pg
  selector: {{matchLabels: {{app: pg}}}}
  template:
    metadata: {{labels: {{app: pg}}}}
    spec:
      terminationGracePeriodSeconds: 5
      securityContext: {{runAsUser: 999, runAsGroup: 999, fsGroup: 999}}
      containers:
        - name: postgres
          image: {image}
          imagePullPolicy: IfNotPresent
          # Whatever a verification commits in a copy must not pass for something that was recovered.
          args: [-c, track_commit_timestamp=on]
          env:
            - {{name: POSTGRES_PASSWORD, valueFrom: {{secretKeyRef: {{name: pg, key: password}}}}}}
            - {{name: POSTGRES_DB, value: app}}
            - {{name: PGDATA, value: /var/lib/postgresql/data/pgdata}}
          ports: [{{containerPort: 5432}}]
          readinessProbe: {{exec: {{command: [pg_isready, -q, -h, 127.0.0.1]}}, periodSeconds: 1}}
          volumeMounts: [{{name: data, mountPath: /var/lib/postgresql/data}}]
  volumeClaimTemplates:
    - metadata: {{name: data}}
      spec: {{{claim}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: writer, namespace: {namespace}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: writer}}}}
  template:
    metadata: {{labels: {{app: writer}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: writer
          image: {image}
          imagePullPolicy: IfNotPresent
          command: [bash, -c, {writer}]
          env:
            - {{name: NAMESPACE, valueFrom: {{fieldRef: {{fieldPath: metadata.namespace}}}}}}
            # The one that it was made for, wherever it runs.
            - {{name: SOURCE, value: {namespace}}}
            - {{name: PGPASSWORD, value: {PASSWORD}}}
"#
        ));
        patiently(120, "a database", || {
            super::kubectl::tried(&[
                "-n",
                namespace,
                "wait",
                "--for=condition=Ready",
                "pod/pg-0",
                "--timeout=5s",
            ])
            .ok()
        });
        // As the official image, it lets nobody replicate from elsewhere.
        let allow = "echo host replication postgres all scram-sha-256 >>$PGDATA/pg_hba.conf && kill -HUP 1";
        kubectl(&["exec", "-n", namespace, "pg-0", "--", "sh", "-c", allow]);
        // The server of the first start may still be about to stop.
        patiently(30, "its tables", || self.tried_sql(DATA).ok());
        self.await_writes();
    }

    /// Waits until the writer has written some more.
    pub(crate) fn await_writes(&self) {
        let count = || self.sql("select count(*) from writes").parse::<u64>().unwrap();
        let before = count();
        patiently(60, "writes", || (count() > before + 5).then_some(()));
    }

    /// What a statement of the superuser answers.
    pub(crate) fn sql(&self, statement: &str) -> String {
        self.tried_sql(statement).unwrap_or_else(|said| panic!("{statement}: {said}"))
    }

    fn tried_sql(&self, statement: &str) -> Result<String, String> {
        super::kubectl::tried(&[
            "-n",
            &self.namespace,
            "exec",
            "pg-0",
            "-c",
            "postgres",
            "--",
            "psql",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-1",
            "-U",
            "postgres",
            "-d",
            "app",
            "-c",
            statement,
        ])
    }

    /// A name that no backup has.
    pub(crate) fn new_name(&self) -> String {
        format!("{}-{}", self.namespace, self.backups.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes a backup; its name.
    #[track_caller]
    pub(crate) fn backup(&self, method: &str) -> String {
        let name = self.new_name();
        self.try_backup(&name, method).expect_pass();
        name
    }

    /// The backup by a method that tests share which only read it.
    #[track_caller]
    pub(crate) fn shared_backup(&self, method: &str) -> String {
        let mut shared = self.shared_backups.lock().unwrap_or_else(PoisonError::into_inner);
        shared.entry(method.to_owned()).or_insert_with(|| self.backup(method)).clone()
    }

    pub(crate) fn try_backup(&self, name: &str, method: &str) -> Ended {
        self.state_lab.run(&["backup", "--name", name, "--method", method])
    }

    pub(crate) fn restore(&self, name: &str) -> Ended {
        self.state_lab.run(&["restore", "--snapshot", name])
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // It begins when it reads the end of this.
        if let Some(mut stdin) = self.reaper.stdin.take() {
            let _ = stdin.write_all(b"\n");
        }
        let _ = self.reaper.wait();
    }
}
