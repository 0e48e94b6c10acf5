//! The page of all checks.

use std::fmt::Write;

use verify_core::finding::Severity;

use crate::check::{Check, Source};
use crate::code::CHECKS;

const HEAD: &str = "\
# Doctor: posture before the disaster

<!-- Generated from crates/verify-doctor/src/code.rs: UPDATE_DOCS=1 cargo test -p verify-doctor -->

`state-lab doctor` finds what would harm the next restore, before it is needed, and changes nothing.

    state-lab doctor --database shop
    state-lab doctor --database shop --context production --only backup,archive
    state-lab doctor --save good.json
    state-lab doctor --against good.json

Each finding has a code, its effect on the next restore, and a remedy. A check that could not be made is listed with the right that it
needs, and makes the result inconclusive; a check for something that does not exist is listed as not applicable. `--only` and
`--skip` take codes, or the part of a code before its point.

| exit status | |
|---|---|
| 0 | nothing was found but notices, and every check was made |
| 1 | a failure was found, or something changed since the state of `--against` |
| 2 | it could not run |
| 3 | no failure was found, but not every check could be made |

`[doctor]` of the configuration has `wal_archive` (where WAL is archived, if archive_command does not show it: a directory or
`s3://bucket/prefix`), `restore_side` (a database on the server that backups are restored to), `retention` (the time for which backups are
needed) and `proven_within` (the longest time since a verified restore). The RPO is that of `[objectives]`.

`--save` keeps settings, versions, extensions, schedules, classes and policies in a file; `--against` names what differs from it. Settings
that may hold a secret are kept as a hash.

With `--context` or a [velero] table, and no database given, the server is read through the pod of its primary, as the superuser whose
credentials backups use: this needs `create` on `pods/portforward` and `get` on the Secret with the credentials. `serve` does not do that.

`restore` and `drill` report the worst three findings for what they touch: the database, if the configuration names it, where the copy is
restored, the backups, and with Velero the namespace, Velero's objects and the bucket. They examine it while they work, for at most 10
seconds; the findings are in the result and no part of its verdict or its exit status.

With the roles `pg_monitor`, `pg_read_all_data` and `pg_read_server_files`, and EXECUTE on `pg_ls_dir` (with pgBackRest also on
`pg_read_file`), a role reads all that the checks need of a server, except other roles' jobs of pg_cron. File systems are examined on the
server's machine alone, as the server's user or root; elsewhere skip them (`--skip disk,wal,data`). In Kubernetes every check lists its verbs;
`nodes/proxy`, which `volume.full` needs, is a strong right: let accounts of CronJobs skip it. No secret is printed or saved.
";

/// The text of docs/doctor.md.
pub fn markdown() -> String {
    let mut text = HEAD.to_owned();
    for (source, title) in SOURCES {
        let checks: Vec<&Check> = CHECKS.iter().filter(|check| check.source == source).collect();
        if checks.is_empty() {
            continue;
        }
        let _ = write!(text, "\n## {title}\n");
        for check in checks {
            let Check { code, severity, source: _, about, effect, remedy, reads, judge: _ } = check;
            let severity = match severity {
                Severity::Fail => "failure",
                Severity::Inconclusive => "inconclusive",
                Severity::Notice => "notice",
            };
            let _ = write!(
                text,
                "\n### `{code}` ({severity})\n\n{about}\n\n- Next restore: {effect}\n- Fix: {remedy}\n- Reads: {reads}.\n"
            );
        }
    }
    text
}

const SOURCES: [(Source, &str); 6] = [
    (Source::Backups, "Backups and restores"),
    (Source::Server, "The database server"),
    (Source::Machine, "Its machine"),
    (Source::RestoreSide, "Where backups are restored to"),
    (Source::Cluster, "Kubernetes and Velero"),
    (Source::Bucket, "Buckets"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_generated_from_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/doctor.md");
        let generated = markdown();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &generated).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == generated, "docs/doctor.md is not what the code gives: run with UPDATE_DOCS=1");
        for check in &CHECKS {
            assert!(generated.contains(&format!("### `{}` (", check.code)), "{}", check.code);
        }
    }
}
