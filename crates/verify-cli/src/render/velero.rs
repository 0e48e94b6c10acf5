//! A backup by Velero as text: first the line that machines may read.

use std::fmt::Write;

use super::restore::captured;
use super::style::{Ink, Style, sentence};
use verify_velero::provider::{Method, TakenBackup};
use verify_velero::velero::problem::Problem;

/// What Velero made, and why it is no success where it is none.
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
    let backup = &record.backup;
    let _ =
        writeln!(text, "method: {}, PostgreSQL {}", method(record.method), style.cut(&backup.server.version));
    text.push_str(&captured(&backup.databases, style));
    let volume = &record.volume;
    let _ = writeln!(
        text,
        "volume: {}/{} of {}",
        volume.namespace,
        style.cut(&volume.claim),
        style.cut(&volume.pod)
    );
    let _ = writeln!(text, "stored: {}", sentence(&taken.place));
    text.push_str(&problems(&taken.problems, style));
    text
}

/// Each on a line, with its way out below.
pub(crate) fn problems(problems: &[Problem], style: &Style) -> String {
    let mut text = String::new();
    for problem in problems {
        let (ink, weight) = match problem.is_failure() {
            true => (Ink::Bad, "problem"),
            false => (Ink::Doubtful, "warning"),
        };
        let _ = writeln!(text, "{}: {}", style.paint(ink, weight), sentence(&problem.to_string()));
        if let Some(way_out) = &problem.way_out {
            let _ = writeln!(text, "    {}", sentence(way_out));
        }
    }
    text
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Csi => "CSI snapshot",
        Method::CsiMove => "CSI snapshot, moved to the object store",
        Method::Fs => "files of a base backup",
        Method::FsDump => "files of a dump",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_and_its_way_out_are_told_whole() {
        let words = "word ".repeat(60);
        let problem =
            Problem::failure("Backup nightly", format!("{words}ends")).way_out(format!("{words}helps"));
        let text = problems(&[problem], &Style::plain());
        assert_eq!(text, format!("problem: Backup nightly {words}ends\n    {words}helps\n"));
    }
}
