//! The one stream of a drill's events, and the request to stop: terminal, log lines, the agent's wire are its sinks.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use verify_core::Error;
use verify_core::event;

use crate::interrupt::interrupted;

/// Something that happened in a drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A step begins, or something is worth a line.
    Step(String),
    /// Something that its reader has to know or do, also where steps are not shown.
    Warning(String),
    /// Something happened in a capture or comparison.
    Measure(event::Event),
}

/// Sink of events, and the request to stop.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Takes events.
    pub sink: &'a (dyn Fn(Event) + Sync),
    /// Returns whether the work is to stop. Called often.
    pub asked: fn() -> bool,
}

impl Watch<'_> {
    /// Drops all events and never stops.
    pub fn silent() -> Watch<'static> {
        Watch { sink: &|_| {}, asked: || false }
    }

    /// Sends a line, whether or not the work is to stop.
    pub fn report(&self, what: &str) {
        (self.sink)(Event::Step(what.to_owned()));
    }

    /// Sends something that its reader has to know or do.
    pub fn warn(&self, what: String) {
        (self.sink)(Event::Warning(what));
    }

    /// Sends a step that begins.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Cancelled`](verify_core::ErrorKind::Cancelled) where the work is to stop.
    pub fn step(&self, doing: &str) -> Result<(), Error> {
        self.report(doing);
        if (self.asked)() { Err(interrupted()) } else { Ok(()) }
    }

    /// Sends an event of a capture or comparison; breaks where the work is to stop.
    pub fn event(&self, event: event::Event) -> ControlFlow<()> {
        (self.sink)(Event::Measure(event));
        if (self.asked)() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
