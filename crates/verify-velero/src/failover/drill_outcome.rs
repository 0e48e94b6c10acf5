//! Result of a failover drill, and its verdict.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use verify_core::finding::{Severity, Verdict};

use super::event::How;
use super::impact::{Impact, writes};
use super::primary::{Move, Primary};
use super::watching::Change;

/// Below this a failover is what every client has to bear, unless the objective says otherwise.
pub const TRANSIENT_MS: u64 = 30_000;
/// A shorter gap without an error is not an outage.
const NOTICED_MS: u64 = 1_000;

/// Result of a failover drill.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "FailoverDrill")]
pub struct FailoverOutcome {
    pub namespace: String,
    pub cluster: String,
    pub service: String,
    pub node: String,
    pub how: How,
    #[schemars(with = "String")]
    pub event_at: Timestamp,
    pub primary_before: Primary,
    pub primary_after: Option<Primary>,
    pub moved: Move,
    pub reading: ReadBackState,
    /// From the event until the cluster was as whole as before.
    pub whole_after_ms: Option<u64>,
    /// Differences that were left when the wait timed out.
    pub missing: Vec<String>,
    /// Changes, in order.
    pub changes: Vec<Change>,
    /// The longest outage that is allowed.
    pub objective_ms: u64,
}

/// Result of reading the writes back.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReadBackState {
    /// The event's impact.
    Read(Box<Impact>),
    /// ReadBackState failed, for this reason.
    Unread(String),
}

impl FailoverOutcome {
    /// The verdict. Without a failover nothing was verified.
    pub fn verdict(&self) -> Verdict {
        let ReadBackState::Read(impact) = &self.reading else { return Severity::Inconclusive.into() };
        let served = impact.outage_ms <= self.objective_ms && impact.first_write_after_ms.is_some();
        let failed = !impact.is_exact() || !served || !self.missing.is_empty();
        let open = self.moved == Move::None || !impact.recorded_to_end;
        let severities = [failed.then_some(Severity::Fail), open.then_some(Severity::Inconclusive)];
        Verdict::of(severities.into_iter().flatten())
    }

    /// Text of the event, for the first line.
    pub fn event(&self) -> &'static str {
        match self.moved {
            Move::None => "primary not rescheduled",
            Move::OtherMember | Move::OtherNode | Move::NewPod | Move::Restarted => "primary rescheduled",
        }
    }

    /// Text of the impact on clients, for the second line.
    pub fn service_impact(&self) -> String {
        let impact = match &self.reading {
            ReadBackState::Read(impact) => impact,
            ReadBackState::Unread(_) => return "unknown: the writes could not be read back".to_owned(),
        };
        let resumed = impact.first_write_after_ms.is_some();
        if impact.is_exact() && resumed && impact.outage_ms < TRANSIENT_MS {
            let noticed = impact.errors + impact.retries > 0 || impact.outage_ms >= NOTICED_MS;
            return if noticed { "transient retry spike (under 30s)" } else { "none" }.to_owned();
        }
        let mut parts = vec![format!("{} s without writes", impact.outage_ms.div_ceil(1_000))];
        if !resumed {
            parts = vec![format!("no writes since, for {} s", impact.outage_ms.div_ceil(1_000))];
        }
        for (spans, what) in [(&impact.lost, "lost"), (&impact.duplicated, "duplicated")] {
            let number = writes(spans);
            if number > 0 {
                parts.push(format!(
                    "{} {what}",
                    verify_drill::quantity::counted(number, "acknowledged write")
                ));
            }
        }
        parts.join(", ")
    }
}

/// A failover of 19 s that lost nothing, for the tests of what shows it.
#[doc(hidden)]
pub fn sample_outcome() -> FailoverOutcome {
    let primary = |pod: &str, node: &str| Primary {
        pod: pod.to_owned(),
        uid: pod.to_owned(),
        node: node.to_owned(),
        restarts: 0,
    };
    let event_at: Timestamp = "2026-11-21T03:14:00Z".parse().unwrap();
    let impact = Impact {
        outage_ms: 19_100,
        first_write_after_ms: Some(19_080),
        usual_gap_ms: 24,
        errors: 31,
        retries: 31,
        error_kinds: vec![("connect to postgres@pg:5432/postgres: timed out".to_owned(), 31)],
        acknowledged: 2_417,
        timelines: vec![3, 4],
        recorded_to_end: true,
        ..Impact::default()
    };
    FailoverOutcome {
        namespace: "app".to_owned(),
        cluster: "pg".to_owned(),
        service: "pg".to_owned(),
        node: "worker-1".to_owned(),
        how: How::Command,
        event_at,
        primary_before: primary("pg-0", "worker-1"),
        primary_after: Some(primary("pg-1", "worker-2")),
        moved: Move::OtherMember,
        reading: ReadBackState::Read(Box::new(impact)),
        whole_after_ms: Some(61_000),
        missing: Vec::new(),
        changes: vec![Change {
            at: event_at + jiff::SignedDuration::from_millis(18_300),
            what: "primary: pg-0 on worker-1 → pg-1 on worker-2".to_owned(),
        }],
        objective_ms: TRANSIENT_MS,
    }
}

#[cfg(test)]
mod tests {
    use super::super::impact::Span;
    use super::sample_outcome as outcome;
    use super::*;

    fn with(change: impl FnOnce(&mut Impact)) -> FailoverOutcome {
        let mut outcome = outcome();
        if let ReadBackState::Read(impact) = &mut outcome.reading {
            change(impact);
        }
        outcome
    }

    #[test]
    fn the_lines_say_what_is_true_and_the_verdict_follows() {
        let span = |first, last| vec![Span { writer: 1, first, last }];
        let unread = FailoverOutcome {
            reading: ReadBackState::Unread("the table was dropped".to_owned()),
            ..outcome()
        };
        let unmoved = FailoverOutcome { moved: Move::None, ..outcome() };
        let broken = FailoverOutcome { missing: vec!["pg-0 is not ready".to_owned()], ..outcome() };
        let strict = FailoverOutcome { objective_ms: 10_000, ..outcome() };
        let transient = "transient retry spike (under 30s)";
        let quiet = |impact: &mut Impact| (impact.outage_ms, impact.errors, impact.retries) = (40, 0, 0);
        for (outcome, service_impact, verdict) in [
            (outcome(), transient, Verdict::Pass),
            (with(quiet), "none", Verdict::Pass),
            (
                with(|impact| impact.lost = span(5, 7)),
                "20 s without writes, 3 acknowledged writes lost",
                Verdict::Fail,
            ),
            (
                with(|impact| {
                    (impact.outage_ms, impact.lost, impact.duplicated) = (73_500, span(5, 7), span(9, 9));
                }),
                "74 s without writes, 3 acknowledged writes lost, 1 acknowledged write duplicated",
                Verdict::Fail,
            ),
            (with(|impact| impact.outage_ms = 30_000), "30 s without writes", Verdict::Pass),
            (with(|impact| impact.outage_ms = 30_001), "31 s without writes", Verdict::Fail),
            (with(|impact| impact.first_write_after_ms = None), "no writes since, for 20 s", Verdict::Fail),
            (with(|impact| impact.recorded_to_end = false), transient, Verdict::Inconclusive),
            (unread, "unknown: the writes could not be read back", Verdict::Inconclusive),
            (unmoved, transient, Verdict::Inconclusive),
            (broken, transient, Verdict::Fail),
            (strict, transient, Verdict::Fail),
        ] {
            assert_eq!((outcome.service_impact().as_str(), outcome.verdict()), (service_impact, verdict));
        }
    }
}
