//! A backup and a restore as text: first the lines that machines may read.

use std::fmt::Write;

use verify_core::finding::Verdict;
use verify_core::report::Report;

use super::style::{Ink, Style, sentence};
use super::text;
use verify_drill::backup_record::{BackupRecord, DatabaseRecord, Method};
use verify_drill::quantity::{bytes, counted};
use verify_drill::recovery::recovery;

/// What was backed up.
pub(crate) fn backup(record: &BackupRecord, place: &str, style: &Style) -> String {
    let mut text = format!("backup_status: {}\n\n", style.paint(Ink::Good, "success"));
    let method = match record.method {
        Method::Physical => "physical (base backup)",
        Method::Logical => "logical (dump)",
        Method::Snapshot => "volume snapshot",
    };
    let _ = writeln!(text, "method: {method}, PostgreSQL {}", record.server.version);
    text.push_str(&captured(&record.databases, style));
    let took = record.ended_at.duration_since(record.started_at);
    let _ = writeln!(text, "size: {}, in {:.1} s", bytes(record.bytes), took.as_secs_f64());
    let _ = writeln!(text, "stored: {place}");
    text
}

/// The databases of a backup, and why what was captured of one proves nothing.
pub(super) fn captured(databases: &[DatabaseRecord], style: &Style) -> String {
    let mut text = String::new();
    for database in databases {
        let (tables, rows) = (counted(database.tables, "table"), counted(database.rows, "row"));
        let _ = writeln!(text, "database: {}: {tables}, {rows}", style.cut(&database.place));
        if let Some(reason) = &database.unproven {
            let _ =
                writeln!(text, "    {}: {}", style.paint(Ink::Doubtful, "inconclusive"), sentence(reason));
        }
        text::gaps(&mut text, &database.not_covered, style);
    }
    text
}

/// What a restore found: one verdict for all databases, then each.
pub(crate) fn restore(reports: &[Report], databases: &[String], integrity: Verdict, style: &Style) -> String {
    if let [report] = reports {
        return text::report(report, style);
    }
    let mut text = format!("restore_status: {}\n", style.paint(Ink::Good, "success"));
    let _ = writeln!(text, "integrity_checks: {}", style.paint(integrity.into(), &integrity.to_string()));
    let (rto, rpo) = recovery(reports);
    if let Some(rto) = rto {
        let _ = writeln!(text, "rto: {rto}");
    }
    let _ = writeln!(text, "rpo: {rpo}");
    for (report, database) in reports.iter().zip(databases) {
        let verdict = style.paint(report.verdict().into(), &report.verdict().to_string());
        let _ = writeln!(text, "\ndatabase {}: {verdict}\n", style.cut(database));
        text.push_str(&text::body(report, style));
    }
    text
}
