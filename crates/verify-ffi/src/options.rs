//! Options of a call: one JSON document that becomes a [`Plan`].

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use verify_core::digest::HashAlgorithm;
use verify_core::invariant::Invariant;
use verify_core::not_covered::Check;
use verify_core::plan::{Limits, Mode, Plan};

/// The document. What it leaves out has the default of [`Plan`].
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    jobs: Option<NonZeroUsize>,
    mode: Mode,
    hash: HashAlgorithm,
    invariants: Vec<Invariant>,
    limits: LimitOptions,
    skip: BTreeSet<String>,
    own_restore: bool,
}

/// Fields of [`Limits`].
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitOptions {
    lock_timeout_ms: Option<u32>,
    invariant_timeout_ms: Option<u32>,
    anchor_timeout_ms: Option<u32>,
    stall_timeout_ms: Option<u32>,
    max_rate: Option<u64>,
    max_replication_lag: Option<u64>,
    max_active_sessions: Option<u32>,
    max_snapshot_age_ms: Option<u64>,
}

/// Reads a plan. Empty text is the default.
///
/// # Errors
///
/// If it is not an object, or has a key or a value that is unknown.
pub(crate) fn plan(text: &str) -> Result<Plan> {
    if text.is_empty() {
        return Ok(Plan::default());
    }
    let value: Value = serde_json::from_str(text).context("they are not JSON")?;
    // A connection string in the wrong place is not repeated in the error.
    if !value.is_object() {
        bail!("they are not a JSON object");
    }
    let Options { jobs, mode, hash, invariants, limits, skip, own_restore } = serde_json::from_value(value)?;
    let mut plan = Plan::default()
        .with_mode(mode)
        .with_hash(hash)
        .with_invariants(invariants)
        .with_limits(limits.limits())
        .without(skip.iter().map(|name| check(name)).collect::<Result<Vec<_>>>()?);
    plan.jobs = jobs.unwrap_or(plan.jobs);
    plan.own_restore = own_restore;
    Ok(plan)
}

impl LimitOptions {
    fn limits(self) -> Limits {
        let mut limits = Limits::default();
        limits.lock_timeout_ms = self.lock_timeout_ms.unwrap_or(limits.lock_timeout_ms);
        limits.invariant_timeout_ms = self.invariant_timeout_ms.unwrap_or(limits.invariant_timeout_ms);
        limits.anchor_timeout_ms = self.anchor_timeout_ms.unwrap_or(limits.anchor_timeout_ms);
        limits.stall_timeout_ms = self.stall_timeout_ms.unwrap_or(limits.stall_timeout_ms);
        limits.max_rate = self.max_rate;
        limits.max_replication_lag = self.max_replication_lag;
        limits.max_active_sessions = self.max_active_sessions;
        limits.max_snapshot_age_ms = self.max_snapshot_age_ms;
        limits
    }
}

fn check(name: &str) -> Result<Check> {
    let found = Check::SELECTABLE.iter().find(|(known, _)| *known == name);
    found.map(|(_, check)| *check).with_context(|| {
        let names: Vec<&str> = Check::SELECTABLE.iter().map(|(name, _)| *name).collect();
        format!("skip: unknown check `{name}`, expected one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use verify_core::invariant::Expect;

    use super::*;

    #[test]
    fn every_option_reaches_the_plan() {
        let text = r#"{
            "jobs": 7, "mode": "time-travel", "hash": "sha256", "own_restore": true, "skip": ["catalog", "heap"],
            "invariants": [{"name": "one", "sql": "SELECT 1", "expect": {"value": "1"}}],
            "limits": {"lock_timeout_ms": 1, "invariant_timeout_ms": 2, "anchor_timeout_ms": 3, "stall_timeout_ms": 4,
                       "max_rate": 5, "max_replication_lag": 6, "max_active_sessions": 7, "max_snapshot_age_ms": 8}
        }"#;
        let mut limits = Limits::default();
        limits.lock_timeout_ms = 1;
        limits.invariant_timeout_ms = 2;
        limits.anchor_timeout_ms = 3;
        limits.stall_timeout_ms = 4;
        limits.max_rate = Some(5);
        limits.max_replication_lag = Some(6);
        limits.max_active_sessions = Some(7);
        limits.max_snapshot_age_ms = Some(8);
        let expected = Plan::default()
            .with_jobs(NonZeroUsize::new(7).unwrap())
            .with_mode(Mode::TimeTravel)
            .with_hash(HashAlgorithm::Sha256)
            .of_own_restore()
            .without([Check::Definitions, Check::Heap])
            .with_invariants([Invariant {
                name: "one".to_owned(),
                sql: "SELECT 1".to_owned(),
                expect: Expect::Value("1".to_owned()),
            }])
            .with_limits(limits);
        assert_eq!(plan(text).unwrap(), expected);
        for nothing in ["", "{}", r#"{"limits": {}}"#] {
            assert_eq!(plan(nothing).unwrap(), Plan::default(), "{nothing}");
        }
    }

    #[test]
    fn what_is_unknown_is_refused_by_name_and_a_secret_is_not_repeated() {
        for (text, part) in [
            (r#"{"job": 2}"#, "unknown field `job`"),
            (r#"{"jobs": 0}"#, "nonzero"),
            (r#"{"limits": {"lock_timeout": 2}}"#, "unknown field `lock_timeout`"),
            (r#"{"skip": ["index"]}"#, "unknown check `index`"),
            (r#"{"mode": "exact"}"#, "unknown variant `exact`"),
        ] {
            let error = format!("{:#}", plan(text).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
        for misplaced in [r#""host=db password=hunter2""#, "host=db password=hunter2", r#"["hunter2"]"#] {
            let error = format!("{:#}", plan(misplaced).unwrap_err());
            assert!(error.contains("they are not") && !error.contains("hunter2"), "{error}");
        }
    }
}
