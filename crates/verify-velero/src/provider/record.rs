//! `backup.json` of a backup by Velero: its manifests, and the facts about its origin that a restore needs.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::method::VeleroMethod;
use crate::velero::volume::ExpectedVolume;
use verify_drill::backup_record::BackupRecord;

pub(super) const FORMAT: &str = "state-lab-velero-backup";
pub(super) const FORMAT_VERSION: u32 = 1;

/// Record of a backup by Velero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "VeleroRecord")]
pub struct Record {
    pub(super) format: String,
    pub(super) version: u32,
    /// Record of the capture.
    pub backup: BackupRecord,
    /// Method by which Velero copied it.
    pub method: VeleroMethod,
    /// The run that made it, which the Backup is labelled with in every cluster: another one of the same name verifies
    /// nothing.
    pub run: String,
    /// The volume that holds the copy.
    pub volume: Volume,
    /// The image that the database ran in.
    pub image: String,
    /// The secrets that pulled it.
    pub image_pull_secrets: Vec<String>,
    /// The user and group that own its files.
    pub account: (i64, i64),
    /// The storage handles of the source's volumes: what a restore binds must be none of them.
    pub source_handles: BTreeSet<String>,
}

/// The volume that holds the copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// The namespace of pod and claim.
    pub namespace: String,
    /// The pod that mounted it.
    pub pod: String,
    /// Its name in that pod.
    pub volume: String,
    pub claim: String,
    /// Path of the copy in it: a data directory, or a store of backups.
    pub path: String,
    /// The labels that its claim, or the pod that mounted it, has in the backup and nothing else has; none where that
    /// could not be learnt.
    pub labels: BTreeMap<String, String>,
}

impl Volume {
    /// Volume that a backup must contain, and a restore must restore.
    pub(super) fn expected(&self) -> ExpectedVolume {
        ExpectedVolume {
            namespace: self.namespace.clone(),
            pod: self.pod.clone(),
            volume: self.volume.clone(),
            claim: self.claim.clone(),
        }
    }
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    ///
    /// If it is not a record, or of another version.
    pub(super) fn read(text: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: String,
            version: u32,
        }
        let doing = "failed to read the backup's record";
        let Version { format, version } = serde_json::from_slice(text).context(doing)?;
        if format != FORMAT {
            bail!("{doing}: it is not the record of a backup by Velero");
        }
        if version != FORMAT_VERSION {
            bail!("{doing}: it is of version {version}; use the state-lab that wrote it");
        }
        serde_json::from_slice(text).context(doing)
    }
}
