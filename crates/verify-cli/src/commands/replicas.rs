//! `replicas`: is another region's copy of a backup complete and equal.

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;

use super::replica_sides::Sides;
use super::storing;
use crate::evidence::EvidenceFlags;
use crate::exit::Exit;
use crate::globals::Globals;
use crate::render::replica;
use crate::store;
use verify_velero::replicas::{self, ReadPolicy};

/// Check by content that another region's copy of a Velero backup is complete and equal
///
/// Every object of the backup, and of the repositories with its volumes' data, must be in the copy with the same content:
/// by checksums that both services store, otherwise by reading both sides. A replication status of COMPLETED does
/// not count. Nothing is written.
///
/// If the configuration has a [velero] table with a `replica_location`, both sides are BackupStorageLocations of that
/// cluster; --from and --to select regions instead.
///
/// Volumes whose data are not in the bucket, such as CSI snapshots that were not moved, are listed; the exit
/// status is then 3.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Replicas {
    /// The backup's name
    #[arg(value_name = "BACKUP")]
    backup: String,
    /// The original: a [regions.NAME] of the configuration [default: the `location` of [velero], else a]
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// The copy, likewise [default: the `replica_location` of [velero], else b]
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    /// Read every object on both sides, even if their checksums are equal
    #[arg(long)]
    read: bool,
    #[command(flatten)]
    evidence: EvidenceFlags,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab replicas nightly-001
    state-lab replicas nightly-001 --from frankfurt --to dublin --read
    state-lab replicas nightly-001 --output json | jq .newest_complete";

impl Replicas {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let Self { backup, from, to, read, evidence } = self;
        let config = globals.config()?;
        let evidence = evidence.begin("replicas", &config, globals)?;
        let found = evidence.watch(|| {
            let (a, b) = Sides::choose(from, to, &config).open()?;
            let reading = if read { ReadPolicy::Everything } else { ReadPolicy::WhereNeeded };
            let (a, b) = (store::open(&a)?, store::open(&b)?);
            storing::with_steps(globals, Some(&evidence), |watch| {
                replicas::compare(&*a, &*b, &backup, reading, Timestamp::now(), watch)
            })
        })?;
        evidence.conclude(&found, found.verdict.into(), || {
            globals.terminal().result(&found, |style| replica::replica(&found, style))
        })
    }
}
