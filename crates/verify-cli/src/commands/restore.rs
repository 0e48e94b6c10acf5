//! `restore`: a backup into a validation place, verified, timed, and cleaned up.

use std::fs::{self, Permissions};
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::Timestamp;
use verify_core::event;
use verify_core::finding::Verdict;
use verify_core::plan::Plan;
use verify_core::report::Report;

use super::cluster_flags::{ClusterFlags, Provider};
use super::measuring::jobs;
use super::storing::{self, StoreFlag};
use crate::cli::Globals;
use crate::config::Config;
use crate::exit::Exit;
use crate::render::document::{RestoreDocument, Status};
use crate::render::restore;
use crate::{store, terminal};
use verify_drill::backup_name::BackupName;
use verify_drill::interrupt;
use verify_drill::store::{Draft as _, Existing, FileDraft};
use verify_drill::watch::Watch;
use verify_drill::{openmetrics, recovery};
use verify_local::{RestoreRequest, Restored};
use verify_velero::provider as velero;

/// Restore a backup where it reaches nobody, verify every row, and measure RTO and RPO
///
/// The copy runs on a private socket, with nothing of the source's configuration. The stored backup is only read.
/// Whatever is made is removed at the end, also after Ctrl-C; what a killed run left is removed by the next one. The
/// report is kept beside the backup.
///
/// On this machine it needs room for a copy in the temporary directory (TMPDIR), and a PostgreSQL server of the same
/// major version. A backup of Velero's is restored into a namespace of its own, which lets nothing in or out; only the
/// database's volume comes back, and nothing starts on it but the server that verifies it.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Restore {
    /// The backup's name
    #[arg(long, value_name = "NAME", required_unless_present = "latest")]
    snapshot: Option<BackupName>,
    /// Instead of a name, the newest backup of the namespace that Velero completed and that can be proven; a flag of
    /// its own, since a backup may be called "latest"
    #[arg(long, conflicts_with = "snapshot", help_heading = "Kubernetes")]
    latest: bool,
    /// Who made it [default: velero where the configuration has a [velero] table, else local]
    #[arg(long, value_enum, value_name = "WHO")]
    provider: Option<Provider>,
    #[command(flatten)]
    store: StoreFlag,
    /// How many connections load and read at once
    #[arg(short, long, value_name = "N", default_value = "2", value_parser = jobs, allow_negative_numbers = true)]
    jobs: NonZeroUsize,
    /// When the source was lost, as in 2026-11-21T03:14:00Z [default: when the restore begins]
    #[arg(long, value_name = "TIME")]
    incident: Option<Timestamp>,
    /// Leave the restored server running
    #[arg(long)]
    keep: bool,
    /// Write the outcome as OpenMetrics text, as for node_exporter's textfile collector. A restore that could not be
    /// made leaves what is there, so that its last success grows old
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterFlags,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab restore --snapshot nightly-001
    state-lab restore --snapshot nightly-001 --incident 2026-11-21T03:14:00Z
    state-lab restore --snapshot nightly-001 --keep
    state-lab restore --latest --metrics /var/lib/node_exporter/restore.prom
    state-lab restore --snapshot nightly-001 --provider velero \\
        --context recovery --location region-b";

impl Restore {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let config = globals.config()?;
        match Provider::choose(self.provider, &config) {
            Provider::Local => self.with_local(&config, globals),
            Provider::Velero => self.with_velero(&config, globals),
        }
    }

    fn with_velero(self, config: &Config, globals: &Globals) -> Result<Exit> {
        let Self { snapshot, latest: _, provider: _, store: _, jobs, incident, keep, metrics, cluster } =
            self;
        let metrics = MetricsFile::begin(metrics)?;
        let settings = cluster.settings(config);
        let on_step = |doing: &str| globals.tell(doing);
        let name = match snapshot {
            Some(name) => name,
            None => velero::latest(
                &settings,
                store::open,
                &Watch { on_event: &event::ignore, on_step: &on_step, asked: interrupt::asked },
            )?,
        };
        let request = velero::RestoreRequest {
            name,
            open_store: store::open,
            settings,
            plan: plan(jobs, config),
            objectives: config.objectives(),
            incident,
            keep,
        };
        let restored = storing::watched(globals, "restoring", |watch| velero::restore(&request, watch))?;
        let outcome = Outcome {
            reports: &restored.reports,
            databases: &restored.databases,
            report_files: &restored.report_files,
            integrity: restored.integrity(),
            verdict: restored.verdict(),
        };
        metrics.keep(&request.name, &outcome)?;
        let printed = outcome.print(globals);
        for warning in &restored.warnings {
            terminal::tell(&format!("Velero warns: {warning}\n"));
        }
        storing::tell_left(&restored.left);
        if let Some(velero::Kept { namespace, pod, conninfo }) = &restored.kept {
            terminal::tell(&format!(
                "the restored server is still running; connect to it with\n    kubectl -n {namespace} exec -it {pod} -- psql \
                 \"{conninfo}\"\nremove it with\n    state-lab cleanup\n"
            ));
        }
        printed?;
        Ok(restored.verdict().into())
    }

    fn with_local(self, config: &Config, globals: &Globals) -> Result<Exit> {
        let Self { snapshot, latest: _, provider: _, store, jobs, incident, keep, metrics, cluster: _ } =
            self;
        let Some(snapshot) = snapshot else {
            bail!(
                "failed to choose a backup: --latest requires Velero; name a backup of this machine with --snapshot"
            );
        };
        let metrics = MetricsFile::begin(metrics)?;
        let request = RestoreRequest {
            store: store.open(config)?,
            name: snapshot,
            plan: plan(jobs, config),
            objectives: config.objectives(),
            incident,
        };
        let restored =
            storing::watched(globals, "restoring", |watch| verify_local::restore(&request, watch))?;
        let databases: Vec<String> =
            restored.databases.iter().map(|database| database.database().to_owned()).collect();
        let files: Vec<String> =
            restored.report_files.iter().map(|file| file.display().to_string()).collect();
        let outcome = Outcome {
            reports: &restored.reports,
            databases: &databases,
            report_files: &files,
            integrity: restored.integrity(),
            verdict: restored.verdict(),
        };
        metrics.keep(&request.name, &outcome)?;
        let printed = outcome.print(globals);
        let exit = restored.verdict().into();
        if keep {
            tell_kept(restored)?;
        }
        printed?;
        Ok(exit)
    }
}

fn plan(jobs: NonZeroUsize, config: &Config) -> Plan {
    Plan { jobs, invariants: config.invariants(), limits: config.limits(), ..Plan::default() }
}

/// What is printed of a restore, whoever made it.
struct Outcome<'a> {
    reports: &'a [Report],
    databases: &'a [String],
    report_files: &'a [String],
    integrity: Verdict,
    verdict: Verdict,
}

impl Outcome<'_> {
    fn print(&self, globals: &Globals) -> Result<()> {
        let Self { reports, databases, report_files, integrity, verdict } = self;
        let first = reports.first();
        let document = RestoreDocument {
            restore_status: Status::Success,
            integrity_checks: *integrity,
            verdict: *verdict,
            rto: first.and_then(|report| report.rto.as_ref()),
            rpo: recovery::bound(reports),
            reports,
            report_files,
        };
        globals.terminal().result(&document, |style| {
            let mut text = restore::restore(reports, databases, *integrity, style);
            for file in *report_files {
                text.push_str(&format!("report: {file}\n"));
            }
            text
        })
    }
}

/// The file of metrics, where one was asked for.
struct MetricsFile(Option<(PathBuf, FileDraft)>);

impl MetricsFile {
    /// Made before the work begins, so that a place that cannot be written to costs no restore.
    fn begin(path: Option<PathBuf>) -> Result<Self> {
        let begun = path.map(|path| FileDraft::new(&path, Existing::Replace).map(|draft| (path, draft)));
        Ok(Self(begun.transpose()?))
    }

    fn keep(self, backup: &BackupName, outcome: &Outcome<'_>) -> Result<()> {
        let Some((path, draft)) = self.0 else { return Ok(()) };
        let text = openmetrics::metrics(backup.as_str(), outcome.databases, outcome.reports);
        Box::new(draft).keep(&mut |to| Ok(to.write_all(text.as_bytes())?))?;
        // A collector is another user; there is no row in it.
        fs::set_permissions(&path, Permissions::from_mode(0o644))
            .with_context(|| format!("failed to make {} readable for others", path.display()))
    }
}

fn tell_kept(restored: Restored) -> Result<()> {
    let database = restored.databases.first().map_or("postgres", |database| database.database()).to_owned();
    let (conninfo, pid) = (restored.conninfo(&database), restored.server.pid());
    let path = restored.keep()?;
    terminal::tell(&format!(
        "the restored server is still running, as process {pid}; connect to it with\n    psql \"{conninfo}\"\nstop and remove it \
         with\n    state-lab cleanup\nIts files are in {}\n",
        path.display()
    ));
    Ok(())
}
