//! A copy of a backup in another region as text: first the lines that machines may read.

use std::fmt::Write;

use super::style::{Style, sentence};
use super::text::{gaps, more_findings};
use verify_drill::duration::Period;
use verify_drill::openmetrics::severity_name;
use verify_drill::quantity::{bytes, count, counted};
use verify_velero::replicas::{NewestComplete, Replica};

/// Renders the comparison of a backup with its copy.
pub(crate) fn replica(replica: &Replica, style: &Style) -> String {
    let Replica { verdict, backup, from, to, depth, findings, not_covered, extra, newest_complete } = replica;
    let mut text = format!("replica: {}\n", style.paint((*verdict).into(), &verdict.to_string()));
    let _ = writeln!(text, "newest_complete_copy: {}\n", newest(newest_complete, style));
    let shown = findings.len().min(style.rows_max);
    for finding in &findings[..shown] {
        let replication = finding
            .replication
            .as_ref()
            .map_or(String::new(), |status| format!("; replication status {status}"));
        let _ = writeln!(
            text,
            "{}: {}: {}{} [{}]",
            style.paint(finding.severity().into(), severity_name(finding.severity())),
            sentence(&finding.key),
            sentence(&finding.message),
            sentence(&replication),
            finding.code.as_str()
        );
    }
    more_findings(&mut text, findings.len() - shown);
    if !findings.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "backup: {}, {}", style.cut(&backup.name), style.cut(backup.phase.as_str()));
    let _ = writeln!(
        text,
        "depth: {} ({}): {} equal by checksum, {} by reading both",
        counted(depth.objects, "object"),
        bytes(depth.bytes),
        count(depth.by_checksum),
        count(depth.by_reading)
    );
    gaps(&mut text, not_covered, style);
    if *extra > 0 {
        let _ = writeln!(text, "only in the copy: {}", counted(*extra, "object"));
    }
    let _ = writeln!(text, "original: {}\ncopy: {}", sentence(from), sentence(to));
    text
}

fn newest(newest: &NewestComplete, style: &Style) -> String {
    match newest {
        NewestComplete::None { looked_at } => format!("none of the newest {}", counted(*looked_at, "backup")),
        NewestComplete::Found { backup, started_at, age_s } => {
            let mut text = style.cut(backup);
            match (started_at, age_s.and_then(|age| u64::try_from(age).ok())) {
                (Some(began), Some(age)) => {
                    let _ =
                        write!(text, ", begun {began}, {} ago", Period::from_ms(age.saturating_mul(1_000)));
                }
                (Some(began), None) => {
                    let _ = write!(text, ", begun {began}, in the future: a clock is wrong");
                }
                (None, _) => text.push_str(", of an unknown time"),
            }
            text
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use verify_core::finding::Verdict;
    use verify_core::not_covered::{Check, NotCovered};
    use verify_velero::replicas::{Depth, ObjectCode, ObjectFinding, VeleroBackup};

    /// A copy that lacks an object.
    pub(crate) fn found() -> Replica {
        let record = serde_json::json!("Completed");
        Replica {
            verdict: Verdict::Fail,
            backup: VeleroBackup {
                name: "nightly-002".to_owned(),
                phase: serde_json::from_value(record).unwrap(),
                started_at: None,
                completed_at: None,
            },
            from: "s3://velero/ at http://a:9000".to_owned(),
            to: "s3://velero/ at http://b:9000".to_owned(),
            depth: Depth { objects: 1_012, bytes: 5 << 30, by_checksum: 12, by_reading: 999 },
            findings: vec![ObjectFinding::new(
                ObjectCode::Missing,
                "kopia/shop/p1",
                "the copy lacks it; the original is of 2026-11-21T01:00:00Z".to_owned(),
                Some("PENDING".to_owned()),
            )],
            not_covered: vec![NotCovered::new(Check::Replica, "volume shop/cache", "elsewhere")],
            extra: 1,
            newest_complete: NewestComplete::Found {
                backup: "nightly-001".to_owned(),
                started_at: Some("2026-11-20T01:00:00Z".parse().unwrap()),
                age_s: Some(93_600),
            },
        }
    }

    #[test]
    fn people_read_what_is_wrong_and_how_old_the_newest_good_copy_is() {
        let shown = replica(&found(), &Style::plain());
        insta::assert_snapshot!(shown, @r"
        replica: fail
        newest_complete_copy: nightly-001, begun 2026-11-20T01:00:00Z, 1d2h ago

        fail: kopia/shop/p1: the copy lacks it; the original is of 2026-11-21T01:00:00Z; replication status PENDING [object.missing]

        backup: nightly-002, Completed
        depth: 1,012 objects (5.0 GiB): 12 equal by checksum, 999 by reading both
        not covered:
            volume shop/cache: elsewhere
        only in the copy: 1 object
        original: s3://velero/ at http://a:9000
        copy: s3://velero/ at http://b:9000
        ");
        assert_eq!(
            newest(&NewestComplete::None { looked_at: 3 }, &Style::plain()),
            "none of the newest 3 backups"
        );
    }
}
