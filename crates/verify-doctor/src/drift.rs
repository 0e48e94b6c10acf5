//! Changes since a state that was known to be good.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use verify_core::finding::Severity;

use crate::fact::{Fact, Missing, known};
use crate::facts::cluster::Cluster;
use crate::facts::{Facts, Server, Settings};

/// Value of `format` in the file of a state.
const FORMAT: &str = "state-lab-doctor-state";
const VERSION: u32 = 1;

/// Settings that may hold a secret: only a hash of their value is kept.
const SECRET: [&str; 6] = [
    "archive_command",
    "archive_cleanup_command",
    "restore_command",
    "recovery_end_command",
    "primary_conninfo",
    "ssl_passphrase_command",
];

/// Settings that change by themselves.
const PASSING: [&str; 4] =
    ["in_hot_standby", "transaction_read_only", "transaction_isolation", "transaction_deferrable"];

/// Settings, versions, schedules, classes and policies, as values by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct State {
    format: String,
    version: u32,
    /// The time when it was taken.
    #[schemars(with = "String")]
    pub taken_at: Timestamp,
    /// Values by name, in parts; a part that could not be read is absent.
    parts: BTreeMap<String, BTreeMap<String, String>>,
}

/// The changes since a known state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[must_use]
pub struct Drift {
    /// The time of the known state.
    #[schemars(with = "String")]
    pub since: Timestamp,
    pub changes: Vec<Change>,
    /// Parts that could not be read, now or then.
    pub not_compared: Vec<NotCompared>,
}

/// A value that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Change {
    /// Part of the state: `settings`, `extensions`, …
    pub part: String,
    pub name: String,
    /// The value then; none if it is new.
    pub before: Option<String>,
    /// The value now; absent if it was removed.
    pub after: Option<String>,
}

/// A part that was not compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NotCompared {
    pub part: String,
    pub reason: String,
}

impl Drift {
    pub(crate) fn severities(&self) -> impl Iterator<Item = Severity> {
        let changes = self.changes.iter().map(|_| Severity::Fail);
        changes.chain(self.not_compared.iter().map(|_| Severity::Inconclusive))
    }
}

/// A part of a state.
type Part = Fact<BTreeMap<String, String>>;

impl State {
    /// The state that the facts show.
    pub fn of(facts: &Facts) -> Self {
        let parts = parts(facts).into_iter().filter_map(|(name, part)| Some((name, part.ok()?)));
        Self { format: FORMAT.to_owned(), version: VERSION, taken_at: facts.now, parts: parts.collect() }
    }

    /// Returns whether this program can read the file.
    pub fn is_readable(&self) -> bool {
        self.format == FORMAT && self.version == VERSION
    }

    /// Returns whether there is anything to compare with.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Changes since this state.
    pub fn changes(&self, facts: &Facts) -> Drift {
        let mut drift = Drift { since: self.taken_at, changes: Vec::new(), not_compared: Vec::new() };
        let now = parts(facts);
        for (part, before) in &self.parts {
            match now.get(part) {
                Some(Ok(after)) => compare(part, before, after, &mut drift.changes),
                Some(Err(Missing::NotApplicable(reason) | Missing::Unknown { reason, .. })) => {
                    drift.not_compared.push(NotCompared { part: part.clone(), reason: reason.clone() });
                }
                None => drift.not_compared.push(NotCompared {
                    part: part.clone(),
                    reason: "this version of state-lab does not record it".to_owned(),
                }),
            }
        }
        for (part, now) in &now {
            if now.is_ok() && !self.parts.contains_key(part) {
                let reason = "the saved state does not have it".to_owned();
                drift.not_compared.push(NotCompared { part: part.clone(), reason });
            }
        }
        drift
    }
}

fn compare(
    part: &str,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
    changes: &mut Vec<Change>,
) {
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    for name in names {
        let (before, after) = (before.get(name), after.get(name));
        if before != after {
            let (part, name) = (part.to_owned(), name.clone());
            changes.push(Change { part, name, before: before.cloned(), after: after.cloned() });
        }
    }
}

/// The parts of the facts that are kept.
fn parts(facts: &Facts) -> BTreeMap<String, Part> {
    let mut parts = BTreeMap::new();
    let server = |read: fn(&Server) -> Part| facts.server.as_ref().map_err(Clone::clone).and_then(read);
    parts.insert("settings".to_owned(), server(|server| settings(&server.settings)));
    parts.insert(
        "server".to_owned(),
        server(|server| {
            let shown = |value: &dyn ToString| value.to_string();
            Ok(BTreeMap::from([("version".to_owned(), shown(&server.version))]))
        }),
    );
    parts.insert("extensions".to_owned(), server(|server| server.extensions.clone()));
    parts.insert("collations".to_owned(), server(|server| server.collation_versions.clone()));
    for (name, read) in OF_CLUSTER {
        let part = facts.cluster.as_ref().map_err(Clone::clone).and_then(read);
        parts.insert(name.to_owned(), part);
    }
    parts
}

/// Reads a part of a cluster.
type Read = fn(&Cluster) -> Part;

/// The parts that a cluster has.
const OF_CLUSTER: [(&str, Read); 6] = [
    ("schedules", |cluster| {
        each(&cluster.schedules, |one| {
            let state = if one.paused { "paused" } else { "active" };
            (one.name.clone(), format!("{}, {state}, kept for {}", one.cron, one.ttl))
        })
    }),
    ("locations", |cluster| {
        each(&cluster.locations, |one| {
            let region = one.region.as_deref().unwrap_or("no region");
            let endpoint = one.endpoint.as_deref().unwrap_or("its own address");
            (one.name.clone(), format!("{} {} in {region} at {endpoint}", one.provider, one.bucket))
        })
    }),
    ("snapshot classes", |cluster| {
        each(&cluster.snapshot_classes, |one| {
            let label = if one.is_labelled { "for Velero" } else { "not for Velero" };
            let kind = one.longhorn_type.as_deref().unwrap_or("no type");
            (one.name.clone(), format!("{}, {}, {label}, {kind}", one.driver, one.deletion_policy))
        })
    }),
    ("storage classes", |cluster| {
        each(&cluster.storage_classes, |one| {
            let encrypted = match one.encrypted {
                Some(true) => "encrypted",
                Some(false) => "not encrypted",
                None => "encryption unknown",
            };
            (one.name.clone(), format!("{}, {encrypted}", one.driver))
        })
    }),
    ("quotas", |cluster| {
        each(&cluster.quotas, |one| {
            let shown = |limit: Option<u64>| limit.map_or("no limit".to_owned(), |limit| limit.to_string());
            let limits = format!("{} bytes, {} claims", shown(one.storage_bytes_max), shown(one.claims_max));
            (one.name.clone(), limits)
        })
    }),
    ("images of Velero", |cluster| {
        each(&cluster.images, |image| {
            let name = image.rsplit('/').next().unwrap_or_default();
            let name = name.split([':', '@']).next().unwrap_or_default();
            (name.to_owned(), image.clone())
        })
    }),
];

fn each<T>(objects: &Fact<Vec<T>>, value: impl Fn(&T) -> (String, String)) -> Part {
    Ok(known(objects)?.iter().map(value).collect())
}

fn settings(settings: &Settings) -> Part {
    if !settings.all_visible {
        let needs = "GRANT pg_read_all_settings";
        return Err(Missing::unknown("the role may not see all settings", needs));
    }
    let kept = settings
        .values
        .iter()
        .filter(|(name, _)| !PASSING.contains(&name.as_str()) && !settings.of_session.contains(*name));
    let value = |name: &str, value: &str| {
        // A setting of an extension may hold anything.
        if SECRET.contains(&name) || name.contains('.') {
            format!("(hash) {}", &blake3::hash(value.as_bytes()).to_hex()[..16])
        } else {
            value.to_owned()
        }
    };
    Ok(kept.map(|(name, text)| (name.clone(), value(name, text))).collect())
}
