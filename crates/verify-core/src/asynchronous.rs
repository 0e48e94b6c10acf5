//! The engine for programs that run on tokio: each call works on a thread for blocking work. Needs the feature `async`.
//!
//! A future that is dropped before it is ready ends its work: a statement that runs is cancelled on the server.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::cancellation::Cancellation;
use crate::compare::Comparison;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::manifest::Manifest;
use crate::plan::Plan;
use crate::postgres::{Postgres, Settings};

/// Measures a database; see [`crate::capture::capture`].
///
/// # Errors
///
/// As there.
pub async fn capture(
    database: Settings,
    plan: Plan,
    on_event: impl Fn(Event) -> ControlFlow<()> + Send + Sync + 'static,
) -> Result<Manifest> {
    run(move |token| {
        let database = Postgres::new(database.with_cancellation(token));
        crate::capture::capture(&database, &plan, &on_event)
    })
    .await
}

/// Compares a restored database with the manifest of its source; see [`crate::verify::verify`].
///
/// # Errors
///
/// As there.
pub async fn verify(
    manifest: Arc<Manifest>,
    restored: Settings,
    plan: Plan,
    on_event: impl Fn(Event) -> ControlFlow<()> + Send + Sync + 'static,
) -> Result<Comparison> {
    run(move |token| {
        let restored = Postgres::new(restored.with_cancellation(token));
        crate::verify::verify(&manifest, &restored, &plan, &on_event)
    })
    .await
}

/// Compares two live databases; see [`crate::verify::compare_databases`].
///
/// # Errors
///
/// As there.
pub async fn compare_databases(
    source: Settings,
    restored: Settings,
    plan: Plan,
    on_event: impl Fn(Event) -> ControlFlow<()> + Send + Sync + 'static,
) -> Result<Comparison> {
    run(move |token| {
        let source = Postgres::new(source.with_cancellation(token));
        let restored = Postgres::new(restored.with_cancellation(token));
        crate::verify::compare_databases(&source, &restored, &plan, &on_event)
    })
    .await
}

/// Ends the work when its caller no longer waits for it.
struct Abandoned(Cancellation);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

async fn run<T: Send + 'static>(work: impl FnOnce(&Cancellation) -> Result<T> + Send + 'static) -> Result<T> {
    let token = Cancellation::new();
    let _abandoned = Abandoned(token.clone());
    match spawn_blocking(move || work(&token)).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(Error::with_source(ErrorKind::Cancelled, "finish", error)),
        },
    }
}
