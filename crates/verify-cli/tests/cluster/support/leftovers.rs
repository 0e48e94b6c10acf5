//! What runs of state-lab have left in the cluster.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::kubectl::{get, patiently};

/// What other runs had in the cluster before.
pub(crate) struct Leftovers {
    before: BTreeSet<String>,
}

/// Everything that has our labels, and what outlives it.
const KINDS: &str = "namespaces,pods,jobs,configmaps,leases,networkpolicies,resourcequotas,\
    restores.velero.io,downloadrequests.velero.io";
const OURS: &str =
    "app.kubernetes.io/managed-by=state-lab,app.kubernetes.io/component in (backup,validation)";
const UNPROVEN: &str = "state-lab.dev/unproven=true";

impl Leftovers {
    /// Looks before anything is run.
    pub(crate) fn before() -> Self {
        Self { before: all() }
    }

    /// Fails if anything stays that was not there before. What others have at the moment goes within seconds.
    #[track_caller]
    pub(crate) fn expect_none(&self) {
        let mut left: BTreeSet<String> = all().difference(&self.before).cloned().collect();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            if left.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(500));
            left = left.intersection(&all()).cloned().collect();
        }
        panic!("left behind: {left:#?}");
    }

    /// Whether nothing is there that was not before.
    pub(crate) fn is_clean(&self) -> bool {
        all().is_subset(&self.before)
    }

    /// Waits until something is there that was not before.
    pub(crate) fn await_some(&self) -> BTreeSet<String> {
        patiently(60, "objects of a run", || {
            let new: BTreeSet<String> = all().difference(&self.before).cloned().collect();
            (!new.is_empty()).then_some(new)
        })
    }
}

/// The namespace of the restore of a backup that is at work, once it has asked Velero to fill the volume.
pub(crate) fn validation_namespace(backup: &str) -> String {
    let selector = format!("state-lab.dev/backup={backup}");
    patiently(60, "a Restore", || {
        let found = get(&["restores.velero.io", "-n", "velero", "--selector", &selector]);
        Some(found["items"].get(0)?["metadata"]["name"].as_str()?.to_owned())
    })
}

/// Whether Velero made this record from what lies in a bucket. It has the labels of the backup's beginning.
fn is_read_back(backup: &Value) -> bool {
    let time = |of: &str| backup.pointer(of).and_then(Value::as_str).unwrap_or_default();
    let started = time("/status/startTimestamp");
    !started.is_empty() && time("/metadata/creationTimestamp") > started
}

fn all() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let name = |object: &Value| {
        let of = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        format!("{} {}/{}", of("/kind"), of("/metadata/namespace"), of("/metadata/name"))
    };
    let mut add = |list: Value, wanted: &dyn Fn(&Value) -> bool| {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        found.extend(items.iter().filter(|item| wanted(item)).map(name));
    };
    add(get(&[KINDS, "--all-namespaces", "--selector", OURS]), &|_| true);
    add(get(&["backups.velero.io", "--all-namespaces", "--selector", UNPROVEN]), &|backup| {
        !is_read_back(backup)
    });
    let of_validation = |pointer: &'static str| {
        move |object: &Value| {
            let namespace = object.pointer(pointer).and_then(Value::as_str);
            namespace.is_some_and(|namespace| namespace.starts_with("state-lab-"))
        }
    };
    add(get(&["persistentvolumes"]), &of_validation("/spec/claimRef/namespace"));
    add(get(&["volumesnapshotcontents"]), &of_validation("/spec/volumeSnapshotRef/namespace"));
    found
}
