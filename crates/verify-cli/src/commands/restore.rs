//! `restore`: a backup into a validation place, verified, timed, and cleaned up.

use std::fs::{self, Permissions};
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use jiff::Timestamp;
use verify_core::plan::Plan;

use super::cluster_flags::ClusterFlags;
use super::measuring::{Checks, jobs};
use super::point_in_time::PointInTimeFlags;
use super::storing::{self, StoreFlag};
use crate::config::Config;
use crate::evidence::EvidenceFlags;
use crate::exit::Exit;
use crate::globals::Globals;
use crate::providers::{self, Options};
use crate::render::document::{RestoreDocument, Status};
use crate::render::{doctor, restore};
use crate::risks::{Pending, Touched};
use crate::terminal;
use verify_doctor::Risks;
use verify_drill::backup_name::BackupName;
use verify_drill::hint::Hinted;
use verify_drill::provider::{Provider, RestoreRequest, RestoredCopy};
use verify_drill::store::{Draft as _, Existing, FileDraft};
use verify_drill::{openmetrics, recovery};

/// Restore a backup in isolation, verify every row, and measure RTO and RPO
///
/// The copy runs on a private socket, without the source's configuration. The stored backup is only read. Everything
/// that the run creates is removed at the end, also after Ctrl-C; the next run removes what a killed one left
/// behind. The report is stored beside the backup.
///
/// On this machine it needs space for a copy in the temporary directory (TMPDIR), and a PostgreSQL server of the same
/// major version. A backup by Velero is restored into a namespace of its own, without ingress and egress; only the
/// database's volume is restored, and only the server that verifies it is started on it.
#[derive(Args)]
#[command(after_help = EXAMPLES, mut_arg("context", |context| context.visible_alias("to-context")))]
pub(crate) struct Restore {
    /// The backup's name
    #[arg(long, value_name = "NAME", required_unless_present_any = ["latest", "with"])]
    snapshot: Option<BackupName>,
    /// Instead of a name: the newest verifiable backup of the namespace that Velero completed; a flag of its own,
    /// because a backup may be named "latest"
    #[arg(long, conflicts_with = "snapshot", help_heading = "Kubernetes")]
    latest: bool,
    /// Provider of the backup [default: velero if the configuration has a [velero] table, else local]
    #[arg(long, value_name = "WHO", value_parser = providers::names())]
    provider: Option<String>,
    /// Restore a backup that another tool made, by the tool itself; without --snapshot the newest one that can be
    /// recovered to the manifest's point in time
    #[arg(
        long, value_name = "TOOL", value_parser = providers::tool_names(), requires = "manifest",
        conflicts_with_all = ["latest", "provider", "store", "archive", "to_capture"], help_heading = "Other tools"
    )]
    with: Option<String>,
    /// Manifest to verify it against, captured after the backup: a file, or s3://bucket/key. With --to-time, --to-lsn, --to-name or
    /// --before-transaction it tells the cluster alone, and no row is compared
    #[arg(long, value_name = "PATH", requires = "with", help_heading = "Other tools")]
    manifest: Option<PathBuf>,
    #[command(flatten)]
    store: StoreFlag,
    #[command(flatten)]
    checks: Checks,
    /// Number of parallel connections
    #[arg(short, long, value_name = "N", default_value = "2", value_parser = jobs, allow_negative_numbers = true)]
    jobs: NonZeroUsize,
    /// Time at which the source was lost, for example 2026-11-21T03:14:00Z [default: the start of the restore]
    #[arg(long, value_name = "TIME")]
    incident: Option<Timestamp>,
    /// Keep the restored server running
    #[arg(long)]
    keep: bool,
    /// Write the result as OpenMetrics text, for example for node_exporter's textfile collector. A restore that could
    /// not run leaves an existing file unchanged, so that its last success becomes old
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    #[command(flatten)]
    point_in_time: PointInTimeFlags,
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(flatten)]
    evidence: EvidenceFlags,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab restore --snapshot nightly-001
    state-lab restore --snapshot nightly-001 --incident 2026-11-21T03:14:00Z
    state-lab restore --snapshot nightly-001 --keep
    state-lab restore --snapshot base --archive /wal --to-capture noon.manifest
    state-lab restore --snapshot base --archive /wal --before-transaction 48213
    state-lab restore --with pgbackrest --manifest shop.manifest
    state-lab restore --with barman --manifest shop.manifest \\
        --to-time 2026-11-21T03:14:00Z
    state-lab restore --latest --metrics /var/lib/node_exporter/restore.prom
    state-lab restore --snapshot nightly-001 --provider velero \\
        --to-context recovery --location region-b";

impl Restore {
    /// The metrics to write.
    pub(crate) fn output(&self) -> Option<&Path> {
        self.metrics.as_deref()
    }

    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let config = globals.config()?;
        let Self {
            snapshot,
            latest: _,
            provider,
            with,
            manifest,
            store,
            checks,
            jobs,
            incident,
            keep,
            metrics,
            point_in_time,
            cluster,
            evidence,
        } = self;
        let evidence = evidence.begin("restore", &config, globals)?;
        let (request, restored, metrics, risks) = evidence.watch(|| {
            let tool = with.as_deref().zip(manifest.as_deref());
            let (provider, in_cluster): (Arc<dyn Provider>, _) = match tool {
                Some((tool, manifest)) => {
                    let target = point_in_time.target(&config)?;
                    (providers::of_tool(tool, manifest, target, &config)?.into(), None)
                }
                None => {
                    let entry = providers::choose(provider.as_deref(), None, &config)?;
                    let point_in_time = point_in_time.open(&config)?;
                    if entry.in_cluster && point_in_time.is_some() {
                        let text = "failed to recover to a point in time: only the provider local can";
                        return Err(Hinted::new(
                            text,
                            "set --provider local, and name a base backup of this machine",
                        )
                        .into());
                    }
                    let options = Options { point_in_time, ..Options::new(&config, &store, &cluster) };
                    ((entry.open)(&options)?.into(), Some(entry.in_cluster))
                }
            };
            let metrics = MetricsFile::begin(metrics)?;
            let name = match snapshot {
                Some(name) => name,
                None => storing::with_steps(globals, Some(&evidence), |watch| provider.latest(watch))?,
            };
            let examination = Pending::begin(touched(in_cluster, &name, &config, store, cluster));
            let plan = checks.limit(plan(jobs, &config));
            let request = RestoreRequest { name, plan, objectives: config.objectives(), incident, keep };
            let (publisher, backup) = (Arc::clone(&provider), request.name.clone());
            evidence.publish_with(move |report| publisher.publish_evidence(&backup, report));
            let restored = storing::watched(globals, "restoring", Some(&evidence), |watch| {
                provider.restore(&request, watch)
            })?;
            Ok((request, restored, metrics, examination.finish()))
        })?;
        let document = document(&request.name, &restored, risks.as_ref());
        evidence.conclude(&document, restored.verdict().into(), || {
            metrics.keep(&request.name, &restored)?;
            let printed = print(&document, &restored, globals);
            for warning in &restored.warnings {
                terminal::print_note(&format!("{warning}\n"));
            }
            storing::report_left(&restored.left);
            if let Some(kept) = &restored.kept {
                terminal::print_note(&format!("{}\n", kept.note));
            }
            printed
        })
    }
}

fn plan(jobs: NonZeroUsize, config: &Config) -> Plan {
    config.with_invariants(Plan::default().with_jobs(jobs)).with_limits(config.limits())
}

/// Objects that a restore touches; `in_cluster` is `None` for backups of other tools, of which only the tool knows.
fn touched(
    in_cluster: Option<bool>,
    backup: &BackupName,
    config: &Config,
    store: StoreFlag,
    cluster: ClusterFlags,
) -> Touched {
    let config = config.clone();
    match in_cluster {
        None => Touched { config, backup: None, database: None, store: None, cluster: None },
        Some(true) => Touched { config, backup: None, database: None, store: None, cluster: Some(cluster) },
        Some(false) => {
            let backup = Some(backup.clone());
            Touched { config, backup, database: None, store: Some(store), cluster: None }
        }
    }
}

fn document<'a>(
    backup: &'a BackupName,
    restored: &'a RestoredCopy,
    doctor: Option<&'a Risks>,
) -> RestoreDocument<'a> {
    let RestoredCopy { reports, report_files, origin, target, .. } = restored;
    RestoreDocument {
        restore_status: Status::Success,
        backup: backup.as_str(),
        origin,
        target,
        integrity_checks: restored.integrity(),
        verdict: restored.verdict(),
        rto: reports.first().and_then(|report| report.rto.as_ref()),
        rpo: recovery::bound(reports),
        reports,
        report_files,
        conninfo: restored.kept.as_ref().map(|kept| kept.conninfo.as_str()),
        doctor,
    }
}

fn print(document: &RestoreDocument<'_>, restored: &RestoredCopy, globals: &Globals) -> Result<()> {
    let RestoredCopy { reports, databases, report_files, .. } = restored;
    globals.terminal().result(document, |style| {
        let mut text = restore::restore(reports, databases, document.integrity_checks, style);
        for file in report_files {
            text.push_str(&format!("report: {file}\n"));
        }
        text.push_str(&doctor::risks(document.doctor, style));
        text
    })
}

/// The file of metrics, where one was asked for.
struct MetricsFile(Option<(PathBuf, FileDraft)>);

impl MetricsFile {
    /// Made before the work begins, so that a place that cannot be written to costs no restore.
    fn begin(path: Option<PathBuf>) -> Result<Self> {
        let begun = path.map(|path| FileDraft::new(&path, Existing::Replace).map(|draft| (path, draft)));
        Ok(Self(begun.transpose()?))
    }

    fn keep(self, backup: &BackupName, restored: &RestoredCopy) -> Result<()> {
        let Some((path, draft)) = self.0 else { return Ok(()) };
        let text = openmetrics::metrics(backup.as_str(), &restored.databases, &restored.reports);
        Box::new(draft).keep(&mut |to| Ok(to.write_all(text.as_bytes())?))?;
        // A collector is another user; there is no row in it.
        fs::set_permissions(&path, Permissions::from_mode(0o644))
            .with_context(|| format!("failed to make {} readable for others", path.display()))
    }
}
