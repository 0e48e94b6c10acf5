//! Text of a recovery's time and loss.

use verify_core::finding::Verdict;
use verify_core::heartbeat::Rpo;
use verify_core::report::Report;
use verify_core::timeline::{Milestone, Rto};

use crate::duration::Period;

/// A recovery time below this is displayed with a decimal.
const WHOLE_SECONDS_MS: u64 = 10_000;

/// The recovery point of a verified copy without one.
const RPO_IN_FUTURE: &str =
    "unknown (the incident is earlier than the recovered data: is --incident right, or did a clock jump?)";
/// The recovery point of a copy whose rows were not verified, and which has no evidence of its own.
const RPO_UNKNOWN: &str = "unknown (the copy has no heartbeat or commit timestamp from before the incident, and its rows are not verified)";

/// The phase that ends with a milestone.
pub fn phase(milestone: Milestone) -> &'static str {
    match milestone {
        Milestone::Prepared => "prepare",
        Milestone::Fetched => "fetch",
        Milestone::Started => "start",
        Milestone::Recovered => "recover",
        Milestone::Ready => "open",
        Milestone::Compared => "compare",
        Milestone::Verified => "verify",
    }
}

/// `7m12s`; below ten seconds `3.4s`. Never less than it was.
pub fn recovery_time(rto: &Rto) -> String {
    duration(rto.total_ms)
}

/// Milliseconds as [`recovery_time`] displays them.
pub fn duration(ms: u64) -> String {
    let tenths = ms.div_ceil(100);
    if tenths * 100 < WHOLE_SECONDS_MS {
        format!("{}.{}s", tenths / 10, tenths % 10)
    } else {
        Period::from_ms(ms).rounded_up().to_string()
    }
}

/// `<=5m`, of all databases together: in whole seconds, upwards, so that the bound stays one; otherwise the reason for its absence.
pub fn recovery_point(reports: &[Report]) -> String {
    if let Some(rpo) = bound(reports) {
        return format!("<={}", Period::from_ms(rpo.at_most_ms.max(1)).rounded_up());
    }
    let unknown = reports.iter().filter(|report| report.recovery_point().is_none());
    let verified =
        unknown.map(|report| report.comparison().verdict()).all(|verdict| verdict == Verdict::Pass);
    if verified { RPO_IN_FUTURE.to_owned() } else { RPO_UNKNOWN.to_owned() }
}

/// The largest bound, which holds for all databases; none where one of them has none.
pub fn bound(reports: &[Report]) -> Option<&Rpo> {
    let bounds: Option<Vec<&Rpo>> = reports.iter().map(Report::recovery_point).collect();
    bounds?.into_iter().max_by_key(|rpo| rpo.at_most_ms)
}

/// The recovery time and the bound on what was lost, of all databases together.
pub fn recovery(reports: &[Report]) -> (Option<String>, String) {
    let rto = reports.iter().find_map(|report| report.rto.as_ref()).map(recovery_time);
    (rto, recovery_point(reports))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_never_less_than_it_was() {
        assert_eq!([duration(0), duration(1), duration(9_901)], ["0.0s", "0.1s", "10s"]);
        assert_eq!(duration(431_001), "7m12s");
    }
}
