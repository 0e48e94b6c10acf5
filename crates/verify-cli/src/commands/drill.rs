//! `drill`: a game day from a file.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::Timestamp;
use verify_core::postgres::{Connection, SessionOptions};
use verify_core::table::shown_text;
use verify_drill::hint::Hinted;
use verify_drill::interrupt;
use verify_gameday::drill::{Drill as Runner, World};
use verify_gameday::file::{Ask, DrillFile, FILE_BYTES_MAX, Statement};
use verify_gameday::outcome::{DrillOutcome, StepOutcome, StepResult};

use super::cluster_flags::ClusterFlags;
use super::storing::{self, StoreFlag};
use crate::config::Config;
use crate::connect::Target;
use crate::evidence::EvidenceFlags;
use crate::exit::Exit;
use crate::globals::Globals;
use crate::render::document::DrillDocument;
use crate::render::{Style, doctor};
use crate::risks::{Pending, Touched};
use crate::terminal;

/// Run a game day: steps from a file, each timed and judged, with faults that must be seen to bite
///
/// The file is checked before anything is touched. Steady state is probed before and after; faults are undone and rollbacks run in any
/// case, also after Ctrl-C; a drill that was killed is rolled back by the next one. A fault that cannot be shown to bite makes the drill
/// inconclusive, never a pass.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Drill {
    /// The drill file, in YAML
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print what would be done to what, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before the drill begins
    #[arg(short, long)]
    yes: bool,
    /// Answer questions from the file
    #[arg(long, requires = "yes")]
    non_interactive: bool,
    #[command(flatten)]
    evidence: EvidenceFlags,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab drill deploy/gamedays/corrupt-rows.yaml --dry-run
    state-lab drill deploy/gamedays/corrupt-rows.yaml --yes
    state-lab drill primary-lost.yaml --yes --non-interactive --output json";

impl Drill {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let Self { file: path, dry_run, yes, non_interactive, evidence } = self;
        let config = globals.config()?;
        let text = read(&path)?;
        let file = DrillFile::parse(&text).with_context(|| format!("failed to read {}", path.display()))?;
        if dry_run {
            terminal::print(&plan(&file))?;
            return Ok(Exit::PASS);
        }
        check_context(&file)?;
        if !yes {
            confirm(&file)?;
        }
        let program = std::env::current_exe().context("failed to find the path of state-lab")?;
        let world = RealWorld { config: &config, program, non_interactive };
        let directory = path.parent().map(Path::to_owned).unwrap_or_default();
        let drill = Runner {
            file: &file,
            file_sha256: sha256(text.as_bytes()),
            directory,
            journals: journals()?,
            world: &world,
            now: Timestamp::now,
        };
        let evidence = evidence.begin("drill", &config, globals)?;
        let examination = Pending::begin(touched(&file, &config));
        let outcome =
            evidence.watch(|| storing::with_steps(globals, Some(&evidence), |watch| drill.run(watch)))?;
        let exit = if interrupt::asked() { Exit::INTERRUPTED } else { outcome.verdict().into() };
        let risks = if interrupt::asked() { None } else { examination.finish() };
        let document = DrillDocument { outcome: &outcome, doctor: risks.as_ref() };
        evidence.conclude(&document, exit, || {
            globals
                .terminal()
                .result(&document, |style| text_of(&outcome, style) + &doctor::risks(risks.as_ref(), style))
        })
    }
}

/// Objects that a drill touches: the first database that it names, the store of the configuration, and its context.
fn touched(file: &DrillFile, config: &Config) -> Touched {
    let database = file.databases().find(|name| !name.contains("${")).map(str::to_owned);
    let store = Some(StoreFlag::of(None)).filter(|store| store.is_given(config));
    let cluster = file.context.clone().map(|context| ClusterFlags::of(Some(context), None));
    Touched { config: config.clone(), backup: None, database, store, cluster }
}

fn read(path: &Path) -> Result<String> {
    let doing = || format!("failed to read {}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(doing)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).with_context(doing)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        bail!("{}: it is larger than {FILE_BYTES_MAX} bytes", doing());
    }
    Ok(text)
}

fn sha256(content: &[u8]) -> String {
    verify_evidence::entry::sha256(content)
}

/// The directory of journals, which belongs to the user: a reboot does not lose it.
fn journals() -> Result<PathBuf> {
    let of = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = of("XDG_STATE_HOME").or_else(|| Some(of("HOME")?.join(".local/state")));
    let state = state.context("failed to find a directory for the journal: set HOME or XDG_STATE_HOME")?;
    Ok(state.join("state-lab/drills"))
}

/// Refuses a context that is not the file's.
#[cfg(feature = "velero")]
fn check_context(file: &DrillFile) -> Result<()> {
    let Some(context) = &file.context else { return Ok(()) };
    let current = verify_velero::cluster::Cluster::current_context();
    if current.as_ref() == Some(context) {
        return Ok(());
    }
    let current = current.map_or_else(|| "none".to_owned(), |current| format!("{current:?}"));
    let text = format!(
        "failed to begin the drill: it is for the context {context:?}, and the current one is {current}"
    );
    Err(Hinted::new(text, format!("run `kubectl config use-context {context}`, or correct the file")).into())
}

#[cfg(not(feature = "velero"))]
fn check_context(file: &DrillFile) -> Result<()> {
    match &file.context {
        None => Ok(()),
        Some(_) => Err(crate::lacking::error("velero", "failed to begin the drill: it names a context")),
    }
}

/// What would be done to what.
fn plan(file: &DrillFile) -> String {
    let mut text = format!("drill: {}\n", shown_text(&file.title));
    if let Some(hypothesis) = &file.hypothesis {
        let _ = writeln!(text, "hypothesis: {}", shown_text(hypothesis));
    }
    let context = file.context.as_deref().unwrap_or("none: nothing in Kubernetes is changed");
    let _ = writeln!(text, "context: {}", shown_text(context));
    for (name, steps) in
        [("steady state", &file.steady_state), ("method", &file.method), ("rollbacks", &file.rollbacks)]
    {
        let _ = writeln!(text, "\n{name}:");
        for step in steps {
            let (step, within, expect) = (step, step.within.0, shown_text(&step.expect));
            let _ = writeln!(text, "    {}: {}", shown_text(&step.name), shown_text(&step.action.in_words()));
            let _ = writeln!(text, "        expects {expect} within {within}");
        }
    }
    text
}

fn confirm(file: &DrillFile) -> Result<()> {
    terminal::print_note(&plan(file));
    if !io::stdin().is_terminal() {
        return Err(Hinted::new(
            "failed to begin the drill: it needs a confirmation, and standard input is not a terminal",
            "give --yes",
        )
        .into());
    }
    terminal::print_note("\nrun this drill? [y/N] ");
    match line()?.as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!("the drill was not confirmed; nothing was done"),
    }
}

fn line() -> Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("failed to read the answer")?;
    Ok(line.trim().to_owned())
}

struct RealWorld<'a> {
    config: &'a Config,
    program: PathBuf,
    non_interactive: bool,
}

impl RealWorld<'_> {
    fn connect(&self, statement: &Statement, within: Duration, read_only: &str) -> Result<Connection> {
        let target = Target::find(&statement.database, self.config)?;
        let ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX).clamp(1, i32::MAX as u32);
        let session = SessionOptions::verification(ms, ms)
            .with("default_transaction_read_only", read_only)
            .with("application_name", "state-lab drill");
        Ok(Connection::open(&target.settings(), &session)?)
    }
}

impl World for RealWorld<'_> {
    fn program(&self) -> &Path {
        &self.program
    }

    fn query(&self, statement: &Statement, within: Duration) -> Result<String> {
        let mut connection = self.connect(statement, within, "on")?;
        let rows = connection.query(&statement.sql)?;
        Ok(rows.first().and_then(|row| row.get(0)).unwrap_or_default().to_owned())
    }

    fn execute(&self, statement: &Statement, within: Duration) -> Result<()> {
        Ok(self.connect(statement, within, "off")?.execute(&statement.sql)?)
    }

    #[cfg(feature = "velero")]
    fn apply(&self, context: &str, objects: &str) -> Result<()> {
        verify_velero::cluster::Cluster::connect(Some(context))?.create_applied(objects)
    }

    #[cfg(feature = "velero")]
    fn value(&self, context: &str, objects: &str, pointer: &str) -> Result<Option<String>> {
        verify_velero::cluster::Cluster::connect(Some(context))?.applied_value(objects, pointer)
    }

    #[cfg(feature = "velero")]
    fn delete(&self, context: &str, objects: &str) -> Result<()> {
        verify_velero::cluster::Cluster::connect(Some(context))?.delete_applied(objects)
    }

    #[cfg(not(feature = "velero"))]
    fn apply(&self, _: &str, _: &str) -> Result<()> {
        Err(crate::lacking::error("velero", "failed to create objects"))
    }

    #[cfg(not(feature = "velero"))]
    fn value(&self, _: &str, _: &str, _: &str) -> Result<Option<String>> {
        Err(crate::lacking::error("velero", "failed to read objects"))
    }

    #[cfg(not(feature = "velero"))]
    fn delete(&self, _: &str, _: &str) -> Result<()> {
        Err(crate::lacking::error("velero", "failed to delete objects"))
    }

    fn ask(&self, ask: &Ask) -> Result<String> {
        if self.non_interactive {
            return Ok(ask.answer.clone());
        }
        terminal::print_note(&format!("{}: ", shown_text(&ask.question)));
        line()
    }
}

/// The result in words: the verdict, then each step with its time.
fn text_of(outcome: &DrillOutcome, style: &Style) -> String {
    let verdict = outcome.verdict();
    let mut text = format!("verdict: {}\n", style.paint(verdict.into(), &verdict.to_string()));
    let _ = writeln!(text, "drill: {}", style.cut(&outcome.title));
    if let Some(hypothesis) = &outcome.hypothesis {
        let _ = writeln!(text, "hypothesis: {}", style.cut(hypothesis));
    }
    text.push('\n');
    for step in outcome.steps() {
        step_text(&mut text, step, style);
    }
    for deviation in &outcome.deviations {
        let _ = writeln!(text, "deviation: {}", style.cut(&deviation.in_words()));
    }
    text
}

fn step_text(text: &mut String, step: &StepOutcome, style: &Style) {
    let result = match step.result {
        StepResult::Expected => "as expected",
        StepResult::Unexpected => "NOT as expected",
        StepResult::Late => "LATE",
        StepResult::NotBitten => "the fault cannot be shown to bite",
        StepResult::Unknown => "unknown",
        StepResult::NotRun => "not run",
    };
    let (took, within) = (seconds(step.duration_ms), seconds(step.within_ms));
    let _ = writeln!(text, "{}: {result}, {took} of {within} s", style.cut(&step.name));
    if !step.detail.is_empty() {
        let _ = writeln!(text, "    {}", style.cut(&step.detail));
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{}", ms / 1_000, ms % 1_000 / 100)
}
