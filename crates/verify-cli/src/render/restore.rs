//! A backup and a restore as text: first the lines that machines may read.

use std::fmt::Write;

use verify_core::finding::Verdict;
use verify_core::report::Report;

use super::problem::problems;
use super::style::{Ink, Style, sentence};
use super::text;
use verify_drill::backup_record::DatabaseRecord;
use verify_drill::provider::{StoredAt, TakenBackup};
use verify_drill::quantity::counted;
use verify_drill::recovery::recovery;

/// Text of a backup, and the reasons why the copy is not restorable, where it is not.
pub(crate) fn backup(taken: &TakenBackup, style: &Style) -> String {
    let Some(record) = &taken.record else {
        let mut text = format!("backup_status: {}\n\n", style.paint(Ink::Bad, "failed"));
        text.push_str(&problems(&taken.problems, style));
        if !taken.complaints.is_empty() {
            text.push_str("Velero's log says:\n");
        }
        for line in &taken.complaints {
            let _ = writeln!(text, "    {}", sentence(line));
        }
        return text;
    };
    let mut text = format!("backup_status: {}\n\n", style.paint(Ink::Good, "success"));
    let _ = writeln!(text, "method: {}, PostgreSQL {}", taken.method, style.cut(&record.server.version));
    text.push_str(&captured(&record.databases, style));
    for line in &taken.details {
        let _ = writeln!(text, "{}", sentence(line));
    }
    let place = match &taken.place {
        StoredAt::Directory(path) => path.to_string_lossy().into_owned(),
        StoredAt::Service(place) => sentence(place).to_string(),
    };
    let _ = writeln!(text, "stored: {place}");
    text.push_str(&problems(&taken.problems, style));
    text
}

/// The databases of a backup, and the reason why the capture of one is not verifiable.
fn captured(databases: &[DatabaseRecord], style: &Style) -> String {
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

/// Renders the result of a restore: one verdict for all databases, then each.
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
