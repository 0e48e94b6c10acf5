//! Charts as inline SVG. Each has its values in a title, and no colour that alone carries a meaning.

use maud::{Markup, html};
use verify_core::finding::Verdict;
use verify_core::timeline::{Milestone, Rto};
use verify_drill::recovery::{duration, phase};

use crate::history::{DatabaseResult, RunResult};

/// Size of a chart, in units of its own.
const WIDTH: u64 = 960;
const BARS_HEIGHT: u64 = 140;
/// More runs are not drawn: the newest are.
pub(super) const DRAWN_MAX: usize = 120;

/// The phases of one recovery beside each other, and the objective as a line.
pub(super) fn recovery(rto: &Rto, objective_ms: Option<u64>) -> Markup {
    let scale = Scale { length: WIDTH, max_ms: rto.total_ms.max(objective_ms.unwrap_or(0)) };
    let mut from = 0;
    let parts = rto.parts.iter().map(|part| {
        let begin = from;
        from += part.after_ms;
        (part.milestone, part.after_ms, begin)
    });
    let parts: Vec<(Milestone, u64, u64)> = parts.filter(|(_, ms, _)| *ms > 0).collect();
    html! {
        svg viewBox=(format!("0 0 {WIDTH} 64")) role="img" aria-label=(format!("recovery time {}", duration(rto.total_ms))) {
            @for (milestone, ms, begin) in &parts {
                rect class=(phase_class(*milestone)) x=(scale.at(*begin)) y="20" width=(scale.at(*ms)) height="26" {
                    title { (phase(*milestone)) " " (duration(*ms)) }
                }
            }
            @for (milestone, ms, begin) in parts.iter().filter(|(_, ms, _)| scale.at(*ms) > 60) {
                text x=(scale.at(*begin) + 2) y="60" { (phase(*milestone)) " " (duration(*ms)) }
            }
            @if let Some(objective) = objective_ms {
                line class="objective" x1=(scale.at(objective)) x2=(scale.at(objective)) y1="14" y2="50" {}
                text x=(scale.at(objective).min(WIDTH - 150)) y="11" { "objective " (duration(objective)) }
            }
        }
    }
}

/// The recovery time of each run, stacked by phase, against its objective. A run without one has an empty bar.
pub(super) fn recoveries(results: &[(&RunResult, &DatabaseResult)]) -> Markup {
    let results = &results[results.len().saturating_sub(DRAWN_MAX)..];
    let longest = results.iter().flat_map(|(_, result)| {
        [result.rto.as_ref().map(|rto| rto.total_ms), result.objectives.rto_ms].into_iter().flatten()
    });
    let scale = Scale { length: BARS_HEIGHT - 20, max_ms: longest.max().unwrap_or(1) };
    bars("recovery time of each run by phase, against its objective", results, &|result, x, width| {
        let mut top = BARS_HEIGHT;
        html! {
            @if let Some(rto) = &result.rto {
                @for part in &rto.parts {
                    @let height = scale.at(part.after_ms);
                    @let () = top = top.saturating_sub(height);
                    rect class=(phase_class(part.milestone)) x=(x) y=(top) width=(width) height=(height) {
                        title { (phase(part.milestone)) " " (duration(part.after_ms)) }
                    }
                }
            } @else {
                rect class="unknown" x=(x) y=(BARS_HEIGHT - 12) width=(width) height="12" { title { "not measured" } }
            }
            (objective(&scale, result.objectives.rto_ms, x, width))
        }
    })
}

/// The bound of the lost time of each run, against its objective.
pub(super) fn losses(results: &[(&RunResult, &DatabaseResult)]) -> Markup {
    let results = &results[results.len().saturating_sub(DRAWN_MAX)..];
    let longest = results.iter().flat_map(|(_, result)| {
        [result.rpo.as_ref().map(|rpo| rpo.at_most_ms), result.objectives.rpo_ms].into_iter().flatten()
    });
    let scale = Scale { length: BARS_HEIGHT - 20, max_ms: longest.max().unwrap_or(1) };
    bars("upper bound of the lost time of each run, against its objective", results, &|result, x, width| {
        html! {
            @if let Some(rpo) = &result.rpo {
                @let height = scale.at(rpo.at_most_ms).max(1);
                rect class="phase phase1" x=(x) y=(BARS_HEIGHT - height) width=(width) height=(height) {
                    title { "at most " (duration(rpo.at_most_ms)) }
                }
            } @else {
                rect class="unknown" x=(x) y=(BARS_HEIGHT - 12) width=(width) height="12" { title { "unknown" } }
            }
            (objective(&scale, result.objectives.rpo_ms, x, width))
        }
    })
}

/// The verdict of each run, as a strip of letters.
pub(super) fn verdicts(results: &[(&RunResult, &DatabaseResult)]) -> Markup {
    let results = &results[results.len().saturating_sub(DRAWN_MAX)..];
    let step = WIDTH / (results.len().max(20) as u64);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} 22")) role="img" aria-label="verdict of each run, the newest on the right" {
            @for ((run, result), x) in results.iter().zip((0..).map(|i| i * step)) {
                @let (class, letter) = match result.verdict {
                    Verdict::Pass => ("pass", "P"),
                    Verdict::Inconclusive => ("inconclusive", "I"),
                    Verdict::Fail => ("fail", "F"),
                };
                rect class=(class) x=(x) y="1" width=(step - 1) height="20" {
                    title { "report " (run.sequence) ": " (result.verdict) }
                }
                @if step >= 12 {
                    text class="letter" x=(x + step / 2) y="15" { (letter) }
                }
            }
        }
    }
}

/// The name and class of each phase that occurs.
pub(super) fn legend(results: &[(&RunResult, &DatabaseResult)]) -> Markup {
    let parts = results.iter().filter_map(|(_, result)| result.rto.as_ref()).flat_map(|rto| &rto.parts);
    let phases: std::collections::BTreeSet<Milestone> =
        parts.filter(|part| part.after_ms > 0).map(|part| part.milestone).collect();
    let step = 120;
    html! {
        svg viewBox=(format!("0 0 {WIDTH} 20")) role="img" aria-label="phases of the recovery time, from the bottom" {
            @for (milestone, x) in phases.iter().zip((0..).map(|i: u64| i * step)) {
                rect class=(phase_class(*milestone)) x=(x) y="3" width="14" height="14" {}
                text x=(x + 20) y="14" { (phase(*milestone)) }
            }
        }
    }
}

fn bars(
    label: &str,
    results: &[(&RunResult, &DatabaseResult)],
    bar: &dyn Fn(&DatabaseResult, u64, u64) -> Markup,
) -> Markup {
    let step = WIDTH / (results.len().max(20) as u64);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {}", BARS_HEIGHT + 2)) role="img" aria-label=(label) {
            line class="axis" x1="0" x2=(WIDTH) y1=(BARS_HEIGHT) y2=(BARS_HEIGHT) {}
            @for ((_, result), x) in results.iter().zip((0..).map(|i| i * step)) { (bar(result, x, step - 1)) }
        }
    }
}

fn objective(scale: &Scale, objective_ms: Option<u64>, x: u64, width: u64) -> Markup {
    html! {
        @if let Some(objective) = objective_ms {
            @let y = BARS_HEIGHT - scale.at(objective);
            line class="objective" x1=(x) x2=(x + width) y1=(y) y2=(y) { title { "objective " (duration(objective)) } }
        }
    }
}

fn phase_class(milestone: Milestone) -> &'static str {
    match milestone {
        Milestone::Prepared => "phase phase0",
        Milestone::Fetched => "phase phase1",
        Milestone::Started => "phase phase2",
        Milestone::Recovered => "phase phase3",
        Milestone::Ready => "phase phase4",
        Milestone::Compared => "phase phase5",
        Milestone::Verified => "phase phase6",
    }
}

/// Lengths in a chart that represent durations.
struct Scale {
    length: u64,
    max_ms: u64,
}

impl Scale {
    fn at(&self, ms: u64) -> u64 {
        let at = u128::from(ms.min(self.max_ms)) * u128::from(self.length);
        at.checked_div(self.max_ms.into()).and_then(|at| u64::try_from(at).ok()).unwrap_or(0)
    }
}
