//! What the tests of a Kubernetes cluster share: the program, a database under load, what breaks and mends the cluster.

mod database;
mod kubectl;
mod leftovers;
mod mended;
mod rig;
mod state_lab;

pub(crate) use database::Database;
pub(crate) use kubectl::{apply, get, kubectl, patiently, tried};
pub(crate) use leftovers::{Leftovers, validation_namespace};
pub(crate) use mended::Mended;
pub(crate) use rig::Rig;
pub(crate) use state_lab::{Ended, StateLab};
