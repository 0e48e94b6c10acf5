//! Objects that a real Velero 1.18 made, as test data. Each is `KIND/PHASE.N`.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::phase::Phase;
use super::volume::ExpectedVolume;

/// The sample of this name.
pub(super) fn load<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/velero/samples/{name}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The phase of a sample of whatever kind.
pub(super) fn phase(name: &str) -> Phase {
    #[derive(Deserialize)]
    struct Any {
        status: Status,
    }
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        phase: Phase,
    }
    load::<Any>(name).status.phase
}

/// A volume that is named as its claim, mounted by `pg-0`.
pub(super) fn expected_volume(namespace: &str, claim: &str) -> ExpectedVolume {
    ExpectedVolume {
        namespace: namespace.to_owned(),
        pod: "pg-0".to_owned(),
        volume: claim.to_owned(),
        claim: claim.to_owned(),
    }
}

/// Volumes of a backup: one of each kind. Names of snapshots are those of the other samples.
pub(super) const VOLUME_INFOS: &str = r#"[
  {"pvcName": "basebackup", "pvcNamespace": "app", "pvName": "pvc-1", "backupMethod": "PodVolumeBackup",
   "snapshotDataMoved": false, "preserveLocalSnapshot": false, "skipped": false, "result": "succeeded",
   "pvbInfo": {"snapshotHandle": "a5a4bf59e09ee8a2018b67ad17ab1ec2", "size": 50185617, "uploaderType": "kopia",
     "volumeName": "basebackup", "podName": "pg-0", "podNamespace": "app", "nodeName": "worker-2",
     "Phase": "Completed"}},
  {"pvcName": "moved", "pvcNamespace": "app", "pvName": "pvc-2", "backupMethod": "CSISnapshot",
   "snapshotDataMoved": true, "preserveLocalSnapshot": false, "skipped": false, "result": "succeeded",
   "snapshotDataMovementInfo": {"dataMover": "velero", "uploaderType": "kopia", "operationID": "du-1",
     "snapshotHandle": "5a31cf61594451e4e9ef977149308a7e", "size": 30, "Phase": "Completed"}},
  {"pvcName": "local", "pvcNamespace": "app", "pvName": "pvc-3", "backupMethod": "CSISnapshot",
   "snapshotDataMoved": false, "preserveLocalSnapshot": true, "skipped": false, "result": "succeeded",
   "csiSnapshotInfo": {"snapshotHandle": "snapshot-647d9611-090a-410b-a165-7b2ddde8a391", "size": 1073741824,
     "driver": "btrfs.csi.rig.test", "vscName": "snapcontent-1", "ReadyToUse": true}},
  {"pvcName": "skipped", "pvcNamespace": "app", "pvName": "pvc-4", "snapshotDataMoved": false,
   "preserveLocalSnapshot": false, "skipped": true, "skippedReason": "podvolume: opted out;"},
  {"pvcName": "failed", "pvcNamespace": "app", "pvName": "pvc-5", "backupMethod": "PodVolumeBackup",
   "skipped": false, "result": "failed",
   "pvbInfo": {"snapshotHandle": "cafe", "uploaderType": "kopia", "volumeName": "failed", "podName": "pg-0",
     "podNamespace": "app", "nodeName": "worker-2", "Phase": "Failed"}},
  {"backupMethod": "PodVolumeBackup", "skipped": false, "result": "succeeded",
   "pvbInfo": {"uploaderType": "kopia", "volumeName": "empty", "podName": "pg-0", "podNamespace": "app"}},
  {"pvcName": "native", "pvcNamespace": "app", "backupMethod": "NativeSnapshot", "skipped": false,
   "nativeSnapshotInfo": {"snapshotHandle": "snap-1", "volumeType": "gp3", "volumeAZ": "a", "iops": "0"}}
]"#;
