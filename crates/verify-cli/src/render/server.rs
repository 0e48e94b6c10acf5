//! All databases of a server: their captures and their verification, as text and as JSON.

use std::cmp::Reverse;
use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};
use schemars::JsonSchema;
use serde::Serialize;
use verify_core::finding::{Finding, Verdict, severities};
use verify_core::manifest::{Content, Manifest, TableEntry};
use verify_core::not_covered::NotCovered;
use verify_core::report::Report;
use verify_drill::failure::Failure;
use verify_drill::quantity::{bytes, count};

use super::style::{Ink, Style};
use super::text;
use crate::exit::Exit;
use crate::failure;

/// A database that could not be captured or verified.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FailedDatabase {
    /// Its name, or the path of a manifest that cannot be read.
    pub(crate) database: String,
    /// Reason.
    pub(crate) error: Failure,
}

impl FailedDatabase {
    /// The database or manifest that an error is of.
    pub(crate) fn new(database: String, error: &anyhow::Error) -> Self {
        Self { database, error: failure::of(error, Exit::COULD_NOT_RUN) }
    }
}

/// Manifests of all databases of a server.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ServerCapture {
    /// Directory of the manifests.
    pub(crate) path: String,
    /// Pass if each database is captured, and each manifest covers its whole database.
    pub(crate) verdict: Verdict,
    /// The databases that were captured.
    pub(crate) manifests: Vec<CapturedDatabase>,
    /// The databases that could not be captured.
    pub(crate) errors: Vec<FailedDatabase>,
    /// Databases that accept no connections, and are not captured.
    pub(crate) closed: Vec<String>,
}

/// A database that was captured.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CapturedDatabase {
    database: String,
    /// Path of the manifest.
    path: String,
    /// Pass if the manifest covers the whole database.
    verdict: Verdict,
    tables: u64,
    rows: u64,
    bytes: u64,
    not_covered: Vec<NotCovered>,
}

impl CapturedDatabase {
    /// The capture whose manifest is at `path`.
    pub(crate) fn new(manifest: &Manifest, path: String) -> Self {
        let size = |entry: &TableEntry| match &entry.content {
            Content::Rows { bytes, .. } => *bytes,
            Content::Unreadable(_) | Content::Rewritten(_) | Content::Damaged(_) => 0,
        };
        let is_empty = manifest.tables.is_empty();
        Self {
            database: manifest.header.source.database.clone(),
            path,
            verdict: manifest.verdict_of_several(),
            tables: manifest.tables.len() as u64,
            rows: manifest.tables.iter().map(TableEntry::rows).sum(),
            bytes: manifest.tables.iter().map(size).sum(),
            not_covered: if is_empty { Vec::new() } else { manifest.not_covered() },
        }
    }
}

impl ServerCapture {
    /// The captures of a server's databases. If none of them has a table, nothing was captured.
    pub(crate) fn new(
        path: String,
        manifests: Vec<CapturedDatabase>,
        errors: Vec<FailedDatabase>,
        closed: Vec<String>,
    ) -> Self {
        let is_empty = manifests.iter().all(|captured| captured.tables == 0);
        let open = (is_empty || !errors.is_empty()).then_some(Verdict::Inconclusive);
        let verdict = Verdict::worst(manifests.iter().map(|captured| captured.verdict).chain(open));
        Self { path, verdict, manifests, errors, closed }
    }

    /// How the process is to end.
    pub(crate) fn exit(&self) -> Exit {
        exit(self.verdict, &self.errors)
    }

    /// Plain text.
    pub(crate) fn text(&self, style: &Style) -> String {
        let Self { path, verdict, manifests, errors, closed } = self;
        let mut text = format!("manifests: {path}\n");
        let _ = writeln!(text, "verdict: {}\n", style.paint((*verdict).into(), &verdict.to_string()));
        let mut lines = Lines::new(["DATABASE", "VERDICT", "TABLES", "ROWS", "SIZE"], 2);
        for CapturedDatabase { database, path: _, verdict, tables, rows, bytes: size, not_covered: _ } in
            manifests
        {
            lines.add([style.cut(database), verdict.to_string(), count(*tables), count(*rows), bytes(*size)]);
        }
        for FailedDatabase { database, error: _ } in errors {
            let nothing = || "-".to_owned();
            lines.add([style.cut(database), COULD_NOT_RUN.to_owned(), nothing(), nothing(), nothing()]);
        }
        text.push_str(&lines.text());
        for captured in manifests.iter().filter(|captured| !captured.not_covered.is_empty()) {
            let _ = writeln!(text, "\ndatabase {}:", style.cut(&captured.database));
            text::gaps(&mut text, &captured.not_covered, style);
        }
        failed(&mut text, errors, style);
        if !closed.is_empty() {
            let names: Vec<String> = closed.iter().map(|name| style.cut(name)).collect();
            let _ =
                writeln!(text, "\ndatabases that accept no connections, not captured: {}", names.join(", "));
        }
        text
    }
}

/// The verification of all databases of a server.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ServerVerification {
    /// The worst verdict. A database that could not be verified leaves it inconclusive at best.
    pub(crate) verdict: Verdict,
    /// Databases that only one of the servers has, or of which there is no manifest.
    pub(crate) findings: Vec<Finding>,
    /// A report for each database.
    pub(crate) reports: Vec<Report>,
    /// The databases that could not be verified.
    pub(crate) errors: Vec<FailedDatabase>,
}

impl ServerVerification {
    /// The verdict over all databases.
    pub(crate) fn new(findings: Vec<Finding>, reports: Vec<Report>, errors: Vec<FailedDatabase>) -> Self {
        let of_findings = Verdict::of(severities(&findings));
        let open = (!errors.is_empty()).then_some(Verdict::Inconclusive);
        let of_reports = Verdict::worst(reports.iter().map(Report::verdict));
        let verdict = Verdict::worst([of_findings, of_reports].into_iter().chain(open));
        Self { verdict, findings, reports, errors }
    }

    /// How the process is to end.
    pub(crate) fn exit(&self) -> Exit {
        exit(self.verdict, &self.errors)
    }

    /// Plain text: the verdict, a line for each database, then their reports.
    pub(crate) fn text(&self, style: &Style) -> String {
        let Self { verdict, findings, reports, errors } = self;
        let mut text =
            format!("integrity_checks: {}\n\n", style.paint((*verdict).into(), &verdict.to_string()));
        let mut lines = Lines::new(["DATABASE", "VERDICT", "TABLES", "ROWS"], 2);
        for report in reports {
            let coverage = report.comparison().coverage();
            let verdict = report.verdict().to_string();
            lines.add([name(report, style), verdict, count(coverage.tables), count(coverage.rows)]);
        }
        for FailedDatabase { database, error: _ } in errors {
            lines.add([style.cut(database), COULD_NOT_RUN.to_owned(), "-".to_owned(), "-".to_owned()]);
        }
        text.push_str(&lines.text());
        if !findings.is_empty() {
            text.push('\n');
            let mut findings: Vec<&Finding> = findings.iter().collect();
            findings.sort_by_key(|finding| Reverse(finding.severity()));
            text::list(&mut text, &findings, style);
        }
        for report in reports {
            let verdict = style.paint(report.verdict().into(), &report.verdict().to_string());
            let _ = writeln!(text, "\ndatabase {}: {verdict}\n", name(report, style));
            text.push_str(&text::body(report, style));
        }
        failed(&mut text, errors, style);
        text
    }
}

const COULD_NOT_RUN: &str = "could not run";

fn exit(verdict: Verdict, errors: &[FailedDatabase]) -> Exit {
    Exit::worst([verdict.into()].into_iter().chain(errors.iter().map(|_| Exit::COULD_NOT_RUN)))
}

/// The name of a report's database.
fn name(report: &Report, style: &Style) -> String {
    style.cut(report.source.database.as_ref().map_or(&report.source.place, |source| &source.database))
}

/// Writes why databases could not be captured or verified.
fn failed(text: &mut String, errors: &[FailedDatabase], style: &Style) {
    for FailedDatabase { database, error } in errors {
        let status = style.paint(Ink::Bad, COULD_NOT_RUN);
        let _ = writeln!(text, "\ndatabase {}: {status}\n", style.cut(database));
        text.push_str(&failure::text(error, style));
    }
}

/// A line for each of several things, in columns.
pub(crate) struct Lines(Table);

impl Lines {
    /// Columns with these heads; from the one with this index on they are numbers.
    pub(crate) fn new<const N: usize>(heads: [&str; N], numbers_from: usize) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(heads);
        for index in numbers_from..N {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self(table)
    }

    pub(crate) fn add<const N: usize>(&mut self, cells: [String; N]) {
        self.0.add_row(cells);
    }

    pub(crate) fn text(&self) -> String {
        self.0.lines().map(|line| format!("{}\n", line.trim())).collect()
    }
}
