//! Each check of a cluster finds its bad state, and is silent on the good one. The objects are those of real clusters,
//! shortened; those of Longhorn, CloudNativePG and other clouds are as their documentation has them.

use serde_json::{Value, json};
use verify_doctor::{CHECKS, Examination, Fact, Facts, Missing, Objectives, Selection, Source, examine};

use super::seen::Seen;

const NAMESPACE: &str = "app";

/// A cluster in which everything is as it should be, at noon.
fn good() -> Seen {
    let pod = |name: &str, node: &str, role: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "app", "labels": {
                "application": "patroni", "cluster-name": "shop", "role": role } },
            "spec": {
                "nodeName": node,
                "containers": [{
                    "name": "postgres", "image": "patroni:4.0-pg16", "ports": [{ "containerPort": 5432 }],
                    "volumeMounts": [{ "name": "data", "mountPath": "/home/postgres/pgdata" },
                                     { "name": "token", "mountPath": "/var/run/secrets" }],
                }],
                "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": format!("data-{name}") } },
                            { "name": "token", "emptyDir": {} }],
            },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        })
    };
    let claim = |name: &str| {
        json!({
            "metadata": { "name": name, "namespace": "app" },
            "spec": { "storageClassName": "fast", "volumeName": format!("pvc-{name}") },
            "status": { "phase": "Bound", "capacity": { "storage": "1Gi" } },
        })
    };
    let volume = |claim: &str| {
        json!({
            "metadata": { "name": format!("pvc-{claim}") },
            "spec": { "capacity": { "storage": "1Gi" }, "csi": { "driver": "ebs.csi.aws.com", "volumeHandle": "vol-1" },
                      "claimRef": { "namespace": "app", "name": claim } },
        })
    };
    let backup = |name: &str, day: u32| {
        json!({
            "metadata": { "name": name, "namespace": "velero", "labels": { "velero.io/schedule-name": "nightly" } },
            "spec": { "includedNamespaces": ["app"], "storageLocation": "default", "ttl": "720h0m0s", "hooks": {} },
            "status": { "phase": "Completed", "hookStatus": {}, "startTimestamp": format!("2026-11-{day:02}T02:30:00Z"),
                        "completionTimestamp": format!("2026-11-{day:02}T02:31:00Z") },
        })
    };
    let upload = |backup: &str| {
        json!({
            "metadata": { "name": format!("{backup}-5bl4k"), "labels": { "velero.io/backup-name": backup } },
            "spec": { "sourceNamespace": "app", "sourcePVC": "data-pg-0", "snapshotType": "CSI" },
            "status": { "phase": "Completed", "progress": { "bytesDone": 63_806_706, "totalBytes": 63_806_706 } },
        })
    };
    let location = |name: &str, region: &str, secret: &str| {
        json!({
            "metadata": { "name": name, "namespace": "velero" },
            "spec": { "provider": "aws", "default": name == "default", "config": { "region": region },
                      "credential": { "name": secret, "key": "cloud" },
                      "objectStorage": { "bucket": format!("velero-{region}"), "prefix": "lab" } },
            "status": { "phase": "Available", "lastValidationTime": "2026-11-29T11:59:49Z" },
        })
    };
    let agent = |node: &str| {
        json!({
            "metadata": { "name": format!("node-agent-{node}"), "labels": {
                "component": "velero", "name": "node-agent", "role": "node-agent" } },
            "spec": { "nodeName": node, "containers": [{ "name": "node-agent" }] },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        })
    };
    let kubelet = json!({ "pods": [{ "podRef": { "name": "pg-0" }, "volume": [
        { "name": "data", "usedBytes": 500, "capacityBytes": 1000, "pvcRef": { "name": "data-pg-0", "namespace": "app" } },
        { "name": "data", "usedBytes": 500, "capacityBytes": 1000, "pvcRef": { "name": "data-pg-1", "namespace": "app" } },
    ] }] });
    Seen {
        pods: Ok(vec![pod("pg-0", "worker-1", "primary"), pod("pg-1", "worker-2", "replica")]),
        endpoints: Ok(vec![]),
        claims: Ok(vec![claim("data-pg-0"), claim("data-pg-1")]),
        quotas: Ok(vec![json!({ "metadata": { "name": "q" },
            "spec": { "hard": { "requests.storage": "10Gi", "persistentvolumeclaims": "5" } } })]),
        cnpg: Ok(vec![cnpg()]),
        volumes: Ok(vec![volume("data-pg-0"), volume("data-pg-1")]),
        storage_classes: Ok(vec![json!({ "metadata": { "name": "fast" }, "provisioner": "ebs.csi.aws.com",
            "parameters": { "type": "gp3", "encrypted": "true" } })]),
        snapshot_classes: Ok(vec![
            json!({ "metadata": { "name": "ebs", "labels": { "velero.io/csi-volumesnapshot-class": "true" } },
                    "driver": "ebs.csi.aws.com", "deletionPolicy": "Delete" }),
            json!({ "metadata": { "name": "longhorn" }, "driver": "driver.longhorn.io", "deletionPolicy": "Delete",
                    "parameters": { "type": "bak" } }),
        ]),
        longhorn: Ok(vec![
            json!({ "metadata": { "name": "pvc-1" }, "status": { "robustness": "healthy", "state": "attached",
            "kubernetesStatus": { "namespace": "app", "pvcName": "data-pg-0" } } }),
        ]),
        schedules: Ok(vec![json!({
            "metadata": { "name": "nightly", "namespace": "velero", "creationTimestamp": "2026-11-01T00:00:00Z" },
            "spec": { "schedule": "30 2 * * *", "paused": false,
                      "template": { "includedNamespaces": ["app"], "ttl": "168h0m0s" } },
            "status": { "phase": "Enabled", "lastBackup": "2026-11-29T02:30:00Z" },
        })]),
        backups: Ok(vec![backup("nightly-28", 28), backup("nightly-29", 29)]),
        pod_volume_backups: Ok(vec![]),
        uploads: Ok(vec![upload("nightly-28"), upload("nightly-29")]),
        locations: Ok(vec![
            location("default", "eu-central-1", "near"),
            location("region-b", "eu-west-1", "far"),
        ]),
        repositories: Ok(vec![json!({
            "metadata": { "name": "app-default-kopia", "creationTimestamp": "2026-11-01T00:00:00Z" },
            "spec": { "volumeNamespace": "app", "repositoryType": "kopia", "maintenanceFrequency": "1h0m0s" },
            "status": { "phase": "Ready", "lastMaintenanceTime": "2026-11-29T11:30:00Z" },
        })]),
        repository_secret: Ok(Some(json!({
            "metadata": { "name": "velero-repo-credentials",
                          "ownerReferences": [{ "kind": "SealedSecret", "name": "velero-repo-credentials" }] },
            "data": { "repository-password": "czNjcmV0" },
        }))),
        deployments: Ok(vec![json!({
            "metadata": { "name": "velero" },
            "spec": { "template": { "spec": {
                "containers": [{ "name": "velero", "image": "velero/velero:v1.18.3" }],
                "initContainers": [{ "name": "aws", "image": "velero/velero-plugin-for-aws:v1.14.3" }],
            } } },
        })]),
        velero_pods: Ok(vec![agent("worker-1"), agent("worker-2")]),
        kubelets: vec![Ok(kubelet)],
    }
}

/// A cluster of CloudNativePG that was recovered from another and archives under its own name.
fn cnpg() -> Value {
    json!({
        "metadata": { "name": "shop", "namespace": "app" },
        "spec": {
            "bootstrap": { "recovery": { "source": "shop-old" } },
            "externalClusters": [{ "name": "shop-old",
                "barmanObjectStore": { "destinationPath": "s3://wal/", "serverName": "shop-old" } }],
            "backup": { "barmanObjectStore": { "destinationPath": "s3://wal" } },
        },
        "status": { "conditions": [{ "type": "ContinuousArchiving", "status": "True", "message": "working" }] },
    })
}

/// The facts of these objects alone.
fn facts(seen: &Seen) -> Facts {
    let now = "2026-11-29T12:00:00Z".parse().unwrap();
    let objectives = Objectives { rpo: Some("1d".parse().unwrap()), ..Objectives::default() };
    let mut facts = Facts::none(now, objectives, &Missing::not_applicable("no database"));
    let mut cluster = seen.facts(NAMESPACE, None);
    cluster.reports = Ok(());
    facts.backups.push(cluster.place());
    facts.cluster = Ok(cluster);
    facts
}

fn examined(facts: &Facts) -> Examination {
    let of_cluster = CHECKS.iter().filter(|check| matches!(check.source, Source::Cluster | Source::Backups));
    let mut only: Vec<String> = of_cluster.map(|check| check.code.to_owned()).collect();
    // The bucket holds the reports.
    only.retain(|code| code != "restore.unproven");
    examine(facts, &Selection { only: only.into_iter().collect(), ..Selection::default() })
}

/// The findings of the good cluster after a change, as `code: object: message`.
fn after(change: impl FnOnce(&mut Seen)) -> Vec<String> {
    let mut seen = good();
    change(&mut seen);
    let examination = examined(&facts(&seen));
    assert_eq!(examination.inconclusive, []);
    let shown =
        examination.findings.iter().map(|one| format!("{}: {}: {}", one.code, one.object, one.message));
    shown.collect()
}

/// The first object of a list, to be changed.
fn first(objects: &mut Fact<Vec<Value>>) -> &mut Value {
    &mut objects.as_mut().unwrap()[0]
}

fn last(objects: &mut Fact<Vec<Value>>) -> &mut Value {
    objects.as_mut().unwrap().last_mut().unwrap()
}

#[test]
fn the_good_cluster_is_silent_and_nothing_of_it_is_unknown() {
    assert_eq!(after(|_| {}), Vec::<String>::new());
    let examination = examined(&facts(&good()));
    let checks = CHECKS.iter().filter(|check| check.source == Source::Cluster);
    for check in checks {
        assert!(examination.passed.contains(&check.code), "{}: {:?}", check.code, examination.not_applicable);
    }
}

#[test]
fn bad_schedules_are_found() {
    for (change, expected) in [
        (json!({ "paused": true }), "schedule.paused: Schedule nightly: is paused"),
        (
            json!({ "template": { "ttl": "12h0m0s" } }),
            "schedule.ttl: Schedule nightly: keeps its backups for 12h: none is left when `30 2 * * *` is late",
        ),
        (
            json!({ "template": { "includedNamespaces": ["other"] } }),
            "schedule.none: namespace app: is in no Schedule of Velero",
        ),
        (
            json!({ "template": { "hooks": { "resources": [{ "name": "freeze", "includedNamespaces": ["app"],
                "pre": [{ "exec": { "command": ["sync"], "onError": "Continue" } }] }] } } }),
            "hook.continues: Schedule nightly: the hook freeze has on-error Continue",
        ),
    ] {
        let found = after(|seen| merge(first(&mut seen.schedules).pointer_mut("/spec").unwrap(), &change));
        assert_eq!(found, [expected]);
    }
    for (status, expected) in [
        (
            json!({ "lastBackup": "2026-11-28T00:00:00Z" }),
            "made its last backup 1d12h ago; it is to make one as `30 2 * * *`",
        ),
        (
            json!({ "lastBackup": null }),
            "has made no backup since it was created 28d12h ago; it is to make one as `30 2 * * *`",
        ),
        (json!({ "validationErrors": ["invalid schedule"] }), "is not valid: invalid schedule"),
    ] {
        let found = after(|seen| merge(first(&mut seen.schedules).pointer_mut("/status").unwrap(), &status));
        // At its limit it is silent.
        let silent = status["lastBackup"] == "2026-11-28T00:00:00Z";
        assert_eq!(found.is_empty(), silent, "{found:?}");
        assert!(silent || found == [format!("schedule.silent: Schedule nightly: {expected}")], "{found:?}");
    }
    let found =
        after(|seen| first(&mut seen.schedules)["status"]["lastBackup"] = "2026-11-27T23:59:59Z".into());
    assert_eq!(
        found,
        [
            "schedule.silent: Schedule nightly: made its last backup 1d12h1s ago; it is to make one as `30 2 * * *`"
        ]
    );
    let mut kept = facts(&good());
    kept.objectives.retention = Some("30d".parse().unwrap());
    let found = examined(&kept).findings;
    assert_eq!(found[0].message, "keeps its backups for 7d, and they are needed for 30d");
}

#[test]
fn bad_backups_are_found() {
    let status = |status: Value| {
        after(move |seen| merge(last(&mut seen.backups).pointer_mut("/status").unwrap(), &status))
    };
    assert_eq!(
        status(json!({ "phase": "PartiallyFailed", "errors": 2 })),
        [
            "backup.none: nightly-28: the newest restorable backup is 1d9h30m old, and the RPO is 1d",
            "backup.partial: nightly-29: the newest backup is PartiallyFailed with 2 errors",
        ]
    );
    assert_eq!(
        status(json!({ "warnings": 1 })),
        ["backup.partial: nightly-29: the newest backup has 1 warning"]
    );
    assert_eq!(
        status(json!({ "hookStatus": { "hooksAttempted": 2, "hooksFailed": 1 } })),
        ["hook.failed: Backup nightly-29: 1 of its hooks failed"]
    );
    assert_eq!(
        after(|seen| drop(seen.backups.as_mut().unwrap().pop())),
        ["backup.none: nightly-28: the newest restorable backup is 1d9h30m old, and the RPO is 1d"]
    );
    assert_eq!(
        after(|seen| last(&mut seen.uploads)["status"]["progress"] =
            json!({ "bytesDone": 5, "totalBytes": 60_000_000 })),
        ["backup.volume-incomplete: Backup nightly-29: copied 5 of 60000000 bytes of claim data-pg-0"]
    );
    assert_eq!(
        after(|seen| last(&mut seen.uploads)["status"] = json!({ "phase": "Failed" })),
        ["backup.volume-incomplete: Backup nightly-29: has the copy of claim data-pg-0 as Failed"]
    );
    assert_eq!(
        after(
            |seen| last(&mut seen.uploads)["status"]["progress"] = json!({ "bytesDone": 9, "totalBytes": 9 })
        ),
        ["backup.shrunk: nightly-29: holds 9 B; the backups before it usually held 60.8 MiB"]
    );
    assert_eq!(
        after(|seen| last(&mut seen.uploads)["spec"]["sourcePVC"] = "logs".into()),
        [
            "backup.none: nightly-28: the newest restorable backup is 1d9h30m old, and the RPO is 1d",
            "backup.partial: nightly-29: the newest backup holds no copy of the database's volumes",
            "backup.volume-missing: Backup nightly-29: holds no copy of data-pg-0 of pod pg-0",
        ]
    );
    // The copy of any member is one of the database.
    assert_eq!(
        after(|seen| last(&mut seen.uploads)["spec"]["sourcePVC"] = "data-pg-1".into()),
        Vec::<String>::new()
    );
}

#[test]
fn a_backup_of_another_database_of_the_namespace_is_none_of_this_one() {
    let of = |database: &str| {
        let mut seen = good();
        for backup in seen.backups.as_mut().unwrap() {
            let labels =
                json!({ "app.kubernetes.io/managed-by": "state-lab", "state-lab.dev/cluster": database });
            backup["metadata"]["labels"] = labels;
        }
        seen.facts(NAMESPACE, Some("shop")).backups.unwrap().len()
    };
    assert_eq!((of("shop"), of("ledger")), (2, 0));
}

#[test]
fn files_of_a_running_server_are_no_backup() {
    // As Velero 1.18 makes it.
    let copy = |pod: &str, volume: &str| {
        json!({
            "metadata": { "name": "nightly-29-fr5gd", "labels": { "velero.io/backup-name": "nightly-29" } },
            "spec": { "pod": { "kind": "Pod", "name": pod, "namespace": "app" }, "volume": volume, "uploaderType": "kopia" },
            "status": { "phase": "Completed", "progress": { "bytesDone": 1, "totalBytes": 1 } },
        })
    };
    let expected = "backup.live-files: pod pg-0: volume data (/home/postgres/pgdata) was copied as files by Backup nightly-29 \
                    while the server writes to it";
    assert_eq!(after(|seen| seen.pod_volume_backups = Ok(vec![copy("pg-0", "data")])), [expected]);
    assert_eq!(
        after(|seen| seen.pod_volume_backups = Ok(vec![copy("state-lab-1", "basebackup")])),
        Vec::<String>::new()
    );
    let annotate = |name: &str, value: &str| {
        let annotations = json!({ name: value });
        after(move |seen| first(&mut seen.pods)["metadata"]["annotations"] = annotations)
    };
    let expected = "backup.live-files: pod pg-0: volume data (/home/postgres/pgdata) is annotated to be copied as files while \
                    the server writes to it";
    assert_eq!(annotate("backup.velero.io/backup-volumes", "token,data"), [expected]);
    assert_eq!(annotate("backup.velero.io/backup-volumes", "token"), Vec::<String>::new());
    assert_eq!(
        annotate("pre.hook.backup.velero.io/on-error", "Continue"),
        ["hook.continues: pod pg-0: the hook pre.hook.backup.velero.io has on-error Continue"]
    );
    assert_eq!(annotate("pre.hook.backup.velero.io/on-error", "Fail"), Vec::<String>::new());
}

#[test]
fn a_snapshot_in_the_same_storage_is_no_backup() {
    let local = |seen: &mut Seen| {
        seen.uploads = Ok(vec![]);
        for backup in seen.backups.as_mut().unwrap() {
            backup["status"]["csiVolumeSnapshotsCompleted"] = 1.into();
        }
    };
    let mut seen = good();
    local(&mut seen);
    let examination = examined(&facts(&seen));
    assert_eq!(
        examination.findings.iter().map(|found| found.code).collect::<Vec<_>>(),
        ["backup.same-storage"]
    );
    // Of which volumes, the cluster no longer knows.
    assert_eq!(
        examination.inconclusive.iter().map(|gap| gap.code).collect::<Vec<_>>(),
        ["backup.volume-missing"]
    );
    // The list of volumes in the bucket does.
    let volumes: Vec<crate::velero::volume_info::VolumeInfo> = serde_json::from_value(json!([{
        "pvcName": "data-pg-0", "pvcNamespace": "app", "backupMethod": "CSISnapshot", "result": "succeeded",
        "csiSnapshotInfo": { "snapshotHandle": "snap-1" },
    }, { "pvcName": "data-pg-0", "pvcNamespace": "other", "backupMethod": "CSISnapshot" }]))
    .unwrap();
    let mut listed = facts(&seen);
    let newest = &mut listed.cluster.as_mut().unwrap().backups.as_mut().unwrap()[0];
    newest.copies = super::velero::listed(&volumes, NAMESPACE);
    assert_eq!(newest.copies.len(), 1);
    assert_eq!(examined(&listed).inconclusive, []);
}

#[test]
fn bad_locations_and_repositories_are_found() {
    assert_eq!(
        after(|seen| first(&mut seen.locations)["status"] =
            json!({ "phase": "Unavailable", "message": "connection refused" })),
        ["location.unavailable: BackupStorageLocation default: is Unavailable: connection refused"]
    );
    assert_eq!(
        after(|seen| seen.locations = Ok(vec![]))[..1],
        ["location.unavailable: Velero: has no BackupStorageLocation"]
    );
    let single = "location.single: BackupStorageLocation";
    assert_eq!(
        after(|seen| drop(seen.locations.as_mut().unwrap().pop())),
        [format!("{single} default: is the only one: there is no second copy that Velero knows")]
    );
    assert_eq!(
        after(|seen| last(&mut seen.locations)["spec"]["config"]["region"] = "eu-central-1".into()),
        [format!("{single} default, region-b: are in one region of one service")]
    );
    assert_eq!(
        after(|seen| last(&mut seen.locations)["spec"]["credential"]["name"] = "near".into()),
        [format!("{single} default, region-b: are reached with the same credentials, which can delete both")]
    );
    assert_eq!(
        after(
            |seen| first(&mut seen.repositories)["status"] = json!({ "phase": "NotReady", "message": "refused",
            "lastMaintenanceTime": "2026-11-29T11:30:00Z" })
        ),
        ["repository.not-ready: BackupRepository app-default-kopia: is NotReady: refused"]
    );
    assert_eq!(
        after(|seen| first(&mut seen.repositories)["status"]["lastMaintenanceTime"] =
            "2026-11-28T11:59:59Z".into()),
        [
            "repository.unmaintained: BackupRepository app-default-kopia: was not maintained for 1d1s; it is to be every 1h"
        ]
    );
    let secret = |change: Value| {
        after(move |seen| merge(seen.repository_secret.as_mut().unwrap().as_mut().unwrap(), &change))
    };
    assert_eq!(
        secret(json!({ "data": { "repository-password": "c3RhdGljLXBhc3N3MHJk" } })),
        [
            "repository.password: Secret velero-repo-credentials: holds the password that is published with Velero"
        ]
    );
    let alone = secret(json!({ "metadata": { "ownerReferences": null } }));
    assert!(alone.len() == 1 && alone[0].contains("is made by nothing outside of this cluster"), "{alone:?}");
    let managed = json!({ "metadata": { "ownerReferences": null, "labels": { "kustomize.toolkit.fluxcd.io/name": "velero" } } });
    assert_eq!(secret(managed), Vec::<String>::new());
}

#[test]
fn plug_ins_of_another_version_are_found() {
    let plugin = |image: &str| {
        let container = json!([{ "image": image }]);
        after(move |seen| {
            first(&mut seen.deployments)["spec"]["template"]["spec"]["initContainers"] = container;
        })
    };
    assert_eq!(
        plugin("velero/velero-plugin-for-csi:v0.7.1"),
        ["velero.plugins: velero-plugin-for-csi: is installed, and is part of Velero 1.18 itself"]
    );
    assert_eq!(
        plugin("velero/velero-plugin-for-aws:v1.9.0"),
        ["velero.plugins: velero-plugin-for-aws: is 1.9, and Velero is 1.18, which goes with 1.14"]
    );
    assert_eq!(plugin("velero/velero-plugin-for-gcp:v1.14.0"), Vec::<String>::new());
}

#[test]
fn bad_storage_is_found() {
    let volume = |spec: Value| after(move |seen| first(&mut seen.volumes)["spec"] = spec);
    assert_eq!(
        volume(json!({ "hostPath": { "path": "/d" } })),
        ["volume.host-path: claim data-pg-0: is a hostPath of one node"]
    );
    assert_eq!(
        volume(json!({ "local": { "path": "/d" } })),
        ["volume.host-path: claim data-pg-0: is a local disk of one node"]
    );
    assert_eq!(
        volume(json!({ "nfs": { "server": "n", "path": "/d" } })),
        ["volume.network: claim data-pg-0: is on NFS"]
    );
    let found = volume(json!({ "csi": { "driver": "nfs.csi.k8s.io" } }));
    assert!(
        found.contains(
            &"volume.network: claim data-pg-0: is on a network file system (nfs.csi.k8s.io)".to_owned()
        ),
        "{found:?}"
    );

    let full = |used: u64| {
        after(move |seen| {
            seen.kubelets[0].as_mut().unwrap()["pods"][0]["volume"][0]["usedBytes"] = used.into();
        })
    };
    assert_eq!(full(900), Vec::<String>::new());
    assert_eq!(full(901), ["volume.full: claim data-pg-0: is 91 % full"]);

    assert_eq!(
        after(|seen| first(&mut seen.storage_classes)["parameters"]["encrypted"] = "false".into()),
        ["volume.unencrypted: StorageClass fast: does not ask ebs.csi.aws.com to encrypt"]
    );
    assert_eq!(
        after(|seen| first(&mut seen.quotas)["spec"]["hard"]["requests.storage"] = "1Gi".into()),
        ["quota.small: ResourceQuota q: allows 1.0 GiB, and the volumes of the database have 2.0 GiB"]
    );
    assert_eq!(
        after(|seen| first(&mut seen.quotas)["spec"]["hard"]["persistentvolumeclaims"] = "1".into()),
        ["quota.small: ResourceQuota q: allows 1 claim, and the database has 2"]
    );
    assert_eq!(
        after(|seen| drop(seen.velero_pods.as_mut().unwrap().pop())),
        ["node-agent.absent: node worker-2: has no node-agent that is ready, and runs pg-1"]
    );
    assert_eq!(
        after(|seen| first(&mut seen.velero_pods)["status"]["conditions"][0]["status"] = "False".into()),
        ["node-agent.absent: node worker-1: has no node-agent that is ready, and runs pg-0"]
    );
    assert_eq!(
        after(|seen| first(&mut seen.longhorn)["status"]["robustness"] = "degraded".into()),
        ["longhorn.degraded: Longhorn volume pvc-1: of claim data-pg-0 is degraded"]
    );
    assert_eq!(
        after(|seen| {
            first(&mut seen.longhorn)["status"] = json!({ "robustness": "faulted",
                "kubernetesStatus": { "namespace": "other", "pvcName": "data-pg-0" } });
        }),
        Vec::<String>::new()
    );
}

#[test]
fn wal_on_a_volume_of_its_own_is_found_unless_both_are_one_group() {
    let separate = |seen: &mut Seen| {
        let spec = &mut first(&mut seen.pods)["spec"];
        let mounts = spec["containers"][0]["volumeMounts"].as_array_mut().unwrap();
        mounts.push(json!({ "name": "pg-wal", "mountPath": "/var/lib/postgresql/wal" }));
        let volumes = spec["volumes"].as_array_mut().unwrap();
        volumes.push(json!({ "name": "pg-wal", "persistentVolumeClaim": { "claimName": "data-pg-1" } }));
        let uploads = seen.uploads.as_mut().unwrap();
        let both: Vec<Value> = uploads
            .iter()
            .cloned()
            .map(|mut upload| {
                upload["spec"]["sourcePVC"] = "data-pg-1".into();
                upload
            })
            .collect();
        uploads.extend(both);
    };
    assert_eq!(
        after(separate),
        [
            "volume.wal: pod pg-0: WAL is on claim data-pg-1 of its own, whose snapshots are taken apart from the data's"
        ]
    );
    let together = after(|seen| {
        separate(seen);
        for claim in seen.claims.as_mut().unwrap() {
            claim["metadata"]["labels"] = json!({ "velero.io/volume-group": "shop" });
        }
    });
    assert_eq!(together, Vec::<String>::new());
}

#[test]
fn bad_classes_of_snapshots_are_found() {
    let labels = |seen: &mut Seen, driver: &str, labels: Value| {
        let class = json!({ "metadata": { "name": "second", "labels": labels }, "driver": driver });
        seen.snapshot_classes.as_mut().unwrap().push(class);
    };
    let ours = json!({ "velero.io/csi-volumesnapshot-class": "true" });
    assert_eq!(
        after(|seen| labels(seen, "ebs.csi.aws.com", ours.clone())),
        ["snapshot.label: driver ebs.csi.aws.com: has 2 classes with Velero's label: ebs, second"]
    );
    assert_eq!(after(|seen| labels(seen, "other.csi", ours.clone())), Vec::<String>::new());
    assert_eq!(
        after(|seen| {
            labels(seen, "ebs.csi.aws.com", json!({}));
            first(&mut seen.snapshot_classes)["metadata"]["labels"] = json!({});
        }),
        [
            "snapshot.label: driver ebs.csi.aws.com: has several classes of snapshots, and none with Velero's label"
        ]
    );
    assert_eq!(
        after(|seen| drop(seen.snapshot_classes.as_mut().unwrap().remove(0))),
        ["snapshot.unknown: driver ebs.csi.aws.com: has no VolumeSnapshotClass"]
    );
    assert_eq!(
        after(
            |seen| seen.snapshot_classes = Err(Missing::not_applicable("the cluster does not know the kind"))
        ),
        ["snapshot.unknown: VolumeSnapshotClass: is a kind that this cluster does not know"]
    );
    assert_eq!(
        after(|seen| last(&mut seen.snapshot_classes)["parameters"]["type"] = "snap".into()),
        [
            "longhorn.snapshot: VolumeSnapshotClass longhorn: has `type: snap`: its snapshots stay in the volume"
        ]
    );
}

#[test]
fn bad_clusters_of_cloudnativepg_are_found() {
    let conditions =
        |conditions: Value| after(move |seen| first(&mut seen.cnpg)["status"]["conditions"] = conditions);
    assert_eq!(
        conditions(json!([{ "type": "ContinuousArchiving", "status": "False", "message": "exit status 4" }])),
        ["cnpg.archiving: Cluster shop: ContinuousArchiving is False: exit status 4"]
    );
    assert_eq!(
        conditions(json!([{ "type": "Ready", "status": "True" }])),
        ["cnpg.archiving: Cluster shop: does not report ContinuousArchiving: no archive is set up"]
    );
    let overwrites = "cnpg.server-name: Cluster shop: archives to the server name shop-old in ";
    let found = after(|seen| {
        first(&mut seen.cnpg)["spec"]["backup"]["barmanObjectStore"]["serverName"] = "shop-old".into();
    });
    assert_eq!(found, [format!("{overwrites}s3://wal, which it was recovered from")]);
    let elsewhere = after(|seen| {
        first(&mut seen.cnpg)["spec"]["backup"]["barmanObjectStore"] =
            json!({ "destinationPath": "s3://wal-b", "serverName": "shop-old" });
    });
    assert_eq!(elsewhere, Vec::<String>::new());
    // The same by the plug-in, where the name is the cluster's own unless it is given.
    let by_plugin = |name: &str| {
        let spec = json!({
            "bootstrap": { "recovery": { "source": "source" } },
            "externalClusters": [{ "name": "source", "plugin": { "name": "barman-cloud.cloudnative-pg.io",
                "parameters": { "barmanObjectName": "store", "serverName": name } } }],
            "plugins": [{ "name": "barman-cloud.cloudnative-pg.io", "isWALArchiver": true,
                "parameters": { "barmanObjectName": "store" } }],
        });
        after(move |seen| first(&mut seen.cnpg)["spec"] = spec)
    };
    assert_eq!(by_plugin("shop").len(), 1);
    assert_eq!(by_plugin("shop-old"), Vec::<String>::new());
}

#[test]
fn what_may_not_be_read_is_inconclusive_with_the_right_and_never_absent() {
    let denied = || Err(Missing::unknown("schedules.velero.io is forbidden", "list on schedules.velero.io"));
    let mut seen = good();
    seen.schedules = denied();
    let examination = examined(&facts(&seen));
    assert_eq!(examination.findings, []);
    let gaps: Vec<&str> = examination.inconclusive.iter().map(|gap| gap.code).collect();
    assert_eq!(
        gaps,
        ["schedule.none", "schedule.silent", "schedule.paused", "schedule.ttl", "hook.continues"]
    );
    assert!(examination.inconclusive.iter().all(|gap| gap.needs == "list on schedules.velero.io"));
    // Every kind by itself: whatever is denied, its checks are not passed.
    let whole = examined(&facts(&good())).passed.len();
    let deny: [Denial; 12] = [
        ("pods", |seen| seen.pods = Err(Missing::unknown("no", "pods"))),
        ("claims", |seen| seen.claims = Err(Missing::unknown("no", "claims"))),
        ("quotas", |seen| seen.quotas = Err(Missing::unknown("no", "quotas"))),
        ("volumes", |seen| seen.volumes = Err(Missing::unknown("no", "volumes"))),
        ("classes", |seen| seen.snapshot_classes = Err(Missing::unknown("no", "classes"))),
        ("backups", |seen| seen.backups = Err(Missing::unknown("no", "backups"))),
        ("uploads", |seen| seen.uploads = Err(Missing::unknown("no", "uploads"))),
        ("locations", |seen| seen.locations = Err(Missing::unknown("no", "locations"))),
        ("secret", |seen| seen.repository_secret = Err(Missing::unknown("no", "secret"))),
        ("deployments", |seen| seen.deployments = Err(Missing::unknown("no", "deployments"))),
        ("agents", |seen| seen.velero_pods = Err(Missing::unknown("no", "agents"))),
        ("kubelet", |seen| seen.kubelets = vec![Err(Missing::unknown("no", "kubelet"))]),
    ];
    for (name, deny) in deny {
        let mut seen = good();
        deny(&mut seen);
        let examination = examined(&facts(&seen));
        assert_eq!(examination.findings, [], "{name}");
        assert!(examination.passed.len() < whole, "{name}");
        assert!(
            examination.inconclusive.iter().any(|gap| gap.needs == name),
            "{name}: {:?}",
            examination.inconclusive
        );
    }
}

#[test]
fn a_namespace_without_a_database_passes_nothing_of_it() {
    let mut seen = good();
    seen.pods = Ok(vec![]);
    let examination = examined(&facts(&seen));
    let of_pods =
        ["volume.host-path", "node-agent.absent", "backup.live-files", "hook.continues", "snapshot.unknown"];
    for code in of_pods {
        let gap = examination.inconclusive.iter().find(|gap| gap.code == code).unwrap();
        assert_eq!(gap.reason, "no pod of PostgreSQL was found in the namespace app");
    }
    // The backups of a database that is to be restored here are examined all the same.
    assert!(examination.passed.contains(&"backup.none"), "{:?}", examination.passed);
}

#[test]
fn what_changed_in_a_cluster_is_named() {
    use verify_doctor::drift::State;

    let before = State::of(&facts(&good()));
    let drift = before.changes(&facts(&good()));
    assert_eq!((drift.changes, drift.not_compared), (vec![], vec![]));
    let mut seen = good();
    first(&mut seen.schedules)["spec"]["paused"] = true.into();
    first(&mut seen.snapshot_classes)["deletionPolicy"] = "Retain".into();
    last(&mut seen.locations)["spec"]["objectStorage"]["bucket"] = "elsewhere".into();
    first(&mut seen.storage_classes)["metadata"]["name"] = "faster".into();
    first(&mut seen.quotas)["spec"]["hard"]["persistentvolumeclaims"] = "6".into();
    first(&mut seen.deployments)["spec"]["template"]["spec"]["containers"][0]["image"] =
        "velero/velero:v1.19.0".into();
    let drift = before.changes(&facts(&seen));
    let shown = drift.changes.iter().map(|change| {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        format!("{} {}: {} -> {}", change.part, change.name, value(&change.before), value(&change.after))
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            "images of Velero velero: velero/velero:v1.18.3 -> velero/velero:v1.19.0",
            "locations region-b: aws velero-eu-west-1 in eu-west-1 at its own address -> aws elsewhere in eu-west-1 at its own address",
            "quotas q: 10737418240 bytes, 5 claims -> 10737418240 bytes, 6 claims",
            "schedules nightly: 30 2 * * *, active, kept for 7d -> 30 2 * * *, paused, kept for 7d",
            "snapshot classes ebs: ebs.csi.aws.com, Delete, for Velero, no type -> ebs.csi.aws.com, Retain, for Velero, no type",
            "storage classes fast: ebs.csi.aws.com, encrypted -> -",
            "storage classes faster: - -> ebs.csi.aws.com, encrypted",
        ]
    );
    seen.schedules = Err(Missing::unknown("denied", "list"));
    assert_eq!(before.changes(&facts(&seen)).not_compared[0].part, "schedules");
}

/// A kind of objects, and how to deny it.
type Denial = (&'static str, fn(&mut Seen));

/// Merges fields into an object, as a merge patch does.
fn merge(object: &mut Value, fields: &Value) {
    match fields.as_object() {
        None => *object = fields.clone(),
        Some(fields) => {
            for (name, value) in fields {
                if value.is_null() {
                    object.as_object_mut().unwrap().remove(name);
                } else {
                    merge(&mut object[name.as_str()], value);
                }
            }
        }
    }
}
