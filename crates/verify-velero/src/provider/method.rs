//! How Velero copies a database.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::velero::volume::VolumeMethod;

/// How Velero copies a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
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

impl Method {
    /// Whether the copy is a snapshot of the database's own volume.
    pub(super) fn is_snapshot(self) -> bool {
        matches!(self, Self::Csi | Self::CsiMove)
    }
}

impl From<Method> for VolumeMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::Csi => Self::Snapshot,
            Method::CsiMove => Self::MovedSnapshot,
            Method::Fs | Method::FsDump => Self::Files,
        }
    }
}
