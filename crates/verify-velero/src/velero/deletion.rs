//! DeleteBackupRequest: the only way to delete a backup with its data.
//!
//! A Backup that is merely deleted comes back from the object store.

use std::collections::BTreeMap;

use kube::CustomResource;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::backup::Backup;
use super::label;
use super::phase::Phase;

/// Specification of the request.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "DeleteBackupRequest",
    namespaced,
    status = "DeleteBackupRequestStatus",
    doc = "A request to delete a backup. Velero removes it some time after it was processed."
)]
#[kube(
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    attr = "cfg_attr(all(), serde(default))"
)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteBackupRequestSpec {
    /// The backup.
    pub backup_name: String,
}

/// Status of the request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteBackupRequestStatus {
    /// Phase; `Processed` with errors is not a success.
    pub phase: Phase,
    /// Objects that could not be deleted.
    pub errors: Vec<String>,
}

/// The object that asks for the deletion of this backup. Velero finds it by the two labels that are added.
pub fn request(name: String, mut labels: BTreeMap<String, String>, backup: &Backup) -> DeleteBackupRequest {
    let backup_name = backup.metadata.name.clone().unwrap_or_default();
    labels.insert(label::BACKUP_NAME.to_owned(), label::value(&backup_name));
    if let Some(uid) = &backup.metadata.uid {
        labels.insert(label::BACKUP_UID.to_owned(), uid.clone());
    }
    let metadata = ObjectMeta { name: Some(name), labels: Some(labels), ..ObjectMeta::default() };
    DeleteBackupRequest { metadata, spec: DeleteBackupRequestSpec { backup_name }, status: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::velero::sample;

    #[test]
    fn a_request_looks_like_one_of_the_velero_client() {
        let backup: Backup = sample::load("Backup/Completed.1");
        let seen: DeleteBackupRequest = sample::load("DeleteBackupRequest/none.1");
        let request = request("big-1-deleted".to_owned(), BTreeMap::new(), &backup);
        assert_eq!((request.spec, request.metadata.labels), (seen.spec, seen.metadata.labels));
    }
}
