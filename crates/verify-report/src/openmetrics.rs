//! A history as OpenMetrics text: the newest result of each database, and the head of the chain. No key of any row.

use std::fmt::Error;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use verify_core::finding::Verdict;
use verify_core::table::shown_text;

use crate::history::{Database, DatabaseHistory, History};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDatabase {
    database: String,
    cluster: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfVerdict {
    database: String,
    cluster: String,
    verdict: String,
}

type Values<L> = Family<L, Gauge<f64, AtomicU64>>;

/// The metrics of a history. A value that was not measured is left out.
///
/// # Errors
///
/// If the text cannot be written.
pub fn metrics(history: &History) -> Result<String, Error> {
    let mut registry = Registry::with_prefix("statelab");
    let databases = history.databases();
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&DatabaseHistory<'_>) -> Option<f64>| {
        let values = Values::<OfDatabase>::default();
        for database in &databases {
            if let Some(value) = value(database) {
                values.get_or_create(&labels(database.database)).set(value);
            }
        }
        registry.register_with_unit(name, help, Unit::Seconds, values);
    };
    gauge("verify_last_success_timestamp", "End of the newest restore whose verdict was pass", &|database| {
        database.last_verified().map(|run| timestamp(run.finished_at))
    });
    gauge("verify_last_timestamp", "End of the newest run, whatever its verdict", &|database| {
        database.last().map(|(run, _)| timestamp(run.finished_at))
    });
    gauge("verify_duration", "Duration of the newest run", &|database| {
        database.last().map(|(run, _)| run.finished_at.duration_since(run.started_at).as_secs_f64())
    });
    gauge("rto", "Time from the start of the newest restore to the verdict", &|database| {
        Some(seconds(database.last()?.1.rto.as_ref()?.total_ms))
    });
    gauge("rto_objective", "Longest recovery time that is allowed", &|database| {
        database.last()?.1.objectives.rto_ms.map(seconds)
    });
    gauge("rpo", "Upper bound of the lost time", &|database| {
        Some(seconds(database.last()?.1.rpo.as_ref()?.at_most_ms))
    });
    gauge("rpo_objective", "Longest lost time that is allowed", &|database| {
        database.last()?.1.objectives.rpo_ms.map(seconds)
    });
    let verdicts = Values::<OfVerdict>::default();
    for (database, result) in databases.iter().filter_map(|of| Some((of.database, of.last()?.1))) {
        let OfDatabase { database, cluster } = labels(database);
        for verdict in [Verdict::Pass, Verdict::Inconclusive, Verdict::Fail] {
            let (database, cluster) = (database.clone(), cluster.clone());
            let labels = OfVerdict { database, cluster, verdict: verdict.to_string() };
            verdicts.get_or_create(&labels).set(if result.verdict == verdict { 1.0 } else { 0.0 });
        }
    }
    registry.register("verify_verdict", "1 for the verdict of the newest run", verdicts);
    chain(&mut registry, history);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// Registers what an outside record of the chain needs: `evidence verify --expect-head` compares it.
fn chain(registry: &mut Registry, history: &History) {
    let count = |number: usize| {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        gauge
    };
    let unsigned = history.runs.iter().filter(|run| !run.has_signatures).count();
    registry.register("evidence_reports", "Reports that can be read", count(history.runs.len()));
    registry.register("evidence_unsigned_reports", "Reports without signatures", count(unsigned));
    let unreadable = count(history.unreadable.len());
    registry.register("evidence_unreadable_reports", "Reports that cannot be read", unreadable);
    if let Some(head) = history.runs.last() {
        // A gauge: the older text format, which many tools read, has no type `info`.
        let heads = Family::<Vec<(&str, String)>, Gauge>::default();
        let labels = vec![("sequence", head.sequence.to_string()), ("sha256", head.sha256.clone())];
        heads.get_or_create(&labels).set(1);
        registry.register("evidence_head_info", "Number and SHA-256 of the newest report", heads);
    }
}

fn labels(database: &Database) -> OfDatabase {
    OfDatabase { database: shown_text(&database.name), cluster: database.cluster.clone() }
}

fn timestamp(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1_000.0
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}
