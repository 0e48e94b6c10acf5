//! A failover drill as text: the two lines first, then their details.

use std::fmt::Write;

use super::style::{Ink, Style, sentence};
use verify_drill::quantity::{count, counted};
use verify_velero::failover::{FailoverOutcome, Impact, Move, ReadBackState, Span, writes};

/// Renders the result of a failover drill.
pub(crate) fn failover(outcome: &FailoverOutcome, style: &Style) -> String {
    let ink = Ink::from(outcome.verdict());
    let mut text = format!("event: {}\n", outcome.event());
    let _ = writeln!(text, "service_impact: {}\n", style.paint(ink, &outcome.service_impact()));
    let _ = writeln!(text, "verdict: {}", style.paint(ink, &outcome.verdict().to_string()));
    let _ = writeln!(text, "{}", primary(outcome));
    match &outcome.reading {
        ReadBackState::Read(impact) => write_impact(&mut text, impact, outcome.objective_ms, style),
        ReadBackState::Unread(reason) => {
            let _ = writeln!(text, "not read back: {}", sentence(reason));
        }
    }
    match outcome.whole_after_ms {
        Some(ms) => {
            let _ = writeln!(text, "cluster: healthy again {} s after the event", seconds(ms));
        }
        None => {
            let missing = outcome.missing.join(", ");
            let _ = writeln!(text, "cluster: {}: {missing}", style.paint(Ink::Bad, "not healthy"));
        }
    }
    if !outcome.changes.is_empty() {
        text.push_str("\nwhat changed, in seconds after the event:\n");
    }
    for change in &outcome.changes {
        let after_ms = change.at.duration_since(outcome.event_at).as_millis();
        let _ = writeln!(text, "  {:>7.1}  {}", after_ms as f64 / 1_000.0, sentence(&change.what));
    }
    text
}

fn primary(outcome: &FailoverOutcome) -> String {
    let before = &outcome.primary_before;
    let was = format!("{} on {}", before.pod, before.node);
    let Some(after) = &outcome.primary_after else { return format!("primary: was {was}; there is none now") };
    let timelines = match &outcome.reading {
        ReadBackState::Read(impact) => match (impact.timelines.first(), impact.timelines.last()) {
            (Some(first), Some(last)) if first != last => format!(" (timeline {first} → {last})"),
            (Some(first), _) => format!(" (timeline {first} as before)"),
            _ => String::new(),
        },
        ReadBackState::Unread(_) => String::new(),
    };
    match outcome.moved {
        Move::None => format!("primary: still {was}{timelines}"),
        Move::OtherMember => format!("new primary: {} on {}{timelines}; was {was}", after.pod, after.node),
        Move::OtherNode => {
            format!("new primary: {} moved from {} to {}{timelines}", after.pod, before.node, after.node)
        }
        Move::NewPod => format!("new primary: {} on {} again, a new pod{timelines}", after.pod, after.node),
        Move::Restarted => {
            format!("new primary: {} on {} again, restarted{timelines}", after.pod, after.node)
        }
    }
}

fn write_impact(text: &mut String, impact: &Impact, objective_ms: u64, style: &Style) {
    let (outage, objective) = (seconds(impact.outage_ms), seconds(objective_ms));
    let ink = if impact.outage_ms <= objective_ms { Ink::Good } else { Ink::Bad };
    let _ = write!(text, "outage: {}", style.paint(ink, &format!("{outage} s")));
    let _ = writeln!(
        text,
        " without a durable write (objective {objective} s, before the event {} s)",
        seconds(impact.usual_gap_ms)
    );
    let _ = match impact.first_write_after_ms {
        Some(ms) => writeln!(text, "first write after it: {} s after the event", seconds(ms)),
        None => writeln!(text, "first write after it: none"),
    };
    let (errors, retries) = (counted(impact.errors, "error"), count(impact.retries));
    let _ = writeln!(text, "clients: {errors}, {retries} retries");
    for (error, number) in &impact.error_kinds {
        let _ = writeln!(text, "  {:>7}  {}", count(*number), sentence(error));
    }
    let acknowledged = counted(impact.acknowledged, "write");
    let _ = writeln!(text, "acknowledged: {acknowledged}, each checked");
    for (spans, name, ink, why) in [
        (&impact.lost, "lost", Ink::Bad, "acknowledged, but missing"),
        (&impact.duplicated, "duplicated", Ink::Bad, "one attempt, committed more than once"),
        (
            &impact.repeated,
            "repeated",
            Ink::Doubtful,
            "the answer was lost and the retry was committed too: give such writes a key",
        ),
        (&impact.unacknowledged, "unacknowledged", Ink::Faint, "committed but not acknowledged: no loss"),
    ] {
        let number = writes(spans);
        if number == 0 {
            continue;
        }
        let _ = writeln!(text, "{}: {} ({why})", style.paint(ink, name), count(number));
        for Span { writer, first, last } in spans.iter().take(style.rows_max) {
            let numbers =
                if first == last { count(*first) } else { format!("{} to {}", count(*first), count(*last)) };
            let _ = writeln!(text, "  writer {writer}: {numbers}");
        }
        if spans.len() > style.rows_max {
            let _ = writeln!(text, "  and {} more spans; --verbose shows all", spans.len() - style.rows_max);
        }
    }
    if !impact.recorded_to_end {
        let _ = writeln!(
            text,
            "{}: the probe's record is truncated: more may have been acknowledged",
            style.paint(Ink::Doubtful, "inconclusive")
        );
    }
}

/// Tenths of seconds, upwards.
fn seconds(ms: u64) -> String {
    let tenths = ms.div_ceil(100);
    format!("{}.{}", count(tenths / 10), tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use verify_velero::failover::sample_outcome as outcome;

    #[test]
    fn a_failover_reads_like_this() {
        insta::assert_snapshot!(failover(&outcome(), &Style::plain()), @r"
        event: primary rescheduled
        service_impact: transient retry spike (under 30s)

        verdict: pass
        new primary: pg-1 on worker-2 (timeline 3 → 4); was pg-0 on worker-1
        outage: 19.1 s without a durable write (objective 30.0 s, before the event 0.1 s)
        first write after it: 19.1 s after the event
        clients: 31 errors, 31 retries
               31  connect to postgres@pg:5432/postgres: timed out
        acknowledged: 2,417 writes, each checked
        cluster: healthy again 61.0 s after the event

        what changed, in seconds after the event:
             18.3  primary: pg-0 on worker-1 → pg-1 on worker-2
        ");
    }

    #[test]
    fn a_failover_that_lost_writes_reads_like_this() {
        let mut outcome = outcome();
        outcome.whole_after_ms = None;
        outcome.missing = vec!["pg-0 is not ready".to_owned()];
        if let ReadBackState::Read(impact) = &mut outcome.reading {
            impact.outage_ms = 73_540;
            impact.first_write_after_ms = None;
            impact.lost =
                vec![Span { writer: 1, first: 204, last: 1_377 }, Span { writer: 2, first: 9, last: 9 }];
            impact.duplicated = vec![Span { writer: 3, first: 5, last: 5 }];
            impact.repeated = vec![Span { writer: 3, first: 7, last: 7 }];
            impact.unacknowledged = vec![Span { writer: 4, first: 6, last: 6 }];
            impact.recorded_to_end = false;
        }
        insta::assert_snapshot!(failover(&outcome, &Style::plain()), @r"
        event: primary rescheduled
        service_impact: no writes since, for 74 s, 1,175 acknowledged writes lost, 1 acknowledged write duplicated

        verdict: fail
        new primary: pg-1 on worker-2 (timeline 3 → 4); was pg-0 on worker-1
        outage: 73.6 s without a durable write (objective 30.0 s, before the event 0.1 s)
        first write after it: none
        clients: 31 errors, 31 retries
               31  connect to postgres@pg:5432/postgres: timed out
        acknowledged: 2,417 writes, each checked
        lost: 1,175 (acknowledged, but missing)
          writer 1: 204 to 1,377
          writer 2: 9
        duplicated: 1 (one attempt, committed more than once)
          writer 3: 5
        repeated: 1 (the answer was lost and the retry was committed too: give such writes a key)
          writer 3: 7
        unacknowledged: 1 (committed but not acknowledged: no loss)
          writer 4: 6
        inconclusive: the probe's record is truncated: more may have been acknowledged
        cluster: not healthy: pg-0 is not ready

        what changed, in seconds after the event:
             18.3  primary: pg-0 on worker-1 → pg-1 on worker-2
        ");
    }
}
