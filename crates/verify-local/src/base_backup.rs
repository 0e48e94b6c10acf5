//! What the files of a base backup say of its place in the WAL.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::lsn::Lsn;

/// A base backup that has not been started yet.
#[derive(Debug)]
pub(super) struct BaseBackup {
    /// Its data directory.
    pub(super) data: PathBuf,
    pub(super) timeline: u32,
    /// Recovery begins here.
    pub(super) start: Lsn,
    /// Recovery can end from here on, if the server's list of files says so.
    pub(super) end: Option<Lsn>,
    pub(super) system_identifier: u64,
}

/// The part of `backup_manifest` that names the WAL that a restore needs.
#[derive(Deserialize)]
struct ServersList {
    #[serde(rename = "WAL-Ranges")]
    ranges: Vec<Range>,
}

#[derive(Deserialize)]
struct Range {
    #[serde(rename = "End-LSN")]
    end: String,
}

impl BaseBackup {
    /// Reads the files in a data directory.
    ///
    /// # Errors
    ///
    /// If it is not a base backup.
    pub(super) fn read(data: &Path) -> Result<Self> {
        let label = data.join("backup_label");
        let doing = || format!("failed to read {}", label.display());
        let text = fs::read_to_string(&label).with_context(doing)?;
        let (start, timeline) = parse_label(&text)
            .with_context(|| format!("{}: it does not say where recovery begins", doing()))?;
        let control = data.join("global/pg_control");
        let mut system_identifier = [0; 8];
        File::open(&control)
            .and_then(|mut file| file.read_exact(&mut system_identifier))
            .with_context(|| format!("failed to read {}", control.display()))?;
        let list = fs::read(data.join("backup_manifest")).ok();
        let list = list.and_then(|list| serde_json::from_slice::<ServersList>(&list).ok());
        let end = list.and_then(|list| list.ranges.iter().filter_map(|range| range.end.parse().ok()).max());
        let system_identifier = u64::from_le_bytes(system_identifier);
        Ok(Self { data: data.to_owned(), timeline, start, end, system_identifier })
    }
}

fn parse_label(text: &str) -> Option<(Lsn, u32)> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let start = value("START WAL LOCATION: ")?.split_whitespace().next()?.parse().ok()?;
    let timeline = value("START TIMELINE: ")?.trim().parse().ok()?;
    Some((start, timeline))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_says_where_recovery_begins() {
        let label = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000060\n\
                     BACKUP METHOD: streamed\nSTART TIMELINE: 3\n";
        assert_eq!(parse_label(label), Some((Lsn(0x200_0028), 3)));
        assert_eq!(parse_label(&label.replace("START TIMELINE", "TIMELINE")), None);
    }
}
