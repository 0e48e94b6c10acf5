//! Game days: a drill file says what must hold, what is done, and how it is undone. Each step is timed and judged.
//!
//! A fault counts only if it is seen to bite: its probe must not hold before the injection and must hold after it.
//! Before a fault is injected, its undo is written to a journal; a drill that was killed is rolled back by the next one.
#![expect(missing_docs, reason = "an internal crate of the program, whose names say what they are")]

pub mod child;
pub mod drill;
pub mod file;
pub mod journal;
pub mod outcome;
mod variables;
