//! The state of a run that has not finished, in a file beside the stored reports: the dashboard shows it.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use verify_core::event;
use verify_drill::store::{Existing, Folder, Object, Store};
use verify_drill::watch::Event;

/// Prefix of the names of these files. A name that begins like this is not a report.
const PREFIX: &str = ".state-lab-running-";
const FILE_BYTES_MAX: u64 = 64 << 10;
/// More runs are not read.
const RUNS_MAX: usize = 50;
/// Interval at which the file is written.
const PERIOD: Duration = Duration::from_secs(1);
/// A file that was not written for so long is of a run that was killed.
const DEAD_AFTER: SignedDuration = SignedDuration::from_secs(15);
/// Longer texts are cut.
const STEP_CHARS_MAX: usize = 500;

/// A run that has not finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Running {
    /// The command.
    pub command: String,
    /// Start of the run.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// Last sign of life.
    #[schemars(with = "String")]
    pub updated_at: Timestamp,
    /// The current step; empty before the first.
    pub step: String,
    /// Rows that were read.
    pub rows: u64,
    /// Bytes on disk to be read, as estimated.
    pub bytes_estimate: u64,
    /// Bytes on disk that were read, as estimated.
    pub bytes_estimate_done: u64,
}

impl Running {
    /// Share of the bytes that were read, in percent; `None` before it is known.
    pub fn percent(&self) -> Option<u64> {
        let done = u128::from(self.bytes_estimate_done.min(self.bytes_estimate));
        let percent = (done * 100).checked_div(self.bytes_estimate.into())?;
        u64::try_from(percent).ok()
    }

    fn add(&mut self, event: &Event) {
        match event {
            Event::Step(text) | Event::Warning(text) => {
                self.step = text.chars().take(STEP_CHARS_MAX).collect();
            }
            Event::Measure(event::Event::Waiting { reason }) => {
                self.step = format!("waiting: {reason}").chars().take(STEP_CHARS_MAX).collect();
            }
            Event::Measure(event::Event::Started { bytes_estimate, .. }) => {
                self.bytes_estimate += bytes_estimate;
            }
            Event::Measure(event::Event::Read { rows, estimate_done, .. }) => {
                self.rows += rows;
                self.bytes_estimate_done += estimate_done;
            }
            Event::Measure(_) => {}
        }
    }
}

/// The runs that have not finished, the oldest first, of a store with these objects.
///
/// # Errors
///
/// If the store cannot be read.
pub fn running(store: &dyn Store, objects: &[Object], now: Timestamp) -> Result<Vec<Running>> {
    let mut runs = Vec::new();
    for object in objects.iter().filter(|object| object.key.starts_with(PREFIX)).take(RUNS_MAX) {
        // A file that is just being deleted is of a run that has finished.
        let Some(content) = store.get(&object.key, FILE_BYTES_MAX)? else { continue };
        let run = serde_json::from_slice(&content).ok();
        runs.extend(run.filter(|run: &Running| now.duration_since(run.updated_at) < DEAD_AFTER));
    }
    runs.sort_by_key(|run| run.started_at);
    Ok(runs)
}

/// Writes the state of this run until it is dropped, which removes the file.
#[derive(Debug)]
pub struct RunningFile {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// None once the run has finished.
    run: Mutex<Option<Running>>,
    finished: Condvar,
}

impl RunningFile {
    /// Begins the file of a run. A file that cannot be written does not prevent the run.
    pub fn begin(store: Folder, command: &str, now: fn() -> Timestamp) -> Self {
        let started_at = now();
        let run = Running {
            command: command.to_owned(),
            started_at,
            updated_at: started_at,
            step: String::new(),
            rows: 0,
            bytes_estimate: 0,
            bytes_estimate_done: 0,
        };
        let shared = Arc::new(Shared { run: Mutex::new(Some(run)), finished: Condvar::new() });
        let key = format!("{PREFIX}{}-{}", started_at.as_nanosecond(), std::process::id());
        let theirs = Arc::clone(&shared);
        let write = move || theirs.write_until_finished(&store, &key, now);
        let writer = std::thread::Builder::new().name("running".to_owned()).spawn(write).ok();
        Self { shared, writer }
    }

    /// Adds an event of the run.
    pub fn add(&self, event: &Event) {
        if let Some(run) = self.shared.lock().as_mut() {
            run.add(event);
        }
    }
}

impl Drop for RunningFile {
    fn drop(&mut self) {
        *self.shared.lock() = None;
        self.shared.finished.notify_all();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn write_until_finished(&self, store: &Folder, key: &str, now: fn() -> Timestamp) {
        let mut guard = self.lock();
        while let Some(run) = guard.as_mut() {
            run.updated_at = now();
            let content = serde_json::to_vec(run).unwrap_or_default();
            // Events must not wait for the disk.
            drop(guard);
            let written = store
                .draft(key, Existing::Replace)
                .and_then(|draft| draft.keep(&mut |to: &mut dyn Write| Ok(to.write_all(&content)?)));
            // It is tried again with the next state.
            let _ = written;
            let wait = self.finished.wait_timeout_while(self.lock(), PERIOD, |run| run.is_some());
            guard = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(guard);
        let _ = store.delete(key);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_run_is_shown_until_it_finishes_or_is_dead() {
        let directory = tempfile::tempdir().unwrap();
        let store = Folder::new(directory.path());
        let file = RunningFile::begin(store.clone(), "restore", Timestamp::now);
        file.add(&Event::Step("fetching".to_owned()));
        file.add(&Event::Measure(event::Event::Started { tables: 1, bytes_estimate: 200 }));
        file.add(&Event::Measure(event::Event::Read { rows: 7, bytes: 1, estimate_done: 50 }));
        let began = Instant::now();
        let run = loop {
            assert!(began.elapsed() < Duration::from_secs(20));
            let runs = running(&store, &store.list("").unwrap(), Timestamp::now()).unwrap();
            if let Some(run) = runs.into_iter().find(|run| run.rows == 7) {
                break run;
            }
            std::thread::yield_now();
        };
        assert_eq!((run.step.as_str(), run.percent()), ("fetching", Some(25)));
        let later = Timestamp::now() + SignedDuration::from_secs(20);
        assert!(running(&store, &store.list("").unwrap(), later).unwrap().is_empty());
        drop(file);
        assert!(store.list("").unwrap().is_empty());
    }
}
