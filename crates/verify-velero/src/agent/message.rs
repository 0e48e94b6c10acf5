//! Messages of an agent.

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use verify_core::timeline::Timeline;
use verify_drill::watch::Event;

use crate::failover::{Begun, Progress, Stored};
use verify_drill::backup_record::BackupRecord;
use verify_drill::failure::Failure;
use verify_drill::judging::Found;

/// Bytes of a manifest in one line.
const PART_BYTES: usize = 384 << 10;

/// A line on an agent's standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// The first of all.
    Hello { version: String },
    /// The agent lives, whatever its work has to say.
    Alive,
    /// Something happened.
    Event(Event),
    /// Every snapshot is fixed: the copy may be taken.
    Held,
    /// Record of the capture; the files of the manifests follow in its order.
    Backup(Box<BackupRecord>),
    /// A piece of a manifest.
    Manifest(Part),
    /// The probe writes.
    Probing(Begun),
    /// Progress of the probe.
    Progress(Progress),
    /// Stored writes of the probe; its record follows in the same way as a manifest's file.
    Stored(Vec<Stored>),
    /// Results of the restored databases.
    Verified(Box<Verified>),
    /// The work could not be done.
    Failed(Failure),
    /// The work is done.
    Done,
}

impl Message {
    /// The first that an agent of this version says.
    pub(super) fn hello() -> Self {
        Self::Hello { version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// Parses a line.
    ///
    /// # Errors
    ///
    /// If it is not a message, or an agent of another version sent it: its results must not be attested by this version.
    pub fn read(line: &str) -> Result<Self> {
        let version = match serde_json::from_str(line) {
            Ok(Self::Hello { version }) if version != env!("CARGO_PKG_VERSION") => version,
            Ok(message) => return Ok(message),
            Err(_) => "another version".to_owned(),
        };
        bail!(
            "failed to use the agent in the pod: it is state-lab {version}, and this is {}; set an image of this \
             version (`image` in [velero], or --image)",
            env!("CARGO_PKG_VERSION")
        )
    }
}

/// Results of restored databases, and their times.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verified {
    /// In the record's order.
    pub found: Vec<Found>,
    /// Of the agent's own part.
    pub timeline: Timeline,
    /// Connection string inside the pod, if the server was left running.
    pub conninfo: Option<String>,
}

/// A piece of the file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Index of the database in the record.
    pub database: usize,
    /// True for the last one.
    pub last: bool,
    /// The bytes, in Base64.
    pub base64: String,
}

/// The file of a manifest, in pieces.
pub fn parts(database: usize, file: &[u8]) -> impl Iterator<Item = Part> {
    let last = file.len().div_ceil(PART_BYTES).max(1) - 1;
    (0..=last).map(move |index| {
        let end = file.len().min((index + 1) * PART_BYTES);
        let bytes = &file[index * PART_BYTES..end];
        Part { database, last: index == last, base64: STANDARD.encode(bytes) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_of_another_version_is_not_listened_to() {
        let line = |message: &Message| serde_json::to_string(message).unwrap();
        assert!(matches!(Message::read(&line(&Message::hello())), Ok(Message::Hello { .. })));
        assert!(matches!(Message::read(&line(&Message::Alive)), Ok(Message::Alive)));
        let other = Message::Hello { version: "0.0.9".to_owned() };
        for (line, expected) in
            [(line(&other), "it is state-lab 0.0.9"), ("{}".to_owned(), "another version")]
        {
            let error = Message::read(&line).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
