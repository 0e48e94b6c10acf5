//! Commit records of an archive, read with `pg_waldump`.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result, bail};
use verify_drill::hint::Hinted;
use verify_drill::watch::Watch;

use super::commit_order::Commit;
use super::lsn::Lsn;
use super::program::Program;
use super::wal_archive::WalArchive;
use super::wal_segment;
use super::wal_timeline::History;

/// WAL that is on the disk at once, in segments.
const WINDOW_BYTES: u64 = 256 << 20;
/// WAL that is read twice, so that a record which goes beyond one window is whole in the next.
const OVERLAP_BYTES: u64 = 32 << 20;
/// Timeline in the names of the fetched files, whichever they are of.
const TIMELINE: u32 = 1;

/// WAL of one timeline and its ancestors.
pub(super) struct Wal<'a> {
    pub(super) archive: &'a dyn WalArchive,
    pub(super) history: &'a History,
    /// Size of a segment.
    pub(super) size: u64,
    /// Major version of its server.
    pub(super) major: u32,
    /// The `pg_wal` of the base backup, which has the segments of its own time.
    pub(super) own: &'a Path,
    /// Where segments are fetched to.
    pub(super) directory: &'a Path,
}

impl Wal<'_> {
    /// Fetches a segment; `false` if the archive does not have it.
    pub(super) fn fetch(&self, segment: u64, asked: fn() -> bool) -> Result<bool> {
        let to = self.directory.join(wal_segment::name(TIMELINE, segment, self.size));
        for timeline in self.history.holders(segment, self.size) {
            let name = wal_segment::name(timeline, segment, self.size);
            if self.archive.fetch(&name, &to, asked)? {
                return Ok(true);
            }
            let own = self.own.join(&name);
            if own.is_file() {
                fs::copy(&own, &to).with_context(|| format!("failed to copy {}", own.display()))?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The file of a fetched segment.
    pub(super) fn file(&self, segment: u64) -> std::path::PathBuf {
        self.directory.join(wal_segment::name(TIMELINE, segment, self.size))
    }

    /// Name of a segment on the timeline.
    pub(super) fn name(&self, segment: u64) -> String {
        let timeline = self.history.holders(segment, self.size).next().unwrap_or(self.history.timeline);
        wal_segment::name(timeline, segment, self.size)
    }

    /// Passes every commit whose record begins between two positions to `commit`, some of them twice.
    ///
    /// # Errors
    ///
    /// If the archive lacks one of the segments, or its WAL ends before `until`.
    pub(super) fn commits(
        &self,
        from: Lsn,
        until: Lsn,
        watch: &Watch<'_>,
        mut commit: impl FnMut(Commit) + Send,
    ) -> Result<()> {
        let (first, last) = (wal_segment::number(from, self.size), wal_segment::number(until, self.size));
        let overlap = (OVERLAP_BYTES / self.size).max(2);
        let window = overlap + (WINDOW_BYTES / self.size).max(1);
        let mut begin = first;
        let mut fetched = first;
        loop {
            let end = last.min(begin + window);
            while fetched <= end {
                if !self.fetch(fetched, watch.asked)? {
                    return Err(missing(&self.name(fetched), until));
                }
                fetched += 1;
            }
            let start = from.max(Lsn(begin * self.size));
            let reached = self.read(start, until, watch, &mut commit)?;
            if end == last {
                return if reached { Ok(()) } else { Err(ends_before(until)) };
            }
            let next = end + 1 - overlap;
            for done in begin..next {
                let file = self.file(done);
                fs::remove_file(&file).with_context(|| format!("failed to remove {}", file.display()))?;
            }
            begin = next;
        }
    }

    /// Reads what is there from `start` on; returns whether a record at or after `until` was found.
    fn read(
        &self,
        start: Lsn,
        until: Lsn,
        watch: &Watch<'_>,
        commit: &mut (impl FnMut(Commit) + Send),
    ) -> Result<bool> {
        let mut reached = false;
        let mut unknown = None;
        let ended = self.waldump(start)?.args(["--rmgr=Transaction"]).run_by_line(&watch.asked, |line| {
            let Some(lsn) = lsn_of(line) else { return ControlFlow::Continue(()) };
            if lsn >= until {
                reached = true;
                return ControlFlow::Break(());
            }
            match commit_of(line, lsn) {
                Record::Commit(found) => commit(found),
                Record::Other => {}
                Record::Unknown => unknown = Some(line.to_owned()),
            }
            ControlFlow::Continue(())
        })?;
        if let Some(line) = unknown {
            bail!(
                "failed to read the order of commits: pg_waldump printed a commit that is not understood: {line}"
            );
        }
        if reached {
            return Ok(true);
        }
        // The end of what is there is an error to pg_waldump, and so is everything else.
        let natural = [
            "could not find file",
            "could not open file",
            "invalid record length",
            "error in WAL record",
            "could not find a valid record",
        ];
        if !ended.status.success() && !natural.iter().any(|word| ended.said.contains(word)) {
            bail!("failed to read the WAL of the archive: pg_waldump: {}", ended.messages());
        }
        self.has_record_from(until, watch)
    }

    /// Returns whether a record begins at a position or after it.
    fn has_record_from(&self, position: Lsn, watch: &Watch<'_>) -> Result<bool> {
        if !self.file(wal_segment::number(position, self.size)).exists() {
            return Ok(false);
        }
        let mut found = false;
        self.waldump(position)?.args(["--limit=1"]).run_by_line(&watch.asked, |line| {
            found |= lsn_of(line).is_some_and(|lsn| lsn >= position);
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    fn waldump(&self, start: Lsn) -> Result<Program> {
        let program = Program::find("pg_waldump", self.major)?;
        if program.major() != self.major {
            let text = format!(
                "failed to read the order of commits: it takes pg_waldump of PostgreSQL {}, and only that of {} was found",
                self.major,
                program.major()
            );
            return Err(
                Hinted::new(text, "install the server package of that version, or use --to-time").into()
            );
        }
        let start = format!("--start={start}");
        let timeline = format!("--timeline={TIMELINE}");
        let path = format!("--path={}", self.directory.display());
        Ok(program.args([path, timeline, start]))
    }
}

/// The archive lacks a segment.
pub(super) fn missing(segment: &str, until: Lsn) -> anyhow::Error {
    Hinted::new(
        format!("failed to recover: the WAL archive lacks the segment {segment}, and recovery ends at {until}"),
        "archive the segment (SELECT pg_switch_wal() on the source completes the current one), or give an archive that has it",
    )
    .into()
}

fn ends_before(until: Lsn) -> anyhow::Error {
    Hinted::new(
        format!("failed to recover: the target {until} is beyond the end of the WAL archive"),
        "archive more WAL: SELECT pg_switch_wal() on the source completes the current segment",
    )
    .into()
}

/// A record of a transaction.
#[derive(Debug, PartialEq, Eq)]
enum Record {
    Commit(Commit),
    Other,
    Unknown,
}

/// The position of the record of a line of `pg_waldump`.
fn lsn_of(line: &str) -> Option<Lsn> {
    after(line, ", lsn: ")?.split(',').next()?.trim().parse().ok()
}

/// A commit names its transaction in the record's header; one of a prepared transaction names it in the description.
fn commit_of(line: &str, lsn: Lsn) -> Record {
    let Some(description) = after(line, ", desc: ") else { return Record::Unknown };
    let xid = match description.split_whitespace().next() {
        Some("COMMIT") => after(line, ", tx:").and_then(|rest| rest.split(',').next()),
        Some("COMMIT_PREPARED") => description
            .strip_prefix("COMMIT_PREPARED")
            .and_then(|rest| rest.split_once(':'))
            .map(|(xid, _)| xid),
        _ => return Record::Other,
    };
    match xid.and_then(|xid| xid.trim().parse::<u32>().ok()) {
        // Zero is no transaction: then the line has another form.
        Some(xid) if xid != 0 => Record::Commit(Commit { xid, lsn }),
        _ => Record::Unknown,
    }
}

fn after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.split_once(mark).map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_read_from_what_pg_waldump_prints() {
        let line = |tx: u32, desc: &str| {
            format!(
                "rmgr: Transaction len (rec/tot):     46/    46, tx:        {tx}, lsn: 0/01529A28, prev 0/015299F0, desc: {desc}"
            )
        };
        let read = |tx, desc: &str| {
            let line = line(tx, desc);
            commit_of(&line, lsn_of(&line).unwrap())
        };
        let commit = |xid| Record::Commit(Commit { xid, lsn: Lsn(0x152_9A28) });
        assert_eq!(read(735, "COMMIT 2026-11-30 06:50:00.1 UTC; subxacts: 736 737"), commit(735));
        assert_eq!(read(0, "COMMIT_PREPARED 741: 2026-11-30 06:50:00.1 UTC"), commit(741));
        assert_eq!(read(0, "COMMIT 2026-11-30 06:50:00.1 UTC"), Record::Unknown);
        assert_eq!(read(0, "COMMIT_PREPARED 2026-11-30 06:50:00.1 UTC"), Record::Unknown);
        for other in [
            "ABORT 2026-11-30 06:50:00.1 UTC",
            "PREPARE gid p: 2026",
            "ASSIGNMENT xtop 735: subxacts: 736",
            "INVALIDATION ;",
        ] {
            assert_eq!(read(735, other), Record::Other, "{other}");
        }
    }
}
