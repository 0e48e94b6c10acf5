//! A volume that a drill cannot do without, and how it is copied.

use std::fmt;

/// Method by which Velero copies a volume's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeMethod {
    /// Files, read by Kopia through the pod that mounts the volume; the pod's annotation opts the volume in.
    Files,
    /// A CSI snapshot, which stays in the storage of the cluster.
    Snapshot,
    /// A CSI snapshot whose data is moved to the object store.
    MovedSnapshot,
}

/// A volume that the restored database needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedVolume {
    /// The namespace of pod and claim.
    pub namespace: String,
    /// The pod that mounts it.
    pub pod: String,
    /// Its name in the pod's `spec.volumes`.
    pub volume: String,
    /// The claim behind it.
    pub claim: String,
}

impl fmt::Display for ExpectedVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "volume {} of pod {}/{} (claim {}/{})",
            self.volume, self.namespace, self.pod, self.namespace, self.claim
        )
    }
}
