//! A copy and the captures of the same instant, at the same time: when one of them fails the other is stopped.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use verify_core::capture::{capture_snapshot, complete};
use verify_core::database::Snapshot;
use verify_core::event::Event;
use verify_core::manifest::Manifest;
use verify_core::plan::Plan;
use verify_core::postgres::PostgresSnapshot;
use verify_core::{Error, ErrorKind};

use crate::provider::Watch;

/// Runs `copy` while every snapshot is measured, and completes the manifests when both are done.
///
/// `copy` is given what tells it to stop.
pub(super) fn copy_and_capture(
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
    let (copied, captured) = thread::scope(|scope| {
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
        (copied, captures.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
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

fn was_stopped(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<Error>());
    kinds.into_iter().any(|error| *error.kind() == ErrorKind::Interrupted)
}
