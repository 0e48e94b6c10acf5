//! The calls: each works on a thread of its own, and serves its caller's callback on the caller's.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use verify_core::cancellation::Cancellation;
use verify_core::capture::{capture_snapshot, complete_within};
use verify_core::compare::Comparison;
use verify_core::event::Event;
use verify_core::finding::Verdict;
use verify_core::manifest::Manifest;
use verify_core::not_covered::{Check, NotCovered};
use verify_core::plan::Plan;
use verify_core::postgres::constraints::SourceRows;
use verify_core::postgres::{Environment, Postgres, Settings, restored};
use verify_core::report::{Circumstances, Report, Side};
use verify_core::verify::compare_databases;
use verify_core::{Error, ErrorKind};
pub use verify_drill::failure::Failure;
use verify_drill::failure::Kind;
use verify_local::{Copy, check_copy};

use crate::options;
use crate::progress::{CaptureStep, Progress};

/// Time without an event after which the caller is asked whether to stop.
const POLL: Duration = Duration::from_millis(100);

/// Result of a call that could find out.
#[derive(Debug)]
#[must_use]
pub struct Answer {
    /// The verdict of the report; of a manifest, whether it covers everything.
    pub verdict: Verdict,
    /// The manifest's file, or the report as JSON.
    pub document: Vec<u8>,
}

/// A call's environment: its options, and the ways to watch and to end it.
pub struct Call<'a> {
    /// Options as JSON; empty for the defaults.
    pub options: &'a str,
    /// Ends the work from another thread.
    pub token: &'a Cancellation,
    /// Receives each event, and at least ten times a second `None`. Always called on the caller's thread, and no more once it breaks.
    pub on_progress: &'a mut dyn FnMut(Option<&Progress>) -> ControlFlow<()>,
}

/// Measures a database. Between [`CaptureStep::Snapshot`] and [`CaptureStep::Measured`] the caller may take a backup.
///
/// # Errors
///
/// As for [`verify_core::capture::capture`], and if the options are invalid.
pub fn capture(conninfo: &str, call: Call<'_>) -> Result<Answer, Failure> {
    let plan = plan(&call)?;
    run(call, |worker| {
        let database = Postgres::new(worker.settings(conninfo)?);
        let on_event = |event| worker.on_event(event);
        let snapshot = database.begin(&plan, &on_event)?;
        worker.step(CaptureStep::Snapshot { exported: snapshot.exported().to_owned() })?;
        let mut manifest = capture_snapshot(&snapshot, &plan, &on_event)?;
        worker.step(CaptureStep::Measured { tables: manifest.tables.len() as u64 })?;
        complete_within(&snapshot, &mut manifest, &plan)?;
        let mut document = Vec::new();
        manifest.write(&mut document)?;
        Ok(Answer { verdict: manifest.verdict(), document })
    })
}

/// Compares a restored database with the manifest of its source, and runs the checks of `state-lab verify` on it.
///
/// # Errors
///
/// As for [`verify_core::verify::verify`], and if the manifest or the options are invalid.
pub fn verify(manifest: &[u8], conninfo: &str, call: Call<'_>) -> Result<Answer, Failure> {
    let plan = plan(&call)?;
    run(call, |worker| {
        let beginning = Beginning::now();
        let manifest = Manifest::read(manifest)?;
        let plan = plan.clone().with_hash(manifest.header.hash);
        let settings = worker.settings(conninfo)?;
        let database = restored(&settings, &manifest);
        let on_event = |event| worker.on_event(event);
        let mut comparison = verify_local::compare(&manifest, &*database, &settings, &plan, &on_event)?;
        let source = SourceRows { tables: comparison.equal_tables(&manifest), snapshot: None };
        let copy = Copy { settings: &settings, source, sound: false };
        check_copy(&mut comparison, &copy, &plan, &on_event, &|_| Ok(()))?;
        if plan.runs(Check::Durability) {
            let reason = "not run: it restarts the server; `state-lab restore` does it";
            comparison.not_covered([NotCovered::new(Check::Durability, "durability", reason)]);
        }
        let circumstances = Circumstances {
            source: Side { place: "manifest".to_owned(), database: Some(manifest.header.source.clone()) },
            manifest: Some((&manifest.header).into()),
            ..beginning.end(side(&settings))
        };
        Ok(answer(circumstances, comparison))
    })
}

/// Compares two running databases.
///
/// # Errors
///
/// As for [`compare_databases`], if the options are invalid, and if both connection strings are the same.
pub fn compare(source: &str, restored: &str, call: Call<'_>) -> Result<Answer, Failure> {
    if source == restored {
        let cause = "compare a database with itself: both connection strings are the same";
        return Err(failure(&Error::new(ErrorKind::Settings, cause).into()));
    }
    let plan = plan(&call)?;
    run(call, |worker| {
        let beginning = Beginning::now();
        let (source, restored) = (worker.settings(source)?, worker.settings(restored)?);
        let (one, other) = (Postgres::new(source.clone()), Postgres::new(restored.clone()));
        let comparison = compare_databases(&one, &other, &plan, &|event| worker.on_event(event))?;
        let circumstances = Circumstances { source: side(&source), ..beginning.end(side(&restored)) };
        Ok(answer(circumstances, comparison))
    })
}

/// The failure that invalid arguments are.
pub fn usage(causes: Vec<String>, hint: &str) -> Failure {
    Failure { kind: Kind::Usage, sqlstate: None, causes, hint: Some(hint.to_owned()) }
}

/// The error as JSON: `kind`, `sqlstate` where a server answered, `causes` from the outermost, `hint` or null.
pub fn error_document(failure: &Failure) -> Vec<u8> {
    serde_json::to_vec(failure).expect("text is serializable")
}

/// Runs `work` with every panic contained.
///
/// # Errors
///
/// Those of `work`, and a panic. Its message is not repeated: it may have data of the database.
pub fn contain<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_panic| Err(panicked()))
}

fn panicked() -> Failure {
    Failure {
        kind: Kind::Other,
        sqlstate: None,
        causes: vec!["failed to finish: state-lab has a defect, and panicked".to_owned()],
        hint: Some("report the defect, with what was printed on standard error".to_owned()),
    }
}

fn failure(error: &anyhow::Error) -> Failure {
    Failure::of(error, |_| None)
}

fn plan(call: &Call<'_>) -> Result<Plan, Failure> {
    options::plan(call.options).map_err(|error| {
        let causes = std::iter::once("failed to read the options".to_owned());
        let causes = causes.chain(error.chain().map(ToString::to_string)).collect();
        usage(causes, "correct the options; docs/embedding.md lists them")
    })
}

fn side(settings: &Settings) -> Side {
    Side { place: settings.describe(), database: None }
}

fn answer(circumstances: Circumstances, comparison: Comparison) -> Answer {
    let report = Report::of_comparison(circumstances, comparison);
    let document = serde_json::to_vec(&report).expect("a report is serializable");
    Answer { verdict: report.verdict(), document }
}

/// Start of a call, by the wall clock and by a monotonic one.
struct Beginning {
    started_at: Timestamp,
    clock: Instant,
}

impl Beginning {
    fn now() -> Self {
        Self { started_at: Timestamp::now(), clock: Instant::now() }
    }

    fn end(&self, restored: Side) -> Circumstances {
        Circumstances {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            duration_ms: u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX),
            source: Side::default(),
            restored: Some(restored),
            manifest: None,
        }
    }
}

/// An event, and where the worker waits for the answer to it.
type Question = (Progress, SyncSender<ControlFlow<()>>);

/// The working side of a call.
struct Worker<'a> {
    token: &'a Cancellation,
    /// Used when the caller's callback stops the work.
    stop: &'a Cancellation,
    questions: SyncSender<Question>,
}

impl Worker<'_> {
    fn settings(&self, conninfo: &str) -> verify_core::Result<Settings> {
        let settings = Settings::parse(conninfo, &Environment::default())?;
        Ok(settings.with_cancellation(self.token).with_cancellation(self.stop))
    }

    fn on_event(&self, event: Event) -> ControlFlow<()> {
        self.ask(Progress::Engine(event))
    }

    fn step(&self, step: CaptureStep) -> verify_core::Result<()> {
        match self.ask(Progress::Capture(step)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::new(ErrorKind::Cancelled, "finish: interrupted")),
        }
    }

    /// Shows the caller an event, and waits for its answer.
    fn ask(&self, progress: Progress) -> ControlFlow<()> {
        if self.token.is_cancelled() {
            return ControlFlow::Break(());
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let asked = self.questions.send((progress, answer)).is_ok();
        answered.recv().ok().filter(|_| asked).unwrap_or(ControlFlow::Break(()))
    }
}

/// Works on another thread, so that this one can serve its caller's callback, also while no event comes.
fn run(call: Call<'_>, work: impl FnOnce(&Worker<'_>) -> Result<Answer> + Send) -> Result<Answer, Failure> {
    let Call { options: _, token, on_progress } = call;
    let stop = &Cancellation::new();
    let (questions, received) = mpsc::sync_channel::<Question>(0);
    let worker = Worker { token, stop, questions };
    std::thread::scope(|scope| {
        // Moved here, so that a worker that asks does not wait for ever if this thread panics.
        let received = received;
        let thread = std::thread::Builder::new().name("state-lab".to_owned());
        let working = thread
            // The worker is dropped when the work is done: that ends the loop.
            .spawn_scoped(scope, move || work(&worker))
            .context("failed to start a thread")
            .map_err(|error| failure(&error))?;
        let mut serve = |progress: Option<&Progress>| {
            if !stop.is_cancelled() && on_progress(progress).is_break() {
                stop.cancel();
            }
            if stop.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        loop {
            match received.recv_timeout(POLL) {
                // A worker that no longer waits for the answer has ended.
                Ok((progress, answer)) => drop(answer.send(serve(Some(&progress)))),
                Err(RecvTimeoutError::Timeout) => drop(serve(None)),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        match working.join() {
            Ok(result) => result.map_err(|error| failure(&error)),
            Err(_panic) => Err(panicked()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignore(_: Option<&Progress>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn a_panic_is_a_failure_on_either_thread() {
        let panics = || -> Result<Answer, Failure> { panic!("password=hunter2") };
        let expected = panicked();
        assert_eq!(contain(panics).unwrap_err(), expected);
        let token = Cancellation::new();
        let call = Call { options: "", token: &token, on_progress: &mut ignore };
        assert_eq!(run(call, |_| panic!("password=hunter2")).unwrap_err(), expected);
        // The worker waits for an answer while the callback panics.
        let mut panics = |_: Option<&Progress>| panic!("callback");
        let call = Call { options: "", token: &token, on_progress: &mut panics };
        let asks = |worker: &Worker<'_>| {
            worker.step(CaptureStep::Measured { tables: 0 })?;
            unreachable!("the answer is to stop")
        };
        assert_eq!(contain(|| run(call, asks)).unwrap_err(), expected);
    }

    #[test]
    fn a_callback_that_stopped_is_not_called_again() {
        let token = Cancellation::new();
        let mut calls = 0;
        let mut stops = |_: Option<&Progress>| {
            calls += 1;
            ControlFlow::Break(())
        };
        let call = Call { options: "", token: &token, on_progress: &mut stops };
        let result = run(call, |worker| {
            let step = || worker.step(CaptureStep::Measured { tables: 0 });
            assert!(step().is_err() && step().is_err());
            std::thread::sleep(POLL * 3);
            step()?;
            unreachable!("the answer is to stop")
        });
        assert_eq!((result.unwrap_err().kind, calls), (Kind::Interrupted, 1));
    }
}
