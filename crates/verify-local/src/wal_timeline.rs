//! Timelines of an archive: which there are, and where each left its parent.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::lsn::Lsn;
use super::wal_archive::WalArchive;

/// History of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct History {
    pub(super) timeline: u32,
    /// Its ancestors, the oldest first, with the position at which each was left.
    ancestors: Vec<(u32, Lsn)>,
}

impl History {
    /// The history of a timeline that is not followed any further back.
    pub(super) fn of_first(timeline: u32) -> Self {
        Self { timeline, ancestors: Vec::new() }
    }

    /// Reads the content of `TIMELINE.history`.
    fn parse(timeline: u32, text: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let ancestor = |line: &str| {
            let mut fields = line.split_whitespace();
            let parent: u32 = fields.next()?.parse().ok()?;
            let left: Lsn = fields.next()?.parse().ok()?;
            (parent < timeline).then_some((parent, left))
        };
        let ancestors = lines.map(|line| {
            ancestor(line)
                .with_context(|| format!("the history of timeline {timeline} has the line {line:?}"))
        });
        Ok(Self { timeline, ancestors: ancestors.collect::<Result<_>>()? })
    }

    /// Position at which this timeline, or one of its ancestors, left `timeline`; none if that is not an ancestor.
    pub(super) fn left(&self, timeline: u32) -> Option<Lsn> {
        self.ancestors.iter().find(|(ancestor, _)| *ancestor == timeline).map(|(_, left)| *left)
    }

    /// The timelines in whose files a segment may be, the newest first.
    pub(super) fn holders(&self, segment: u64, size: u64) -> impl Iterator<Item = u32> {
        // A timeline has segments from the one on in which it left its parent.
        let mut begins = vec![0];
        begins.extend(self.ancestors.iter().map(|(_, left)| left.0 / size));
        let timelines = self.ancestors.iter().map(|(ancestor, _)| *ancestor).chain([self.timeline]);
        let all: Vec<(u32, u64)> = timelines.zip(begins).collect();
        all.into_iter().rev().filter(move |(_, begin)| *begin <= segment).map(|(timeline, _)| timeline)
    }
}

/// The histories of all timelines after `timeline`, as PostgreSQL finds the newest: one number after another.
pub(super) fn after(
    timeline: u32,
    archive: &dyn WalArchive,
    directory: &Path,
    asked: fn() -> bool,
) -> Result<Vec<History>> {
    let mut found = Vec::new();
    while let Some(history) = fetch(timeline + 1 + found.len() as u32, archive, directory, asked)? {
        found.push(history);
    }
    Ok(found)
}

/// The history of one timeline, if the archive has it.
pub(super) fn fetch(
    timeline: u32,
    archive: &dyn WalArchive,
    directory: &Path,
    asked: fn() -> bool,
) -> Result<Option<History>> {
    /// A line for each promotion.
    const BYTES_MAX: u64 = 1 << 20;
    let name = format!("{timeline:08X}.history");
    let to = directory.join(&name);
    if !archive.fetch(&name, &to, asked)? {
        return Ok(None);
    }
    let doing = || format!("failed to read {name} of the WAL archive");
    if fs::metadata(&to).with_context(doing)?.len() > BYTES_MAX {
        bail!("{}: it is too large", doing());
    }
    let text = fs::read_to_string(&to).with_context(doing)?;
    fs::remove_file(&to).with_context(doing)?;
    Ok(Some(History::parse(timeline, &text).with_context(doing)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_looked_for_where_postgresql_looks() {
        let history =
            History::parse(4, "1\t0/3000060\tno recovery target specified\n\n3\t0/5000000\tbefore 2026\n")
                .unwrap();
        assert_eq!(
            [1, 2, 3].map(|timeline| history.left(timeline)),
            [Some(Lsn(0x300_0060)), None, Some(Lsn(0x500_0000))]
        );
        let holders = |segment| history.holders(segment, 1 << 24).collect::<Vec<_>>();
        assert_eq!(
            [holders(2), holders(3), holders(4), holders(5)],
            [vec![1], vec![3, 1], vec![3, 1], vec![4, 3, 1]]
        );
        assert_eq!(History::of_first(2).holders(9, 1 << 24).collect::<Vec<_>>(), [2]);
        for broken in ["x 0/1", "1", "5\t0/1"] {
            assert!(History::parse(4, broken).is_err(), "{broken}");
        }
    }
}
