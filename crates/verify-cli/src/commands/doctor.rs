//! `doctor`: posture before the disaster.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use verify_doctor::drift::State;
use verify_doctor::{Selection, examine};
use verify_drill::hint::Hinted;
use verify_drill::store::{Draft, Existing, FileDraft};

use super::cluster_flags::ClusterFlags;
use super::storing::{self, StoreFlag};
use crate::exit::Exit;
use crate::globals::Globals;
use crate::posture::{self, Request};
use crate::render::doctor;

/// Find what would harm the next restore, before it is needed
///
/// Examines the database server, its machine, stored backups and reports, and with --context or a [velero] table
/// Kubernetes and Velero, and changes nothing. Each finding has its effect on the next restore, and its remedy
/// (docs/doctor.md).
///
/// Checks that cannot be made are listed with the right that they need, and the exit status is then 3.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Doctor {
    /// The database: a connection string, a URI, or a name from the configuration [default: the only one there]
    #[arg(long, value_name = "DB")]
    database: Option<String>,
    #[command(flatten)]
    store: StoreFlag,
    /// Make these checks alone: codes, or the parts of codes before their point
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    only: Vec<String>,
    /// Make all checks but these
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    skip: Vec<String>,
    /// Write settings, versions, schedules, classes and policies to a file, as a known state
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// List what differs from a state that --save wrote
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterFlags,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab doctor --database shop
    state-lab doctor --database shop --only archive,slot --output json
    state-lab doctor --context production --save good.json
    state-lab doctor --context production --against good.json";

/// A larger file is not a state.
const STATE_BYTES_MAX: u64 = 64 << 20;

impl Doctor {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let Self { database, store, only, skip, save, against, cluster } = self;
        let config = globals.config()?;
        let selection = Selection { only: only.into_iter().collect(), skip: skip.into_iter().collect() };
        if let Some(unknown) = selection.unknown().first() {
            let text = format!("failed to choose checks: there is no code {unknown:?}");
            return Err(Hinted::new(
                text,
                "docs/doctor.md lists the codes; `archive` means all of archive.…",
            )
            .into());
        }
        let before = against.as_deref().map(read).transpose()?;
        let draft = save.as_deref().map(|path| FileDraft::new(path, Existing::Replace)).transpose()?;
        let request = Request {
            database: database.as_deref(),
            store: &store,
            cluster: &cluster,
            config: &config,
            through_pod: true,
        };
        let facts = storing::with_steps(globals, None, |watch| posture::facts(&request, watch))?;
        let mut examined = examine(&facts, &selection);
        if let Some(before) = before {
            examined = examined.with_drift(before.changes(&facts));
        }
        if let Some(draft) = draft {
            let state =
                serde_json::to_string_pretty(&State::of(&facts)).context("failed to write the state")?;
            Box::new(draft).keep(&mut |to| Ok(writeln!(to, "{state}")?))?;
        }
        globals.terminal().result(&examined, |style| doctor::examination(&examined, style))?;
        Ok(examined.verdict.into())
    }
}

/// Reads a state.
fn read(path: &Path) -> Result<State> {
    let doing = || format!("failed to read the state {}", path.display());
    let size = std::fs::metadata(path).with_context(doing)?.len();
    if size > STATE_BYTES_MAX {
        bail!("{}: it is too large", doing());
    }
    let text = std::fs::read(path).with_context(doing)?;
    let state: State = serde_json::from_slice(&text).map_err(|error| {
        Hinted::new(doing(), "write one with `state-lab doctor --save FILE`").because(error)
    })?;
    if !state.is_readable() {
        bail!("{}: it was written by another version; write a new one with --save", doing());
    }
    Ok(state)
}
