//! Progress of the probe, from a record that still grows.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::record::Entry;

/// Progress of the probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub acknowledged: u64,
    pub errors: u64,
    /// By the probe's clock.
    pub last_acknowledged_at: Option<Timestamp>,
    pub last_error: Option<String>,
}

/// The end of a record that grows.
pub struct Tail {
    file: File,
    /// A line whose end is not there yet.
    rest: String,
    began_at: Timestamp,
    progress: Progress,
}

impl Tail {
    pub fn open(record: &Path) -> Result<Self> {
        let file = File::open(record).context("failed to open the probe's record")?;
        Ok(Self { file, rest: String::new(), began_at: Timestamp::UNIX_EPOCH, progress: Progress::default() })
    }

    /// Reads what has been added.
    pub fn read(&mut self) -> Result<Progress> {
        let mut rest = std::mem::take(&mut self.rest);
        self.file.read_to_string(&mut rest).context("failed to read the probe's record")?;
        let whole = rest.rfind('\n').map_or(0, |end| end + 1);
        for line in rest[..whole].lines() {
            self.take(serde_json::from_str(line).context("failed to read a line of the probe's record")?);
        }
        self.rest = rest.split_off(whole);
        Ok(self.progress.clone())
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Began(at) => self.began_at = at,
            Entry::Acknowledged { at_us, .. } => {
                self.progress.acknowledged += 1;
                let after = SignedDuration::from_micros(i64::try_from(at_us).unwrap_or(i64::MAX));
                self.progress.last_acknowledged_at = self.began_at.checked_add(after).ok();
            }
            Entry::Failed { error, .. } => {
                self.progress.errors += 1;
                self.progress.last_error = Some(error);
            }
            Entry::Connected { .. } | Entry::Ended { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn lines_count_once_they_are_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let mut file = File::create(&path).unwrap();
        let mut tail = Tail::open(&path).unwrap();
        for (more, acknowledged, errors, at) in [
            ("{\"began\":\"1970-01-01T00:00:10Z\"}\n{\"a\":{\"w\":1,\"n\":1,\"k\":1,", 0, 0, None),
            ("\"f\":0,\"t\":2000000}}\n", 1, 0, Some("1970-01-01T00:00:12Z".parse().unwrap())),
            (
                "{\"e\":{\"w\":1,\"n\":2,\"k\":1,\"f\":0,\"t\":3,\"u\":true,\"m\":\"x\"}}\n",
                1,
                1,
                Some("1970-01-01T00:00:12Z".parse().unwrap()),
            ),
        ] {
            file.write_all(more.as_bytes()).unwrap();
            let progress = tail.read().unwrap();
            let found = (progress.acknowledged, progress.errors, progress.last_acknowledged_at);
            assert_eq!(found, (acknowledged, errors, at), "{more}");
        }
    }
}
