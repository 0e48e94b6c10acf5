//! A copy and the captures of the same instant, at the same time: when one of them fails the other is stopped.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use verify_core::capture::{capture_snapshot, complete};
use verify_core::database::Snapshot;
use verify_core::event::Event;
use verify_core::manifest::Manifest;
use verify_core::plan::Plan;
use verify_core::postgres::{PostgresSnapshot, Settings};
use verify_core::{Error, ErrorKind};

use super::survey::connect;
use verify_drill::until::pause;
use verify_drill::watch::Watch;

/// Runs `copy` while every snapshot is measured, and completes the manifests when both are done. Meanwhile `server` is asked
/// now and then whether it still answers: the programs that copy would wait for a silent one for ever.
///
/// `copy` gets the function that asks whether to stop.
pub(super) fn copy_and_capture(
    server: &Settings,
    snapshots: &[PostgresSnapshot],
    plan: &Plan,
    watch: &Watch<'_>,
    copy: impl FnOnce(&dyn Fn() -> bool) -> Result<()>,
) -> Result<Vec<Manifest>> {
    let failed = AtomicBool::new(false);
    let on_event = |event: Event| match failed.load(Ordering::Relaxed) {
        true => ControlFlow::Break(()),
        false => watch.event(event),
    };
    let copy_ended = AtomicBool::new(false);
    let ended = || copy_ended.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed) || (watch.asked)();
    let (copied, captured, answered) = thread::scope(|scope| {
        let answers = scope.spawn(|| {
            let answered = ask_while(server, plan, &ended);
            failed.fetch_or(answered.is_err(), Ordering::Relaxed);
            answered
        });
        let captures = scope.spawn(|| {
            let measured = snapshots.iter().map(|snapshot| {
                let database = &snapshot.origin().source.database;
                capture_snapshot(snapshot, plan, &on_event)
                    .with_context(|| format!("failed to capture {database}"))
            });
            let measured = measured.collect::<Result<Vec<Manifest>>>();
            failed.fetch_or(measured.is_err(), Ordering::Relaxed);
            measured
        });
        let stop = || failed.load(Ordering::Relaxed) || (watch.asked)();
        let copied = copy(&stop);
        failed.fetch_or(copied.is_err(), Ordering::Relaxed);
        copy_ended.store(true, Ordering::Relaxed);
        (copied, joined(captures), joined(answers))
    });
    answered?;
    let mut manifests = match (copied, captured) {
        (Ok(()), Ok(manifests)) => manifests,
        // The one that was stopped is not the one that failed.
        (Err(copy), Err(capture)) if was_stopped(&copy) => return Err(capture),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    for (snapshot, manifest) in snapshots.iter().zip(&mut manifests) {
        complete(snapshot, manifest)?;
    }
    Ok(manifests)
}

/// Asks a server at the interval of the stall timeout whether it still answers, until `ended`.
fn ask_while(server: &Settings, plan: &Plan, ended: &dyn Fn() -> bool) -> Result<()> {
    // 0 means that silence is not checked.
    let period = Some(plan.limits.stall_timeout_ms).filter(|&ms| ms > 0);
    let period = period.map_or(Duration::MAX, |ms| Duration::from_millis(ms.into()));
    while !pause(period, ended) {
        // One failure may be the network's.
        if unanswered(server).is_some()
            && let Some(error) = unanswered(server).filter(|_| !ended())
        {
            return Err(error).context("failed to copy: the server no longer answers");
        }
    }
    Ok(())
}

/// Error of a server that does not answer. One that has no connection to spare does.
fn unanswered(server: &Settings) -> Option<Error> {
    let error = connect(server).err()?;
    let silent = match error.kind() {
        kind if kind.is_lost() => true,
        ErrorKind::PoolExhausted => true,
        ErrorKind::Server { sqlstate } => sqlstate.starts_with("57P"),
        _ => false,
    };
    silent.then_some(error)
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn was_stopped(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<Error>());
    kinds.into_iter().any(|error| *error.kind() == ErrorKind::Cancelled)
}
