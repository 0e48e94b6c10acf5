//! Events of a drill on standard error: as a bar and lines on a terminal, as lines elsewhere, or as lines of JSON for
//! programs. Rows that are read show up every few seconds at most.
//!
//! Events only add up numbers; a thread of its own draws, so that a slow or stopped terminal never holds up the
//! reading of rows, during which the server keeps a snapshot for us.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;
use verify_core::event::Event;

use crate::terminal;
use verify_drill::duration::Period;
use verify_drill::interrupt;
use verify_drill::quantity::{bytes, count};
use verify_drill::watch;

const BAR_PERIOD: Duration = Duration::from_millis(200);
const LINE_PERIOD: Duration = Duration::from_secs(5);
const JSON_PERIOD: Duration = Duration::from_secs(1);
/// A wait is reported about twice a second; after five seconds it is a long one.
const WAITS_BEFORE_LINE: u32 = 10;

/// Form of the progress display, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A bar on a terminal, else lines
    Auto,
    /// Lines of text
    Lines,
    /// One JSON object a line
    Json,
}

/// Form of the progress display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Silent,
    Lines,
    Bar,
    Json,
}

impl Form {
    /// The mode on this process's standard error.
    pub(crate) fn mode(self, quiet: bool) -> Mode {
        match self {
            _ if quiet => Mode::Silent,
            Self::Auto if io::stderr().is_terminal() => Mode::Bar,
            Self::Auto | Self::Lines => Mode::Lines,
            Self::Json => Mode::Json,
        }
    }
}

/// Takes events until it is dropped.
pub(crate) struct Progress {
    shared: Arc<Shared>,
    mode: Mode,
    drawer: Option<JoinHandle<()>>,
}

/// A line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    at: Timestamp,
    #[serde(flatten)]
    event: LineEvent<'a>,
}

/// Content of a line of JSON.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum LineEvent<'a> {
    Step(&'a str),
    Warning(&'a str),
    Progress {
        doing: &'a str,
        #[serde(flatten)]
        tally: &'a Tally,
    },
}

impl LineEvent<'_> {
    fn print(self) {
        let line = Line { at: Timestamp::now(), event: self };
        if let Ok(line) = serde_json::to_string(&line) {
            terminal::print_note(&format!("{line}\n"));
        }
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    tally: Tally,
    /// Something else is done meanwhile.
    paused: bool,
    ended: bool,
    /// Number of consecutive events that reported a wait.
    waits: u32,
}

/// Totals of the events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Tally {
    tables: u64,
    rows: u64,
    bytes: u64,
    /// Bytes on disk, as estimated: in all, and read.
    #[serde(rename = "bytes_estimate")]
    estimate: u64,
    #[serde(rename = "bytes_estimate_done")]
    estimate_done: u64,
    /// Current activity, if it is not plain reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// The limit of the plan that sets the speed now, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    limited_by: Option<String>,
}

impl Progress {
    pub(crate) fn new(doing: &str, mode: Mode) -> Self {
        let shared = Arc::new(Shared::default());
        let (theirs, doing) = (Arc::clone(&shared), doing.to_owned());
        // Without a thread there is no progress to see; the work goes on.
        let draw = move || match mode {
            Mode::Silent => {}
            Mode::Lines => lines(&doing, &theirs),
            Mode::Bar => bar(doing, &theirs),
            Mode::Json => json(&doing, &theirs),
        };
        let thread = || std::thread::Builder::new().name("progress".to_owned()).spawn(draw).ok();
        let drawer = (mode != Mode::Silent).then(thread).flatten();
        Self { shared, mode, drawer }
    }

    /// Progress of work that has steps and warnings alone.
    pub(crate) fn of_steps(mode: Mode) -> Self {
        Self { shared: Arc::default(), mode, drawer: None }
    }

    /// Shows an event of a drill. Whether to stop, its sender asks itself.
    pub(crate) fn show(&self, event: watch::Event) {
        match (event, self.mode) {
            (watch::Event::Step(_), Mode::Silent) => {}
            (watch::Event::Step(step), Mode::Json) => LineEvent::Step(&step).print(),
            (watch::Event::Step(step), Mode::Lines | Mode::Bar) => {
                // The progress that is shown is not that of the step.
                self.shared.lock().paused = true;
                terminal::print_note(&format!("{step}\n"));
            }
            (watch::Event::Warning(warning), _) => self.warn(&warning),
            (watch::Event::Measure(event), _) => {
                let _ = self.take(event);
            }
        }
    }

    fn warn(&self, warning: &str) {
        match self.mode {
            Mode::Json => LineEvent::Warning(warning).print(),
            _ => terminal::print_note(&format!("{warning}\n")),
        }
    }

    /// Takes an event, and answers with the user's wish to stop.
    pub(crate) fn take(&self, event: Event) -> ControlFlow<()> {
        if let Event::ServerWarning { message } = &event {
            self.warn(&format!("the server warns: {message}"));
        }
        if let Event::Notice { message } = &event {
            self.warn(message);
        }
        let mut state = self.shared.lock();
        let reason = match &event {
            Event::Waiting { reason } => Some(reason.clone()),
            _ => None,
        };
        state.waits = if reason.is_some() { state.waits + 1 } else { 0 };
        let long = state.waits == WAITS_BEFORE_LINE;
        state.tally.add(event);
        state.paused = false;
        drop(state);
        // A wait for others is reported even where progress is not wanted: it may take somebody to end it.
        if let Some(reason) = reason.filter(|_| long && self.drawer.is_none()) {
            terminal::print_note(&format!("waiting: {reason}\n"));
        }
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.ended.notify_all();
        if let Some(drawer) = self.drawer.take() {
            let _ = drawer.join();
        }
    }
}

impl Shared {
    /// Calls `draw` once a period, until the end.
    fn every(&self, period: Duration, mut draw: impl FnMut(&Tally)) {
        let mut state = self.lock();
        loop {
            let (woken, _) = self
                .ended
                .wait_timeout_while(state, period, |state| !state.ended)
                .unwrap_or_else(PoisonError::into_inner);
            if woken.ended {
                return;
            }
            let tally = (!woken.paused).then(|| woken.tally.clone());
            // Events must not wait for the terminal.
            drop(woken);
            if let Some(tally) = tally {
                draw(&tally);
            }
            state = self.lock();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lines(doing: &str, shared: &Shared) {
    let started = Instant::now();
    shared.every(LINE_PERIOD, |tally| {
        terminal::print_note(&format!("{doing}: {}\n", tally.line(started.elapsed())));
    });
}

fn json(doing: &str, shared: &Shared) {
    let print = |tally: &Tally| LineEvent::Progress { doing, tally }.print();
    shared.every(JSON_PERIOD, print);
    print(&shared.lock().tally);
}

fn bar(doing: String, shared: &Shared) {
    let started = Instant::now();
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:16}] {wide_msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(doing);
    shared.every(BAR_PERIOD, |tally| {
        bar.update(|state| {
            state.set_len(tally.estimate.max(1));
            state.set_pos(tally.estimate_done.min(tally.estimate));
        });
        bar.set_message(tally.line(started.elapsed()));
    });
    bar.finish_and_clear();
}

impl Tally {
    fn add(&mut self, event: Event) {
        match event {
            Event::Waiting { reason } => self.note = Some(format!("waiting: {reason}")),
            Event::Started { tables, bytes_estimate } => {
                self.tables += tables;
                self.estimate += bytes_estimate;
                self.note = self.note.take().filter(|note| !note.starts_with("waiting"));
            }
            Event::Read { rows, bytes, estimate_done } => {
                self.rows += rows;
                self.bytes += bytes;
                self.estimate_done += estimate_done;
            }
            Event::Limited { by } => self.limited_by = by,
            Event::SecondPass { table } => self.note = Some(format!("{table} differs: identifying its rows")),
            _ => {}
        }
    }

    /// Share, time that is left, rows, bytes and rate: the most wanted first, for a narrow terminal cuts the rest.
    fn line(&self, elapsed: Duration) -> String {
        if self.tables == 0 {
            return self.note.clone().unwrap_or_else(|| "connecting".to_owned());
        }
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut parts = Vec::new();
        if let Some(left) = self.left_ms(elapsed_ms) {
            let percent = u128::from(self.estimate_done.min(self.estimate)) * 100 / u128::from(self.estimate);
            parts.push(format!("{percent}%, about {} left", Period::from_ms(left).rounded_up()));
        }
        let a_second = u128::from(self.bytes) * 1_000 / u128::from(elapsed_ms);
        let a_second = bytes(u64::try_from(a_second).unwrap_or(u64::MAX));
        parts.push(format!("{} rows, {}, {a_second}/s", count(self.rows), bytes(self.bytes)));
        parts.extend(self.note.clone());
        parts.extend(self.limited_by.clone());
        parts.join("; ")
    }

    /// The time that the rest will take at the rate so far; `None` while there is no rate, and at the end.
    fn left_ms(&self, elapsed_ms: u64) -> Option<u64> {
        let rest = self.estimate.checked_sub(self.estimate_done).filter(|&rest| rest > 0)?;
        let left = u128::from(rest) * u128::from(elapsed_ms);
        u64::try_from(left.checked_div(self.estimate_done.into())?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use verify_core::table::TableName;

    #[test]
    fn events_add_up_to_a_line() {
        let mut tally = Tally::default();
        tally.add(Event::Waiting { reason: "an older transaction".to_owned() });
        insta::assert_snapshot!(tally.line(Duration::from_secs(1)), @"waiting: an older transaction");
        for event in [
            Event::Started { tables: 2, bytes_estimate: 8 << 20 },
            Event::Read { rows: 1_000, bytes: 3 << 20, estimate_done: 4 << 20 },
            Event::TableRead { table: TableName::new("public", "orders"), rows: 1_000 },
        ] {
            tally.add(event);
        }
        insta::assert_snapshot!(tally.line(Duration::from_secs(3)), @"50%, about 3s left; 1,000 rows, 3.0 MiB, 1.0 MiB/s");
        tally.add(Event::Limited { by: Some("the rate is limited to 1 MiB/s".to_owned()) });
        insta::assert_snapshot!(tally.line(Duration::from_secs(3)), @"50%, about 3s left; 1,000 rows, 3.0 MiB, 1.0 MiB/s; the rate is limited to 1 MiB/s");
        tally.add(Event::Limited { by: None });
        tally.add(Event::SecondPass { table: TableName::new("public", "orders") });
        tally.add(Event::Read { rows: 1, bytes: 1, estimate_done: 9 << 20 });
        insta::assert_snapshot!(tally.line(Duration::from_secs(3)), @"1,001 rows, 3.0 MiB, 1.0 MiB/s; public.orders differs: identifying its rows");
    }

    #[test]
    fn the_end_does_not_wait_for_the_next_line() {
        let started = Instant::now();
        drop(Progress::new("capturing", Mode::Lines));
        assert!(started.elapsed() < LINE_PERIOD);
    }
}
