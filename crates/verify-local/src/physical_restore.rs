//! Bringing a base backup up, reading it as of its manifests, then promoting it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use verify_core::ErrorKind;
use verify_core::compare::Comparison;
use verify_core::database::Database;
use verify_core::finding::{Code, Finding};
use verify_core::heartbeat::Pulse;
use verify_core::manifest::{Consistency, Manifest};
use verify_core::not_covered::{Check, NotCovered};
use verify_core::plan::Plan;
use verify_core::postgres::constraints::SourceRows;
use verify_core::postgres::{PausedCopy, PostgresSnapshot, Settings, TimeTraveller, restored};
use verify_core::timeline::Milestone;

use super::durability::{self, Restartable};
use super::physical_backup::{DATA, TABLESPACES};
use super::point_in_time::Recovery;
use super::program::Program;
use super::recovery::{self, Stopwatch};
use super::sanitize::LinksForbidden;
use super::store::StoredBackup;
use super::{checks, sanitize, self_test, session, tree};
use crate::scratch::Scratch;
use crate::server::{Installation, Server, StartOptions, give_to_server_user};
use verify_drill::backup_record::CopyMethod;
use verify_drill::watch::Watch;

/// Recovery replays the WAL of the time that the copy took.
const RECOVERY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3_600);

/// Maximum number of databases whose snapshots are held: each takes two of the server's connections.
const HELD_MAX: usize = 20;

/// The files that the server sent, with their checksums.
const SERVERS_LIST: &str = "backup_manifest";

/// A server that runs on the copy, and what the comparison of each database came to.
pub(super) struct BroughtUp {
    pub(super) server: Server,
    pub(super) databases: Vec<Settings>,
    pub(super) comparisons: Vec<Comparison>,
    /// The heartbeat of each database, read before state-lab writes to it.
    pub(super) pulses: Vec<Pulse>,
    /// The position up to which WAL was replayed.
    pub(super) replayed: String,
}

pub(super) fn restore(
    backup: &StoredBackup,
    scratch: &Scratch,
    recovery: Option<&Recovery<'_>>,
    plan: &Plan,
    stopwatch: &mut Stopwatch,
    watch: &Watch<'_>,
) -> Result<BroughtUp> {
    watch.step("copying the base backup from the store")?;
    let data = fetch(backup, scratch, watch)?;
    let copy = CopiedFiles { data: &data, tablespaces: scratch.path(), scratch };
    let (files, options) = prepare(backup, &copy, recovery, watch)?;
    stopwatch.reach(Milestone::Fetched);
    let started = Started { data: &data, files: &files, options: &options, recovery };
    bring_up(backup, &started, plan, stopwatch, watch)
}

/// Starts a server on a copy in place, which state-lab may change.
pub(super) fn restore_in_place(
    backup: &StoredBackup,
    copy: &CopiedFiles<'_>,
    recovery: Option<&Recovery<'_>>,
    plan: &Plan,
    stopwatch: &mut Stopwatch,
    watch: &Watch<'_>,
) -> Result<BroughtUp> {
    let (files, options) = prepare(backup, copy, recovery, watch)?;
    let started = Started { data: copy.data, files: &files, options: &options, recovery };
    bring_up(backup, &started, plan, stopwatch, watch)
}

/// A copy of a server's files.
pub(super) struct CopiedFiles<'a> {
    /// Its data directory.
    pub(super) data: &'a Path,
    /// Directory of its tablespaces.
    pub(super) tablespaces: &'a Path,
    /// Directory of the socket and the log.
    pub(super) scratch: &'a Scratch,
}

/// Checks the files and takes out of them what belongs to the source.
fn prepare(
    backup: &StoredBackup,
    copy: &CopiedFiles<'_>,
    recovery: Option<&Recovery<'_>>,
    watch: &Watch<'_>,
) -> Result<(Files, StartOptions)> {
    let CopiedFiles { data, tablespaces, scratch } = copy;
    let files = match backup.record.method {
        CopyMethod::Snapshot => Files::Unlisted,
        CopyMethod::Physical | CopyMethod::Logical => {
            // Before anything follows them: they lead to where the backup was made.
            sanitize::relink_tablespaces(data, tablespaces)?;
            watch.step("checking the copy's files with pg_verifybackup")?;
            check_files(data, backup.record.server.major, watch)?
        }
    };
    sanitize::prepare(data)?;
    give_to_server_user(data)?;
    if tablespaces.join(TABLESPACES).exists() {
        give_to_server_user(&tablespaces.join(TABLESPACES))?;
    }
    let mut options = sanitize::start_options(scratch.path(), &backup.record.server, watch.asked);
    if let Some(position) = backup.manifests.iter().find_map(paused_at) {
        options = sanitize::stop_at(options, position);
    }
    let options = StartOptions { timeout: RECOVERY_TIMEOUT, ..options };
    let options = match recovery {
        Some(recovery) => recovery.begin(data, options)?,
        None => options,
    };
    Ok((files, options))
}

/// Position at which the standby was paused that a manifest was captured of.
fn paused_at(manifest: &Manifest) -> Option<&str> {
    match &manifest.header.consistency {
        Consistency::PausedStandby(position) => Some(&position.replay_lsn),
        _ => None,
    }
}

/// Files to start a server on.
struct Started<'a> {
    data: &'a Path,
    files: &'a Files,
    options: &'a StartOptions,
    recovery: Option<&'a Recovery<'a>>,
}

fn bring_up(
    backup: &StoredBackup,
    started: &Started<'_>,
    plan: &Plan,
    stopwatch: &mut Stopwatch,
    watch: &Watch<'_>,
) -> Result<BroughtUp> {
    let Started { data, files, options, recovery } = started;
    let plan = &plan.clone().of_own_restore();
    let installation = Installation::of_major(backup.record.server.major)?;
    watch.step("recovering the copy to a consistent state")?;
    let links = LinksForbidden::new(data)?;
    let mut server = match Server::start(&installation, data, options) {
        Ok(server) => server,
        Err(error) => {
            let error = match recovery {
                Some(recovery) => recovery.explain(data, &options.log_file, error),
                None => error,
            };
            bail!(files.explain(LinksForbidden::explain(&options.log_file, error)))
        }
    };
    let role = &backup.record.server.superuser;
    let databases = backup.record.databases.iter();
    let databases = databases.map(|database| session::settings(&server, role, &database.name));
    let databases = databases.collect::<Result<Vec<Settings>>>()?;
    if let Some(recovery) = recovery {
        watch.step("replaying the WAL of the archive")?;
        recovery
            .finish(&server, &databases[0], watch)
            .map_err(|error| LinksForbidden::explain(&options.log_file, error))?;
    }
    stopwatch.reach(Milestone::Recovered);
    let replayed = recovery::position(&databases[0])?;
    let reading = Reading::of(*recovery, &backup.manifests);
    let promote = || {
        watch.step("promoting the copy")?;
        recovery::promote(&databases[0], watch.asked)
    };
    if reading.is_after_promotion() {
        promote()?;
    }
    let mut comparisons = Vec::new();
    for (manifest, settings) in backup.manifests.iter().zip(&databases) {
        let comparison = reading.compare(manifest, settings, plan, watch);
        let comparison = comparison.with_context(|| format!("failed to verify {}", settings.database()))?;
        comparisons.push(files.judge(comparison));
    }
    stopwatch.reach(Milestone::Compared);
    let held = match reading {
        Reading::Travelling => hold(&backup.manifests, &databases, plan, watch)?,
        _ => databases.iter().map(|_| None).collect(),
    };
    if !reading.is_after_promotion() {
        promote()?;
    }
    drop(links);
    stopwatch.reach(Milestone::Ready);
    let pulses = recovery::pulses(&databases)?;
    stopwatch.reach(Milestone::Verified);
    let rows = durability::before(&databases, &backup.manifests, &comparisons, plan, watch)?;
    // The copy is in use by now, as it would be after a disaster: this is not part of the recovery time.
    let measured = comparisons.iter_mut().zip(&backup.manifests).zip(&databases);
    for (((comparison, manifest), settings), held) in measured.zip(held) {
        let source = match (&held, recovery.is_some()) {
            (None, false) => SourceRows::default(),
            // Without a comparison no table is equal.
            (held, _) => SourceRows {
                tables: comparison.equal_tables(manifest),
                snapshot: held.as_ref().map(|held| held.exported().to_owned()),
            },
        };
        let copy = checks::Copy { settings, source, sound: !matches!(files, Files::Unlisted) };
        let on_event = |event| watch.event(event);
        checks::check_copy(comparison, &copy, plan, &on_event, &|text| watch.step(text))?;
    }
    let restartable = Restartable { server: &mut server, options };
    if durability::check(restartable, &databases, &rows, &mut comparisons, plan, watch)? {
        let on_event = |event| watch.event(event);
        for (comparison, settings) in comparisons.iter_mut().zip(&databases) {
            self_test::run(comparison, settings, plan, &on_event, &|text| watch.step(text))?;
        }
    }
    Ok(BroughtUp { server, databases, comparisons, pulses, replayed })
}

/// How a recovered copy is read.
enum Reading<'a> {
    /// At its end, of whose point in time there is no manifest. In recovery, a transaction that is left out keeps its locks.
    WithoutManifest(&'a Recovery<'a>),
    /// In recovery, which ended between the commits that the manifest sees and all others.
    Paused,
    /// As it is, as `verify` does: no archive continues it, and either no manifest belongs to it or it was cut behind a fence.
    AsItIs,
    /// In recovery, under the snapshot of its manifest.
    Travelling,
}

impl<'a> Reading<'a> {
    fn of(recovery: Option<&'a Recovery<'a>>, manifests: &[Manifest]) -> Self {
        let as_it_is = |manifest: &Manifest| {
            matches!(manifest.header.consistency, Consistency::SharedSnapshot | Consistency::Fence(_))
        };
        match recovery {
            Some(recovery) if recovery.manifest.is_none() => Self::WithoutManifest(recovery),
            Some(_) => Self::Paused,
            None if manifests.iter().all(as_it_is) => Self::AsItIs,
            None => Self::Travelling,
        }
    }

    fn is_after_promotion(&self) -> bool {
        matches!(self, Self::WithoutManifest(_) | Self::AsItIs)
    }

    fn compare(
        &self,
        manifest: &Manifest,
        settings: &Settings,
        plan: &Plan,
        watch: &Watch<'_>,
    ) -> verify_core::Result<Comparison> {
        let database: Box<dyn Database> = match self {
            Self::WithoutManifest(recovery) => return recovery.check(settings, plan, watch),
            Self::Paused => Box::new(PausedCopy::new(settings.clone(), manifest)),
            Self::AsItIs => restored(settings, manifest),
            Self::Travelling => Box::new(TimeTraveller::new(settings.clone(), manifest)),
        };
        watch.step(&format!("comparing every row of {}", settings.database()))?;
        checks::compare(manifest, &*database, settings, plan, &|event| watch.event(event))
    }
}

/// Holds the snapshots of the manifests, under which rows can be told from newer ones after the promotion; none where that fails.
fn hold(
    manifests: &[Manifest],
    databases: &[Settings],
    plan: &Plan,
    watch: &Watch<'_>,
) -> Result<Vec<Option<PostgresSnapshot>>> {
    let hold = |(place, (manifest, settings)): (usize, (&Manifest, &Settings))| {
        if place >= HELD_MAX {
            return Ok(None);
        }
        match TimeTraveller::new(settings.clone(), manifest).hold(plan, &|event| watch.event(event)) {
            Err(error) if *error.kind() == ErrorKind::Cancelled => Err(error.into()),
            held => Ok(held.ok()),
        }
    };
    manifests.iter().zip(databases).enumerate().map(hold).collect()
}

/// Copies the base backup; the stored one is only read.
fn fetch(backup: &StoredBackup, scratch: &Scratch, watch: &Watch<'_>) -> Result<std::path::PathBuf> {
    let free = rustix::fs::statvfs(scratch.path()).context("failed to read the free space")?;
    let free = free.f_bavail.saturating_mul(free.f_frsize);
    if free < backup.record.bytes {
        bail!(
            "failed to copy the base backup to {}: it has {} MiB, and {} MiB are free; set TMPDIR to a directory with \
             more space",
            scratch.path().display(),
            backup.record.bytes >> 20,
            free >> 20
        );
    }
    for name in [DATA, TABLESPACES] {
        let stored = backup.path.join(name);
        if name == DATA || stored.exists() {
            tree::copy(&stored, &scratch.path().join(name), watch.asked)?;
        }
    }
    Ok(scratch.path().join(DATA))
}

/// Result of checking that the files are those that the server sent.
enum Files {
    Whole,
    /// No list of files, as in a snapshot of a volume.
    Unlisted,
    Damaged(String),
    Unknown(String),
}

fn check_files(data: &Path, major: u32, watch: &Watch<'_>) -> Result<Files> {
    if !data.join(SERVERS_LIST).exists() {
        let reason =
            format!("the server's list of them, {SERVERS_LIST}, is missing; they could not be checked");
        return Ok(Files::Unknown(reason));
    }
    let program = match Program::find("pg_verifybackup", major) {
        Ok(program) => program,
        Err(error) => return Ok(Files::Unknown(format!("{error:#}"))),
    };
    // A pg_waldump reads the WAL of its own major version alone, and the program takes none but its own release's.
    let parses_wal = program.major() == major && program.has_beside("pg_waldump");
    let wal = (!parses_wal).then_some("--no-parse-wal");
    let args = wal.into_iter().chain(["--quiet"]).map(AsRef::as_ref).chain([data.as_os_str()]);
    let ended = program.args(args).run(&watch.asked)?;
    Ok(match ended.status.code() {
        Some(0) => Files::Whole,
        Some(1) => Files::Damaged(ended.messages()),
        // Some builds of the program crash, which says nothing of the files.
        _ => Files::Unknown(format!("pg_verifybackup exited with {}: {}", ended.status, ended.messages())),
    })
}

impl Files {
    /// The comparison with what the files add to it.
    fn judge(&self, mut comparison: Comparison) -> Comparison {
        match self {
            Self::Whole | Self::Unlisted => {}
            Self::Damaged(said) => {
                let message = format!("the stored files are not those that the server sent: {said}");
                let finding = Finding::new(Code::BackupDamaged, "base backup", message)
                    .with_hint("do not use this backup; check its storage, and take another one");
                comparison.lead(finding);
            }
            Self::Unknown(reason) => {
                let gap = NotCovered::new(Check::BackupFiles, "files of the base backup", reason);
                comparison.not_covered([gap]);
            }
        }
        comparison
    }

    /// Adds the reason why the server did not start, if the files show it.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match self {
            Self::Damaged(said) => {
                error.context(format!("the stored files are not those that the server sent: {said}"))
            }
            Self::Whole | Self::Unlisted | Self::Unknown(_) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use verify_core::compare::Coverage;

    use super::*;

    #[test]
    fn damaged_files_are_a_finding_and_unchecked_ones_a_gap() {
        let text = |files: &Files| {
            let comparison = files.judge(Comparison::new(Vec::new(), Coverage::default()));
            let findings = comparison.findings().iter().map(|finding| {
                format!(
                    "{}: {}: {}\n    hint: {}",
                    finding.code(),
                    finding.object,
                    finding.message,
                    finding.hint
                )
            });
            let gaps = comparison.coverage().not_covered.iter();
            let gaps = gaps.map(|gap| format!("not covered: {}: {}", gap.object, gap.reason));
            findings.chain(gaps).collect::<Vec<_>>().join("\n")
        };
        assert_eq!([&Files::Whole, &Files::Unlisted].map(text), ["", ""]);
        insta::assert_snapshot!(text(&Files::Damaged("\"base/1/2\" is missing".to_owned())), @r#"
        backup.damaged: base backup: the stored files are not those that the server sent: "base/1/2" is missing
            hint: do not use this backup; check its storage, and take another one
        "#);
        insta::assert_snapshot!(text(&Files::Unknown("pg_verifybackup is missing".to_owned())), @"not covered: files of the base backup: pg_verifybackup is missing");
    }
}
