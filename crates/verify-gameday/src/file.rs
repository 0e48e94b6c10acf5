//! The drill file: YAML, read and checked before anything is touched. Every error has its line and column.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;
use verify_drill::deviation::Deviation;
use verify_drill::duration::Period;

/// A larger file is refused.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// More steps are refused.
const STEPS_MAX: usize = 500;
/// Commands of state-lab that a step may run.
const COMMANDS: [&str; 10] = [
    "backup",
    "capture",
    "cleanup",
    "compare",
    "doctor",
    "failover",
    "heartbeat",
    "replicas",
    "restore",
    "verify",
];

/// A drill.
#[derive(Clone, Debug)]
pub struct DrillFile {
    pub title: String,
    pub hypothesis: Option<String>,
    pub context: Option<String>,
    pub steady_state: Vec<Step>,
    pub method: Vec<Step>,
    pub rollbacks: Vec<Step>,
    pub deviations: Vec<Deviation>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    title: String,
    hypothesis: Option<String>,
    context: Option<String>,
    steady_state: Vec<Spanned<Step>>,
    method: Vec<Spanned<Step>>,
    rollbacks: Vec<Spanned<Step>>,
    #[serde(default)]
    deviations: Vec<Deviation>,
}

/// A step: action, expected result, and time limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// Name.
    pub name: String,
    /// Action.
    #[serde(rename = "do")]
    pub action: Action,
    /// Expected result: `pass`, `fail`, `inconclusive` or `error` of a command of state-lab; the exit status of another one; the value of a
    /// query; `bites` of a fault; the answer to a question; else `done`.
    pub expect: String,
    /// Longest time for the action and its expected result.
    pub within: Duration,
    /// Values that later steps use as `${name}`: of a command of state-lab, by JSON pointer into its document; of another program, its
    /// `stdout`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub save: BTreeMap<String, String>,
}

/// A length of time that a file can have and a journal can keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Duration(pub Period);

/// Something that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A command of state-lab with its arguments: its verdict is expected.
    StateLab(Vec<String>),
    /// Another program with its arguments, without a shell: its exit status is expected.
    Run(Vec<String>),
    /// A statement that reads one value: it is repeated until the value is the expected one.
    Query(Statement),
    /// A statement that changes a database.
    Execute(Statement),
    /// Kubernetes objects that are created, and deleted at the end.
    Apply(Apply),
    /// A fault, injected and seen to bite.
    Fault(Box<Fault>),
    /// Undoes the fault of an earlier step, by the step's name, before the end.
    Undo(String),
    /// A pause.
    Wait(Duration),
    /// A question to the operator of the drill.
    Ask(Ask),
}

/// A statement for a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// A libpq connection string, or the name of a `[databases.NAME]` table.
    pub database: String,
    /// One statement.
    pub sql: String,
}

/// Objects of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// The file with the objects, relative to the drill file.
    pub file: String,
    /// A value of the first object that says that it is in effect; absent for kinds without a status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
}

/// A value of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Until {
    /// JSON pointer: `/status/phase`.
    pub path: String,
    /// Value as text.
    pub value: String,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Injects the fault: `run`, `execute`, `apply` or `state-lab`.
    pub inject: Action,
    /// Probe that does not hold before the injection, and holds after it.
    pub bites: Probe,
    /// Removes the fault.
    pub undo: Undo,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// `query` or `run`.
    #[serde(rename = "do")]
    pub action: Action,
    /// The value or exit status that shows that the fault bites.
    pub expect: String,
}

/// Removal of a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// A program with its arguments.
    Run(Vec<String>),
    /// A command of state-lab.
    StateLab(Vec<String>),
    /// A statement.
    Execute(Statement),
    /// Deletes the objects that `apply` created.
    Delete,
    /// No action, for this reason.
    Nothing(String),
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The question.
    pub question: String,
    /// The answer with `--non-interactive`.
    pub answer: String,
}

impl TryFrom<String> for Duration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.0.to_string()
    }
}

impl DrillFile {
    /// Reads a drill file.
    ///
    /// # Errors
    ///
    /// If it is not valid YAML, has an unknown or a missing key, or a step makes no sense: with line and column.
    pub fn parse(text: &str) -> Result<Self> {
        let written: Written = serde_saphyr::from_str(text).map_err(|error| anyhow!("{error}"))?;
        written.check()?;
        let Written { title, hypothesis, context, steady_state, method, rollbacks, deviations } = written;
        let steps = |steps: Vec<Spanned<Step>>| steps.into_iter().map(|step| step.value).collect();
        let (steady_state, method, rollbacks) = (steps(steady_state), steps(method), steps(rollbacks));
        Ok(Self { title, hypothesis, context, steady_state, method, rollbacks, deviations })
    }

    /// Returns whether a step changes something in Kubernetes.
    pub fn needs_context(&self) -> bool {
        self.steps().any(|step| step.action.needs_context())
    }

    /// Databases of the statements, in the order of the steps.
    pub fn databases(&self) -> impl Iterator<Item = &str> {
        self.steps().filter_map(|step| match &step.action {
            Action::Query(statement) | Action::Execute(statement) => Some(statement.database.as_str()),
            _ => None,
        })
    }

    /// All steps, in their order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steady_state.iter().chain(&self.method).chain(&self.rollbacks)
    }
}

/// The JSON Schema of a drill file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Document).into()
}

/// The file without positions, for the schema.
#[derive(JsonSchema)]
#[schemars(rename = "DrillFile", deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used")]
struct Document {
    /// Title.
    title: String,
    /// Statement that the drill tests: "the loss of a zone costs no acknowledged write".
    hypothesis: Option<String>,
    /// The one context of the kubeconfig in which the drill may run; needed if it changes something in Kubernetes.
    context: Option<String>,
    /// Probes that must hold before and after.
    steady_state: Vec<Step>,
    /// The steps, in order. The first that is not as expected ends them.
    method: Vec<Step>,
    /// Steps that always run at the end, also after Ctrl-C, and at the next start if the drill was killed.
    rollbacks: Vec<Step>,
    /// Known gaps between this drill and a real disaster.
    #[serde(default)]
    deviations: Vec<Deviation>,
}

impl Written {
    fn check(&self) -> Result<()> {
        let all = || self.steady_state.iter().chain(&self.method).chain(&self.rollbacks);
        if all().count() > STEPS_MAX {
            return Err(anyhow!("the file has more than {STEPS_MAX} steps"));
        }
        for step in all() {
            step.value.check().map_err(|reason| at(step, &reason))?;
            if step.value.action.needs_context() && self.context.is_none() {
                return Err(at(step, "it changes something in Kubernetes, and the file names no `context`"));
            }
        }
        for probe in &self.steady_state {
            if !probe.value.action.is_probe() {
                return Err(at(probe, "a step of `steady-state` must be `query`, `run` or `state-lab`"));
            }
        }
        for rollback in &self.rollbacks {
            if matches!(rollback.value.action, Action::Fault(_) | Action::Apply(_) | Action::Undo(_)) {
                return Err(at(rollback, "a rollback must not inject or undo a fault"));
            }
        }
        let mut names = BTreeSet::new();
        let mut faults = BTreeSet::new();
        for step in &self.method {
            if !names.insert(&step.value.name) {
                return Err(at(step, &format!("there are two steps {:?}", step.value.name)));
            }
            match &step.value.action {
                Action::Fault(_) | Action::Apply(_) => {
                    faults.insert(&step.value.name);
                }
                Action::Undo(fault) if !faults.contains(fault) => {
                    return Err(at(step, &format!("no fault before it has the name {fault:?}")));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn at(step: &Spanned<Step>, reason: &str) -> anyhow::Error {
    let (line, column) = (step.referenced.line(), step.referenced.column());
    anyhow!("line {line}, column {column}: step {:?}: {reason}", step.value.name)
}

impl Step {
    fn check(&self) -> Result<(), String> {
        let expected = |allowed: &[&str]| match allowed.contains(&self.expect.as_str()) {
            true => Ok(()),
            false => Err(format!("`expect` must be one of {}, not {:?}", allowed.join(", "), self.expect)),
        };
        match &self.action {
            Action::StateLab(_) => expected(&["pass", "fail", "inconclusive", "error"]),
            Action::Run(_) => self.expect.parse::<u8>().map(|_| ()).map_err(|_| {
                format!("`expect` must be the exit status of the program, as in \"0\", not {:?}", self.expect)
            }),
            Action::Fault(fault) => expected(&["bites"]).and_then(|()| fault.check()),
            Action::Execute(_) | Action::Apply(_) | Action::Undo(_) | Action::Wait(_) => expected(&["done"]),
            Action::Query(_) | Action::Ask(_) => Ok(()),
        }?;
        let can_save = |from: &String| match &self.action {
            Action::StateLab(_) => from.starts_with('/'),
            Action::Run(_) => from == "stdout",
            _ => false,
        };
        if !self.save.values().all(can_save) {
            return Err(
                "`save` needs a JSON pointer of a `state-lab` command, or `stdout` of a `run`".to_owned()
            );
        }
        self.action.check()
    }
}

impl Fault {
    fn check(&self) -> Result<(), String> {
        if !matches!(
            self.inject,
            Action::Run(_) | Action::Execute(_) | Action::Apply(_) | Action::StateLab(_)
        ) {
            return Err("`inject` must be `run`, `execute`, `apply` or `state-lab`".to_owned());
        }
        if !matches!(self.bites.action, Action::Query(_) | Action::Run(_)) {
            return Err("`bites` must be a `query` or a `run`".to_owned());
        }
        if matches!(self.bites.action, Action::Run(_)) && self.bites.expect.parse::<u8>().is_err() {
            return Err("`expect` of a `run` must be an exit status".to_owned());
        }
        if matches!(self.inject, Action::Apply(_)) != (self.undo == Undo::Delete) {
            return Err("`undo: delete` belongs to `apply`, and to nothing else".to_owned());
        }
        self.inject.check()?;
        self.bites.action.check()?;
        match &self.undo {
            Undo::StateLab(arguments) => Action::StateLab(arguments.clone()).check(),
            Undo::Run(arguments) => Action::Run(arguments.clone()).check(),
            _ => Ok(()),
        }
    }
}

impl Action {
    fn check(&self) -> Result<(), String> {
        match self {
            Self::StateLab(arguments) => match arguments.first() {
                Some(command) if COMMANDS.contains(&command.as_str()) => Ok(()),
                _ => Err(format!("`state-lab` must begin with one of {}", COMMANDS.join(", "))),
            },
            Self::Run(arguments) if arguments.is_empty() => Err("`run` names no program".to_owned()),
            _ => Ok(()),
        }
    }

    fn is_probe(&self) -> bool {
        matches!(self, Self::Query(_) | Self::Run(_) | Self::StateLab(_))
    }

    fn needs_context(&self) -> bool {
        match self {
            Self::Apply(_) => true,
            Self::Fault(fault) => fault.inject.needs_context(),
            Self::StateLab(arguments) => {
                arguments.first().is_some_and(|command| command == "failover")
                    || arguments
                        .iter()
                        .any(|argument| argument == "velero" || argument == "--provider=velero")
            }
            Self::Run(arguments) => arguments.first().is_some_and(|program| program == "kubectl"),
            _ => false,
        }
    }

    /// The action in one line, for a dry run and for reports.
    pub fn in_words(&self) -> String {
        match self {
            Self::StateLab(arguments) => format!("state-lab {}", arguments.join(" ")),
            Self::Run(arguments) => arguments.join(" "),
            Self::Query(statement) => format!("query {}: {}", statement.database, statement.sql),
            Self::Execute(statement) => format!("execute on {}: {}", statement.database, statement.sql),
            Self::Apply(apply) => format!("apply {}", apply.file),
            Self::Fault(fault) => {
                format!("inject: {}; then undo: {}", fault.inject.in_words(), fault.undo.in_words())
            }
            Self::Undo(fault) => format!("undo {fault:?}"),
            Self::Wait(duration) => format!("wait {}", duration.0),
            Self::Ask(ask) => format!("ask: {}", ask.question),
        }
    }
}

impl Undo {
    /// The undo in one line.
    pub fn in_words(&self) -> String {
        match self {
            Self::Run(arguments) => arguments.join(" "),
            Self::StateLab(arguments) => format!("state-lab {}", arguments.join(" ")),
            Self::Execute(statement) => format!("execute on {}: {}", statement.database, statement.sql),
            Self::Delete => "delete the objects".to_owned(),
            Self::Nothing(reason) => format!("nothing, since {reason}"),
        }
    }
}
