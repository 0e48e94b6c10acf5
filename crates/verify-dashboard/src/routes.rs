//! Addresses and their answers. All of them only read.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use futures_util::Stream;
use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use verify_drill::store::Store;
use verify_evidence::entry::{self, Entry};
use verify_report::html::STYLESHEET;
use verify_report::openmetrics;

use crate::access::Access;
use crate::pages;
use crate::posture_pages;
use crate::snapshot::Snapshot;

const SCRIPT: &str = include_str!("live.js");
/// No script but ours, no style but ours, nothing from elsewhere, and no frame around a page.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
/// More viewers get no live updates.
const STREAMS_MAX: usize = 500;

/// State of the server.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) access: Access,
    pub(crate) snapshots: watch::Receiver<Snapshot>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) now: fn() -> Timestamp,
}

impl Shared {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        access: Access,
        snapshots: watch::Receiver<Snapshot>,
        now: fn() -> Timestamp,
    ) -> Self {
        Self { store, access, snapshots, streams: Arc::new(Semaphore::new(STREAMS_MAX)), now }
    }

    fn snapshot(&self) -> Snapshot {
        self.snapshots.borrow().clone()
    }
}

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(now))
        .route("/history", get(history))
        .route("/doctor", get(doctor))
        .route("/storage", get(storage))
        .route("/runs/{sequence}", get(run))
        .route("/events", get(events))
        .route("/metrics", get(metrics))
        .route("/api/v1/history.json", get(history_json))
        .route("/api/v1/running.json", get(running_json))
        .route("/api/v1/doctor.json", get(doctor_json))
        .route("/api/v1/runs/{sequence}", get(run_json))
        .route("/style.css", get(|| async { typed("text/css; charset=utf-8", STYLESHEET.to_owned()) }))
        .route("/live.js", get(|| async { typed("text/javascript; charset=utf-8", SCRIPT.to_owned()) }))
        .fallback(|| async {
            let page = pages::problem("Not found", "There is no such page.");
            (StatusCode::NOT_FOUND, Html(page))
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), guard))
        // Probes of Kubernetes have no token.
        .route("/healthz", get(healthz))
        .layer(middleware::map_response(protect))
        .with_state(shared)
}

async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    match shared.access.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(StatusCode::UNAUTHORIZED) => {
            let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"state-lab\", charset=\"UTF-8\"")];
            (StatusCode::UNAUTHORIZED, ask, "the token is missing or wrong\n").into_response()
        }
        Err(status) => (status, "this address is only for this machine\n").into_response(),
    }
}

async fn protect(mut response: Response) -> Response {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn now(State(shared): State<Arc<Shared>>) -> Html<String> {
    Html(pages::now(&shared.snapshot(), (shared.now)()))
}

async fn history(State(shared): State<Arc<Shared>>) -> Html<String> {
    Html(pages::history(&shared.snapshot(), (shared.now)()))
}

async fn doctor(State(shared): State<Arc<Shared>>) -> Html<String> {
    Html(posture_pages::doctor(&shared.snapshot(), (shared.now)()))
}

async fn storage(State(shared): State<Arc<Shared>>) -> Html<String> {
    Html(posture_pages::storage(&shared.snapshot(), (shared.now)()))
}

async fn doctor_json(State(shared): State<Arc<Shared>>) -> Response {
    match shared.snapshot().posture.as_ref().map(|posture| &posture.examined) {
        Some(Ok((_, examination))) => json(serde_json::to_string(examination)),
        _ => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn run(State(shared): State<Arc<Shared>>, Path(sequence): Path<u64>) -> Response {
    match read_entry(&shared, sequence).await {
        Ok(Some(Entry { report: Ok(stored), has_signatures, .. })) => {
            Html(pages::run(&stored, has_signatures)).into_response()
        }
        Ok(Some(Entry { report: Err(reason), .. })) => {
            Html(pages::problem(&format!("Report {sequence} cannot be read"), &reason)).into_response()
        }
        Ok(None) => {
            let page = pages::problem("Not found", &format!("There is no report {sequence}."));
            (StatusCode::NOT_FOUND, Html(page)).into_response()
        }
        Err(error) => unreadable(&error),
    }
}

async fn run_json(State(shared): State<Arc<Shared>>, Path(file): Path<String>) -> Response {
    let Some(sequence) = file.strip_suffix(".json").and_then(|number| number.parse().ok()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match read_entry(&shared, sequence).await {
        Ok(Some(Entry { report: Ok(stored), .. })) => match stored.envelope.to_json() {
            Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
            Err(error) => unreadable(&error),
        },
        Ok(_) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => unreadable(&error),
    }
}

async fn history_json(State(shared): State<Arc<Shared>>) -> Response {
    match shared.snapshot().history {
        Some(history) => json(serde_json::to_string(&*history)),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn running_json(State(shared): State<Arc<Shared>>) -> Response {
    json(serde_json::to_string(&shared.snapshot().running))
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = shared.snapshot().history.map(|history| openmetrics::metrics(&history));
    match text {
        Some(Ok(text)) => typed("application/openmetrics-text; version=1.0.0; charset=utf-8", text),
        _ => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// Healthy if the store could be read the last time.
async fn healthz(State(shared): State<Arc<Shared>>) -> (StatusCode, &'static str) {
    let snapshot = shared.snapshots.borrow();
    match (&snapshot.error, &snapshot.history) {
        (None, Some(_)) => (StatusCode::OK, "ok\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the store cannot be read\n"),
    }
}

/// An event for each change, until the viewer leaves.
async fn events(State(shared): State<Arc<Shared>>) -> Response {
    let Ok(permit) = Arc::clone(&shared.streams).try_acquire_owned() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    Sse::new(changes(shared.snapshots.clone(), permit)).keep_alive(KeepAlive::default()).into_response()
}

fn changes(
    mut snapshots: watch::Receiver<Snapshot>,
    permit: impl Send + 'static,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let seen = snapshots.borrow_and_update().generation;
    futures_util::stream::unfold((snapshots, seen, permit), |(mut snapshots, seen, permit)| async move {
        loop {
            // The server ends.
            snapshots.changed().await.ok()?;
            let generation = snapshots.borrow_and_update().generation;
            if generation != seen {
                let event = sse::Event::default().event("changed").data(generation.to_string());
                return Some((Ok(event), (snapshots, generation, permit)));
            }
        }
    })
}

/// Reads one report. The store blocks.
async fn read_entry(shared: &Arc<Shared>, sequence: u64) -> Result<Option<Entry>> {
    let store = Arc::clone(&shared.store);
    tokio::task::spawn_blocking(move || entry::find(&*store, sequence)).await?
}

fn json(text: serde_json::Result<String>) -> Response {
    match text {
        Ok(text) => typed("application/json", text),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn typed(kind: &'static str, text: String) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

fn unreadable(error: &anyhow::Error) -> Response {
    let page = pages::problem("The store cannot be read", &format!("{error:#}"));
    (StatusCode::SERVICE_UNAVAILABLE, Html(page)).into_response()
}
