//! Backups by Velero in a Kubernetes cluster, and their restores into a namespace of our own.

mod fate;
mod modifier;
mod place;
mod removal;

pub(crate) use modifier::Modifier;
pub(crate) use place::Place;
pub(crate) use removal::{Removal, UNPROVEN, remove, sweep};
