//! Callbacks of a backup or restore: its steps, and the request to stop.

use std::ops::ControlFlow;

use verify_core::Error;
use verify_core::event::{Event, OnEvent};

use crate::interrupt::interrupted;

/// The caller's eyes and its hand on the brake.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Takes the events of captures and comparisons.
    pub on_event: OnEvent<'a>,
    /// Is told each step when it begins, in words.
    pub on_step: &'a (dyn Fn(&str) + Sync),
    /// Returns whether to stop the work. Asked often.
    pub asked: fn() -> bool,
}

impl Watch<'_> {
    /// Shows nothing and never stops.
    pub fn silent() -> Watch<'static> {
        Watch { on_event: &verify_core::event::ignore, on_step: &|_| {}, asked: || false }
    }

    /// Tells something, whether or not the work is to stop.
    pub fn tell(&self, what: &str) {
        (self.on_step)(what);
    }

    /// Tells that a step begins.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Cancelled`](verify_core::ErrorKind::Cancelled) where the work is to stop.
    pub fn step(&self, doing: &str) -> Result<(), Error> {
        self.tell(doing);
        if (self.asked)() { Err(interrupted()) } else { Ok(()) }
    }

    /// Takes an event, and answers with the caller's wish to stop.
    pub fn event(&self, event: Event) -> ControlFlow<()> {
        if (self.asked)() { ControlFlow::Break(()) } else { (self.on_event)(event) }
    }
}
