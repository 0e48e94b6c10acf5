//! The labels of everything that we create, by which a later run finds what a dead one left.

use std::collections::BTreeMap;
use std::fmt;

use kube::ResourceExt;
use verify_core::digest::to_hex;

/// Label with the run that created an object.
pub const RUN: &str = "state-lab.dev/run";
/// Label with the creator of an object.
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of that label for state-lab.
const OURS: &str = "state-lab";
/// Set on the namespace of a restored server that was left running on purpose: only `cleanup` removes it.
pub const KEPT: &str = "state-lab.dev/kept";
/// Label with the purpose of an object.
pub(super) const COMPONENT: &str = "app.kubernetes.io/component";

/// Purpose of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// Takes backups.
    Backup,
    /// Restores and verifies.
    Validation,
    /// Writes while a failover is drilled.
    Probe,
}

/// A run, by its name: a few readable letters, and a unique part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run(String);

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

impl Run {
    /// A new run with a unique name.
    pub fn new() -> Self {
        let mut random = [0; 5];
        // Without the system's randomness nothing else works either; the time still parts two runs.
        if getrandom::fill(&mut random).is_err() {
            let now = jiff::Timestamp::now().as_nanosecond().to_le_bytes();
            random.copy_from_slice(&now[..5]);
        }
        Self(to_hex(&random))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Label selector of its objects.
    pub fn selector(&self) -> String {
        format!("{MANAGED_BY}={OURS},{RUN}={self}")
    }

    /// The run that made an object, by labels that only state-lab writes.
    pub fn of(object: &impl ResourceExt) -> Option<Self> {
        let labels = object.labels();
        let run = labels.get(RUN).filter(|_| labels.get(MANAGED_BY).is_some_and(|by| by == OURS))?;
        // It becomes part of names; a value that no run is called is not one.
        let plain =
            !run.is_empty() && run.len() <= 32 && run.bytes().all(|byte| byte.is_ascii_alphanumeric());
        plain.then(|| Self(run.clone()))
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

/// Label selector of the objects of all runs that have this purpose.
pub fn selector(components: &[Component]) -> String {
    let components: Vec<String> = components.iter().map(Component::to_string).collect();
    format!("{MANAGED_BY}={OURS},{RUN},{COMPONENT} in ({})", components.join(","))
}

/// The labels of an object of this run.
pub fn labels(run: &Run, component: Component) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "state-lab".to_owned()),
        ("app.kubernetes.io/instance", format!("state-lab-{run}")),
        (MANAGED_BY, OURS.to_owned()),
        ("app.kubernetes.io/part-of", "state-lab".to_owned()),
        (COMPONENT, component.to_string()),
        (RUN, run.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
