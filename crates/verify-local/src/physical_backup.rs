//! A base backup, and manifests whose snapshots can be read again in it.

use std::path::Path;

use anyhow::{Result, anyhow};
use verify_core::database::Snapshot;
use verify_core::manifest::{Consistency, Manifest};
use verify_core::plan::{Mode, Plan};
use verify_core::postgres::{PausedReplay, Postgres, PostgresSnapshot, Settings, Type};

use super::concurrent::copy_and_capture;
use super::program::{Ended, Program};
use super::survey::{Survey, connect, first};
use super::tree;
use verify_drill::watch::Watch;

/// Data directory in the directory of a backup.
pub(super) const DATA: &str = "data";
/// Directory of tablespaces, by OID.
pub(super) const TABLESPACES: &str = "tablespaces";

/// A manifest, and the reason why its snapshot will not be verifiable, if that is known.
pub(super) struct Captured {
    pub(super) manifest: Manifest,
    pub(super) unproven: Option<String>,
}

/// Copies the server's data directory into `to` while the databases are captured.
pub(super) fn copy(survey: &Survey, plan: &Plan, to: &Path, watch: &Watch<'_>) -> Result<Vec<Captured>> {
    let program = base_backup(survey, plan.limits.max_rate, to)?;
    hold(survey, plan, watch, |stop| {
        watch.step("copying the data directory with pg_basebackup")?;
        let ended = program.run(stop)?;
        if ended.status.success() { Ok(()) } else { Err(failed(&ended)) }
    })
}

/// Captures the databases while `copy` runs: under time travel, or of a standby while its replay is paused. `copy` gets the function that asks whether to stop; the row versions of the manifests
/// are kept until it is done.
pub(super) fn hold(
    survey: &Survey,
    plan: &Plan,
    watch: &Watch<'_>,
    copy: impl FnOnce(&dyn Fn() -> bool) -> Result<()>,
) -> Result<Vec<Captured>> {
    let on_event = |event| watch.event(event);
    let pause = || PausedReplay::begin(&survey.databases[0], plan.limits, &on_event);
    // Resumed when it is dropped, hence after the snapshots.
    let paused = survey.is_standby.then(pause).transpose()?;
    let mode = if paused.is_some() { Mode::PausedStandby } else { Mode::TimeTravel };
    let plan = plan.clone().with_mode(mode);
    let mut snapshots: Vec<PostgresSnapshot> = Vec::new();
    for database in &survey.databases {
        watch.step(&format!("taking a snapshot of {}", database.describe()))?;
        let anchors: Vec<u64> = snapshots.iter().filter_map(anchor).collect();
        let source = Postgres::new(database.clone()).or_standby();
        snapshots.push(source.begin_beside(&plan, &anchors, &on_event)?);
    }
    let manifests = copy_and_capture(&survey.databases[0], &snapshots, &plan, watch, copy)?;
    if let Some(paused) = paused {
        watch.step("resuming the standby's replay")?;
        paused.end()?;
    }
    let mut captured = Vec::new();
    for ((snapshot, manifest), database) in snapshots.iter().zip(manifests).zip(&survey.databases) {
        let unproven = anchor(snapshot).map(|xid| ended_early(database, xid)).transpose()?.flatten();
        captured.push(Captured { manifest, unproven });
    }
    Ok(captured)
}

/// The program's own last word first, and what the role needs only where that is what it complains of.
fn failed(ended: &Ended) -> anyhow::Error {
    const ACCESS: [&str; 6] = [
        "authentication failed",
        "pg_hba.conf",
        "replication role",
        "REPLICATION",
        "max_wal_senders",
        "WAL sender",
    ];
    let hint = if ACCESS.iter().any(|word| ended.said.contains(word)) {
        "; it needs a role with REPLICATION, an entry for `replication` in pg_hba.conf and two free max_wal_senders; \
         a logical backup (--method logical, or fs-dump with Velero) needs none of them"
    } else {
        ""
    };
    anyhow!("pg_basebackup exited with {}: {}", ended.status, ended.messages())
        .context(format!("failed to copy the data directory: {}{hint}", ended.last_error()))
}

fn base_backup(survey: &Survey, max_rate: Option<u64>, to: &Path) -> Result<Program> {
    let mut args = vec!["--pgdata".to_owned(), to.join(DATA).to_string_lossy().into_owned()];
    args.extend(
        ["--format=plain", "--wal-method=stream", "--checkpoint=fast", "--no-password"].map(str::to_owned),
    );
    args.push("--label=state-lab".to_owned());
    args.extend(max_rate.map(|bytes| format!("--max-rate={}k", kibibytes(bytes))));
    if !survey.tablespaces.is_empty() {
        let directory = to.join(TABLESPACES);
        tree::create_directory(&directory)?;
        for tablespace in &survey.tablespaces {
            // Elsewhere it would be written to the very place that the server uses.
            let place = directory.join(tablespace.oid.to_string());
            let escaped = |path: &str| path.replace('=', "\\=");
            let (from, to) = (escaped(&tablespace.location), escaped(&place.to_string_lossy()));
            args.push(format!("--tablespace-mapping={from}={to}"));
        }
    }
    let program = Program::find("pg_basebackup", survey.server.major)?;
    Ok(program.connect(&survey.databases[0]).args(args))
}

/// A rate as pg_basebackup takes it: 32 KiB to 1 GiB a second.
fn kibibytes(bytes: u64) -> u64 {
    (bytes / 1024).clamp(32, 1024 * 1024)
}

fn anchor(snapshot: &PostgresSnapshot) -> Option<u64> {
    match &snapshot.origin().consistency {
        Consistency::TimeTravel(anchor) => Some(anchor.xid),
        _ => None,
    }
}

/// Returns whether the transaction that kept old row versions has ended early.
fn ended_early(database: &Settings, xid: u64) -> Result<Option<String>> {
    let xid = xid.to_string();
    let status = "SELECT pg_catalog.pg_xact_status($1::pg_catalog.xid8)";
    let rows = connect(database)?.query_with(status, &[(&xid, Type::TEXT)])?;
    let status = first(&rows)?.get(0).unwrap_or("unknown");
    Ok((status != "in progress").then(|| {
        format!(
            "the transaction that kept its row versions ended before the copy was complete (it is {status}); a \
             user or a timeout ended idle transactions"
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn headline(said: &str) -> String {
        failed(&Ended { status: ExitStatus::from_raw(256), said: said.to_owned() }).to_string()
    }

    #[test]
    fn only_a_lack_of_access_is_answered_with_what_the_role_needs() {
        let full = "pg_basebackup: error: could not write to file \"x\": No space left on device\n\
                    pg_basebackup: removing data directory \"x\"";
        assert_eq!(
            headline(full),
            "failed to copy the data directory: pg_basebackup: error: could not write to file \"x\": No space left \
             on device"
        );
        let refused =
            headline("pg_basebackup: error: FATAL:  no pg_hba.conf entry for replication connection");
        assert!(refused.contains("it needs a role with REPLICATION"), "{refused}");
    }
}
