//! Recovery of a base backup to a point in time, with the WAL of an archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use verify_core::compare::Comparison;
use verify_core::definition::Definitions;
use verify_core::heartbeat::ClockOffset;
use verify_core::manifest::{Consistency, Manifest, RecoveryEnd};
use verify_core::plan::Plan;
use verify_core::postgres::{Settings, TransactionSnapshot};
use verify_core::report::{RecoveredTo, Report};
use verify_drill::backup_record::{BackupRecord, CopyMethod, DatabaseRecord};
use verify_drill::hint::Hinted;
use verify_drill::interrupt::interrupted;
use verify_drill::until::{Check, Pace, Waited, until};
use verify_drill::watch::Watch;

use super::base_backup::BaseBackup;
use super::checks;
use super::commit_order::{CommitOrder, Position};
use super::commit_records::Wal;
use super::lsn::Lsn;
use super::physical_backup::DATA;
use super::recovery_target::RecoveryTarget;
use super::sanitize::LOOKED_FOR;
use super::store::StoredBackup;
use super::survey::{connect, first};
use super::wal_archive::WalArchive;
use super::wal_segment::{self, SegmentHeader};
use super::wal_timeline::{self, History};
use crate::scratch::Scratch;
use crate::server::{Server, StartOptions};

/// Recovery replays all WAL from the base backup to the target.
const TIMEOUT: Duration = Duration::from_secs(24 * 3_600);
/// Number of segments after a missing one that are looked for, to see whether it is the archive's last.
const LATER_SEGMENTS: u64 = 4;

/// A point in time to recover to.
#[derive(Clone, Debug)]
pub struct PointInTime {
    /// Archive of the source's WAL.
    pub archive: Arc<dyn WalArchive>,
    /// The position at which recovery ends.
    pub target: RecoveryTarget,
    /// Timeline to recover along; the target's own unless given.
    pub timeline: Option<u32>,
}

/// A recovery that can be begun: base backup, archive and target fit together as far as can be known before.
pub(super) struct Recovery<'a> {
    archive: &'a dyn WalArchive,
    target: &'a RecoveryTarget,
    history: History,
    size: u64,
    settings: Vec<(String, String)>,
    /// What the recovered server is compared with; none if there is no manifest of that point in time.
    pub(super) manifest: Option<Manifest>,
}

impl<'a> Recovery<'a> {
    /// Checks base backup, archive and target, and finds the position of a capture.
    ///
    /// # Errors
    ///
    /// If they do not fit together.
    pub(super) fn prepare(wanted: &'a PointInTime, backup: &StoredBackup, watch: &Watch<'_>) -> Result<Self> {
        let PointInTime { archive, target, timeline } = wanted;
        let archive = &**archive;
        if backup.record.method == CopyMethod::Logical {
            let text = format!(
                "failed to recover {}: it is not a base backup, so no WAL applies to it",
                backup.record.name
            );
            return Err(Hinted::new(text, "name a backup that was taken with --method physical").into());
        }
        // PostgreSQL refuses such a target only where a transaction committed during the backup.
        if matches!(target, RecoveryTarget::Time(time) if *time < earliest_start(&backup.record)?) {
            return Err(before_backup(&format!("{target} is before the end of the base backup")));
        }
        let base = BaseBackup::read(&backup.path.join(DATA))?;
        let scratch = Scratch::create("wal")?;
        let directory = scratch.path();
        let size = identify(archive, &base, directory, watch)?;
        let history = choose_timeline(archive, &base, target, *timeline, directory, watch)?;
        let own = base.data.join("pg_wal");
        let wal =
            Wal { archive, history: &history, size, major: backup.record.server.major, own: &own, directory };
        let (manifest, end) = match target {
            RecoveryTarget::Capture(manifest) => {
                let end = position_of(manifest, &base, &wal, watch)?;
                let mut manifest = manifest.as_ref().clone();
                manifest.header.consistency = Consistency::CommitOrder(RecoveryEnd { lsn: end.to_string() });
                (Some(manifest), Some(end))
            }
            RecoveryTarget::Lsn(lsn) => (None, Some(*lsn)),
            _ => (None, None),
        };
        if let Some((end, consistent)) = end.zip(base.end)
            && end < consistent
        {
            return Err(before_backup(&format!(
                "the target {end} is before the end of the base backup at {consistent}"
            )));
        }
        let mut settings = vec![
            ("restore_command".to_owned(), noting(&archive.restore_command())),
            ("recovery_target_action".to_owned(), "pause".to_owned()),
            (
                "recovery_target_timeline".to_owned(),
                if history.timeline == base.timeline {
                    "current".to_owned()
                } else {
                    history.timeline.to_string()
                },
            ),
        ];
        settings.extend(target.settings(end));
        let recovery = Self { archive, target, history, size, settings, manifest };
        watch.step(&recovery.announcement(end))?;
        Ok(recovery)
    }

    /// What the verdict can rest on, said before the work.
    fn announcement(&self, end: Option<Lsn>) -> String {
        match (&self.manifest, end) {
            (Some(_), Some(end)) => format!(
                "the capture is at WAL position {end}, between the commits that it sees and all others: every row will be compared"
            ),
            _ => format!(
                "there is no manifest of {}: rows will not be compared, and the verdict can be no better than inconclusive",
                self.target
            ),
        }
    }

    /// The backup with the capture's database and manifest, where recovery ends at a capture.
    pub(super) fn backup(&self, backup: StoredBackup) -> Result<StoredBackup> {
        let Some(manifest) = &self.manifest else { return Ok(backup) };
        let StoredBackup { path, mut record, .. } = backup;
        let database = &manifest.header.source.database;
        let known = record.databases.iter().find(|known| known.name == *database);
        let place = known.or(record.databases.first()).map_or_else(String::new, |known| known.place.clone());
        record.databases = vec![DatabaseRecord::of(place, manifest)?.0];
        Ok(StoredBackup { path, record, manifests: vec![manifest.clone()] })
    }

    /// Prepares the copied files and the options of their server.
    pub(super) fn begin(&self, data: &Path, options: StartOptions) -> Result<StartOptions> {
        let (standby, recovery) = (data.join("standby.signal"), data.join("recovery.signal"));
        fs::rename(&standby, &recovery).with_context(|| format!("failed to write {}", recovery.display()))?;
        let mut options = options;
        options.settings.retain(|(name, _)| !name.starts_with("recovery_target"));
        let options = self.settings.iter().fold(options, |options, (name, value)| options.set(name, value));
        Ok(StartOptions { timeout: TIMEOUT, in_vain: |_, _| None, ..options })
    }

    /// Waits until recovery has ended at the target.
    pub(super) fn finish(&self, server: &Server, database: &Settings, watch: &Watch<'_>) -> Result<()> {
        let paused = "SELECT pg_catalog.pg_is_in_recovery() AND NOT CASE WHEN pg_catalog.pg_is_in_recovery() \
                      THEN pg_catalog.pg_is_wal_replay_paused() END";
        let mut session = connect(database)
            .map_err(|error| self.explain(server.data_dir(), server.log_file(), error.into()))?;
        let reached = until(TIMEOUT, Pace::LOCAL, watch.asked, || {
            let rows = session.query(paused)?;
            anyhow::Ok(if first(&rows)?.flag(0)? { Check::Waiting(()) } else { Check::Done(()) })
        });
        let reached = reached.map_err(|error| self.explain(server.data_dir(), server.log_file(), error))?;
        match reached {
            Waited::Done(()) => {}
            Waited::Stopped => return Err(interrupted().into()),
            Waited::TimedOut(()) => bail!("failed to recover: the target was not reached within a day"),
        }
        let log = fs::read_to_string(server.log_file()).unwrap_or_default();
        if *self.target == RecoveryTarget::Latest || log.contains("recovery stopping ") {
            return Ok(());
        }
        let reason = log.lines().rev().find(|line| line.contains("insufficient parameter settings"));
        bail!(
            "failed to recover: replay stopped before the target{}",
            reason.map_or_else(String::new, |reason| format!(": {reason}"))
        )
    }

    /// Checks a recovered database of whose point in time there is no manifest.
    pub(super) fn check(
        &self,
        database: &Settings,
        plan: &Plan,
        watch: &Watch<'_>,
    ) -> verify_core::Result<Comparison> {
        watch.step(&format!("checking {} without a manifest", database.database()))?;
        let reason = format!("there is no manifest of {}", self.target);
        checks::without_manifest(database, &reason, plan, &|event| watch.event(event))
    }

    /// Notes in a report where recovery ended.
    pub(super) fn note(&self, report: &mut Report, replayed: &str) {
        report.recovered_to = Some(RecoveredTo { target: self.target.to_string(), lsn: replayed.to_owned() });
        if self.manifest.is_none() {
            report.manifest = None;
        }
    }

    /// The reason why recovery did not reach its target, from the server's log and the files that it looked for.
    pub(super) fn explain(&self, data: &Path, log: &Path, error: anyhow::Error) -> anyhow::Error {
        let text = fs::read_to_string(log).unwrap_or_default();
        let has = |words: &str| text.contains(words);
        if has("recovery ended before configured recovery target was reached") {
            return self.short(data);
        }
        if has("requested recovery stop point is before consistent recovery point") {
            return before_backup(&format!("{} is before the end of the base backup", self.target));
        }
        error.context(format!("failed to recover the base backup to {}", self.target))
    }

    /// The archive ended before the target.
    fn short(&self, data: &Path) -> anyhow::Error {
        let looked_for = fs::read_to_string(data.join(LOOKED_FOR)).unwrap_or_default();
        let last =
            looked_for.lines().rev().find_map(|name| Some((name, wal_segment::number_of(name, self.size)?)));
        let Some((name, number)) = last else {
            return Hinted::new(
                format!("failed to recover: {} was not found in the WAL archive", self.target),
                "check the target, and that it was reached before the last segment was archived",
            )
            .into();
        };
        let later = (number + 1..=number + LATER_SEGMENTS).find_map(|later| {
            let names = self
                .history
                .holders(later, self.size)
                .map(|timeline| wal_segment::name(timeline, later, self.size));
            let to = data.join("state-lab.later");
            names.into_iter().find(|name| self.archive.fetch(name, &to, || false).unwrap_or(false))
        });
        match later {
            Some(later) => Hinted::new(
                format!(
                    "failed to recover to {}: the WAL archive lacks the segment {name}, and has {later}",
                    self.target
                ),
                "restore the segment to the archive, or use a base backup that is newer than it",
            ),
            None => Hinted::new(
                format!(
                    "failed to recover: {} is beyond the end of the WAL archive, whose next segment would be {name}",
                    self.target
                ),
                "check the target; SELECT pg_switch_wal() on the source completes and archives the current segment",
            ),
        }
        .into()
    }
}

/// Reads the size of a segment, and checks that the archive is that of the base backup's cluster.
fn identify(archive: &dyn WalArchive, base: &BaseBackup, directory: &Path, watch: &Watch<'_>) -> Result<u64> {
    let own = own_segments(&base.data)?;
    let mut size = own.iter().find_map(|path| SegmentHeader::read(path).ok()).map(|header| header.size);
    let size_known = size.is_some();
    let to = directory.join("segment");
    let mut names: Vec<String> = match size {
        Some(size) => {
            let first = wal_segment::number(base.start, size);
            (first..=first + LATER_SEGMENTS)
                .map(|number| wal_segment::name(base.timeline, number, size))
                .collect()
        }
        // A base backup without WAL: the archive tells the size.
        None => (20..=30)
            .map(|bits| 1 << bits)
            .map(|size| wal_segment::name(base.timeline, wal_segment::number(base.start, size), size))
            .collect(),
    };
    names.dedup();
    for name in &names {
        if !archive.fetch(name, &to, watch.asked)? {
            continue;
        }
        let header = SegmentHeader::read(&to)?;
        if header.system_identifier != base.system_identifier {
            let text = format!(
                "failed to recover: the WAL archive {} is of another cluster: its system identifier is {}, the base backup's is {}",
                archive.place(),
                header.system_identifier,
                base.system_identifier
            );
            return Err(Hinted::new(text, "give the archive of the server that was backed up").into());
        }
        let size = *size.get_or_insert(header.size);
        fs::remove_file(&to).with_context(|| format!("failed to remove {}", to.display()))?;
        return Ok(size);
    }
    let name = if size_known { names.swap_remove(0) } else { format!("of {}", base.start) };
    let text = format!(
        "failed to recover: the WAL archive {} has none of the base backup's segments, from {name} on",
        archive.place()
    );
    Err(Hinted::new(text, "give the archive of the server that was backed up, from before the backup on")
        .into())
}

fn own_segments(data: &Path) -> Result<Vec<PathBuf>> {
    let directory = data.join("pg_wal");
    let Ok(entries) = fs::read_dir(&directory) else { return Ok(Vec::new()) };
    let entries = entries.collect::<std::io::Result<Vec<_>>>();
    let entries = entries.with_context(|| format!("failed to list {}", directory.display()))?;
    Ok(entries
        .into_iter()
        .filter(|entry| entry.file_name().to_str().is_some_and(wal_segment::is_name))
        .map(|entry| entry.path())
        .collect())
}

/// Chooses the timeline to recover along.
fn choose_timeline(
    archive: &dyn WalArchive,
    base: &BaseBackup,
    target: &RecoveryTarget,
    asked_for: Option<u32>,
    directory: &Path,
    watch: &Watch<'_>,
) -> Result<History> {
    let newer = wal_timeline::after(base.timeline, archive, directory, watch.asked)?;
    let own = match target {
        RecoveryTarget::Capture(manifest) => timeline_of(manifest),
        _ => None,
    };
    let history = match asked_for.or(own) {
        Some(timeline) if timeline == base.timeline => return Ok(History::of_first(timeline)),
        Some(timeline) => match newer.into_iter().find(|history| history.timeline == timeline) {
            Some(history) => history,
            None => match wal_timeline::fetch(timeline, archive, directory, watch.asked)? {
                Some(history) => history,
                None => {
                    let text = format!(
                        "failed to recover: the target is on timeline {timeline}, of which the WAL archive has no history"
                    );
                    return Err(Hinted::new(
                        text,
                        format!("archive {timeline:08X}.history, or correct --timeline"),
                    )
                    .into());
                }
            },
        },
        None => {
            let fork =
                newer.iter().find_map(|history| Some((history.timeline, history.left(base.timeline)?)));
            return match (fork, target) {
                (None, _) => Ok(History::of_first(base.timeline)),
                (Some((_, left)), RecoveryTarget::Lsn(lsn)) if *lsn <= left => Ok(History::of_first(base.timeline)),
                (Some((timeline, left)), _) => Err(Hinted::new(
                    format!(
                        "failed to recover: the WAL archive has timeline {timeline}, which left timeline {} of the base \
                         backup at {left}, so that {target} may be on either",
                        base.timeline
                    ),
                    format!("add --timeline {timeline} for what happened after that promotion, or --timeline {}", base.timeline),
                )
                .into()),
            };
        }
    };
    let parted = history.left(base.timeline).filter(|left| base.end.unwrap_or(base.start) <= *left);
    if parted.is_none() {
        let text = format!(
            "failed to recover: timeline {} does not continue the base backup, which is of timeline {} and ends at {}",
            history.timeline,
            base.timeline,
            base.end.unwrap_or(base.start)
        );
        return Err(Hinted::new(
            text,
            "use a base backup of an ancestor of that timeline, from before it was left",
        )
        .into());
    }
    Ok(history)
}

/// The timeline on which a manifest was captured, where its role could read it.
fn timeline_of(manifest: &Manifest) -> Option<u32> {
    let Definitions::Read(cluster) = &manifest.cluster else { return None };
    cluster.iter().find_map(|definition| definition.attribute("timeline")?.parse().ok())
}

/// The position that separates the commits which a manifest sees from all others.
fn position_of(manifest: &Manifest, base: &BaseBackup, wal: &Wal<'_>, watch: &Watch<'_>) -> Result<Lsn> {
    let header = &manifest.header;
    let doing = "failed to use the manifest as target";
    if header.source.system_identifier != base.system_identifier.to_string() {
        let text = format!(
            "{doing}: it is of the cluster {:?}, and the base backup of {}",
            header.source.system_identifier, base.system_identifier
        );
        return Err(Hinted::new(text, "give a manifest that was captured on the server that was backed up, by a role that may read pg_control_system()").into());
    }
    if !matches!(
        header.consistency,
        Consistency::SharedSnapshot | Consistency::TimeTravel(_) | Consistency::Fence(_)
    ) {
        let text = format!(
            "{doing}: its mode is {}, and only the snapshot of a primary lists the transactions in progress",
            header.consistency.name()
        );
        return Err(Hinted::new(text, "give a manifest that was captured on the primary").into());
    }
    let captured: Lsn = header.lsn.parse().context(doing)?;
    if base.end.is_some_and(|end| captured < end) || captured < base.start {
        let end = base.end.unwrap_or(base.start);
        return Err(before_backup(&format!(
            "the manifest was captured at {captured}, before the end of the base backup at {end}"
        )));
    }
    watch.step("reading the order of commits from the WAL archive")?;
    let mut order = CommitOrder::new(TransactionSnapshot::parse(&header.snapshot)?, captured);
    wal.commits(base.start, captured, watch, |commit| order.add(commit))?;
    match order.position() {
        Position::Before(lsn) => Ok(lsn),
        Position::None { seen, unseen } => {
            let text = format!(
                "{doing}: no position in the WAL separates what it sees from the rest: transaction {} was committed at {}, before \
                 transaction {} at {}, and the capture sees only the second",
                unseen.xid, unseen.lsn, seen.xid, seen.lsn
            );
            Err(Hinted::new(text, "give another manifest, and record several captures: under load a few of a hundred have no such position").into())
        }
    }
}

/// The earliest time, by the source's clock, at which a backup can have begun.
fn earliest_start(record: &BackupRecord) -> Result<Timestamp> {
    let ClockOffset { ahead_ms, error_ms } = record.server.clock;
    let ahead = SignedDuration::from_millis(ahead_ms.saturating_sub_unsigned(error_ms));
    record.started_at.checked_add(ahead).context("failed to read the start of the backup")
}

fn before_backup(reason: &str) -> anyhow::Error {
    Hinted::new(format!("failed to recover: {reason}"), "use an older base backup, or a later target").into()
}

/// The command, which also notes the files that it did not find.
fn noting(command: &str) -> String {
    format!("( {command} ); state=$?; test $state -eq 0 || echo %f >> {LOOKED_FOR}; exit $state")
}
