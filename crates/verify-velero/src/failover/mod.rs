//! Failover drills: the primary is driven away while a probe writes, and everything that was acknowledged is read back.
//!
//! The probe ([`probe`](self::write)) runs in a pod of state-lab and keeps a [`Record`] without a connection to the caller.
//! Outside, [`drill`] watches the cluster change (`sample`), brings the `event` about and undoes it. What it meant
//! for writers is then computed from the record and from the rows that are there (`impact`), by functions that take
//! neither clock nor client.

mod drill;
mod drill_outcome;
mod event;
mod impact;
mod leftovers;
mod primary;
mod probe;
mod probe_pod;
mod progress;
mod record;
mod sample;
mod table;
mod target;
mod watching;

pub use drill::{Request, drill};
pub use drill_outcome::{FailoverOutcome, ReadBackState, TRANSIENT_MS, sample_outcome};
pub use event::How;
pub use impact::{Impact, Span, writes};
pub use leftovers::sweep;
pub use primary::Move;
pub use probe::{Begun, ProbeOrder, write};
pub use progress::{Progress, Tail};
pub use record::Record;
pub use table::{Stored, standing};
pub use target::Wanted;
