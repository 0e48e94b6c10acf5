//! PostgreSQL processes as the operating system shows them: `postmaster.pid`, `/proc`, signals.
//!
//! A process id in a file is no evidence, since ids are reused. Before anything is signalled, `/proc` has to say
//! that the process is a `postgres` that works in that very data directory. Where there is no `/proc`, only servers
//! that this process itself started are stopped, through their handle.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use verify_drill::until::{Check, Pace, Waited, never, until};

/// Time limit of an orderly stop before the processes are killed.
const QUIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for killed processes to disappear (they may be in the middle of a write).
const KILL_TIMEOUT: Duration = Duration::from_secs(30);

/// The lines of `postmaster.pid` that matter to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) pid: i32,
    /// Connections are accepted, though perhaps still in recovery: a hot standby says so too.
    pub(super) accepts_connections: bool,
    /// Id of the System V shared memory segment by which a server guards its data directory.
    shared_memory_id: Option<u64>,
}

impl PidFile {
    /// Reads the file of a data directory; `None` when it is absent or half written.
    pub(super) fn read(data_dir: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(data_dir.join("postmaster.pid")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        let shared_memory_id =
            lines.nth(5).and_then(|line| line.split_whitespace().nth(1)).and_then(|id| id.parse().ok());
        let accepts_connections = lines.next().map(str::trim) == Some("ready");
        Some(Self { pid, accepts_connections, shared_memory_id })
    }
}

/// Returns whether the server of `data_dir`, which accepts connections, has left recovery.
///
/// `pg_control` says so in its third field, `DBState`, at the same place in every version since 8.0; see
/// `src/include/catalog/pg_control.h`. The server writes it just after `pg_is_in_recovery()` turns false.
pub(super) fn recovery_is_over(data_dir: &Path) -> bool {
    const STATE: std::ops::Range<usize> = 16..20;
    const IN_PRODUCTION: [u8; 4] = 6_u32.to_ne_bytes();
    fs::read(data_dir.join("global/pg_control"))
        .is_ok_and(|control| control.get(STATE).is_some_and(|state| state == IN_PRODUCTION))
}

/// The postgres processes, postmaster and children, that work in `data_dir`.
pub(super) fn processes_in(data_dir: &Path) -> Vec<Pid> {
    let (Ok(data_dir), Ok(processes)) = (data_dir.canonicalize(), fs::read_dir("/proc")) else {
        return Vec::new();
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| works_in(*pid, &data_dir))
        .collect()
}

/// A process that ended but was not waited for has no working directory any more, hence counts as ended.
fn works_in(pid: Pid, data_dir: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == data_dir)
        && fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim_end() == "postgres")
}

/// Stops the server of `data_dir`, by whatever process it was started: an ordered immediate stop first, then by force.
///
/// `data_dir` must be owned by state-lab.
pub(super) fn stop_server_of(data_dir: &Path) -> Result<()> {
    let pid_file = PidFile::read(data_dir);
    let postmaster = pid_file.as_ref().and_then(|file| Pid::from_raw(file.pid));
    if let Some(postmaster) = postmaster.filter(|pid| processes_in(data_dir).contains(pid)) {
        // An error means that it ended meanwhile; what is left shows below.
        let _ = kill_process(postmaster, Signal::QUIT);
        await_gone(data_dir, QUIT_TIMEOUT);
    }
    kill_processes_in(data_dir)?;
    if let Some(id) = pid_file.and_then(|file| file.shared_memory_id) {
        remove_shared_memory(id);
    }
    Ok(())
}

/// Kills every postgres process that works in `data_dir` and waits until the last has ended.
pub(super) fn kill_processes_in(data_dir: &Path) -> Result<()> {
    for pid in processes_in(data_dir) {
        let _ = kill_process(pid, Signal::KILL);
    }
    let left = await_gone(data_dir, KILL_TIMEOUT);
    if !left.is_empty() {
        bail!(
            "processes {left:?} still work in {} although they were killed {} s ago; inspect them with `ps`",
            data_dir.display(),
            KILL_TIMEOUT.as_secs()
        )
    }
    Ok(())
}

/// Waits until no postgres process works in `data_dir`. Returns those that still do.
fn await_gone(data_dir: &Path, timeout: Duration) -> Vec<Pid> {
    let waited = until(timeout, Pace::LOCAL, never, || {
        let left = processes_in(data_dir);
        Ok::<_, Infallible>(if left.is_empty() { Check::Done(()) } else { Check::Waiting(left) })
    });
    match waited {
        Ok(Waited::TimedOut(left)) => left,
        Ok(Waited::Done(()) | Waited::Stopped) => Vec::new(),
    }
}

/// Frees the segment that a killed server leaves behind; a server that was stopped has freed it itself.
fn remove_shared_memory(id: u64) {
    let unused = fs::read_to_string("/proc/sysvipc/shm").is_ok_and(|table| is_unused_segment(&table, id));
    if unused {
        // Best effort: a few bytes of kernel memory stay until the next reboot where the program is missing.
        let _ = Command::new("ipcrm")
            .args(["-m", &id.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// The columns of `/proc/sysvipc/shm`: key, shmid, perms, size, cpid, lpid, nattch, …
fn is_unused_segment(table: &str, id: u64) -> bool {
    table.lines().skip(1).any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let id_and_users = (columns.get(1).and_then(|id| id.parse().ok()), columns.get(6).copied());
        id_and_users == (Some(id), Some("0"))
    })
}

/// Stops every server whose data directory is in `directory`.
pub fn stop_servers_below(directory: &Path) -> Result<()> {
    if ["PG_VERSION", "postmaster.pid"].iter().any(|file| directory.join(file).exists()) {
        return stop_server_of(directory);
    }
    // A directory that cannot be read any more holds no server that we could find.
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            stop_servers_below(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_file_is_read_with_and_without_its_later_lines() {
        let whole = "4711\n/data\n1790000000\n5432\n/run/pg\n127.0.0.1\n  123456     98304\nready   \n";
        let expected = PidFile { pid: 4711, accepts_connections: true, shared_memory_id: Some(98304) };
        assert_eq!(PidFile::parse(whole), Some(expected));
        let early = PidFile { pid: 4711, accepts_connections: false, shared_memory_id: None };
        assert_eq!(PidFile::parse("4711\n/data\n"), Some(early));
        assert_eq!(PidFile::parse(""), None);
    }

    #[test]
    fn a_segment_that_is_attached_is_left_alone() {
        let table = "key shmid perms size cpid lpid nattch uid\n 5 7 600 56 1 1 2 0\n 6 8 600 56 1 1 0 0\n";
        assert!(!is_unused_segment(table, 7));
        assert!(is_unused_segment(table, 8));
        assert!(!is_unused_segment(table, 9));
    }

    #[test]
    fn only_postgres_processes_count() {
        // This very process works in some directory, but is not a postgres.
        let here = std::env::current_dir().unwrap();
        assert_eq!(processes_in(&here), Vec::new());
    }
}
