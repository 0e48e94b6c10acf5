//! `capture`: one pass over a database under one snapshot becomes its manifest.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use verify_core::capture;
use verify_core::capture_part::{capture_part, capture_part_like};
use verify_core::digest::HashKey;
use verify_core::manifest::Manifest;
use verify_core::partial::PartNumber;
use verify_core::postgres::SnapshotId;

use super::measuring::{Effort, Hash};
use super::server_capture;
use crate::connect::Target;
use crate::exit::Exit;
use crate::globals::Globals;
use crate::journal_file::NoResumeFlag;
use crate::key_file;
use crate::render::manifest::Summary;
use crate::render::part::PartSummary;
use crate::store;
use verify_drill::store::{Draft, Existing};

/// Measure a database under one snapshot, and write its manifest
///
/// Reads every row of every table once, under one snapshot, and writes what `verify` needs later, without the database:
/// a digest of each table, a sketch that identifies lost rows, sequences, and the invariants of the
/// configuration. Nothing is written to the database, which may be a standby: what its recovery cancels is read again, up to
/// five times in all, under a new snapshot.
///
/// The file is written atomically, and readable by its owner only. A table that cannot be read is listed in it with
/// the reason; the exit status is then 3, or 1 if the server found its data damaged.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Capture {
    /// The database: a connection string, a URI, or a name from the configuration
    #[arg(value_name = "DB")]
    database: String,
    /// The manifest to write: a file, or s3://bucket/key; with --all-databases a new directory, or s3://bucket/prefix
    #[arg(short = 'o', long = "out", value_name = "PATH")]
    path: PathBuf,
    /// Capture all databases of the server but templates and those that accept no connections, one after another, each into a manifest
    /// that has its name. If one cannot be captured, the others are, and the exit status is 2
    #[arg(long, conflicts_with = "force")]
    all_databases: bool,
    /// Replace an existing manifest; it may be the only evidence of an older backup
    #[arg(long)]
    force: bool,
    /// Read from a standby if one can be found: among the hosts of DB (as target_session_attrs=prefer-standby does), else
    /// among those that stream from it and listen at its port; else from DB itself
    #[arg(long)]
    prefer_standby: bool,
    /// Read the snapshot that another session exported (SELECT pg_export_snapshot()), as `pg_dump --snapshot` does. That session must keep
    /// its transaction open until reading begins
    #[arg(long, value_name = "ID", conflicts_with_all = ["all_databases", "prefer_standby"])]
    snapshot_id: Option<SnapshotId>,
    /// Capture only part I of N. The other parts are captured by other processes, on as many machines as you like, under the same
    /// snapshot and with the same key; `merge` makes the manifest of all parts. An Indexed Job numbers from 0, so 0/N is N/N
    #[arg(long, value_name = "I/N", requires_all = ["snapshot_id", "key_of_parts"])]
    part: Option<PartNumber>,
    /// A file with the key of the hash for rows: 64 hexadecimal digits, the same for all parts. It must be drawn after the snapshot was
    /// exported (openssl rand -hex 32), so that who wrote the rows could not know it
    #[arg(long, value_name = "PATH", requires = "part", group = "key_of_parts")]
    key_file: Option<PathBuf>,
    /// Measure a restored database as this manifest of its source was measured, with its key, hash and columns: `verify --rows` uses the
    /// rows of all parts
    #[arg(long, value_name = "MANIFEST", requires = "part", conflicts_with = "hash", group = "key_of_parts")]
    like: Option<PathBuf>,
    /// Hash function for rows
    #[arg(long, value_enum, default_value_t = Hash::Blake3, value_name = "HASH")]
    hash: Hash,
    #[command(flatten)]
    resume: NoResumeFlag,
    #[command(flatten)]
    effort: Effort,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab capture postgresql://backup@db/shop -o shop.manifest
    state-lab capture shop -o /backups/$(date +%F).manifest --jobs 4
    state-lab capture shop -o s3://evidence/shop/$(date +%F).manifest
    state-lab capture --all-databases \"host=db\" -o /backups/$(date +%F)
    state-lab capture \"service=shop\" -o shop.manifest --hash sha256
    state-lab capture shop -o shop.manifest --snapshot-id 00000003-0000001B-1
    state-lab capture shop -o 2.part --snapshot-id 00000003-0000001B-1 \\
        --part 2/3 --key-file key
    state-lab capture restored -o 2.part --snapshot-id 00000003-0000001B-1 \\
        --part 2/3 --like shop.manifest";

/// How the rows of a part are measured.
enum Like {
    /// As they are found, with this key.
    Key(HashKey),
    /// As those of the source.
    Manifest(Box<Manifest>),
}

impl Capture {
    /// The manifest to write.
    pub(crate) fn output(&self) -> &Path {
        &self.path
    }

    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let Self {
            database,
            path,
            all_databases,
            force,
            prefer_standby,
            snapshot_id,
            part,
            key_file,
            like,
            hash,
            resume,
            effort,
        } = self;
        resume.check("capture")?;
        let config = globals.config()?;
        let target = Target::find(&database, &config)?;
        let target = if prefer_standby { target.preferring_standby()? } else { target };
        let plan = effort.plan(&config, hash.into());
        if all_databases {
            return server_capture::run(&path, &target, &plan, config.s3(), globals);
        }
        let part = match (part, key_file, like) {
            (Some(part), Some(file), _) => Some((part, Like::Key(key_file::read(&file)?))),
            (Some(part), None, Some(path)) => {
                Some((part, Like::Manifest(Box::new(store::read_manifest(&path, config.s3())?))))
            }
            _ => None,
        };
        let draft =
            store::draft(&path, config.s3(), if force { Existing::Replace } else { Existing::Refuse })?;
        let progress = globals.terminal().progress("capturing");
        let source = target.database().or_standby();
        let source = match snapshot_id {
            Some(snapshot) => source.under(snapshot),
            None => source,
        };
        let doing = || format!("failed to capture {}", target.place);
        let on_event = |event| progress.take(event);
        if let Some((part, like)) = part {
            let captured = match like {
                Like::Key(key) => capture_part(&source, part, key, &plan, &on_event),
                Like::Manifest(manifest) => capture_part_like(&source, part, &manifest, &plan, &on_event),
            };
            let partial = captured.with_context(doing)?;
            drop(progress);
            draft.keep(&mut |to| Ok(partial.write(to)?))?;
            let summary = PartSummary::new(&partial, &path);
            globals.terminal().result(&summary, |style| summary.text(style))?;
            return Ok(summary.verdict().into());
        }
        let manifest = capture::capture(&source, &plan, &on_event).with_context(doing)?;
        drop(progress);
        keep(&manifest, draft, &path, globals)
    }
}

/// Keeps a manifest as `path`, and prints what it has.
pub(super) fn keep(
    manifest: &Manifest,
    draft: Box<dyn Draft>,
    path: &Path,
    globals: &Globals,
) -> Result<Exit> {
    draft.keep(&mut |to| Ok(manifest.write(to)?))?;
    let summary = Summary::new(manifest, path);
    globals
        .terminal()
        .result(&summary, |style| format!("manifest: {}\n{}", path.display(), summary.text(false, style)))?;
    Ok(summary.verdict().into())
}
