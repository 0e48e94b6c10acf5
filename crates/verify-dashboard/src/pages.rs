//! The pages of the dashboard.

use jiff::Timestamp;
use maud::{Markup, html};
use verify_core::table::shown_text;
use verify_drill::quantity::counted;
use verify_drill::recovery::duration;
use verify_evidence::entry::StoredReport;
use verify_report::html as report;
use verify_report::quantity::{age, minute};
use verify_report::running::Running;

use crate::snapshot::Snapshot;

/// A page of the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Now,
    History,
    Storage,
    Doctor,
    Run,
}

const MENU: [(Page, &str, &str); 4] = [
    (Page::Now, "/", "Now"),
    (Page::History, "/history", "History"),
    (Page::Storage, "/storage", "Storage"),
    (Page::Doctor, "/doctor", "Doctor"),
];

/// The page of a snapshot: each database, and the runs that have not finished.
pub(crate) fn now(snapshot: &Snapshot, now: Timestamp) -> String {
    let content = html! {
        h1 { "Restores now" }
        (error(snapshot))
        (running(&snapshot.running, now))
        @if let Some(history) = &snapshot.history {
            @let databases = history.databases();
            @if databases.is_empty() { p { "No report of a database is stored yet." } }
            @else { (report::summaries(&databases, now, &address)) }
            @for unreadable in &history.unreadable {
                p class="late" { "Report " (unreadable.sequence) " cannot be read: " (shown_text(&unreadable.reason)) }
            }
            p class="faint" { (history.store) ", " (counted(history.runs.len() as u64, "report")) ", as of " (minute(now)) }
        }
    };
    frame(Page::Now, "Restores now", &content)
}

pub(crate) fn history(snapshot: &Snapshot, now: Timestamp) -> String {
    let content = html! {
        (error(snapshot))
        @if let Some(history) = &snapshot.history { (report::history(history, now, &address)) }
    };
    frame(Page::History, "History", &content)
}

pub(crate) fn run(stored: &StoredReport, has_signatures: bool) -> String {
    let title = format!("Report {}", stored.envelope.sequence);
    frame(Page::Run, &title, &report::run(stored, has_signatures))
}

/// A page that says why there is no other.
pub(crate) fn problem(title: &str, text: &str) -> String {
    frame(Page::Run, title, &html! { h1 { (title) } p { (shown_text(text)) } })
}

fn address(sequence: u64) -> Option<String> {
    Some(format!("/runs/{sequence}"))
}

fn error(snapshot: &Snapshot) -> Markup {
    html! {
        @match (&snapshot.error, &snapshot.history) {
            (Some(error), _) => { p class="late" role="alert" { "The store cannot be read: " (shown_text(error)) } }
            (None, None) => { p { "The store is being read." } }
            (None, Some(_)) => {}
        }
    }
}

fn running(runs: &[Running], now: Timestamp) -> Markup {
    html! {
        @for run in runs {
            section class="verdict running" {
                h2 { "Running: " (shown_text(&run.command)) }
                p { "for " (age(run.started_at, now)) @if !run.step.is_empty() { ": " (shown_text(&run.step)) } }
                @if let Some(percent) = run.percent() {
                    progress max="100" value=(percent) aria-label="rows that were read" { (percent) "%" }
                    p class="faint" { (percent) "%, " (counted(run.rows, "row")) }
                }
                p class="faint" { "started at " (minute(run.started_at)) ", last sign of life " (ago(run, now)) " ago" }
            }
        }
    }
}

fn ago(run: &Running, now: Timestamp) -> String {
    let ms = now.duration_since(run.updated_at).as_millis();
    duration(u64::try_from(ms).unwrap_or(0))
}

pub(crate) fn frame(page: Page, title: &str, content: &Markup) -> String {
    let head = html! {
        link rel="stylesheet" href="/style.css";
        script src="/live.js" defer {}
    };
    let body = html! {
        nav aria-label="Pages" {
            @for (of, address, name) in MENU {
                a href=(address) aria-current=[(of == page).then_some("page")] { (name) }
            }
            a href="/metrics" { "Metrics" }
        }
        main { (content) }
    };
    report::frame(&format!("{title} – state-lab"), &head, &body).into_string()
}
