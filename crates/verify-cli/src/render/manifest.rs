//! A manifest in short: what was measured of which database, without the sketches.

use std::fmt::Write;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use schemars::JsonSchema;
use serde::Serialize;
use verify_core::database::NOT_POPULATED;
use verify_core::digest::{HashAlgorithm, Sum};
use verify_core::finding::Verdict;
use verify_core::heartbeat::Pulse;
use verify_core::invariant::Evaluated;
use verify_core::manifest::{Content, Manifest, Source, TableEntry};
use verify_core::names::Names;
use verify_core::not_covered::NotCovered;
use verify_core::report::Instant;
use verify_core::sequence::Sequence;
use verify_core::table::KeySource;

use super::style::Style;
use super::text::{captured, database, gaps};
use verify_drill::quantity::{bytes, count, counted};

/// A manifest without what only machines need: keys of hashes, lists of rows, sketches.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Summary<'a> {
    /// Path of the manifest.
    path: String,
    /// Pass if the manifest covers the whole database.
    verdict: Verdict,
    source: &'a Source,
    #[serde(flatten)]
    instant: Instant,
    lsn: &'a str,
    hash: HashAlgorithm,
    rows: u64,
    bytes: u64,
    tables: Vec<TableLine<'a>>,
    sequences: &'a [Sequence],
    /// Number of objects whose definitions it has.
    definitions: u64,
    invariants: &'a [Evaluated],
    pulse: &'a Pulse,
    not_covered: Vec<NotCovered>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct TableLine<'a> {
    name: String,
    key: String,
    #[serde(flatten)]
    content: ContentLine<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "content")]
enum ContentLine<'a> {
    Rows { rows: u64, bytes: u64, sum: Sum, names: &'static str },
    Unreadable { reason: &'a str },
    Rewritten { reason: &'a str },
    Damaged { reason: &'a str },
}

impl<'a> Summary<'a> {
    /// The summary of a manifest, which is at `path`.
    pub fn new(manifest: &'a Manifest, path: &Path) -> Self {
        let Manifest { header, tables, sequences, definitions, cluster, invariants, pulse } = manifest;
        let size = |entry: &TableEntry| match &entry.content {
            Content::Rows { bytes, .. } => *bytes,
            Content::Unreadable(_) | Content::Rewritten(_) | Content::Damaged(_) => 0,
        };
        Self {
            path: path.display().to_string(),
            source: &header.source,
            instant: Instant::from(header),
            lsn: &header.lsn,
            hash: header.hash,
            rows: tables.iter().map(TableEntry::rows).sum(),
            bytes: tables.iter().map(size).sum(),
            tables: tables.iter().map(TableLine::new).collect(),
            sequences,
            definitions: definitions.count() + cluster.count(),
            invariants,
            pulse,
            not_covered: manifest.not_covered(),
            verdict: manifest.verdict(),
        }
    }

    /// Returns pass if the whole database was measured.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Plain text; `tables` lists them one by one.
    pub fn text(&self, tables: bool, style: &Style) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "source: {}", database(self.source, style));
        let _ = writeln!(text, "captured: {}", captured(&self.instant));
        let _ = writeln!(
            text,
            "holds: {}, {} ({}), {}, {}, {}",
            counted(self.tables.len() as u64, "table"),
            counted(self.rows, "row"),
            bytes(self.bytes),
            counted(self.sequences.len() as u64, "sequence"),
            counted(self.definitions, "definition"),
            counted(self.invariants.len() as u64, "invariant")
        );
        let _ = writeln!(text, "heartbeat: {}", heartbeat(self.pulse, style));
        gaps(&mut text, &self.not_covered, style);
        if !self.source.other_databases.is_empty() {
            let names: Vec<String> = self.source.other_databases.iter().map(|name| style.cut(name)).collect();
            let _ = writeln!(text, "other databases of the cluster, not covered: {}", names.join(", "));
        }
        if tables && !self.tables.is_empty() {
            let _ = writeln!(text, "\n{}", self.table(style));
        }
        text
    }

    fn table(&self, style: &Style) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["TABLE", "ROWS", "SIZE", "KEY", "NAMES"]);
        for line in &self.tables {
            let TableLine { name, key, content } = line;
            let key = style.cut(key);
            match content {
                ContentLine::Rows { rows, bytes: size, sum: _, names } => {
                    table.add_row([name.clone(), count(*rows), bytes(*size), key, (*names).to_owned()]);
                }
                unread => {
                    let unfilled =
                        matches!(unread, ContentLine::Unreadable { reason } if *reason == NOT_POPULATED);
                    table.add_row([
                        name.clone(),
                        "-".to_owned(),
                        "-".to_owned(),
                        key,
                        if unfilled { NOT_POPULATED } else { "not covered" }.to_owned(),
                    ]);
                }
            }
        }
        for column in [1, 2] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")
    }
}

impl<'a> TableLine<'a> {
    fn new(entry: &'a TableEntry) -> Self {
        let columns: Vec<String> = (entry.table.key.columns.iter())
            .map(|&i| verify_core::table::shown_identifier(&entry.table.columns[i].name))
            .collect();
        let key = match entry.table.key.source {
            KeySource::PrimaryKey | KeySource::UniqueIndex => columns.join(", "),
            KeySource::WholeRow => "(whole row)".to_owned(),
        };
        let content = match &entry.content {
            Content::Rows { digest, bytes, names } => {
                let names = match names {
                    Names::List { .. } => "all",
                    Names::Sketch(_) => "sketch",
                };
                ContentLine::Rows { rows: digest.rows, bytes: *bytes, sum: digest.sum, names }
            }
            Content::Unreadable(reason) => ContentLine::Unreadable { reason },
            Content::Rewritten(reason) => ContentLine::Rewritten { reason },
            Content::Damaged(reason) => ContentLine::Damaged { reason },
        };
        Self { name: entry.name().to_string(), key, content }
    }
}

fn heartbeat(pulse: &Pulse, style: &Style) -> String {
    match (&pulse.beat, pulse.stale()) {
        (None, _) => "none; the recovery point must be determined otherwise".to_owned(),
        (Some(beat), None) => {
            format!("beat {} of {} at {}", beat.id, style.cut(&beat.writer), beat.written_at)
        }
        (Some(beat), Some(age)) => {
            let writer = style.cut(&beat.writer);
            format!(
                "beat {} of {writer} at {}, silent for {} s then",
                beat.id,
                beat.written_at,
                age.as_secs()
            )
        }
    }
}
