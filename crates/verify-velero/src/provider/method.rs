//! Method by which Velero copies a database.

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::velero::volume::VolumeMethod;

/// Method by which Velero copies a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Method")]
pub enum VeleroMethod {
    /// A CSI snapshot of the running primary's volume
    #[default]
    Csi,
    /// A CSI snapshot whose data Velero moves to the object store
    CsiMove,
    /// A base backup on a volume of its own, whose files Velero copies
    Fs,
    /// A dump on a volume of its own, whose files Velero copies
    FsDump,
}

impl VeleroMethod {
    /// The method of this name.
    ///
    /// # Errors
    ///
    /// If Velero has none of this name.
    pub(super) fn named(name: &str) -> Result<Self> {
        let named: serde_json::Result<Self> = serde_json::from_value(name.into());
        named.ok().with_context(|| {
            format!(
                "failed to choose a method: {name} is not Velero's, which takes csi, csi-move, fs or fs-dump"
            )
        })
    }

    /// Returns the method, in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Csi => "CSI snapshot",
            Self::CsiMove => "CSI snapshot, moved to the object store",
            Self::Fs => "files of a base backup",
            Self::FsDump => "files of a dump",
        }
    }

    /// Returns whether the copy is a snapshot of the database's own volume.
    pub(super) fn is_snapshot(self) -> bool {
        matches!(self, Self::Csi | Self::CsiMove)
    }
}

impl From<VeleroMethod> for VolumeMethod {
    fn from(method: VeleroMethod) -> Self {
        match method {
            VeleroMethod::Csi => Self::Snapshot,
            VeleroMethod::CsiMove => Self::MovedSnapshot,
            VeleroMethod::Fs | VeleroMethod::FsDump => Self::Files,
        }
    }
}
