//! The state that all viewers share: the store is read once for all of them.

use std::sync::Arc;

use anyhow::Result;
use jiff::Timestamp;
use verify_doctor::{Examination, Facts, Selection};
use verify_drill::store::Store;
use verify_evidence::entry::is_draft;
use verify_report::history::{Filter, History};
use verify_report::running::{Running, running};

/// Gathers the facts of an examination.
pub type LookAtPosture = Box<dyn Fn() -> Result<Facts> + Send + Sync>;

/// The content of the store at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Number that grows with each change.
    pub(crate) generation: u64,
    pub(crate) history: Option<Arc<History>>,
    pub(crate) running: Vec<Running>,
    /// Posture before the disaster, if it is examined.
    pub(crate) posture: Option<Arc<Posture>>,
    /// Reason why the store cannot be read, if it cannot; the rest is of the last time that it could.
    pub(crate) error: Option<String>,
    /// Names and sizes of all objects: a change of them is a change of the history.
    listing: Vec<(String, u64)>,
}

/// Result of one examination.
#[derive(Debug)]
pub(crate) struct Posture {
    pub(crate) at: Timestamp,
    /// The facts and their examination, or the reason why they could not be gathered.
    pub(crate) examined: Result<(Facts, Examination), String>,
}

impl Posture {
    pub(crate) fn examine(look: &LookAtPosture, now: Timestamp) -> Self {
        let examined = look().map_err(|error| format!("{error:#}"));
        let examined = examined.map(|facts| {
            let examination = verify_doctor::examine(&facts, &Selection::default());
            (facts, examination)
        });
        Self { at: now, examined }
    }
}

impl Snapshot {
    /// The next state: the history is read again only if an object was added.
    pub(crate) fn next(&self, store: &dyn Store, now: Timestamp) -> Self {
        let mut next = match self.read(store, now) {
            Ok(next) => next,
            Err(error) => Self { error: Some(format!("{error:#}")), ..self.clone() },
        };
        let is_same = next.listing == self.listing
            && next.running == self.running
            && next.error == self.error
            && next.history.is_some() == self.history.is_some();
        next.generation = if is_same { self.generation } else { self.generation + 1 };
        next
    }

    fn read(&self, store: &dyn Store, now: Timestamp) -> Result<Self> {
        let objects = store.list("")?;
        let running = running(store, &objects, now)?;
        let reports = objects.into_iter().filter(|object| !is_draft(&object.key));
        let listing: Vec<(String, u64)> = reports.map(|object| (object.key, object.size)).collect();
        let history = match &self.history {
            Some(history) if listing == self.listing => Arc::clone(history),
            _ => Arc::new(History::read(store, &Filter::default())?),
        };
        Ok(Self { history: Some(history), running, error: None, listing, ..self.clone() })
    }
}
