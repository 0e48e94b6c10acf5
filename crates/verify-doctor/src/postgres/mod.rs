//! Gathers the facts of a PostgreSQL server: many short statements, each by itself, so that one that is refused hides no other.

mod gather;
mod statements;

pub use gather::{gather, restore_side};
