//! The demonstration: a shop with clients, lost and restored on this machine, and what a damaged copy looks like.

mod damage;
mod loss;
pub(crate) mod outcome;
mod shop;
pub(crate) mod story;
mod traffic;
mod writers;
