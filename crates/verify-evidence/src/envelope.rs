//! The stored report: the document of a run, the circumstances of the run, and the place in the chain.

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use verify_core::finding::Verdict;
use verify_drill::deviation::Deviation;

use crate::entry::hex;

/// The value of [`Envelope::format`].
pub const FORMAT: &str = "state-lab-evidence";
/// The version of this format.
pub const FORMAT_VERSION: u32 = 1;

/// A report as it is stored and signed: `report.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// `state-lab-evidence`.
    pub format: String,
    /// The version of the format.
    pub version: u32,
    /// Number of the report in its store, from 1.
    pub sequence: u64,
    /// The report before this one; null for the first.
    pub previous: Option<Link>,
    /// Time at which the report was stored, by the clock of the machine that stored it.
    #[schemars(with = "String")]
    pub stored_at: Timestamp,
    /// Circumstances of the run.
    pub run: Run,
    /// The verdict of the document.
    pub verdict: Verdict,
    /// The document that the command prints with `--output json`; its schema is output.schema.json.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub document: Value,
}

/// A reference to a report of the same store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Number of the report.
    pub sequence: u64,
    /// SHA-256 of its `report.json`, in hexadecimal.
    pub sha256: String,
}

/// Circumstances of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Unique name of the run.
    pub id: String,
    /// The command: `verify`, `compare`, `restore`, `failover`, `replicas` or `drill`.
    pub command: String,
    /// Trigger of the run, if it was stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// The person who ran it, if that was stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The person who approved it, if that was stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// Known gaps between the run and a real disaster, as they were stated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deviations: Vec<Deviation>,
    /// Time at which the next run is due, if the configuration has an interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub next_due_at: Option<Timestamp>,
    /// Name of the machine or pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The version of state-lab.
    pub tool_version: String,
    /// SHA-256 of the program file, in hexadecimal.
    pub tool_sha256: String,
    /// SHA-256 of the configuration file, in hexadecimal; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_sha256: Option<String>,
    /// Start of the run.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// End of the run.
    #[schemars(with = "String")]
    pub finished_at: Timestamp,
}

/// Trigger of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// A person.
    Hand,
    /// A timer or a CronJob.
    Schedule,
    /// A game day.
    GameDay,
}

impl Run {
    /// A unique name for a run that starts now.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub fn new_id(now: Timestamp) -> Result<String> {
        let mut random = [0; 6];
        SystemRandom::new().fill(&mut random).ok().context("failed to get random numbers from the system")?;
        Ok(format!("{}-{}", now.strftime("%Y%m%dT%H%M%SZ"), hex(&random)))
    }
}

impl Envelope {
    /// The text of `report.json`.
    ///
    /// # Errors
    ///
    /// If a value cannot be written as JSON.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self).context("failed to write the report as JSON")?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads the text of `report.json`.
    ///
    /// # Errors
    ///
    /// If it is not a report of this version.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: String,
            version: u32,
        }
        let Version { format, version } =
            serde_json::from_slice(text).context("it is not a stored report of state-lab")?;
        if format != FORMAT {
            bail!("it is not a stored report of state-lab: its format is {format:?}");
        }
        if version != FORMAT_VERSION {
            bail!("it is of version {version}, and this state-lab reads {FORMAT_VERSION}");
        }
        serde_json::from_slice(text).context("it is not a stored report of state-lab")
    }
}

/// The JSON Schema of `report.json`.
pub fn schema() -> Value {
    schemars::schema_for!(Envelope).into()
}
