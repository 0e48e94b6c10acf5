//! A copied data directory without anything that could act on the place that it comes from.
//!
//! It may name a standby's primary, an archive to write to, slots, jobs and subscriptions. So its own configuration is
//! set aside as a whole, and what remains is given on the command line, which nothing overrides.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::physical_backup::TABLESPACES;
use crate::server::{StartOptions, Wait};
use verify_drill::backup_record::ServerRecord;
use verify_drill::hint::Hinted;

/// Files that belong to the server that was copied, or would start a recovery of its own.
const REMOVED: [&str; 4] = ["postmaster.pid", "postmaster.opts", "recovery.signal", "current_logfiles"];
/// Configuration that is emptied: settings of its own, and maps of names.
const EMPTIED: [&str; 3] = ["postgresql.conf", "postgresql.auto.conf", "pg_ident.conf"];
/// Directories whose content is the source's alone: slots would keep WAL, and logical ones publish it.
const CLEARED: [&str; 2] = ["pg_replslot", "pg_snapshots"];

/// File in which a copy records the WAL files that it looks for elsewhere, one per line, in its data directory.
pub(super) const LOOKED_FOR: &str = "state-lab.looked-for";
/// Number of polls for a file before it counts as absent; the next setting is the pause between them.
const LOOKED_FOR_MAX: usize = 6;
/// The server's word that all of the backup's WAL was replayed.
const CONSISTENT: &str = "consistent recovery state reached";

const SETTINGS: [(&str, &str); 25] = [
    ("archive_mode", "off"),
    ("archive_command", ""),
    ("archive_cleanup_command", ""),
    ("recovery_end_command", ""),
    ("primary_conninfo", ""),
    ("primary_slot_name", ""),
    // Works in the data directory, and never finds anything.
    ("restore_command", "echo %f >> state-lab.looked-for; exit 1"),
    ("wal_retrieve_retry_interval", "2s"),
    ("recovery_target", ""),
    ("recovery_target_name", ""),
    ("recovery_target_time", ""),
    ("recovery_target_xid", ""),
    ("recovery_target_lsn", ""),
    ("promote_trigger_file", ""),
    ("shared_preload_libraries", ""),
    ("session_preload_libraries", ""),
    ("max_logical_replication_workers", "0"),
    ("synchronous_standby_names", ""),
    ("autovacuum", "off"),
    ("hot_standby", "on"),
    ("ssl", "off"),
    ("huge_pages", "off"),
    ("event_triggers", "off"),
    ("restrict_nonsystem_relation_kind", ""),
    ("jit", "off"),
];

/// Settings that not every version has: name, first major, major after the last.
const VERSIONED: [(&str, u32, u32); 3] = [
    ("promote_trigger_file", 12, 16),
    ("event_triggers", 17, u32::MAX),
    ("restrict_nonsystem_relation_kind", 18, u32::MAX),
];

/// Options to start a copy of `server` in `directory`: as a standby without a primary, on a private socket.
pub(super) fn start_options(directory: &Path, server: &ServerRecord, asked: fn() -> bool) -> StartOptions {
    let options = StartOptions {
        trust_socket: true,
        wait: Wait::ReadyOrStandby,
        asked,
        in_vain,
        ..StartOptions::in_directory(directory)
    };
    let known = |name: &str| {
        let range = VERSIONED.iter().find(|(versioned, _, _)| *versioned == name);
        range.is_none_or(|(_, from, until)| (*from..*until).contains(&server.major))
    };
    let fixed = SETTINGS.iter().filter(|(name, _)| known(name)).map(|(name, value)| (*name, *value));
    let own = server.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    own.chain(fixed).fold(options, |options, (name, value)| options.set(name, value))
}

/// The same for a copy that is to be recovered up to a position alone: what is received later than it was replayed is in a base backup too.
pub(super) fn stop_at(options: StartOptions, lsn: &str) -> StartOptions {
    // Behind the others, since an empty one forgets the target.
    options
        .set("recovery_target_lsn", lsn)
        .set("recovery_target_inclusive", "off")
        .set("recovery_target_action", "pause")
}

/// Reason why a copy will never accept queries, once it only looks for WAL that does not exist.
fn in_vain(data: &Path, log: &Path) -> Option<String> {
    let looked_for = fs::read_to_string(data.join(LOOKED_FOR)).ok()?;
    let file = missing(&looked_for)?;
    // What cannot be read says nothing of the cause, so the likelier one stays.
    let replayed = fs::read(log).is_ok_and(|log| String::from_utf8_lossy(&log).contains(CONSISTENT));
    Some(if replayed {
        "all of the backup's WAL was replayed, and PostgreSQL still refuses queries: a transaction with more than 64 \
         subtransactions was open while the copy was taken, so that it cannot determine which of them had ended. Take \
         the backup again while no such transaction runs, or with --method logical"
            .to_owned()
    } else {
        format!(
            "it waits for the WAL file {file}, which the backup lacks. Files are missing from its pg_wal, or one of \
             them is truncated: check the storage of the backup, and take another backup"
        )
    })
}

/// The file of WAL that was looked for again and again, and nothing else.
fn missing(looked_for: &str) -> Option<&str> {
    let files = || looked_for.lines().rev().filter(|name| !name.ends_with(".history"));
    let last = files().next()?;
    (files().take(LOOKED_FOR_MAX).filter(|name| *name == last).count() == LOOKED_FOR_MAX).then_some(last)
}

/// Takes everything out of a copied data directory that belongs to the source, and makes it a standby.
pub(super) fn prepare(data: &Path) -> Result<()> {
    // A volume may come back with the rights that its new pod gave it, and PostgreSQL starts on none but its own.
    set_mode(data, 0o700)?;
    // Also what is written anew: a link would lead to the source's own file, and CloudNativePG lets nobody write
    // postgresql.auto.conf.
    for file in REMOVED.into_iter().chain(EMPTIED) {
        let path = data.join(file);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("failed to remove {}", path.display()));
            }
            _ => {}
        }
    }
    for file in EMPTIED.into_iter().chain(["standby.signal"]) {
        let path = data.join(file);
        fs::write(&path, "").with_context(|| format!("failed to write {}", path.display()))?;
    }
    for directory in CLEARED {
        clear(&data.join(directory))?;
    }
    Ok(())
}

fn clear(directory: &Path) -> Result<()> {
    let doing = || format!("failed to clear {}", directory.display());
    // A copy of a broken backup may lack it; the server says so when it starts.
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    for entry in entries {
        let entry = entry.with_context(doing)?;
        match entry.file_type().with_context(doing)?.is_dir() {
            true => fs::remove_dir_all(entry.path()),
            false => fs::remove_file(entry.path()),
        }
        .with_context(doing)?;
    }
    Ok(())
}

/// Points the links to tablespaces into `directory`, where they were copied to.
pub(super) fn relink_tablespaces(data: &Path, directory: &Path) -> Result<()> {
    let links = data.join("pg_tblspc");
    let doing = || format!("failed to relink the tablespaces in {}", links.display());
    for entry in fs::read_dir(&links).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        if entry.file_type().with_context(doing)?.is_symlink() {
            let target = directory.join(TABLESPACES).join(entry.file_name());
            fs::remove_file(entry.path()).and_then(|()| symlink(target, entry.path())).with_context(doing)?;
        }
    }
    Ok(())
}

/// Holds a copy back from new links to tablespaces, until it is dropped: WAL that creates one has the path of the source, and on the
/// source's own machine recovery would write into the files of the running server.
pub(super) struct LinksForbidden(PathBuf);

impl LinksForbidden {
    /// Takes the right to create links from the server of a data directory.
    pub(super) fn new(data: &Path) -> Result<Self> {
        let links = data.join("pg_tblspc");
        set_mode(&links, 0o500)?;
        Ok(Self(links))
    }

    /// The error of a server that replayed the creation of a tablespace, if that is what its log says.
    pub(super) fn explain(log: &Path, error: anyhow::Error) -> anyhow::Error {
        let text = fs::read_to_string(log).unwrap_or_default();
        if !text.contains("could not create symbolic link \"pg_tblspc/") {
            return error;
        }
        let text = "failed to recover: the WAL creates a tablespace after the base backup, at the path that it has on the source";
        Hinted::new(
            text,
            "use a base backup that is newer than the tablespace, or a target before its creation",
        )
        .into()
    }
}

impl Drop for LinksForbidden {
    fn drop(&mut self) {
        // At worst the copy is not removed, which is reported.
        let _ = set_mode(&self.0, 0o700);
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("failed to set the permissions of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_is_looked_for_again_and_again_is_missing() {
        let again = "00000002.history\n000000010000000000000003\n".repeat(LOOKED_FOR_MAX);
        assert_eq!(missing(&again), Some("000000010000000000000003"));
        assert_eq!(missing(&again.repeat(9)), Some("000000010000000000000003"));
        assert_eq!(missing(&format!("{again}000000010000000000000004\n")), None);
        assert_eq!(missing(again.split_once('\n').unwrap().1.split_once('\n').unwrap().1), None);
        assert_eq!(missing(""), None);
    }

    #[test]
    fn the_note_is_written_where_it_is_read() {
        let written = SETTINGS.iter().any(|(_, value)| value.contains(&format!(">> {LOOKED_FOR};")));
        assert!(written);
    }

    #[test]
    fn a_copy_keeps_its_data_and_loses_its_ties() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        fs::create_dir_all(data.join("pg_replslot/slot")).unwrap();
        fs::create_dir(data.join("base")).unwrap();
        for file in
            ["PG_VERSION", "backup_label", "postmaster.pid", "recovery.signal", "pg_replslot/slot/state"]
        {
            fs::write(data.join(file), "x").unwrap();
        }
        fs::write(data.join("postgresql.auto.conf"), "primary_conninfo = 'host=production'").unwrap();
        let read_only = fs::Permissions::from_mode(0o400);
        fs::set_permissions(data.join("postgresql.auto.conf"), read_only).unwrap();
        fs::write(data.join("elsewhere"), "the source's own").unwrap();
        symlink(data.join("elsewhere"), data.join("pg_ident.conf")).unwrap();
        prepare(data).unwrap();
        let mut left: Vec<_> = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let expected = [
            "PG_VERSION",
            "backup_label",
            "base",
            "elsewhere",
            "pg_ident.conf",
            "pg_replslot",
            "postgresql.auto.conf",
            "postgresql.conf",
            "standby.signal",
        ];
        assert_eq!(left, expected);
        assert_eq!(fs::read_to_string(data.join("postgresql.auto.conf")).unwrap(), "");
        // Root writes whatever the rights are: only they show that the server's account may.
        let rights = fs::metadata(data.join("postgresql.auto.conf")).unwrap().permissions().mode();
        assert_eq!(rights & 0o200, 0o200, "{rights:o}");
        assert_eq!(fs::read_to_string(data.join("elsewhere")).unwrap(), "the source's own");
        assert_eq!(fs::read_dir(data.join("pg_replslot")).unwrap().count(), 0);
    }
}
