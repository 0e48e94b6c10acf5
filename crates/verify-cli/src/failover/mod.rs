//! Failover drills: the primary is driven away while a probe writes, and everything that was acknowledged is read back.
//!
//! The probe ([`probe`](self::write)) runs in a pod of ours and keeps a [`Record`], which needs nobody while it grows.
//! Outside, [`drill`] watches the cluster change ([`sample`]), brings the [`event`] about and undoes it. What it meant
//! for writers is then computed from the record and from the rows that are there ([`impact`]), by functions that take
//! neither clock nor client.

mod drill;
mod event;
mod impact;
mod leftovers;
mod outcome;
mod probe;
mod probe_pod;
mod progress;
mod record;
mod sample;
mod scene;
mod seat;
mod table;
mod watching;

pub(crate) use drill::{Request, drill};
pub(crate) use event::How;
pub(crate) use impact::{Impact, Span, writes};
pub(crate) use leftovers::sweep;
#[cfg(test)]
pub(crate) use outcome::tests::outcome;
pub(crate) use outcome::{Outcome, Reading, TRANSIENT_MS};
pub(crate) use probe::{Begun, ProbeOrder, write};
pub(crate) use progress::{Progress, Tail};
pub(crate) use record::Record;
pub(crate) use scene::Wanted;
pub(crate) use seat::Move;
pub(crate) use table::{Stored, standing};
