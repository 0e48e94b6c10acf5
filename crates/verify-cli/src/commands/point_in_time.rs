//! Flags of a recovery to a point in time.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use verify_drill::hint::Hinted;
use verify_local::lsn::Lsn;
use verify_local::wal_archive::ArchiveDirectory;
use verify_local::{PointInTime, RecoveryTarget};

use crate::config::Config;
use crate::store;

const HEADING: &str = "Point in time";
/// Transactions begin here (`FirstNormalTransactionId`).
const XID_MIN: u64 = 3;
/// Length of the name of a restore point (`MAXFNAMELEN`, less its final zero).
const NAME_BYTES_MAX: usize = 63;

/// The point in time that a base backup is recovered to.
#[derive(Args, Clone, Debug)]
pub(crate) struct PointInTimeFlags {
    /// Directory of the source's archived WAL, as `archive_command = 'cp %p DIR/%f'` fills it [default: the
    /// configuration's]
    #[arg(long, value_name = "DIR", requires = "target", help_heading = HEADING)]
    archive: Option<PathBuf>,
    /// Recover to the snapshot of this manifest, which `capture` recorded after the backup, and compare every row with it
    #[arg(long, value_name = "MANIFEST", group = "target", help_heading = HEADING)]
    to_capture: Option<PathBuf>,
    /// Recover all that was committed until this time, for example "2026-11-21 03:14:00+00"; without a manifest of that
    /// time no row is compared, so that the verdict is at best inconclusive, as for the targets that follow
    #[arg(long, value_name = "TIME", group = "target", value_parser = time, help_heading = HEADING)]
    to_time: Option<Timestamp>,
    /// Recover up to this WAL position, for example 16/B374D848
    #[arg(long, value_name = "LSN", group = "target", help_heading = HEADING)]
    to_lsn: Option<Lsn>,
    /// Recover to a restore point that `pg_create_restore_point` made
    #[arg(long, value_name = "NAME", group = "target", value_parser = restore_point, help_heading = HEADING)]
    to_name: Option<String>,
    /// Recover to just before the commit of this transaction
    #[arg(long, value_name = "XID", group = "target", value_parser = clap::value_parser!(u64).range(XID_MIN..), help_heading = HEADING)]
    before_transaction: Option<u64>,
    /// Timeline to recover along, where the archive has several [default: that of the manifest, else of the backup]
    #[arg(long, value_name = "TIMELINE", requires = "target", value_parser = clap::value_parser!(u32).range(1..), help_heading = HEADING)]
    timeline: Option<u32>,
}

impl PointInTimeFlags {
    /// The point in time, if there is one.
    pub(crate) fn open(self, config: &Config) -> Result<Option<PointInTime>> {
        let archive = self.archive.clone();
        let (Some(target), timeline) = self.target(config)? else { return Ok(None) };
        let Some(archive) = archive.as_deref().or(config.archive()) else {
            let text = "failed to recover to a point in time: there is no WAL archive";
            return Err(Hinted::new(
                text,
                "give --archive, or set archive in the table [local] of the configuration",
            )
            .into());
        };
        Ok(Some(PointInTime { archive: Arc::new(ArchiveDirectory::open(archive)?), target, timeline }))
    }

    /// The position at which recovery ends, if one is given, and the timeline.
    pub(crate) fn target(self, config: &Config) -> Result<(Option<RecoveryTarget>, Option<u32>)> {
        let Self { archive: _, to_capture, to_time, to_lsn, to_name, before_transaction, timeline } = self;
        let capture = to_capture.map(|path| store::read_manifest(&path, config.s3())).transpose()?;
        let capture = capture.map(|manifest| RecoveryTarget::Capture(Box::new(manifest)));
        let target = capture
            .or(to_time.map(RecoveryTarget::Time))
            .or(to_lsn.map(RecoveryTarget::Lsn))
            .or(to_name.map(RecoveryTarget::Name))
            .or(before_transaction.map(RecoveryTarget::BeforeTransaction));
        Ok((target, timeline))
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    let reason =
        "expected a time with its offset from UTC, as in 2026-11-21T03:14:00Z or \"2026-11-21 03:14:00+01\"";
    text.trim().parse().map_err(|_| reason.to_owned())
}

fn restore_point(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.contains(char::is_control) {
        return Err(format!("expected 1 to {NAME_BYTES_MAX} bytes without control characters"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_postgresql_prints_them() {
        for text in [
            "2026-11-21 04:14:00.123456+01",
            "2026-11-21 03:14:00.123456+00",
            "2026-11-21T03:14:00.123456Z",
            "2026-11-21 08:44:00.123456+05:30",
        ] {
            assert_eq!(time(text).unwrap().to_string(), "2026-11-21T03:14:00.123456Z", "{text}");
        }
        for text in ["", "yesterday", "2026-11-21 03:14:00", "2026-11-21"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_restore_point_has_a_short_name() {
        assert!(restore_point("before the migration").is_ok());
        for name in ["", &"x".repeat(64), "a\nb"] {
            assert!(restore_point(name).is_err());
        }
    }
}
