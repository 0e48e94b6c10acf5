//! `restore`: a backup into a validation place, verified, timed, and cleaned up.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use verify_core::plan::Plan;

use super::storing::{self, StoreFlag};
use crate::cli::Globals;
use crate::exit::Exit;
use crate::interrupt;
use crate::provider::Watch;
use crate::provider::local::{self, BackupName, RestoreRequest, Restored};
use crate::render::restore;
use crate::terminal;

/// Restore a backup on this machine, verify every row, and measure RTO and RPO
///
/// The copy runs on a private socket, with nothing of the source's configuration, so that it reaches nobody. The stored
/// backup is only read. Whatever is made is removed at the end, also after Ctrl-C; what a killed run left is removed
/// by the next one. The report is kept beside the backup.
///
/// Needs room for a copy in the temporary directory (TMPDIR), and a PostgreSQL server of the same major version.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Restore {
    /// The backup's name
    #[arg(long, value_name = "NAME")]
    snapshot: BackupName,
    #[command(flatten)]
    store: StoreFlag,
    /// How many connections load and read at once
    #[arg(short, long, value_name = "N", default_value = "2")]
    jobs: NonZeroUsize,
    /// When the source was lost, as in 2026-11-21T03:14:00Z [default: when the restore begins]
    #[arg(long, value_name = "TIME")]
    incident: Option<Timestamp>,
    /// Leave the restored server running
    #[arg(long)]
    keep: bool,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab restore --snapshot nightly-001
    state-lab restore --snapshot nightly-001 --incident 2026-11-21T03:14:00Z --output json | jq .rpo
    state-lab restore --snapshot nightly-001 --keep";

impl Restore {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        storing::with_status("restore_status", globals, || self.restore(globals))
    }

    fn restore(self, globals: &Globals) -> Result<Exit> {
        let Self { snapshot, store, jobs, incident, keep } = self;
        let config = globals.config()?;
        let request = RestoreRequest {
            store: store.open(&config)?,
            name: snapshot,
            plan: Plan { jobs, invariants: config.invariants(), limits: config.limits(), ..Plan::default() },
            objectives: config.objectives(),
            incident,
        };
        let progress = globals.terminal().progress("restoring");
        let on_step = |doing: &str| storing::tell_step(globals, doing);
        let watch =
            Watch { on_event: &|event| progress.take(event), on_step: &on_step, asked: interrupt::asked };
        let restored = local::restore(&request, &watch)?;
        drop(progress);
        print(&restored, globals)?;
        let exit = restored.verdict().into();
        if keep {
            tell_kept(restored)?;
        }
        Ok(exit)
    }
}

fn print(restored: &Restored, globals: &Globals) -> Result<()> {
    let first = restored.reports.first();
    let json = serde_json::json!({
        "restore_status": "success",
        "integrity_checks": restored.integrity(),
        "verdict": restored.verdict(),
        "rto": first.and_then(|report| report.rto.as_ref()),
        "rpo": first.and_then(|report| report.rpo.as_ref()),
        "reports": restored.reports,
        "report_files": restored.report_files,
    });
    let databases: Vec<String> =
        restored.databases.iter().map(|database| database.database().to_owned()).collect();
    globals.terminal().result(&json, |style| {
        let mut text = restore::restore(&restored.reports, &databases, restored.integrity(), style);
        for file in &restored.report_files {
            text.push_str(&format!("report: {}\n", file.display()));
        }
        text
    })
}

fn tell_kept(restored: Restored) -> Result<()> {
    let database = restored.databases.first().map_or("postgres", |database| database.database()).to_owned();
    let (conninfo, pid) = (restored.conninfo(&database), restored.server.pid());
    let path = restored.keep()?;
    terminal::tell(&format!(
        "the restored server runs on, as process {pid}; connect to it with\n    psql \"{conninfo}\"\nstop and remove it \
         with\n    state-lab cleanup\nIts files are in {}\n",
        path.display()
    ));
    Ok(())
}
