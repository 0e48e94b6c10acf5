//! The result of a drill: each step with its time, and the verdict that follows from them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use verify_core::finding::{Severity, Verdict};
use verify_drill::deviation::Deviation;

/// Result of a drill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DrillOutcome {
    /// The verdict, that of the steps.
    verdict: Verdict,
    /// Title of the drill file.
    pub title: String,
    /// Statement that the drill tests.
    pub hypothesis: Option<String>,
    /// SHA-256 of the drill file, in hexadecimal.
    pub file_sha256: String,
    /// The context of the kubeconfig.
    pub context: Option<String>,
    /// Start.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// Duration, in milliseconds.
    pub duration_ms: u64,
    /// The steps.
    steps: Vec<StepOutcome>,
    /// Known gaps between the drill and a real disaster.
    pub deviations: Vec<Deviation>,
}

/// Result of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepOutcome {
    /// Part of the drill.
    pub phase: Phase,
    /// Name of the step.
    pub name: String,
    /// The action in one line.
    pub action: String,
    /// Start.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// Duration, in milliseconds.
    pub duration_ms: u64,
    /// Longest time that was allowed, in milliseconds.
    pub within_ms: u64,
    /// Result.
    pub result: StepResult,
    /// Explanation, where the result is not the expected one.
    pub detail: String,
    /// The document of a command of state-lab.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Value>,
}

/// Part of a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Rollback of a drill that was killed.
    Recovery,
    /// Steady state before.
    Before,
    /// The steps.
    Method,
    /// Steady state after.
    After,
    /// Undo of faults, and rollbacks.
    Rollback,
}

/// Result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepResult {
    /// As expected, in time.
    Expected,
    /// Not as expected.
    Unexpected,
    /// Not finished in time.
    Late,
    /// The fault could not be shown to bite.
    NotBitten,
    /// Not known.
    Unknown,
    /// Not run, since an earlier step was not as expected.
    NotRun,
}

impl StepOutcome {
    /// Severity of the step for the verdict.
    fn severity(&self) -> Option<Severity> {
        match (self.result, self.phase) {
            (StepResult::Expected, _) => None,
            // A problem from before says nothing of the drill.
            (_, Phase::Before | Phase::Recovery) => Some(Severity::Inconclusive),
            (StepResult::NotBitten | StepResult::Unknown | StepResult::NotRun, _) => {
                Some(Severity::Inconclusive)
            }
            (StepResult::Unexpected | StepResult::Late, _) => Some(Severity::Fail),
        }
    }
}

impl DrillOutcome {
    pub(crate) fn new(steps: Vec<StepOutcome>, of: Circumstances) -> Self {
        let Circumstances { title, hypothesis, file_sha256, context, started_at, duration_ms, deviations } =
            of;
        let verdict = verdict(&steps);
        Self { verdict, title, hypothesis, file_sha256, context, started_at, duration_ms, steps, deviations }
    }

    /// The verdict, that of the steps.
    pub fn verdict(&self) -> Verdict {
        verdict(&self.steps)
    }

    /// The steps.
    pub fn steps(&self) -> &[StepOutcome] {
        &self.steps
    }
}

fn verdict(steps: &[StepOutcome]) -> Verdict {
    let none = steps.is_empty().then_some(Severity::Inconclusive);
    Verdict::of(steps.iter().filter_map(StepOutcome::severity).chain(none))
}

/// Circumstances of a drill.
pub(crate) struct Circumstances {
    pub(crate) title: String,
    pub(crate) hypothesis: Option<String>,
    pub(crate) file_sha256: String,
    pub(crate) context: Option<String>,
    pub(crate) started_at: Timestamp,
    pub(crate) duration_ms: u64,
    pub(crate) deviations: Vec<Deviation>,
}
