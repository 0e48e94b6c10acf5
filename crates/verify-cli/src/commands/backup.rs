//! `backup`: a copy of databases with the manifests that verify it.

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use verify_core::plan::Plan;

use super::cluster_flags::ClusterFlags;
use super::measuring::{Effort, Hash};
use super::storing::{self, StoreFlag};
use crate::exit::Exit;
use crate::globals::Globals;
use crate::journal_file::NoResumeFlag;
use crate::providers::{self, Options};
use crate::render::document::BackupDocument;
use crate::render::restore;
use crate::terminal;
use verify_drill::backup_name::BackupName;
use verify_drill::backup_record::BackupRecord;
use verify_drill::duration::Period;
use verify_drill::provider::BackupRequest;

/// Back up databases, with manifests of the same snapshot
///
/// On this machine, a physical backup copies the whole server with pg_basebackup, while one open transaction per database
/// keeps the manifest's row versions; the role needs REPLICATION and SELECT. If the server is a standby, its replay is paused
/// instead until the copy is complete, and resumed by the server also if this program is killed; the role needs EXECUTE on
/// pg_wal_replay_pause() and pg_wal_replay_resume(). A logical backup dumps each database under
/// the snapshot of its manifest; the role needs SELECT. A snapshot is taken of the server's volumes by the command `snapshot` of
/// [tools.command], while all tables are locked against writers; the role needs UPDATE, DELETE or TRUNCATE on each.
///
/// In Kubernetes, Velero makes the copy: a CSI snapshot of the primary's volume (csi; csi-move moves its data to the
/// object store), or the files of a base backup (fs) or a dump (fs-dump) on a volume of its own. The manifests are
/// stored beside the backup. Whatever phase Velero reports, the backup succeeds only if it contains every volume that a restore needs.
///
/// An incomplete backup is removed. A table or sequence that could not be measured is listed in the record with the
/// reason, and so is a database without tables; the exit status is then 3.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Backup {
    /// Name of the backup: letters, digits, dots, dashes and underscores; %Y%m%d and other strftime patterns are replaced by the time, in UTC
    #[arg(long, value_name = "NAME", value_parser = named)]
    name: BackupName,
    /// Provider of the backup [default: velero if the configuration has a [velero] table, else local]
    #[arg(long, value_name = "WHO", value_parser = providers::names())]
    provider: Option<String>,
    /// Method of the copy [default: physical if role and server allow it, else logical; csi with Velero]
    #[arg(long, value_name = "METHOD", value_parser = providers::methods())]
    method: Option<String>,
    /// Back up a standby if one can be found: among the hosts of DB (as target_session_attrs=prefer-standby does), else
    /// among those that stream from it and listen at its port; else DB itself. A physical backup pauses the standby's replay
    #[arg(long)]
    prefer_standby: bool,
    /// Hash function for rows
    #[arg(long, value_enum, default_value = "blake3")]
    hash: Hash,
    #[command(flatten)]
    store: StoreFlag,
    #[command(flatten)]
    resume: NoResumeFlag,
    #[command(flatten)]
    effort: Effort,
    /// Time that a physical backup or a volume snapshot waits for older transactions, prepared ones included
    /// [default: 60s]
    #[arg(long, value_name = "TIME")]
    wait: Option<Period>,
    /// The claim for base backups and dumps [default: the configuration's]
    #[arg(long, value_name = "NAME", help_heading = "Kubernetes")]
    basebackup_claim: Option<String>,
    #[command(flatten)]
    cluster: ClusterFlags,
    /// The databases, all of one server: connection strings, URIs, or names from the configuration; with Velero, the
    /// server's own names [default: those of PG* variables; with Velero, all but postgres]
    #[arg(value_name = "DB")]
    databases: Vec<String>,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab backup --name nightly-001 postgresql://backup@db/shop
    state-lab backup --name nightly-001 --method logical --jobs 4 shop billing
    state-lab backup --name nightly-001 --method csi --namespace app \\
        --image registry/state-lab:0.1
    state-lab backup --name nightly-%Y%m%d-%H%M
    state-lab restore --snapshot nightly-001";

/// A name as it was given, with the time that it asks for.
fn named(pattern: &str) -> Result<BackupName, String> {
    dated(pattern, Timestamp::now())
}

/// A pattern of strftime(3) as a name; no name has a percent sign.
fn dated(pattern: &str, now: Timestamp) -> Result<BackupName, String> {
    let now = now.to_zoned(TimeZone::UTC);
    jiff::fmt::strtime::format(pattern, &now).map_err(|error| error.to_string())?.parse()
}

impl Backup {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        self.resume.check("backup")?;
        let config = globals.config()?;
        let Self {
            name,
            provider,
            method,
            prefer_standby,
            hash,
            store,
            resume: _,
            effort,
            wait,
            basebackup_claim,
            cluster,
            databases,
        } = self;
        let provider = providers::choose(provider.as_deref(), method.as_deref(), &config)?;
        let basebackup_claim = basebackup_claim.as_deref();
        let options = Options {
            config: &config,
            store: &store,
            cluster: &cluster,
            databases: Some(&databases),
            prefer_standby,
            basebackup_claim,
            point_in_time: None,
        };
        let provider = (provider.open)(&options)?;
        let plan = waiting(effort.plan(&config, hash.into()), wait);
        let request = BackupRequest { name, method, plan };
        let taken = storing::watched(globals, "backing up", None, |watch| provider.backup(&request, watch))?;
        let document = BackupDocument::new(&taken);
        let printed = globals.terminal().result(&document, |style| restore::backup(&taken, style));
        storing::report_left(&taken.left);
        printed?;
        Ok(taken.record.as_ref().map_or(Exit::FAIL, provable))
    }
}

/// The plan with the limit of the flag, where it is given.
fn waiting(mut plan: Plan, wait: Option<Period>) -> Plan {
    if let Some(wait) = wait {
        plan.limits.anchor_timeout_ms = wait.ms_u32();
    }
    plan
}

/// A complete backup may still be one of which nothing, or not all, can be verified.
fn provable(record: &BackupRecord) -> Exit {
    let mut exit = Exit::PASS;
    for database in &record.databases {
        let lack = match (&database.unproven, database.not_covered.len()) {
            (Some(_), _) => "cannot be verified".to_owned(),
            (None, 0) => continue,
            (None, 1) => "does not cover 1 object of it".to_owned(),
            (None, objects) => format!("does not cover {objects} objects of it"),
        };
        terminal::print_note(&format!(
            "the backup of {} is complete, but its manifest {lack}\n",
            database.name
        ));
        exit = Exit::INCONCLUSIVE;
    }
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_ask_for_the_time() {
        let now: Timestamp = "2026-11-21T02:17:09Z".parse().unwrap();
        let name = |pattern| dated(pattern, now).map(|name| name.to_string());
        assert_eq!(name("nightly-001").unwrap(), "nightly-001");
        assert_eq!(name("nightly-%Y%m%d-%H%M").unwrap(), "nightly-20261121-0217");
        for refused in ["nightly-%", "nightly-%!", "nightly-%Y/%m", "%H:%M"] {
            assert!(name(refused).is_err(), "{refused}");
        }
    }
}
