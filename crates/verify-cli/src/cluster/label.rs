//! The labels of everything that we create, by which a later run finds what a dead one left.

use std::collections::BTreeMap;
use std::fmt;

/// Which run made an object.
pub(crate) const RUN: &str = "state-lab.dev/run";
/// What an object is for.
pub(crate) const COMPONENT: &str = "app.kubernetes.io/component";

/// What an object is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Component {
    /// Takes backups.
    Backup,
    /// Restores and verifies.
    Validation,
    /// Writes while a failover is drilled.
    Probe,
}

/// A run, by a name of its own: a few letters for people, and what makes it unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run(String);

impl Run {
    /// A run that nobody has had before.
    pub(crate) fn new() -> Self {
        let mut random = [0; 5];
        // Without the system's randomness nothing else works either; the time still parts two runs.
        if getrandom::fill(&mut random).is_err() {
            let now = jiff::Timestamp::now().as_nanosecond().to_le_bytes();
            random.copy_from_slice(&now[..5]);
        }
        Self(random.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What lists its objects.
    pub(crate) fn selector(&self) -> String {
        format!("{RUN}={self}")
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backup => "backup",
            Self::Validation => "validation",
            Self::Probe => "probe",
        })
    }
}

/// The labels of an object of this run.
pub(crate) fn labels(run: &Run, component: Component) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "state-lab".to_owned()),
        ("app.kubernetes.io/instance", format!("state-lab-{run}")),
        ("app.kubernetes.io/managed-by", "state-lab".to_owned()),
        ("app.kubernetes.io/part-of", "state-lab".to_owned()),
        (COMPONENT, component.to_string()),
        (RUN, run.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
