//! A check: what it looks for, and its answer.

use schemars::JsonSchema;
use serde::Serialize;
use verify_core::finding::Severity;

use crate::fact::Missing;
use crate::facts::Facts;

/// The answer of a check that could be made: what is wrong, and what could not be looked at.
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
    /// What is wrong with it: one sentence, without its full stop.
    pub message: String,
    /// A lesser severity than that of the code, where this case is less bad.
    pub lesser: Option<Severity>,
}

impl Found {
    pub fn new(object: impl Into<String>, message: impl Into<String>) -> Self {
        Self { object: object.into(), message: message.into(), lesser: None }
    }

    /// As the whole answer.
    pub(crate) fn into_answer(self) -> Answer {
        vec![self].into()
    }

    /// As a notice, whatever the severity of the code.
    pub fn as_notice(self) -> Self {
        Self { lesser: Some(Severity::Notice), ..self }
    }
}

/// One of several objects that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub object: String,
    pub reason: String,
    /// The right, grant or setting that lets it be looked at.
    pub needs: String,
}

/// Where the facts of a check come from.
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
    /// Where its facts come from.
    pub source: Source,
    /// What is wrong where it finds something.
    pub about: &'static str,
    /// What that does to the next restore.
    pub effect: &'static str,
    /// How to fix it.
    pub remedy: &'static str,
    /// The facts that it looks at, and the right to read them.
    pub reads: &'static str,
    /// The judgement: no client, no clock.
    pub judge: fn(&Facts) -> Result<Answer, Missing>,
}
