//! A check, and its answer.

use schemars::JsonSchema;
use serde::Serialize;
use verify_core::finding::Severity;

use crate::fact::Missing;
use crate::facts::Facts;

/// The answer of a check that could be made: problems, and objects that could not be examined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Answer {
    pub found: Vec<Found>,
    pub gaps: Vec<Gap>,
}

impl From<Vec<Found>> for Answer {
    fn from(found: Vec<Found>) -> Self {
        Self { found, gaps: Vec::new() }
    }
}

impl From<Option<Found>> for Answer {
    fn from(found: Option<Found>) -> Self {
        Vec::from_iter(found).into()
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Found {
    /// The setting, table, schedule, volume.
    pub object: String,
    /// Description of the problem: one sentence, without its full stop.
    pub message: String,
    /// A lesser severity than that of the code, where this case is less bad.
    pub lesser: Option<Severity>,
}

impl Found {
    pub fn new(object: impl Into<String>, message: impl Into<String>) -> Self {
        Self { object: object.into(), message: message.into(), lesser: None }
    }

    /// The whole answer, with this alone.
    pub(crate) fn into_answer(self) -> Answer {
        vec![self].into()
    }

    /// The same as a notice, at any severity of the code.
    pub fn as_notice(self) -> Self {
        Self { lesser: Some(Severity::Notice), ..self }
    }
}

/// An object, of several, that could not be examined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub object: String,
    pub reason: String,
    /// The right, grant or setting that an examination needs.
    pub needs: String,
}

/// Source of the facts of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The database server.
    Server,
    /// The machine of the server.
    Machine,
    /// The server or machine that backups are restored to.
    RestoreSide,
    /// Stored backups and reports.
    Backups,
    /// The Kubernetes cluster, with Velero's and the operators' objects.
    Cluster,
    /// The buckets that hold the backups.
    Bucket,
}

/// A check, with its code. The meaning of a code never changes.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name on the command line and in reports.
    pub code: &'static str,
    /// Effect of a finding on the verdict.
    pub severity: Severity,
    /// Source of its facts.
    pub source: Source,
    /// Description of the problem that it finds.
    pub about: &'static str,
    /// Effect on the next restore.
    pub effect: &'static str,
    /// Remedy, an imperative.
    pub remedy: &'static str,
    /// The facts that it reads, and the right to read them.
    pub reads: &'static str,
    /// The judgement: no client, no clock.
    pub judge: fn(&Facts) -> Result<Answer, Missing>,
}
