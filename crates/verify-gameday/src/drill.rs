//! Runs a drill: steady state, method, steady state again, and in any case the undo of faults and the rollbacks.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::{Value, json};
use verify_drill::until::{Check, Pace, Waited, never, pause, until};
use verify_drill::watch::Watch;

use crate::child::{self, Ended, Finished};
use crate::file::{Action, Apply, Ask, DrillFile, Fault, Probe, Statement, Step, Undo};
use crate::journal::{Journal, Pending, PendingUndo, orphans};
use crate::outcome::{Circumstances, DrillOutcome, Phase, StepOutcome, StepResult};
use crate::variables::{self, Variables};

/// Time for the undo of a fault.
const UNDO_WITHIN: Duration = Duration::from_secs(600);
/// Result of a command of state-lab that could not find out.
const INCONCLUSIVE: &str = "inconclusive";
/// Longer texts are cut.
const DETAIL_CHARS_MAX: usize = 2_000;

/// Access of a drill to databases, Kubernetes and its operator.
pub trait World {
    /// The path of state-lab.
    fn program(&self) -> &Path;

    /// The first value of the first row of a statement, in a read-only transaction; empty without a row.
    fn query(&self, statement: &Statement, within: Duration) -> Result<String>;

    /// Runs a statement, committed.
    fn execute(&self, statement: &Statement, within: Duration) -> Result<()>;

    /// Creates objects in a context.
    fn apply(&self, context: &str, objects: &str) -> Result<()>;

    /// A value of the first object, as text; `None` if it is absent.
    fn value(&self, context: &str, objects: &str, pointer: &str) -> Result<Option<String>>;

    /// Deletes objects, and waits until they are deleted. One that does not exist is deleted already.
    fn delete(&self, context: &str, objects: &str) -> Result<()>;

    /// The answer to a question.
    fn ask(&self, ask: &Ask) -> Result<String>;
}

/// A drill to run.
pub struct Drill<'a> {
    pub file: &'a DrillFile,
    /// SHA-256 of the file, in hexadecimal.
    pub file_sha256: String,
    /// The file's directory.
    pub directory: PathBuf,
    /// The directory of journals.
    pub journals: PathBuf,
    pub world: &'a dyn World,
    pub now: fn() -> Timestamp,
}

/// Result of an action.
enum Done {
    /// With what it gave.
    Gave(String, Option<Value>),
    /// Not finished in time; with its last state.
    Late(String),
    /// The fault cannot be shown to bite.
    NotBitten(String),
    /// The drill is to stop.
    Stopped,
}

impl Drill<'_> {
    /// Runs the drill. First it rolls back drills that were killed.
    ///
    /// # Errors
    ///
    /// If the journal cannot be written. What goes wrong in a step is part of the result.
    pub fn run(&self, watch: &Watch<'_>) -> Result<DrillOutcome> {
        let (started_at, clock) = ((self.now)(), Instant::now());
        let mut steps = Vec::new();
        for orphan in orphans(&self.journals)? {
            watch.report(&format!("rolling back the drill {:?}, which was killed", orphan.pending.title));
            self.roll_back(orphan, Phase::Recovery, &mut steps, watch)?;
        }
        let recovered = steps.iter().all(|step| step.result == StepResult::Expected);
        if recovered {
            self.run_phases(&mut steps, watch)?;
        }
        let file = self.file;
        Ok(DrillOutcome::new(
            steps,
            Circumstances {
                title: file.title.clone(),
                hypothesis: file.hypothesis.clone(),
                file_sha256: self.file_sha256.clone(),
                context: file.context.clone(),
                started_at,
                duration_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
                deviations: file.deviations.clone(),
            },
        ))
    }

    fn run_phases(&self, steps: &mut Vec<StepOutcome>, watch: &Watch<'_>) -> Result<()> {
        let pending = Pending {
            title: self.file.title.clone(),
            context: self.file.context.clone(),
            directory: self.directory.clone(),
            faults: Vec::new(),
            rollbacks: self.file.rollbacks.clone(),
            variables: Variables::new(),
        };
        let mut journal = Journal::begin(&self.journals, pending, (self.now)())?;
        let mut run = Run { drill: self, watch, journal: &mut journal };
        if !run.phase(&self.file.steady_state, Phase::Before, steps)? {
            // Nothing was done, and there is nothing to come back from.
            return journal.end();
        }
        if run.phase(&self.file.method, Phase::Method, steps)? {
            run.phase(&self.file.steady_state, Phase::After, steps)?;
        }
        self.roll_back(journal, Phase::Rollback, steps, watch)
    }

    /// Undoes faults, the newest first, and runs the rollbacks, whatever fails. The journal stays if something is left.
    fn roll_back(
        &self,
        mut journal: Journal,
        phase: Phase,
        steps: &mut Vec<StepOutcome>,
        watch: &Watch<'_>,
    ) -> Result<()> {
        let begin = steps.len();
        while let Some(fault) = journal.pending.faults.last().cloned() {
            watch.report(&format!("undoing {:?}: {}", fault.step, fault.undo.in_words()));
            let (started_at, clock) = ((self.now)(), Instant::now());
            let undone = self.undo(&fault, journal.pending.context.as_deref(), watch);
            let detail = undone.as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default();
            steps.push(StepOutcome {
                phase,
                name: format!("undo {}", fault.step),
                action: fault.undo.in_words(),
                started_at,
                duration_ms: elapsed_ms(clock),
                within_ms: u64::try_from(UNDO_WITHIN.as_millis()).unwrap_or(u64::MAX),
                result: if undone.is_ok() { StepResult::Expected } else { StepResult::Unexpected },
                detail: cut(&detail),
                document: None,
            });
            if undone.is_err() {
                break;
            }
            journal.pending.faults.pop();
            journal.write()?;
        }
        let rollbacks = journal.pending.rollbacks.clone();
        for step in &rollbacks {
            let silent = Watch { sink: watch.sink, asked: never };
            let mut run = Run { drill: self, watch: &silent, journal: &mut journal };
            steps.push(run.step(step, phase)?);
        }
        let failed = steps[begin..].iter().find(|step| step.result != StepResult::Expected);
        match failed {
            Some(step) => {
                watch.warn(format!(
                    "not rolled back: {}: {}; the next drill tries again",
                    step.name, step.detail
                ));
                Ok(())
            }
            None => journal.end(),
        }
    }

    fn undo(&self, fault: &PendingUndo, context: Option<&str>, watch: &Watch<'_>) -> Result<()> {
        let run = |program: &str, arguments: &[String]| {
            let finished = child::run(program, arguments, UNDO_WITHIN, never, &|line| watch.report(line))?;
            match finished.status {
                Some(0) => Ok(()),
                _ => bail!("{}", said(&finished)),
            }
        };
        match &fault.undo {
            Undo::Nothing(_) => Ok(()),
            Undo::Run(arguments) => {
                let (program, rest) = arguments.split_first().context("it names no program")?;
                run(program, rest)
            }
            Undo::StateLab(arguments) => run(&self.world.program().to_string_lossy(), arguments),
            Undo::Execute(statement) => self.world.execute(statement, UNDO_WITHIN),
            Undo::Delete => {
                let objects = fault.objects.as_deref().context("the journal has no objects")?;
                self.world.delete(context.context("the journal has no context")?, objects)
            }
        }
    }
}

/// The steps of a drill while they run.
struct Run<'a> {
    drill: &'a Drill<'a>,
    watch: &'a Watch<'a>,
    journal: &'a mut Journal,
}

impl Run<'_> {
    /// Runs the steps of a phase; after the first that is not as expected the others are not run. Returns whether all were.
    fn phase(&mut self, of: &[Step], phase: Phase, steps: &mut Vec<StepOutcome>) -> Result<bool> {
        let mut as_expected = true;
        for step in of {
            let outcome = if as_expected && !(self.watch.asked)() {
                self.step(step, phase)?
            } else {
                not_run(step, phase, (self.drill.now)())
            };
            as_expected &= outcome.result == StepResult::Expected;
            steps.push(outcome);
        }
        Ok(as_expected)
    }

    fn step(&mut self, step: &Step, phase: Phase) -> Result<StepOutcome> {
        self.watch.report(&format!("{}: {}", step.name, step.action.in_words()));
        let (started_at, clock) = ((self.drill.now)(), Instant::now());
        let within = step.within.0.duration();
        let (result, detail, document) = match self.act(step, within) {
            Ok(Done::Gave(given, document)) if given == step.expect => {
                match self.save(step, document.as_ref()) {
                    Ok(()) => (StepResult::Expected, String::new(), document),
                    Err(error) => (StepResult::Unknown, format!("{error:#}"), document),
                }
            }
            Ok(Done::Gave(given, document)) => {
                let explained = document.as_ref().map(explanation).unwrap_or_default();
                let detail = format!("expected {}, found {given}{explained}", step.expect);
                // A command that could not find out has found nothing unexpected.
                let is_unknown = matches!(step.action, Action::StateLab(_)) && given == INCONCLUSIVE;
                let result = if is_unknown { StepResult::Unknown } else { StepResult::Unexpected };
                (result, detail, document)
            }
            Ok(Done::Late(state)) => (StepResult::Late, state, None),
            Ok(Done::NotBitten(reason)) => (StepResult::NotBitten, reason, None),
            Ok(Done::Stopped) => (StepResult::NotRun, "interrupted".to_owned(), None),
            Err(error) => (StepResult::Unknown, format!("{error:#}"), None),
        };
        if result != StepResult::Expected {
            self.watch.report(&format!("{}: not as expected: {detail}", step.name));
        }
        Ok(StepOutcome {
            phase,
            name: step.name.clone(),
            action: step.action.in_words(),
            started_at,
            duration_ms: elapsed_ms(clock),
            within_ms: step.within.0.ms(),
            result,
            detail: cut(&detail),
            document: document.filter(|_| matches!(step.action, Action::StateLab(_))),
        })
    }

    fn act(&mut self, step: &Step, within: Duration) -> Result<Done> {
        match variables::action(&step.action, &self.journal.pending.variables)? {
            Action::StateLab(arguments) => self.state_lab(&arguments, within),
            Action::Run(arguments) => self.program(&arguments, within),
            Action::Query(statement) => self.query(&statement, &step.expect, within),
            Action::Execute(statement) => {
                self.drill.world.execute(&statement, within)?;
                Ok(Done::Gave("done".to_owned(), None))
            }
            Action::Apply(apply) => self.apply(&step.name, &apply, within),
            Action::Fault(fault) => self.fault(&step.name, &fault, within),
            Action::Undo(name) => self.undo(&name),
            Action::Wait(period) => match pause(period.0.duration(), self.watch.asked) {
                true => Ok(Done::Stopped),
                false => Ok(Done::Gave("done".to_owned(), None)),
            },
            Action::Ask(ask) => Ok(Done::Gave(self.drill.world.ask(&ask)?, None)),
        }
    }

    /// Runs a command of state-lab; its verdict is its exit status.
    fn state_lab(&self, arguments: &[String], within: Duration) -> Result<Done> {
        let program = self.drill.world.program().to_string_lossy().into_owned();
        let mut all = arguments.to_vec();
        all.extend(["--output".to_owned(), "json".to_owned()]);
        let finished = self.child(&program, &all, within)?;
        if let Some(ended) = finished.ended {
            return Ok(ended_by(ended, &finished));
        }
        let verdict = match finished.status {
            Some(0) => "pass",
            Some(1) => "fail",
            Some(3) => INCONCLUSIVE,
            Some(2) => "error",
            _ => bail!("state-lab could not run: {}", said(&finished)),
        };
        let document = serde_json::from_slice(&finished.stdout).ok();
        Ok(Done::Gave(verdict.to_owned(), document))
    }

    fn program(&self, arguments: &[String], within: Duration) -> Result<Done> {
        let (program, rest) = arguments.split_first().context("it names no program")?;
        let finished = self.child(program, rest, within)?;
        match (finished.ended, finished.status) {
            (Some(ended), _) => Ok(ended_by(ended, &finished)),
            (None, Some(status)) => {
                let stdout = String::from_utf8_lossy(&finished.stdout);
                Ok(Done::Gave(status.to_string(), Some(json!({ "stdout": stdout.trim() }))))
            }
            (None, None) => bail!("a signal ended {program}"),
        }
    }

    fn child(&self, program: &str, arguments: &[String], within: Duration) -> Result<Finished> {
        child::run(program, arguments, within, self.watch.asked, &|line| self.watch.report(line))
    }

    /// Repeats a query until its value is the expected one. A server that does not answer may answer later.
    fn query(&self, statement: &Statement, expect: &str, within: Duration) -> Result<Done> {
        let waited = until(within, Pace::REMOTE, self.watch.asked, || {
            Ok::<_, anyhow::Error>(match self.drill.world.query(statement, within) {
                Ok(value) if value == expect => Check::Done(value),
                Ok(value) => Check::Waiting(Ok(value)),
                Err(error) => Check::Waiting(Err(error)),
            })
        })?;
        match waited {
            Waited::Done(value) | Waited::TimedOut(Ok(value)) => Ok(Done::Gave(value, None)),
            Waited::TimedOut(Err(error)) => Err(error),
            Waited::Stopped => Ok(Done::Stopped),
        }
    }

    /// Injects a fault whose probe does not hold, and waits until it does. Its undo is in the journal before.
    fn fault(&mut self, name: &str, fault: &Fault, within: Duration) -> Result<Done> {
        if self.holds(&fault.bites, within)? {
            return Ok(Done::NotBitten("its probe holds already before the injection".to_owned()));
        }
        let injected = match variables::action(&fault.inject, &self.journal.pending.variables)? {
            Action::Apply(apply) => self.apply(name, &apply, within)?,
            action => {
                let undo = variables::undo(&fault.undo, &self.journal.pending.variables)?;
                self.journal.pending.faults.push(PendingUndo { step: name.to_owned(), undo, objects: None });
                self.journal.write()?;
                match action {
                    Action::Run(arguments) => self.program(&arguments, within)?,
                    Action::StateLab(arguments) => self.state_lab(&arguments, within)?,
                    Action::Execute(statement) => {
                        self.drill.world.execute(&statement, within)?;
                        Done::Gave("done".to_owned(), None)
                    }
                    _ => bail!("it cannot be injected"),
                }
            }
        };
        if !matches!(injected, Done::Gave(..)) {
            return Ok(injected);
        }
        let waited = until(within, Pace::REMOTE, self.watch.asked, || {
            Ok::<_, anyhow::Error>(match self.holds(&fault.bites, within) {
                Ok(true) => Check::Done(()),
                Ok(false) => Check::Waiting("its probe does not hold".to_owned()),
                // A probe that cannot be asked shows nothing.
                Err(error) => Check::Waiting(format!("its probe cannot be asked: {error:#}")),
            })
        })?;
        Ok(match waited {
            Waited::Done(()) => Done::Gave("bites".to_owned(), None),
            Waited::TimedOut(state) => Done::NotBitten(state),
            Waited::Stopped => Done::Stopped,
        })
    }

    /// Returns whether a probe holds.
    fn holds(&self, probe: &Probe, within: Duration) -> Result<bool> {
        match variables::action(&probe.action, &self.journal.pending.variables)? {
            Action::Query(statement) => Ok(self.drill.world.query(&statement, within)? == probe.expect),
            Action::Run(arguments) => match self.program(&arguments, within)? {
                Done::Gave(status, _) => Ok(status == probe.expect),
                _ => bail!("the probe did not finish in time"),
            },
            _ => bail!("it is not a probe"),
        }
    }

    /// Creates objects, and waits until they are in effect, where they say so.
    fn apply(&mut self, name: &str, apply: &Apply, within: Duration) -> Result<Done> {
        let path = self.drill.directory.join(&apply.file);
        let objects =
            std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let objects = variables::expand(&objects, &self.journal.pending.variables)?;
        let context = self.journal.pending.context.clone().context("the file names no context")?;
        let undo = PendingUndo { step: name.to_owned(), undo: Undo::Delete, objects: Some(objects.clone()) };
        self.journal.pending.faults.push(undo);
        self.journal.write()?;
        self.drill.world.apply(&context, &objects)?;
        let done = Done::Gave("done".to_owned(), None);
        let Some(wanted) = &apply.until else { return Ok(done) };
        let waited = until(within, Pace::REMOTE, self.watch.asked, || {
            let value = self.drill.world.value(&context, &objects, &wanted.path)?;
            Ok::<_, anyhow::Error>(match value {
                Some(value) if value == wanted.value => Check::Done(()),
                value => Check::Waiting(value),
            })
        })?;
        Ok(match waited {
            Waited::Done(()) => done,
            Waited::TimedOut(value) => {
                let value = value.map_or_else(|| "absent".to_owned(), |value| format!("{value:?}"));
                Done::NotBitten(format!("{} is {value}, not {:?}", wanted.path, wanted.value))
            }
            Waited::Stopped => Done::Stopped,
        })
    }

    fn undo(&mut self, name: &str) -> Result<Done> {
        let faults = &self.journal.pending.faults;
        let index = faults.iter().position(|fault| fault.step == name);
        let index = index.with_context(|| format!("the fault {name:?} was not injected"))?;
        let fault = faults[index].clone();
        self.drill.undo(&fault, self.journal.pending.context.as_deref(), self.watch)?;
        self.journal.pending.faults.remove(index);
        self.journal.write()?;
        Ok(Done::Gave("done".to_owned(), None))
    }

    fn save(&mut self, step: &Step, document: Option<&Value>) -> Result<()> {
        for (name, pointer) in &step.save {
            let pointer = if pointer == "stdout" { "/stdout" } else { pointer };
            let value = document.and_then(|document| document.pointer(pointer));
            let value = value.with_context(|| format!("its document has no {pointer}"))?;
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.journal.pending.variables.insert(name.clone(), text);
        }
        if step.save.is_empty() { Ok(()) } else { self.journal.write() }
    }
}

fn not_run(step: &Step, phase: Phase, now: Timestamp) -> StepOutcome {
    StepOutcome {
        phase,
        name: step.name.clone(),
        action: step.action.in_words(),
        started_at: now,
        duration_ms: 0,
        within_ms: step.within.0.ms(),
        result: StepResult::NotRun,
        detail: String::new(),
        document: None,
    }
}

fn ended_by(ended: Ended, finished: &Finished) -> Done {
    match ended {
        Ended::Late => Done::Late(said(finished)),
        Ended::Stopped => Done::Stopped,
    }
}

fn said(finished: &Finished) -> String {
    let status =
        finished.status.map_or_else(|| "ended by a signal".to_owned(), |code| format!("exit status {code}"));
    match finished.said.as_slice() {
        [] => status,
        lines => format!("{status}: {}", lines.join("; ")),
    }
}

/// The first finding that decides the verdict of a document, for an explanation.
fn explanation(document: &Value) -> String {
    if let Some(causes) = document["error"]["causes"].as_array() {
        let causes: Vec<&str> = causes.iter().filter_map(Value::as_str).collect();
        return format!(": {}", causes.join(": "));
    }
    let reports = document["reports"].as_array().map_or(std::slice::from_ref(document), Vec::as_slice);
    let lists = reports.iter().flat_map(|report| [&report["comparison"]["findings"], &report["missed"]]);
    // Those of the document itself are of databases that have no report.
    let findings = lists.chain([&document["findings"]]).filter_map(Value::as_array).flatten();
    let first = findings.into_iter().find(|finding| finding["severity"] != "notice");
    first.map_or(String::new(), |finding| {
        let text = |field: &str| finding[field].as_str().unwrap_or_default().to_owned();
        let (code, object) = (text("code"), text("object"));
        // What an invariant returned may be personal data.
        match code.starts_with("invariant.") {
            true => format!(": {code} {object}"),
            false => format!(": {code} {object}: {}", text("message")),
        }
    })
}

fn elapsed_ms(clock: Instant) -> u64 {
    u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn cut(text: &str) -> String {
    text.chars().take(DETAIL_CHARS_MAX).collect()
}
