//! Record of the probe: a line of JSON for each event, the newest last.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A line of the record. Times are microseconds since the record began, by a clock that never jumps; the names are
/// short, for there are many lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// The first line: when this was by the wall clock.
    #[serde(rename = "began")]
    Began(Timestamp),
    /// A writer has a connection.
    #[serde(rename = "c")]
    Connected {
        #[serde(rename = "w")]
        writer: u32,
        #[serde(rename = "t")]
        at_us: u64,
        /// The server's address, where it has one.
        #[serde(rename = "s")]
        server: Option<String>,
        /// The timeline that it writes on.
        #[serde(rename = "l")]
        timeline: u32,
    },
    /// The server said that the write is committed.
    #[serde(rename = "a")]
    Acknowledged {
        #[serde(flatten)]
        attempt: Attempt,
        #[serde(rename = "t")]
        at_us: u64,
    },
    /// An attempt failed.
    #[serde(rename = "e")]
    Failed {
        #[serde(flatten)]
        attempt: Attempt,
        #[serde(rename = "t")]
        at_us: u64,
        /// True if the write had been sent, so that its result is unknown.
        #[serde(rename = "u")]
        sent: bool,
        #[serde(rename = "m")]
        error: String,
    },
    /// The last line: the probe got the order to end, and ended.
    #[serde(rename = "ended")]
    Ended {
        #[serde(rename = "t")]
        at_us: u64,
    },
}

/// An attempt to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    #[serde(rename = "w")]
    pub writer: u32,
    /// The write's number: each writer counts from one.
    #[serde(rename = "n")]
    pub number: u64,
    /// Number of the attempt at this write, from one.
    #[serde(rename = "k")]
    pub attempt: u32,
    /// Start of the attempt.
    #[serde(rename = "f")]
    pub asked_us: u64,
}

/// The record while it grows.
pub(super) struct Recorder {
    file: Mutex<File>,
    began: Instant,
}

impl Recorder {
    /// Begins a record at `path`, where there must be none.
    pub(super) fn begin(path: &Path) -> Result<Self> {
        let doing = || format!("failed to create the probe's record {}", path.display());
        let file = OpenOptions::new().append(true).create_new(true).open(path).with_context(doing)?;
        let recorder = Self { file: Mutex::new(file), began: Instant::now() };
        recorder.add(&Entry::Began(Timestamp::now())).with_context(doing)?;
        Ok(recorder)
    }

    /// Microseconds since it began.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Adds a line, in one write, so that a reader never sees two of them mixed.
    pub(super) fn add(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub began_at: Timestamp,
    /// Without the first line and the last.
    pub entries: Vec<Entry>,
    /// End of the probe; `None` if the record is truncated.
    pub ended_us: Option<u64>,
}

impl Record {
    /// Reads a record. A last line without its end is left out: its writer was killed.
    ///
    /// # Errors
    ///
    /// If it does not begin like a record, or a line of it is invalid.
    pub fn parse(text: &str) -> Result<Self> {
        let mut began_at = None;
        let mut record = Self { began_at: Timestamp::UNIX_EPOCH, entries: Vec::new(), ended_us: None };
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let Some(line) = line.strip_suffix('\n') else { break };
            let entry = serde_json::from_str(line);
            match entry.with_context(|| format!("failed to read line {} of the probe's record", index + 1))? {
                Entry::Began(at) => began_at = began_at.or(Some(at)),
                Entry::Ended { at_us } => record.ended_us = Some(at_us),
                entry => record.entries.push(entry),
            }
        }
        match began_at {
            Some(at) => Ok(Self { began_at: at, ..record }),
            None => bail!("failed to read the probe's record: it has no first line"),
        }
    }

    /// Microseconds from the start of the record to a wall-clock time; zero for earlier times.
    pub fn offset_us(&self, at: Timestamp) -> u64 {
        u64::try_from(at.duration_since(self.began_at).as_micros()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let recorder = Recorder::begin(&path).unwrap();
        let attempt = Attempt { writer: 2, number: 7, attempt: 1, asked_us: 5 };
        let entries = [
            Entry::Connected { writer: 2, at_us: 4, server: Some("10.0.0.1".to_owned()), timeline: 3 },
            Entry::Failed { attempt, at_us: 6, sent: true, error: "it \"broke\"\nthere".to_owned() },
            Entry::Acknowledged { attempt: Attempt { attempt: 2, ..attempt }, at_us: 9 },
        ];
        entries.iter().chain([&Entry::Ended { at_us: 10 }]).for_each(|entry| recorder.add(entry).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        let record = Record::parse(&text).unwrap();
        assert_eq!((record.entries.as_slice(), record.ended_us), (&entries[..], Some(10)));
        assert!(Recorder::begin(&path).is_err(), "a record is never written over");

        let cut = Record::parse(&text[..text.len() - 1]).unwrap();
        assert_eq!(
            (cut.entries.as_slice(), cut.ended_us),
            (&entries[..], None),
            "the last line is not whole"
        );
        let damaged = text.replace("\"n\":7", "\"n\":?");
        for (text, expected) in [("", "no first line"), (damaged.as_str(), "line 3")] {
            assert!(Record::parse(text).unwrap_err().to_string().contains(expected), "{text}");
        }
    }
}
