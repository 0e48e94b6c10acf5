//! The facts that the checks judge, and the time at which they were gathered.

mod backup;
pub mod bucket;
pub mod cluster;
mod evidence;
mod machine;
mod restore_side;
mod server;

use jiff::Timestamp;
use verify_drill::duration::Period;

pub use self::backup::{Backup, Content, Place, Proof, State};
pub use self::evidence::{Evidence, EvidenceProblem};
pub use self::machine::{FileSystem, Machine};
pub use self::restore_side::{RestoreSide, libraries};
pub use self::server::{
    ArchiveFiles, Archiver, Constraint, Index, OwnedSequence, PreparedTransaction, SequenceValues, Server,
    Settings, Slot, Tablespace,
};
use crate::fact::{Fact, Missing};

/// Facts of an examination.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The time, by this machine's clock.
    pub now: Timestamp,
    /// Objectives of a recovery.
    pub objectives: Objectives,
    /// The database server.
    pub server: Fact<Server>,
    /// The machine of the server.
    pub machine: Fact<Machine>,
    /// The side that backups are restored to.
    pub restore_side: Fact<RestoreSide>,
    /// Major version of the newest `pg_dump` of this machine.
    pub dump_major: Fact<u32>,
    /// The Kubernetes cluster that the database runs in.
    pub cluster: Fact<cluster::Cluster>,
    /// The buckets that hold backups or WAL.
    pub buckets: Fact<Vec<bucket::Bucket>>,
    /// The store of signed reports.
    pub evidence: Fact<Evidence>,
    /// The places that hold backups of it.
    pub backups: Vec<Place>,
}

/// Objectives of a recovery.
#[derive(Clone, Copy, Debug, Default)]
pub struct Objectives {
    /// The longest time whose writes may be lost.
    pub rpo: Option<Period>,
    /// The longest time since a restore was last verified.
    pub proven_within: Option<Period>,
    /// The time for which backups are needed.
    pub retention: Option<Period>,
}

impl Facts {
    /// No facts, for this reason.
    pub fn none(now: Timestamp, objectives: Objectives, why: &Missing) -> Self {
        Self {
            now,
            objectives,
            server: Err(why.clone()),
            machine: Err(why.clone()),
            restore_side: Err(why.clone()),
            dump_major: Err(why.clone()),
            cluster: Err(why.clone()),
            buckets: Err(why.clone()),
            evidence: Err(why.clone()),
            backups: Vec::new(),
        }
    }

    /// The time since `then`; zero for one in the future.
    pub(crate) fn age(&self, then: Timestamp) -> Period {
        let age_ms = self.now.duration_since(then).as_millis().max(0);
        Period::from_ms(u64::try_from(age_ms).unwrap_or(u64::MAX))
    }
}
