//! A backup of another tool: chosen, restored by the tool, recovered to the point in time of a manifest, and verified.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use verify_core::definition::Definitions;
use verify_core::heartbeat::ClockOffset;
use verify_core::manifest::{Consistency, Header, Manifest};
use verify_core::timeline::Milestone;
use verify_drill::backup_name::BackupName;
use verify_drill::backup_record::{
    BackupRecord, CopyMethod, DatabaseRecord, FORMAT, FORMAT_VERSION, ServerRecord,
};
use verify_drill::hint::Hinted;
use verify_drill::provider::RestoreRequest;
use verify_drill::watch::Watch;

use super::control_data::ControlData;
use super::links;
use super::{Asked, Destination, Tool, ToolBackup, run_as};
use crate::lsn::Lsn;
use crate::outcome::Restored;
use crate::physical_backup::{DATA, TABLESPACES};
use crate::physical_restore::{self, CopiedFiles};
use crate::point_in_time::{PointInTime, Recovery};
use crate::recovery::Stopwatch;
use crate::recovery_target::RecoveryTarget;
use crate::restore::judge;
use crate::scratch::{self, Scratch};
use crate::server::{Installation, server_user};
use crate::store::StoredBackup;

/// The superuser of a cluster whose manifest names none.
const SUPERUSER: &str = "postgres";

/// The manifest to verify against, and the place that it was read from.
pub(super) struct Expected<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) place: &'a str,
    /// The point in time to recover to.
    pub(super) target: RecoveryTarget,
    /// The timeline to recover along, if it is asked for.
    pub(super) timeline: Option<u32>,
}

/// Restores a backup by its tool into a server on this machine, and verifies it.
///
/// # Errors
///
/// If it could not be restored, or not be compared. A finding is not an error.
pub(super) fn restore(
    tool: &dyn Tool,
    expected: &Expected<'_>,
    request: &RestoreRequest,
    watch: &Watch<'_>,
) -> Result<Restored> {
    let Expected { manifest, place, target, timeline } = expected;
    let RestoreRequest { name, plan, .. } = request;
    for swept in scratch::sweep() {
        watch.step(&format!("removed leftovers of an earlier run: {}", swept.display()))?;
    }
    let backup = choose(tool, Some(name), expected, watch.asked)?;
    if !tool.maps_tablespaces() && may_have_tablespaces(&manifest.cluster) {
        let text = format!(
            "failed to restore {name}: the cluster may have tablespaces, which {} restores to where they were on the \
             source",
            tool.name()
        );
        let hint = "restore it yourself on another machine, and run `state-lab verify` there";
        return Err(Hinted::new(text, hint).into());
    }
    let mut stopwatch = Stopwatch::start();
    let scratch = Scratch::create("restore")?;
    let directory = |name: &str| scratch.path().join(name);
    let to =
        Destination { data: directory(DATA), tablespaces: directory(TABLESPACES), wal: directory("wal") };
    create_destination(tool, &scratch, &to)?;
    if let Some(command) = tool.removal(&backup, &to) {
        scratch.remove_with(&command)?;
    }
    watch.step(&format!("restoring {name} with {}", tool.name()))?;
    tool.restore(&backup, target, &to, watch.asked)?;
    if let Some(user) = server_user()? {
        scratch.open_to(&user)?;
    }
    links::refuse_outside(&to.data, scratch.path())?;
    stopwatch.reach(Milestone::Fetched);
    let record = record(tool, &backup, manifest, place, &to)?;
    let stored =
        StoredBackup { path: scratch.path().to_owned(), record, manifests: vec![(*manifest).clone()] };
    let archive = if is_snapshot(manifest, &to) { None } else { tool.archive(&to)? };
    if archive.is_none() && !matches!(target, RecoveryTarget::Capture(_)) {
        let text = format!(
            "failed to recover {name} to {target}: {} has no WAL archive that continues it",
            tool.name()
        );
        return Err(Hinted::new(text, "add `wal` to [tools.command], or omit the point in time").into());
    }
    let point_in_time =
        archive.map(|archive| PointInTime { archive, target: target.clone(), timeline: *timeline });
    let recovery =
        point_in_time.as_ref().map(|wanted| Recovery::prepare(wanted, &stored, watch)).transpose()?;
    let stored = match &recovery {
        Some(recovery) => recovery.backup(stored)?,
        None => stored,
    };
    let copy = CopiedFiles { data: &to.data, tablespaces: scratch.path(), scratch: &scratch };
    let brought_up =
        physical_restore::restore_in_place(&stored, &copy, recovery.as_ref(), plan, &mut stopwatch, watch)?;
    Ok(judge(stored, brought_up, scratch, recovery.as_ref(), request, &stopwatch))
}

/// Returns whether the files are the snapshot that was taken behind the manifest's fence. It ends there, and nothing continues it.
fn is_snapshot(manifest: &Manifest, to: &Destination) -> bool {
    let fenced = matches!(manifest.header.consistency, Consistency::Fence(_));
    fenced && !to.data.join("backup_label").exists()
}

/// The backup of this name; without one, the newest that can be recovered to the manifest's point in time.
pub(super) fn choose(
    tool: &dyn Tool,
    name: Option<&BackupName>,
    expected: &Expected<'_>,
    asked: Asked,
) -> Result<ToolBackup> {
    let header = &expected.manifest.header;
    let Some(backups) = tool.backups(asked)? else {
        let name = name.cloned().or_else(|| "latest".parse().ok());
        let name = name.context("failed to name a backup")?;
        let (started_at, end_lsn, system_identifier) = (None, None, None);
        return Ok(ToolBackup { name, started_at, end_lsn, system_identifier, tablespaces: Vec::new() });
    };
    let wanted = wanted(expected);
    let mut known = Vec::new();
    for backup in backups {
        known.push(backup.name.to_string());
        if name.is_some_and(|name| *name != backup.name) {
            continue;
        }
        let backup = tool.examine(backup, asked)?;
        refuse_other_cluster(tool, backup.system_identifier.as_deref(), header)?;
        let late = is_later(&backup, expected);
        match (late, name) {
            (false, _) => return Ok(backup),
            (true, None) => {}
            (true, Some(name)) => {
                let text = format!(
                    "failed to restore {name}: the backup ended after {wanted}, and cannot be recovered to an earlier point in time"
                );
                let hint = "omit --snapshot to restore the newest backup before it, or capture a manifest after the backup";
                return Err(Hinted::new(text, hint).into());
            }
        }
    }
    let place = tool.place();
    let known = if known.is_empty() { "no backups".to_owned() } else { known.join(", ") };
    Err(match name {
        Some(name) => Hinted::new(
            format!("failed to find the backup {name}: {place} has {known}"),
            "correct --snapshot, or omit it for the newest one that ended before that point in time; a backup that is missing \
             may have expired",
        ),
        None => Hinted::new(
            format!(
                "failed to choose a backup: none of {place} ended before {wanted}; it has {known}"
            ),
            "capture the manifest after the backup, or restore with an older archive",
        ),
    }
    .into())
}

/// The point in time to recover to, in words.
fn wanted(expected: &Expected<'_>) -> String {
    match &expected.target {
        RecoveryTarget::Capture(manifest) => {
            format!("the capture of the manifest, at {}", manifest.header.lsn)
        }
        target => target.to_string(),
    }
}

/// Returns whether a backup is known to have ended after the point in time to recover to.
fn is_later(backup: &ToolBackup, expected: &Expected<'_>) -> bool {
    let ended_after = |lsn: Option<Lsn>| backup.end_lsn.zip(lsn).is_some_and(|(end, lsn)| end > lsn);
    match &expected.target {
        RecoveryTarget::Capture(manifest) => ended_after(manifest.header.lsn.parse().ok()),
        RecoveryTarget::Lsn(lsn) => ended_after(Some(*lsn)),
        RecoveryTarget::Time(time) => backup.started_at.is_some_and(|started_at| started_at > *time),
        RecoveryTarget::Name(_) | RecoveryTarget::BeforeTransaction(_) | RecoveryTarget::Latest => false,
    }
}

/// Fails if both clusters are known, and differ.
fn refuse_other_cluster(tool: &dyn Tool, theirs: Option<&str>, header: &Header) -> Result<()> {
    let ours = header.source.system_identifier.as_str();
    let Some(theirs) = theirs.filter(|theirs| !theirs.is_empty() && !ours.is_empty() && *theirs != ours)
    else {
        return Ok(());
    };
    let text = format!(
        "failed to verify a backup of {}: it is of another cluster, with the system identifier {theirs}, and the \
         manifest's is {ours}",
        tool.place()
    );
    let hint = format!("correct the table [tools.{}] of the configuration, or --manifest", tool.name());
    Err(Hinted::new(text, hint).into())
}

/// Creates the directories that the tool restores into, which only it may enter.
fn create_destination(tool: &dyn Tool, scratch: &Scratch, to: &Destination) -> Result<()> {
    let user = run_as(tool)?;
    for directory in [&to.data, &to.tablespaces, &to.wal] {
        crate::server::create_server_dir(directory)?;
        if let Some(user) = &user {
            std::os::unix::fs::chown(directory, Some(user.uid), Some(user.gid)).with_context(|| {
                format!("failed to give {} to the user `{}`", directory.display(), user.name)
            })?;
        }
    }
    user.map_or(Ok(()), |user| scratch.open_to(&user))
}

/// What state-lab's own backups record, as far as the restored files and the manifest show it.
fn record(
    tool: &dyn Tool,
    backup: &ToolBackup,
    manifest: &Manifest,
    place: &str,
    to: &Destination,
) -> Result<BackupRecord> {
    let header = &manifest.header;
    let major = major_of(&to.data, tool)?;
    let installation = Installation::of_major(major)?;
    let control = ControlData::read(&installation, &to.data)?;
    refuse_other_cluster(tool, Some(control.system_identifier()), header)?;
    let (database, _) = DatabaseRecord::of(place.to_owned(), manifest)?;
    let started_at = backup.started_at.unwrap_or(header.captured_at);
    Ok(BackupRecord {
        format: FORMAT.to_owned(),
        version: FORMAT_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        name: backup.name.clone(),
        // Without a list of its files.
        method: CopyMethod::Snapshot,
        copied_by: major,
        started_at,
        ended_at: started_at,
        bytes: 0,
        server: ServerRecord {
            version: installation.version,
            major,
            superuser: superuser(&manifest.cluster),
            clock: ClockOffset::default(),
            settings: control.settings(),
            preloading: Default::default(),
        },
        databases: vec![database],
    })
}

/// The major version in a restored data directory.
fn major_of(data: &Path, tool: &dyn Tool) -> Result<u32> {
    let path = data.join("PG_VERSION");
    let doing = || format!("failed to find a data directory of PostgreSQL in what {} restored", tool.name());
    let text = fs::read_to_string(&path).with_context(doing)?;
    text.trim().parse().with_context(doing)
}

/// Returns whether the cluster has tablespaces besides PostgreSQL's own, or may have some.
fn may_have_tablespaces(cluster: &Definitions) -> bool {
    let Definitions::Read(definitions) = cluster else { return true };
    let own = |identity: &str| matches!(identity, "pg_default" | "pg_global");
    let mut tablespaces = definitions.iter().filter(|definition| definition.object_type == "tablespace");
    tablespaces.any(|tablespace| !own(&tablespace.identity))
}

/// A superuser that can log in.
fn superuser(cluster: &Definitions) -> String {
    let Definitions::Read(definitions) = cluster else { return SUPERUSER.to_owned() };
    let has = |attribute: Option<&str>| attribute == Some("yes");
    let roles = definitions.iter().filter(|definition| {
        definition.object_type == "role"
            && has(definition.attributes.get("superuser"))
            && has(definition.attributes.get("login"))
    });
    let names: Vec<String> = roles.map(|role| unquoted(&role.identity)).collect();
    let usual = names.iter().find(|name| *name == SUPERUSER).or(names.first());
    usual.cloned().unwrap_or_else(|| SUPERUSER.to_owned())
}

/// A name without the quotes of `quote_ident`.
fn unquoted(identifier: &str) -> String {
    match identifier.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => identifier.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use verify_core::definition::Definition;

    use super::*;

    fn definition(object_type: &str, identity: &str, attributes: &[(&str, &str)]) -> Definition {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (object_type, identity) = (object_type.to_owned(), identity.to_owned());
        Definition { object_type, identity, attributes: attributes.collect(), ..Definition::default() }
    }

    #[test]
    fn the_superuser_is_one_that_can_log_in() {
        let (all, some) = ([("superuser", "yes"), ("login", "yes")], [("superuser", "yes")]);
        let role = |identity, attributes: &[(&str, &str)]| definition("role", identity, attributes);
        let found = |roles: &[Definition]| superuser(&Definitions::Read(roles.to_vec()));
        assert_eq!(found(&[role("a", &some), role("\"B \"\"c\"", &all)]), "B \"c");
        assert_eq!(found(&[role("admin", &all), role("postgres", &all)]), "postgres");
        assert_eq!(found(&[role("postgres", &some)]), "postgres");
        assert_eq!(superuser(&Definitions::Unread(String::new())), "postgres");
    }

    #[test]
    fn what_is_not_known_may_have_tablespaces() {
        let of = |identities: &[&str]| {
            let tablespaces = identities.iter().map(|identity| definition("tablespace", identity, &[]));
            may_have_tablespaces(&Definitions::Read(tablespaces.collect()))
        };
        assert_eq!([of(&["pg_default", "pg_global"]), of(&["pg_default", "fast"])], [false, true]);
        assert!(may_have_tablespaces(&Definitions::Unread(String::new())));
    }
}
