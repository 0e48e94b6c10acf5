//! Owner of a volume, and the storage behind it.
//!
//! That has two answers. [`handle`] is written into records, which later versions read, so that it must not change;
//! [`storage`] decides what may be removed, and learns kinds of storage as it has to.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeSpec};
use serde_json::{Value, json};

/// The claim of a volume, where it is in this namespace.
pub(super) fn claim_in<'a>(volume: &'a PersistentVolume, namespace: &str) -> Option<&'a ObjectReference> {
    let claim = volume.spec.as_ref()?.claim_ref.as_ref()?;
    (claim.namespace.as_deref() == Some(namespace)).then_some(claim)
}

/// Handles of the storage for the volumes of a namespace.
pub(super) fn handles(volumes: &[PersistentVolume], namespace: &str) -> BTreeSet<String> {
    volumes.iter().filter(|volume| claim_in(volume, namespace).is_some()).filter_map(handle).collect()
}

/// Handle of the storage for a volume.
pub(super) fn handle(volume: &PersistentVolume) -> Option<String> {
    let spec = volume.spec.as_ref()?;
    let csi = spec.csi.as_ref().map(|csi| format!("{}/{}", csi.driver, csi.volume_handle));
    let local = || spec.local.as_ref().map(|local| format!("local/{}", local.path));
    let host = || spec.host_path.as_ref().map(|host| format!("hostPath/{}", host.path));
    let nfs = || spec.nfs.as_ref().map(|nfs| format!("nfs/{}/{}", nfs.server, nfs.path));
    csi.or_else(local).or_else(host).or_else(nfs)
}

/// Storage behind a volume, comparable with that of another one; `None` for unknown kinds.
pub(super) fn storage(spec: &PersistentVolumeSpec) -> Option<Value> {
    if let Some(csi) = &spec.csi {
        return Some(json!(["csi", csi.driver, csi.volume_handle]));
    }
    if let Some(nfs) = &spec.nfs {
        return Some(json!(["nfs", nfs.server, nfs.path.trim_end_matches('/')]));
    }
    // The same path on two nodes is two directories; where no node is said, they are taken for one.
    let local = spec.local.as_ref().map(|local| &local.path);
    if let Some(path) = local.or(spec.host_path.as_ref().map(|host| &host.path)) {
        return Some(json!(["node", path.trim_end_matches('/'), spec.node_affinity]));
    }
    let ebs = spec.aws_elastic_block_store.as_ref().map(|disk| json!(["ebs", disk.volume_id]));
    let gce = spec.gce_persistent_disk.as_ref().map(|disk| json!(["gce", disk.pd_name]));
    ebs.or(gce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::object as read;

    #[test]
    fn storage_is_the_same_wherever_it_is_written_so() {
        let node = |name: &str| json!({ "required": { "nodeSelectorTerms": [{ "matchFields": [{ "key": name, "operator": "Exists" }] }] } });
        let same = [
            (
                json!({ "nfs": { "server": "s", "path": "/a/" } }),
                json!({ "nfs": { "server": "s", "path": "/a" } }),
                true,
            ),
            (
                json!({ "nfs": { "server": "s", "path": "/a" } }),
                json!({ "nfs": { "server": "t", "path": "/a" } }),
                false,
            ),
            (
                json!({ "local": { "path": "/a" }, "nodeAffinity": node("x") }),
                json!({ "local": { "path": "/a" }, "nodeAffinity": node("y") }),
                false,
            ),
            (
                json!({ "local": { "path": "/a" }, "nodeAffinity": node("x") }),
                json!({ "hostPath": { "path": "/a/" }, "nodeAffinity": node("x") }),
                true,
            ),
            (
                json!({ "awsElasticBlockStore": { "volumeID": "v" } }),
                json!({ "awsElasticBlockStore": { "volumeID": "v", "fsType": "xfs" } }),
                true,
            ),
        ];
        for (one, other, expected) in same {
            let case = format!("{one} {other}");
            let of = |spec: Value| storage(&read::<PersistentVolumeSpec>(spec)).expect("known");
            assert_eq!(of(one) == of(other), expected, "{case}");
        }
        assert_eq!(storage(&read(json!({ "iscsi": { "iqn": "i", "lun": 0, "targetPortal": "p" } }))), None);
    }
}
