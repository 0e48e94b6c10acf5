//! `deploy/nightly` in the cluster, for a database of its own, by a folder that takes it as a base. It goes with this value.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::account::{Account, Request};
use super::prey::{Prey, velero_path};
use super::{await_job, objects};
use crate::support::{apply, get, kubectl, patiently, tried};

pub(super) struct Deployed {
    folder: tempfile::TempDir,
}

impl Deployed {
    /// As docs/velero.md says it for the namespace of a database, the Secret with its credentials, and its claim.
    pub(super) fn for_database(namespace: &str, settings: &str, secret: &str, claim: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("nightly");
        fs::create_dir(&base).unwrap();
        let nightly = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nightly");
        for file in fs::read_dir(nightly).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), base.join(file.file_name())).unwrap();
        }
        let image = std::env::var("STATE_LAB_IMAGE").unwrap_or_else(|_| "lab.test/state-lab:dev".to_owned());
        let (name, tag) = image.rsplit_once(':').expect("STATE_LAB_IMAGE has a tag");
        let overlay = folder.path().join("own");
        fs::create_dir(&overlay).unwrap();
        fs::write(overlay.join("state-lab.toml"), settings).unwrap();
        fs::write(
            overlay.join("kustomization.yaml"),
            format!(
                r#"
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../nightly]
images: [{{name: lab.test/state-lab, newName: {name}, newTag: "{tag}"}}]
configMapGenerator:
  - {{name: state-lab, namespace: state-lab, behavior: replace, files: [state-lab.toml]}}
patches:
  - target: {{kind: Role|RoleBinding, name: state-lab-backup, namespace: app}}
    patch: '[{{"op": "replace", "path": "/metadata/namespace", "value": "{namespace}"}}]'
  - target: {{kind: Role, name: state-lab-backup, namespace: {namespace}}}
    patch: |-
      - {{op: replace, path: /rules/3/resourceNames, value: [{secret}]}}
      - {{op: replace, path: /rules/5/resourceNames, value: [{claim}]}}
  - target: {{kind: CronJob}}
    patch: '[{{"op": "add", "path": "/spec/suspend", "value": true}}]'
"#
            ),
        )
        .unwrap();
        let deployed = Self { folder };
        kubectl(&["apply", "-k", &deployed.overlay()]);
        deployed
    }

    fn overlay(&self) -> String {
        self.folder.path().join("own").to_str().unwrap().to_owned()
    }

    /// The account of a restore that somebody has given another name and namespace.
    pub(super) fn renamed_restore() -> Account {
        apply(
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: state-lab-restore-renamed, \
             labels: {app.kubernetes.io/part-of: state-lab}}, \
             roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: state-lab-restore}, \
             subjects: [{kind: ServiceAccount, name: eu-state-lab-restore, namespace: tools}]}",
        );
        Account::of_service("tools", "eu-state-lab-restore")
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        let _ = tried(&["delete", "clusterrolebinding", "state-lab-restore-renamed", "--ignore-not-found"]);
        let _ = tried(&["delete", "-k", &self.overlay(), "--ignore-not-found", "--timeout=90s"]);
    }
}

/// Waits until the API server has learnt of the policies and of the Backups that they protect.
pub(super) fn await_policies(account: &Account, prey: &Prey) {
    let evil = Request::create("/api/v1/namespaces", &objects::namespace("state-lab-evil", &prey.run));
    let theirs = objects::restore_of(prey, "theirs");
    let theirs = Request::create(&velero_path("restores"), &theirs);
    patiently(60, "the admission policies", || {
        let refused =
            |request: &Request, why: &str| account.tries(request).is_err_and(|refusal| refusal.contains(why));
        (refused(&evil, "validation namespaces only") && refused(&theirs, "did not make it")).then_some(())
    });
}

/// Runs a Job of a CronJob with other arguments, to its end; it has to pass.
pub(super) fn run_job(cron_job: &str, arguments: &[&str]) {
    let job = format!("{}-{}", arguments[0], arguments[2]);
    let cron_job = get(&["-n", "state-lab", "cronjob", cron_job]);
    let mut spec = cron_job["spec"]["jobTemplate"]["spec"].clone();
    spec["template"]["spec"]["containers"][0]["args"] = arguments.into();
    spec["backoffLimit"] = 0.into();
    let metadata = serde_json::json!({ "name": job, "namespace": "state-lab" });
    apply(
        &serde_json::json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec })
            .to_string(),
    );
    await_job("state-lab", &job, Duration::from_secs(240));
}
