//! Effect of an event on writers: duration of the outage, and state of the acknowledged writes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::record::{Entry, Record};
use super::table::Stored;

/// Maximum number of kinds of errors that are reported, the most frequent first.
const ERROR_KINDS_MAX: usize = 5;

/// Effect of an event on writers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Impact {
    /// The longest time without a durable write, among those that end after the event began.
    pub outage_ms: u64,
    /// From the event to the first write after that time; `None` where there was none any more.
    pub first_write_after_ms: Option<u64>,
    /// The longest such time before the event: what is usual.
    pub usual_gap_ms: u64,
    /// Attempts that failed after the event began.
    pub errors: u64,
    /// Attempts after the first one at the same write, likewise.
    pub retries: u64,
    /// The most frequent errors.
    pub error_kinds: Vec<(String, u64)>,
    /// Writes that were acknowledged in the whole run.
    pub acknowledged: u64,
    /// Acknowledged writes that are not there.
    pub lost: Vec<Span>,
    /// Acknowledged writes of which one attempt is there more than once.
    pub duplicated: Vec<Span>,
    /// Acknowledged writes of which several attempts are there: an earlier one counted although its answer was lost.
    /// Any server does this to a client that tries again; no data are harmed if such writes carry a key.
    pub repeated: Vec<Span>,
    /// Writes that were committed but not acknowledged.
    pub unacknowledged: Vec<Span>,
    /// The timelines that were written on, in the order of their first session.
    pub timelines: Vec<u32>,
    /// True if the record is complete. Else some acknowledgements may not be in it.
    pub recorded_to_end: bool,
}

/// Consecutive writes of a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Span {
    pub writer: u32,
    pub first: u64,
    pub last: u64,
}

/// Number of writes in spans.
pub fn writes(spans: &[Span]) -> u64 {
    spans.iter().map(|span| span.last - span.first + 1).sum()
}

impl Impact {
    /// Holds what was acknowledged against what is there. The event is in microseconds of the record.
    pub fn of(record: &Record, event_us: u64, stored: &[Stored]) -> Self {
        let mut copies: BTreeMap<(u32, u64), &Stored> = BTreeMap::new();
        for span in stored {
            copies.extend((span.first..=span.last).map(|number| ((span.writer, number), span)));
        }
        let mut impact = Self { recorded_to_end: record.ended_us.is_some(), ..Self::default() };
        let mut lasting_us = Vec::new();
        let (mut lost, mut duplicated, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        let mut last_us = record.ended_us.unwrap_or(0);
        for entry in &record.entries {
            match entry {
                Entry::Acknowledged { attempt, at_us } => {
                    last_us = last_us.max(*at_us);
                    impact.acknowledged += 1;
                    impact.retries += u64::from(attempt.attempt > 1 && *at_us >= event_us);
                    let id = (attempt.writer, attempt.number);
                    match copies.remove(&id) {
                        None => lost.push(id),
                        Some(Stored { copies, attempts, .. }) => {
                            lasting_us.push(*at_us);
                            duplicated.extend((copies > attempts).then_some(id));
                            repeated.extend((*attempts > 1).then_some(id));
                        }
                    }
                }
                Entry::Failed { attempt, at_us, error, .. } => {
                    last_us = last_us.max(*at_us);
                    if *at_us >= event_us {
                        impact.errors += 1;
                        impact.retries += u64::from(attempt.attempt > 1);
                        *kinds.entry(error).or_default() += 1;
                    }
                }
                Entry::Connected { at_us, timeline, .. } => {
                    last_us = last_us.max(*at_us);
                    if !impact.timelines.contains(timeline) {
                        impact.timelines.push(*timeline);
                    }
                }
                Entry::Began(_) | Entry::Ended { .. } => {}
            }
        }
        impact.measure_gaps(lasting_us, event_us, last_us);
        impact.lost = spans(lost);
        impact.duplicated = spans(duplicated);
        impact.repeated = spans(repeated);
        // Whatever no acknowledgement took out is there unasked.
        impact.unacknowledged = spans(copies.into_keys().collect());
        let mut kinds: Vec<(String, u64)> =
            kinds.into_iter().map(|(error, count)| (error.to_owned(), count)).collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        kinds.truncate(ERROR_KINDS_MAX);
        impact.error_kinds = kinds;
        impact
    }

    /// Finds the longest times between writes, before and after the event.
    fn measure_gaps(&mut self, mut lasting_us: Vec<u64>, event_us: u64, last_us: u64) {
        lasting_us.sort_unstable();
        let end_us = last_us.max(event_us);
        // Where nothing was written before, the event is the beginning.
        let mut from_us = lasting_us.first().copied().unwrap_or(event_us).min(event_us);
        let mut longest_us = 0;
        for (write_us, is_write) in lasting_us.into_iter().map(|at| (at, true)).chain([(end_us, false)]) {
            let gap_us = write_us.saturating_sub(from_us);
            if write_us < event_us {
                self.usual_gap_ms = self.usual_gap_ms.max(gap_us / 1_000);
            } else if gap_us > longest_us || (longest_us == 0 && is_write) {
                longest_us = gap_us;
                self.first_write_after_ms = is_write.then(|| (write_us - event_us) / 1_000);
            }
            from_us = write_us;
        }
        // Upwards, so that no outage is reported shorter than it was.
        self.outage_ms = longest_us.div_ceil(1_000);
    }

    /// Returns whether every acknowledged write is present exactly once.
    pub fn is_exact(&self) -> bool {
        self.lost.is_empty() && self.duplicated.is_empty()
    }
}

/// Writes as spans.
fn spans(mut ids: Vec<(u32, u64)>) -> Vec<Span> {
    ids.sort_unstable();
    let mut spans: Vec<Span> = Vec::new();
    for (writer, number) in ids {
        match spans.last_mut() {
            Some(span) if span.writer == writer && span.last + 1 == number => span.last = number,
            _ => spans.push(Span { writer, first: number, last: number }),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::record::Attempt;
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn record(entries: Vec<Entry>, ended_us: Option<u64>) -> Record {
        Record { began_at: Timestamp::UNIX_EPOCH, entries, ended_us }
    }

    fn acknowledged(number: u64, attempt: u32, at_us: u64) -> Entry {
        let asked_us = at_us.saturating_sub(1_000);
        Entry::Acknowledged { attempt: Attempt { writer: 1, number, attempt, asked_us }, at_us }
    }

    fn failed(number: u64, attempt: u32, at_us: u64) -> Entry {
        let attempt = Attempt { writer: 1, number, attempt, asked_us: at_us };
        Entry::Failed { attempt, at_us, sent: true, error: "it broke".to_owned() }
    }

    fn connected(timeline: u32, at_us: u64) -> Entry {
        Entry::Connected { writer: 1, at_us, server: None, timeline }
    }

    fn stored(spans: &[(u64, u64, u64)]) -> Vec<Stored> {
        let stored = |&(first, last, copies)| Stored { writer: 1, first, last, copies, attempts: 1 };
        spans.iter().map(stored).collect()
    }

    /// Ten writes a second for ten seconds; an outage of four seconds begins with the event, at five.
    fn failover() -> Vec<Entry> {
        let mut entries = vec![connected(3, 0)];
        entries.extend((1..=50).map(|number| acknowledged(number, 1, number * SECOND / 10)));
        entries.extend([failed(51, 1, 6 * SECOND), failed(51, 2, 8 * SECOND), connected(4, 9 * SECOND)]);
        entries.push(acknowledged(51, 3, 9 * SECOND));
        entries.extend((52..=61).map(|number| acknowledged(number, 1, (39 + number) * SECOND / 10)));
        entries
    }

    #[test]
    fn a_failover_without_loss() {
        let impact = Impact::of(&record(failover(), Some(10 * SECOND)), 5 * SECOND, &stored(&[(1, 61, 1)]));
        let expected = Impact {
            outage_ms: 4_000,
            first_write_after_ms: Some(4_000),
            usual_gap_ms: 100,
            errors: 2,
            retries: 2,
            error_kinds: vec![("it broke".to_owned(), 2)],
            acknowledged: 61,
            timelines: vec![3, 4],
            recorded_to_end: true,
            ..Impact::default()
        };
        assert_eq!(impact, expected);
        assert!(impact.is_exact());
    }

    #[test]
    fn nothing_happened() {
        let entries = (1..=100).map(|number| acknowledged(number, 1, number * SECOND / 10)).collect();
        let impact = Impact::of(&record(entries, Some(10 * SECOND)), 5 * SECOND, &stored(&[(1, 100, 1)]));
        let expected = Impact {
            outage_ms: 100,
            first_write_after_ms: Some(0),
            usual_gap_ms: 100,
            acknowledged: 100,
            recorded_to_end: true,
            ..Impact::default()
        };
        assert_eq!(impact, expected);
    }

    #[test]
    fn what_became_of_acknowledged_writes() {
        let span = |first, last| Span { writer: 1, first, last };
        for (rows, lost, duplicated, unacknowledged) in [
            (stored(&[(1, 61, 1)]), vec![], vec![], vec![]),
            (stored(&[(1, 47, 1), (51, 61, 1)]), vec![span(48, 50)], vec![], vec![]),
            (stored(&[(1, 20, 1), (22, 60, 1)]), vec![span(21, 21), span(61, 61)], vec![], vec![]),
            (stored(&[(1, 50, 1), (51, 51, 2), (52, 61, 1)]), vec![], vec![span(51, 51)], vec![]),
            (stored(&[(1, 62, 1)]), vec![], vec![], vec![span(62, 62)]),
            (vec![], vec![span(1, 61)], vec![], vec![]),
        ] {
            let impact = Impact::of(&record(failover(), Some(10 * SECOND)), 5 * SECOND, &rows);
            let found = (impact.lost, impact.duplicated, impact.unacknowledged);
            assert_eq!(found, (lost, duplicated, unacknowledged), "{rows:?}");
        }
    }

    #[test]
    fn a_second_row_of_a_retry_is_distinguished_from_a_duplicate_row() {
        let retried = |copies, attempts| {
            let mut rows = stored(&[(1, 50, 1), (51, 51, copies), (52, 61, 1)]);
            rows[1].attempts = attempts;
            let impact = Impact::of(&record(failover(), Some(10 * SECOND)), 5 * SECOND, &rows);
            (writes(&impact.duplicated), writes(&impact.repeated), impact.is_exact())
        };
        assert_eq!(retried(1, 1), (0, 0, true));
        assert_eq!(retried(2, 2), (0, 1, true));
        assert_eq!(retried(2, 1), (1, 0, false));
        assert_eq!(retried(3, 2), (1, 1, false));
    }

    #[test]
    fn a_write_that_was_lost_was_no_service() {
        // Cut off with its writers, the old primary went on for three seconds: all of it was lost.
        let mut entries: Vec<Entry> =
            (1..=80).map(|number| acknowledged(number, 1, number * SECOND / 10)).collect();
        entries.push(acknowledged(81, 4, 20 * SECOND));
        let impact =
            Impact::of(&record(entries, Some(20 * SECOND)), 5 * SECOND, &stored(&[(1, 50, 1), (81, 81, 1)]));
        assert_eq!((impact.outage_ms, impact.first_write_after_ms), (15_000, Some(15_000)));
        assert_eq!(writes(&impact.lost), 30);
    }

    #[test]
    fn writes_that_never_come_again_are_an_outage_to_the_end() {
        let entries: Vec<Entry> =
            (1..=50).map(|number| acknowledged(number, 1, number * SECOND / 10)).collect();
        for (ended_us, more, outage_ms) in
            [(Some(60 * SECOND), vec![], 55_000), (None, vec![failed(51, 1, 40 * SECOND)], 35_000)]
        {
            let record = record(entries.iter().cloned().chain(more).collect(), ended_us);
            let impact = Impact::of(&record, 5 * SECOND, &stored(&[(1, 50, 1)]));
            assert_eq!((impact.outage_ms, impact.first_write_after_ms), (outage_ms, None));
            assert_eq!(impact.recorded_to_end, ended_us.is_some());
        }
    }

    #[test]
    fn a_longer_silence_before_the_event_is_not_its_doing() {
        let entries = [1, 4, 5, 6, 7].map(|second| acknowledged(second, 1, second * SECOND)).to_vec();
        let impact = Impact::of(&record(entries, Some(7 * SECOND)), 5 * SECOND + 1, &stored(&[(1, 7, 1)]));
        assert_eq!((impact.outage_ms, impact.usual_gap_ms), (1_000, 3_000));
    }
}
