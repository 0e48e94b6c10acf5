//! Result of the demonstration, and its text.

use std::fmt::Write;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use verify_core::finding::{Severity, Verdict};
use verify_core::report::Report;

use super::damage::Judged;
use super::loss::Loss;
use crate::render::{Style, text};
use verify_drill::quantity::count;

/// Both acts, and whether each came out as expected.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Demonstration")]
pub(crate) struct DemoOutcome {
    /// Pass where the restore was verified, the bound held, and every damage and nothing else was found.
    pub(crate) verdict: Verdict,
    /// Results that were not as expected.
    pub(crate) surprises: Vec<String>,
    /// The restore.
    pub(crate) restore: Report,
    /// The truth about the lost writes.
    pub(crate) loss: Loss,
    /// The damaged copy.
    pub(crate) damaged: Damaged,
    /// From the first step to the last, in milliseconds.
    pub(crate) took_ms: u64,
}

/// Result of the verification of the damaged copy.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Damaged {
    /// Its verdict.
    pub(crate) integrity_checks: Verdict,
    /// Result for each damage.
    pub(crate) judged: Vec<Judged>,
    /// Findings that no damage explains.
    pub(crate) unexplained: Vec<String>,
}

impl DemoOutcome {
    /// Judges both acts.
    pub(crate) fn new(restore: Report, loss: Loss, damaged: Damaged, took: Duration) -> Self {
        let surprises = surprises(&restore, &loss, &damaged);
        let verdict = Verdict::of(surprises.iter().map(|_| Severity::Fail));
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Self { verdict, surprises, restore, loss, damaged, took_ms }
    }

    /// Plain text; the lines that the restore promises come first.
    pub(crate) fn text(&self, style: &Style) -> String {
        let mut text = text::report(&self.restore, style);
        text.push('\n');
        self.write_loss(&mut text);
        text.push('\n');
        self.write_damage(&mut text, style);
        text.push('\n');
        for surprise in &self.surprises {
            let _ = writeln!(text, "unexpected: {}", style.cut(surprise));
        }
        let _ = writeln!(text, "demo: {} in {}", self.verdict, seconds(self.took_ms));
        text
    }

    fn write_loss(&self, text: &mut String) {
        let Loss { restored, lost, holes: _, last_restored_ms, first_lost_ms } = &self.loss;
        let _ = writeln!(
            text,
            "Acknowledged commits: {}; the copy has {} of them, and {} newer ones are lost.",
            count(restored + lost),
            count(*restored),
            count(*lost)
        );
        let ago = |ms: &Option<u64>| {
            ms.map_or("never".to_owned(), |ms| format!("{} before the crash", seconds(ms)))
        };
        let _ = writeln!(text, "newest restored write: {}", ago(last_restored_ms));
        let _ = writeln!(text, "oldest lost write: {}", ago(first_lost_ms));
        if let Some(rpo) = &self.restore.rpo {
            let held = if self.loss.is_within(rpo.at_most_ms) { "covers" } else { "DOES NOT COVER" };
            let _ = writeln!(
                text,
                "bound from the heartbeat: {}, which {held} the loss",
                seconds(rpo.at_most_ms)
            );
        }
    }

    fn write_damage(&self, text: &mut String, style: &Style) {
        let Damaged { integrity_checks, judged, unexplained } = &self.damaged;
        let _ = writeln!(text, "Then the copy was damaged on purpose, and verified again:");
        let _ = writeln!(text, "integrity_checks: {integrity_checks}");
        for Judged { damage, found, overlooked } in judged {
            let _ = writeln!(text, "  {damage}");
            for line in found {
                let _ = writeln!(text, "      found: {}", style.cut(line));
            }
            for line in overlooked {
                let _ = writeln!(text, "      OVERLOOKED: {}", style.cut(line));
            }
        }
        let found = judged.iter().filter(|judged| judged.overlooked.is_empty()).count();
        let others = if unexplained.is_empty() { "nothing else" } else { "other findings" };
        let _ = writeln!(text, "{found} of {} found, and {others}", judged.len());
    }
}

/// Everything that went otherwise than expected.
fn surprises(restore: &Report, loss: &Loss, damaged: &Damaged) -> Vec<String> {
    let mut surprises = Vec::new();
    let mut expect = |held: bool, otherwise: &str| {
        if !held {
            surprises.push(otherwise.to_owned());
        }
    };
    expect(restore.verdict() == Verdict::Pass, "the restored copy was not verified to be the shop");
    expect(loss.restored > 0, "the copy has none of the acknowledged writes");
    expect(loss.lost > 0, "no acknowledged write was lost, so the bound was not tested");
    expect(loss.holes == 0, "the copy lacks writes although it has later ones");
    let bound = restore.rpo.as_ref().map(|rpo| rpo.at_most_ms);
    expect(bound.is_some(), "the recovery point could not be bounded");
    let covers = bound.is_none_or(|bound| loss.is_within(bound));
    expect(covers, "the bound of the recovery point is smaller than the true loss");
    expect(damaged.integrity_checks == Verdict::Fail, "the damaged copy did not fail");
    for judged in &damaged.judged {
        expect(judged.overlooked.is_empty(), &format!("overlooked: {}", judged.damage));
    }
    for finding in &damaged.unexplained {
        expect(false, &format!("a finding that no damage explains: {finding}"));
    }
    surprises
}

/// `2.34 s`, rounded up.
fn seconds(ms: u64) -> String {
    let hundredths = ms.div_ceil(10);
    format!("{}.{:02} s", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use verify_core::compare::{Comparison, Coverage};
    use verify_core::finding::{Code, Finding};
    use verify_core::heartbeat::{Evidence, Rpo};
    use verify_core::report::{Circumstances, Recovery, Side};
    use verify_core::timeline::Rto;

    use super::*;

    fn restore(verdict: Verdict, bound_ms: Option<u64>) -> Report {
        let circumstances = Circumstances {
            tool_version: "0.1.0".to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
            duration_ms: 700,
            source: Side::default(),
            restored: Some(Side::default()),
            manifest: None,
        };
        let findings = match verdict {
            Verdict::Pass => vec![],
            Verdict::Inconclusive => vec![Finding::new(Code::SnapshotUnproven, "snapshot", "moved on")],
            Verdict::Fail => vec![Finding::new(Code::RowMissing, "shop.orders", "1 row")],
        };
        let comparison = Comparison::new(findings, Coverage::default());
        let rpo = bound_ms.map(|at_most_ms| Rpo {
            at_most_ms,
            clock_error_ms: 1,
            evidence: Evidence::Heartbeat,
            recovered_until: Timestamp::UNIX_EPOCH,
            incident: Timestamp::UNIX_EPOCH,
        });
        let rto = Some(Rto { total_ms: 700, parts: Vec::new() });
        Report::new(circumstances, comparison, Recovery { rto, rpo, ..Recovery::default() })
    }

    fn loss() -> Loss {
        Loss {
            restored: 1_210,
            lost: 366,
            holes: 0,
            last_restored_ms: Some(2_601),
            first_lost_ms: Some(2_570),
        }
    }

    fn damaged() -> Damaged {
        let found = vec!["row.missing shop.order_items (order_id=4242, line=1)".to_owned()];
        let judged = Judged { damage: "one order item deleted", found, overlooked: Vec::new() };
        Damaged { integrity_checks: Verdict::Fail, judged: vec![judged], unexplained: Vec::new() }
    }

    fn outcome(restore: Report, loss: Loss, damaged: Damaged) -> DemoOutcome {
        DemoOutcome::new(restore, loss, damaged, Duration::from_millis(7_049))
    }

    #[test]
    fn an_expected_story_begins_with_the_promised_lines() {
        let outcome = outcome(restore(Verdict::Pass, Some(2_700)), loss(), damaged());
        let text = outcome.text(&Style::plain());
        let head: Vec<&str> = text.lines().take(5).collect();
        let promised = ["restore_status: success", "integrity_checks: pass", "rto: 0.7s", "rpo: <=3s", ""];
        assert_eq!(head, promised);
        let (_, acts) = text.split_once("Acknowledged commits: ").unwrap();
        let expected = "\
1,576; the copy has 1,210 of them, and 366 newer ones are lost.
newest restored write: 2.61 s before the crash
oldest lost write: 2.57 s before the crash
bound from the heartbeat: 2.70 s, which covers the loss

Then the copy was damaged on purpose, and verified again:
integrity_checks: fail
  one order item deleted
      found: row.missing shop.order_items (order_id=4242, line=1)
1 of 1 found, and nothing else

demo: pass in 7.05 s
";
        assert_eq!(acts, expected);
        assert_eq!(outcome.verdict, Verdict::Pass);
    }

    #[test]
    fn every_surprise_fails_the_story_and_is_printed() {
        let pass = || restore(Verdict::Pass, Some(2_700));
        let overlooked = || {
            let mut damaged = damaged();
            damaged.judged[0].overlooked.push("row.missing shop.order_items".to_owned());
            damaged
        };
        let unexplained = Damaged { unexplained: vec!["row.added shop.t".to_owned()], ..damaged() };
        let unnoticed = Damaged { integrity_checks: Verdict::Pass, ..damaged() };
        let cases = [
            (restore(Verdict::Inconclusive, Some(2_700)), loss(), damaged(), "not verified to be the shop"),
            (restore(Verdict::Pass, Some(2_569)), loss(), damaged(), "smaller than the true loss"),
            (restore(Verdict::Pass, None), loss(), damaged(), "could not be bounded"),
            (pass(), Loss { restored: 0, ..loss() }, damaged(), "none of the acknowledged writes"),
            (pass(), Loss { lost: 0, first_lost_ms: None, ..loss() }, damaged(), "not tested"),
            (pass(), Loss { holes: 1, ..loss() }, damaged(), "although it has later ones"),
            (pass(), loss(), unnoticed, "the damaged copy did not fail"),
            (pass(), loss(), overlooked(), "overlooked: one order item deleted"),
            (pass(), loss(), unexplained, "no damage explains: row.added shop.t"),
        ];
        for (restore, loss, damaged, expected) in cases {
            let outcome = outcome(restore, loss, damaged);
            let text = outcome.text(&Style::plain());
            assert_eq!(outcome.verdict, Verdict::Fail, "{expected}");
            assert!(outcome.surprises.iter().any(|surprise| surprise.contains(expected)), "{text}");
            assert!(text.contains(&format!("unexpected: {}", outcome.surprises[0])), "{text}");
            assert!(text.contains("\ndemo: fail in "), "{text}");
        }
    }
}
