//! DownloadRequest: how Velero hands out the logs and results that it keeps in the object store.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::object::object;
use super::phase::Phase;

object! {
    /// A request for a signed address. One for something that is missing is never processed, so it needs a deadline.
    DownloadRequest { DownloadRequestSpec, DownloadRequestStatus }
        = NamespaceResourceScope, "velero.io", "v1", "downloadrequests"
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DownloadRequestSpec {
    /// The artefact.
    pub(crate) target: DownloadTarget,
}

/// An artefact of a backup or of a restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DownloadTarget {
    /// As [`Artefact::kind`] has it.
    pub(crate) kind: String,
    /// The backup's or restore's name.
    pub(crate) name: String,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DownloadRequestStatus {
    /// Where it is.
    pub(crate) phase: Phase,
    /// The signed address. Whoever has it can read the artefact: it belongs into no log.
    #[serde(rename = "downloadURL", skip_serializing_if = "Option::is_none")]
    pub(crate) download_url: Option<String>,
    /// Until when it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expiration: Option<Time>,
}

/// The artefacts that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Artefact {
    /// For [`super::log::decode`].
    BackupLog,
    /// For [`super::results::decode`].
    BackupResults,
    /// For [`super::volume_info::decode`].
    BackupVolumeInfos,
    /// For [`super::log::decode`].
    RestoreLog,
    /// For [`super::results::decode`].
    RestoreResults,
}

impl Artefact {
    /// Velero's word for it.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::BackupLog => "BackupLog",
            Self::BackupResults => "BackupResults",
            Self::BackupVolumeInfos => "BackupVolumeInfos",
            Self::RestoreLog => "RestoreLog",
            Self::RestoreResults => "RestoreResults",
        }
    }
}

/// The object that asks for an artefact of the backup or restore `of`.
pub(crate) fn request(
    name: String,
    labels: BTreeMap<String, String>,
    artefact: Artefact,
    of: &str,
) -> DownloadRequest {
    let target = DownloadTarget { kind: artefact.kind().to_owned(), name: of.to_owned() };
    let metadata = ObjectMeta { name: Some(name), labels: Some(labels), ..ObjectMeta::default() };
    DownloadRequest {
        metadata,
        spec: DownloadRequestSpec { target },
        status: DownloadRequestStatus::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::velero::sample;
    use serde_json::json;

    #[test]
    fn a_request_names_artefact_and_owner() {
        let request =
            request("nightly-001-log".to_owned(), BTreeMap::new(), Artefact::BackupLog, "nightly-001");
        let expected = json!({
            "apiVersion": "velero.io/v1",
            "kind": "DownloadRequest",
            "metadata": {"name": "nightly-001-log", "labels": {}},
            "spec": {"target": {"kind": "BackupLog", "name": "nightly-001"}},
        });
        assert_eq!(serde_json::to_value(request).unwrap(), expected);
    }

    #[test]
    fn each_artefact_has_the_word_that_velero_knows() {
        let table = [
            (Artefact::BackupLog, "BackupLog"),
            (Artefact::BackupResults, "BackupResults"),
            (Artefact::BackupVolumeInfos, "BackupVolumeInfos"),
            (Artefact::RestoreLog, "RestoreLog"),
            (Artefact::RestoreResults, "RestoreResults"),
        ];
        for (artefact, kind) in table {
            assert_eq!(artefact.kind(), kind);
        }
    }

    #[test]
    fn the_address_comes_with_the_phase() {
        for (name, phase, address) in
            [("none.1", "New", false), ("Processed.1", "Processed", true), ("missing.1", "New", false)]
        {
            let request: DownloadRequest = sample::load(&format!("DownloadRequest/{name}"));
            let read = (request.status.phase.to_string(), request.status.download_url.is_some());
            assert_eq!(read, (phase.to_owned(), address), "{name}");
        }
    }
}
