//! The history of a store of evidence, and one report of it, for readers (text, HTML) and programs (JUnit, OpenMetrics, CSV).
#![expect(missing_docs, reason = "an internal crate of the program, whose names say what they are")]

pub mod bundle;
mod circumstances;
pub mod csv;
pub mod history;
pub mod html;
pub mod junit;
pub mod openmetrics;
pub mod quantity;
pub mod running;
pub mod text;
