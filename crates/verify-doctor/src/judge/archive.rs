//! The WAL archive: whether the server fills it, whether the command that does can lose a file, whether it has gaps.

use std::collections::{BTreeMap, BTreeSet};

use verify_core::finding::Severity;
use verify_drill::duration::Period;
use verify_drill::quantity::counted;

use super::shell::{Operator, Simple, split};
use crate::check::{Answer, Found};
use crate::fact::{Fact, Missing, known};
use crate::facts::{Facts, Server};

/// Commands that succeed whatever happened before.
const STATUS_ONLY: [&str; 6] = ["true", ":", "exit", "echo", "logger", "printf"];
/// Programs that write to this machine, so that the path of their target is one of the server.
const LOCAL: [&str; 10] = ["test", "[", "cp", "install", "gzip", "zstd", "lz4", "xz", "cat", "dd"];
/// Gaps that are named; of more only the number is.
const GAPS_SHOWN: usize = 3;

/// Method by which the server archives its WAL.
enum Archiving<'a> {
    Command(&'a str),
    Library(&'a str),
    /// Archiving is on, without a command.
    Unset,
}

fn archiving(server: &Server) -> Result<Archiving<'_>, Missing> {
    let mode = server.settings.get("archive_mode")?;
    if mode == "off" {
        return Err(Missing::not_applicable("archive_mode is off"));
    }
    if server.in_recovery && mode != "always" {
        return Err(Missing::not_applicable("a standby archives nothing unless archive_mode is always"));
    }
    // Before PostgreSQL 15 there is no archive_library.
    let library = match server.settings.get("archive_library") {
        Ok(library) => library,
        Err(Missing::NotApplicable(_)) => "",
        Err(unknown) => return Err(unknown),
    };
    if !library.is_empty() {
        return Ok(Archiving::Library(library));
    }
    Ok(match server.settings.get("archive_command")? {
        "" | "(disabled)" => Archiving::Unset,
        command => Archiving::Command(command),
    })
}

/// The command that archives, if any.
fn command(server: &Server) -> Result<&str, Missing> {
    match archiving(server)? {
        Archiving::Command(command) => Ok(command),
        Archiving::Library(library) => {
            Err(Missing::not_applicable(format!("the library {library} archives, not a command")))
        }
        Archiving::Unset => Err(Missing::not_applicable("archive_command is empty")),
    }
}

pub(crate) fn off(facts: &Facts) -> Result<Answer, Missing> {
    let server = known(&facts.server)?;
    if server.in_recovery {
        return Err(Missing::not_applicable("the server is a standby"));
    }
    let off = server.settings.get("archive_mode")? == "off";
    Ok(off.then(|| Found::new("archive_mode", "is off")).into())
}

pub(crate) fn unset(facts: &Facts) -> Result<Answer, Missing> {
    let unset = matches!(archiving(known(&facts.server)?)?, Archiving::Unset);
    let message = "is empty although archive_mode is on: WAL is kept, and not archived";
    Ok(unset.then(|| Found::new("archive_command", message)).into())
}

pub(crate) fn failing(facts: &Facts) -> Result<Answer, Missing> {
    let server = known(&facts.server)?;
    archiving(server)?;
    let archiver = known(&server.archiver)?;
    let found = archiver.is_failing().then(|| {
        let file = archiver.last_failed_file.as_deref().unwrap_or("a file");
        let since = match archiver.last_archived_at {
            Some(at) => format!("nothing was archived since {at}"),
            None => "nothing was ever archived".to_owned(),
        };
        let message = format!("failed on {file} ({}); {since}", counted(archiver.failed, "failure"));
        Found::new("archiver", message)
    });
    Ok(found.into())
}

/// Reports a command whose exit status is not that of the copy.
pub(crate) fn swallows(facts: &Facts) -> Result<Answer, Missing> {
    let command = command(known(&facts.server)?)?;
    Ok(lost_status(command).map(|how| Found::new("archive_command", how)).into())
}

/// Reason why a command line loses the exit status of the program that copies, if it does.
fn lost_status(line: &str) -> Option<String> {
    let mut commands = split(line);
    // A wrapper is as good as what it runs.
    if let [only] = commands.as_slice()
        && ["sh", "bash", "dash"].contains(&only.program())
        && let [_, option, script, ..] = only.words.as_slice()
        && option.starts_with('-')
        && option.contains('c')
    {
        if option.contains('e') {
            return None;
        }
        let script = script.clone();
        return lost_status(&script);
    }
    while commands.last().is_some_and(|last| last.words.is_empty()) {
        commands.pop();
    }
    let last = commands.last()?;
    let is_neutral = |simple: &Simple| match simple.program() {
        // `exit 1` and `exit $?` pass the failure on.
        "exit" => simple.words.get(1).is_none_or(|status| status == "0"),
        program => STATUS_ONLY.contains(&program),
    };
    if last.next == Operator::Background {
        return Some("runs in the background: its exit status is not waited for".to_owned());
    }
    if commands.iter().all(is_neutral) {
        return Some("does nothing and succeeds: every file counts as archived".to_owned());
    }
    let words = || commands.iter().flat_map(|simple| &simple.words);
    // The branches of a compound command are not followed, except for what comes last.
    let compound = ["if", "for", "while", "until", "case"].iter().any(|key| words().any(|word| word == key));
    for (simple, next) in commands.iter().zip(commands.iter().skip(1)) {
        // Its program alone: arguments may hold a secret.
        let shown = next.program();
        match simple.next {
            Operator::Or if is_neutral(next) => {
                return Some(format!("ends a failed copy with `|| {shown}`, which succeeds"));
            }
            Operator::Then if is_neutral(next) && std::ptr::eq(next, last) => {
                return Some(format!("ends with `; {shown}`, which succeeds whatever the copy did"));
            }
            Operator::Then if !compound && !stops_on_errors(&commands) => {
                return Some(format!(
                    "has the exit status of `{shown}` alone: a failure before its `;` is lost"
                ));
            }
            Operator::Pipe if !words().any(|word| word == "pipefail") => {
                return Some(format!(
                    "has the exit status of `{shown}` alone: a failure before its `|` is lost"
                ));
            }
            _ => {}
        }
    }
    None
}

/// Returns whether the line begins with `set -e`.
fn stops_on_errors(commands: &[Simple]) -> bool {
    commands.first().is_some_and(|first| {
        first.program() == "set"
            && first.words.get(1).is_some_and(|option| option.starts_with('-') && option.contains('e'))
    })
}

pub(crate) fn drops(facts: &Facts) -> Result<Answer, Missing> {
    let server = known(&facts.server)?;
    let command = command(server)?;
    if !command.contains("pgbackrest") {
        return Err(Missing::not_applicable("archive_command does not run pgBackRest"));
    }
    let given = split(command)
        .into_iter()
        .flat_map(|simple| simple.words)
        .find_map(|word| Some(word.strip_prefix("--archive-push-queue-max=")?.to_owned()));
    let queue_max = match given {
        Some(given) => Some(given),
        None => known(&server.archive_queue_max)?.clone(),
    };
    let found = queue_max.map(|queue_max| {
        let message = format!("is {queue_max}: pgBackRest drops WAL that exceeds it, and reports success");
        Found::new("archive-push-queue-max", message)
    });
    Ok(found.into())
}

pub(crate) fn timeout(facts: &Facts) -> Result<Answer, Missing> {
    let server = known(&facts.server)?;
    archiving(server)?;
    let rpo = facts.objectives.rpo.ok_or_else(no_rpo)?;
    let seconds = server.settings.number("archive_timeout")?;
    let timeout = Period::from_ms(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000));
    let found = match seconds {
        0 => Some(format!("is 0: a file that is not full is never archived, and the RPO is {rpo}")),
        _ if timeout > rpo => Some(format!("is {timeout}, longer than the RPO of {rpo}")),
        _ => None,
    };
    Ok(found.map(|message| Found::new("archive_timeout", message)).into())
}

pub(crate) fn no_rpo() -> Missing {
    Missing::not_applicable("[objectives] of the configuration has no rpo")
}

/// The directory of the server that a simple command copies to; none where it is not certain.
pub(crate) fn directory(command: &str) -> Option<String> {
    let commands = split(command);
    if !commands.iter().all(|simple| LOCAL.contains(&simple.program())) {
        return None;
    }
    let words = commands.iter().flat_map(|simple| &simple.words);
    let targets = words.filter_map(|word| word.trim_start_matches('>').strip_prefix('/')?.split_once("/%f"));
    let directories: BTreeSet<&str> = targets.map(|(directory, _suffix)| directory).collect();
    let only = directories.first().filter(|_| directories.len() == 1)?;
    (!only.contains(['%', '$', '`'])).then(|| format!("/{only}"))
}

/// Reason why the files of the archive are not known if no setting has their place.
pub(crate) fn no_directory() -> Missing {
    Missing::unknown(
        "archive_command does not show where the archive is",
        "`wal_archive` in [doctor] of the configuration: a directory or s3://bucket/prefix",
    )
}

pub(crate) fn gaps(facts: &Facts) -> Result<Answer, Missing> {
    let server = known(&facts.server)?;
    if let Archiving::Unset = archiving(server)? {
        return Err(Missing::not_applicable("archive_command is empty"));
    }
    let archiver = known(&server.archiver)?;
    let archive = known(&server.archive_files)?;
    let place = format!("archive {}", archive.place);
    let timelines = segments(&archive.names, archive.segment_bytes);
    let per_log = segments_per_log(archive.segment_bytes);
    let mut found = Vec::new();
    for (timeline, segments) in &timelines {
        let missing: Vec<(u64, u64)> = segments
            .iter()
            .zip(segments.iter().skip(1))
            .filter(|(one, next)| **next > **one + 1)
            .map(|(one, next)| (one + 1, next - 1))
            .collect();
        if missing.is_empty() {
            continue;
        }
        let count: u64 = missing.iter().map(|(first, last)| last - first + 1).sum();
        let shown: Vec<String> = missing
            .iter()
            .take(GAPS_SHOWN)
            .map(|(first, last)| {
                let name = |segment: u64| file_name(*timeline, segment, per_log);
                if first == last { name(*first) } else { format!("{} to {}", name(*first), name(*last)) }
            })
            .collect();
        let more = if missing.len() > GAPS_SHOWN { ", …" } else { "" };
        let message = format!("lacks {}: {}{more}", counted(count, "file"), shown.join(", "));
        found.push(Found::new(&place, message));
    }
    let last = archiver.last_archived_file.as_deref().and_then(|name| parse(name, per_log));
    if let Some((timeline, segment)) = last
        && !timelines.get(&timeline).is_some_and(|segments| segments.contains(&segment))
    {
        let name = file_name(timeline, segment, per_log);
        found.push(Found::new(&place, format!("lacks {name}, which the server has archived")));
    }
    Ok(found.into())
}

/// The segments of each timeline.
fn segments(names: &[String], segment_bytes: u64) -> BTreeMap<u32, BTreeSet<u64>> {
    let per_log = segments_per_log(segment_bytes);
    let mut timelines = BTreeMap::<_, BTreeSet<_>>::new();
    for (timeline, segment) in names.iter().filter_map(|name| parse(name, per_log)) {
        timelines.entry(timeline).or_default().insert(segment);
    }
    timelines
}

fn segments_per_log(segment_bytes: u64) -> u64 {
    (1 << 32) / segment_bytes.clamp(1, 1 << 32)
}

/// Timeline and number of a whole segment, compressed or with pgBackRest's checksum behind it or not.
fn parse(name: &str, per_log: u64) -> Option<(u32, u64)> {
    let name = name.rsplit('/').next()?;
    let (digits, rest) = (name.get(..24)?, name.get(24..)?);
    let suffix =
        matches!(rest, "" | ".gz" | ".zst" | ".lz4" | ".lzo" | ".bz2" | ".xz" | ".br" | ".snappy" | ".sz");
    if !(suffix || rest.starts_with('-')) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let part = |range| u64::from_str_radix(&digits[range], 16).ok();
    let (timeline, log, segment) = (part(0..8)?, part(8..16)?, part(16..24)?);
    Some((u32::try_from(timeline).ok()?, log * per_log + segment))
}

fn file_name(timeline: u32, segment: u64, per_log: u64) -> String {
    format!("{timeline:08X}{:08X}{:08X}", segment / per_log, segment % per_log)
}

/// The tool that archives, and may keep backups of its own.
pub(crate) fn other_tool(facts: &Facts) -> Option<&'static str> {
    let command = facts.server.as_ref().ok()?.settings.get("archive_command").ok()?;
    ["pgbackrest", "wal-g", "wal-e", "barman", "pghoard"].into_iter().find(|tool| command.contains(tool))
}

/// Returns whether the WAL archive is known to reach to within the objective of now.
pub(crate) fn covers(facts: &Facts, rpo: Period) -> bool {
    let archived_at = |server: &Fact<Server>| {
        let archiver = server.as_ref().ok()?.archiver.as_ref().ok()?;
        (!archiver.is_failing()).then_some(archiver.last_archived_at?)
    };
    archived_at(&facts.server).is_some_and(|at| facts.age(at) <= rpo)
}

/// A lesser severity for what the WAL archive makes up for.
pub(crate) fn lesser_if_covered(found: Found, facts: &Facts, rpo: Period) -> Found {
    if covers(facts, rpo) { Found { lesser: Some(Severity::Notice), ..found } } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_exit_status_is_found_and_a_kept_one_is_not() {
        for (line, how) in [
            ("cp %p /a/%f; true", "`; true`"),
            ("cp %p /a/%f || true", "`|| true`"),
            ("cp %p /a/%f || :", "`|| :`"),
            ("cp %p /a/%f || exit 0", "`|| exit`"),
            ("cp %p /a/%f || echo failed >&2", "`|| echo`"),
            ("/bin/true", "does nothing"),
            ("true", "does nothing"),
            (":", "does nothing"),
            ("exit 0", "does nothing"),
            ("cp %p /a/%f &", "background"),
            ("cp %p /a/%f; sync", "`sync` alone"),
            ("gzip < %p | ssh b 'cat > /a/%f'", "before its `|`"),
            ("sh -c 'cp %p /a/%f; true'", "`; true`"),
            ("if cp %p /a/%f; then true; fi; exit 0", "`; exit`"),
        ] {
            let lost = lost_status(line);
            assert!(lost.as_deref().is_some_and(|lost| lost.contains(how)), "{line}: {lost:?}");
        }
        for line in [
            "cp %p /a/%f",
            "test ! -f /a/%f && cp %p /a/%f",
            "test -f /a/%f || cp %p /a/%f",
            "cp %p /a/%f || exit 1",
            "cp %p /a/%f || exit $?",
            "cp %p /a/%f && sync /a/%f",
            "cp %p /a/%f;",
            "set -e; cp %p /a/%f; sync",
            "bash -ec 'cp %p /a/%f; sync'",
            "bash -c 'set -eo pipefail; gzip < %p | ssh b \"cat > /a/%f\"'",
            "if test -f /a/%f; then cmp %p /a/%f; else cp %p /a/%f; fi",
            "pgbackrest --stanza=main archive-push %p",
            "wal-g wal-push \"%p\" >> /var/log/wal-g.log 2>&1",
            "envdir /etc/wal-e.d/env wal-e wal-push %p",
            "barman-wal-archive backup pg %p",
            "rsync -a %p backup:/a/%f # ; true",
            "cp '%p' '/a; true/%f'",
        ] {
            assert_eq!(lost_status(line), None, "{line}");
        }
    }

    #[test]
    fn the_directory_is_known_only_where_it_is_certain() {
        for (command, directory_) in [
            ("cp %p /a/b/%f", Some("/a/b")),
            ("test ! -f '/a b/%f' && cp %p '/a b/%f'", Some("/a b")),
            ("gzip -c %p > /a/%f.gz", Some("/a")),
            ("gzip -c %p >/a/%f.gz", Some("/a")),
            ("cp %p /a/%f && cp %p /b/%f", None),
            ("ssh b 'cat > /a/%f' < %p", None),
            ("rsync %p b:/a/%f", None),
            ("cp %p $ARCHIVE/%f", None),
            ("cp %p /$A/%f", None),
            ("pgbackrest archive-push %p", None),
        ] {
            assert_eq!(directory(command).as_deref(), directory_, "{command}");
        }
    }

    #[test]
    fn segments_follow_each_other_over_the_end_of_a_log() {
        let segment = 16 << 20;
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let listed = names(&[
            "0000000100000000000000FE",
            "0000000100000000000000FF.gz",
            "000000010000000100000000-0123456789abcdef0123456789abcdef01234567.lz4",
            "00000001000000010000000A.partial",
            "00000002.history",
            "000000010000000000000002.00000028.backup",
            "archive_status",
        ]);
        let found = segments(&listed, segment);
        assert_eq!(found, BTreeMap::from([(1, BTreeSet::from([0xFE, 0xFF, 0x100]))]));
        assert_eq!(file_name(1, 0x100, segments_per_log(segment)), "000000010000000100000000");
        // Segments of 1 GiB: four to a log.
        let found = segments(&names(&["000000010000000000000003", "000000010000000100000000"]), 1 << 30);
        assert_eq!(found, BTreeMap::from([(1, BTreeSet::from([3, 4]))]));
    }
}
