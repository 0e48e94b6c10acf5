//! Problems that a Backup, a Restore and a transfer report in the same way.

use crate::velero::backup::HookStatus;
use crate::velero::message::{non_empty, shown};
use crate::velero::phase::{Phase, Progress};
use crate::velero::results::{Messages, Results};
use crate::velero::transfer::Transfer;
use verify_drill::problem::{Problem, Weight};

/// Maximum number of texts of one kind that are reported.
const TEXTS_MAX: usize = 10;

/// The part of a status that Backup and Restore share.
pub(super) struct Finished<'a> {
    pub(super) object: String,
    pub(super) phase: &'a Phase,
    pub(super) validation_errors: &'a [String],
    pub(super) failure_reason: &'a str,
    pub(super) hooks: &'a HookStatus,
    pub(super) operations_attempted: u64,
    pub(super) operations_failed: u64,
    pub(super) errors: u64,
    pub(super) warnings: u64,
    /// The texts of these errors and warnings.
    pub(super) results: &'a Results,
}

impl Finished<'_> {
    /// Its phase, its hooks and its operations.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.phase().into_iter().collect();
        problems.extend(self.hooks());
        problems.extend(self.operations());
        problems
    }

    /// Its errors and warnings.
    pub(super) fn complaints(&self) -> Vec<Problem> {
        let mut problems = texts(&self.object, Weight::Failure, self.errors, &self.results.errors);
        problems.extend(texts(&self.object, Weight::Warning, self.warnings, &self.results.warnings));
        problems
    }

    /// Returns why it is not `Completed`, with the reason in its status.
    fn phase(&self) -> Option<Problem> {
        let mut what = ending(self.phase)?;
        let reasons: Vec<String> = self
            .validation_errors
            .iter()
            .map(|text| shown(text))
            .chain(non_empty(self.failure_reason))
            .collect();
        if !reasons.is_empty() {
            what = format!("{what}: {}", reasons.join("; "));
        }
        let hint = self.phase_hint().map(str::to_owned);
        Some(Problem { hint, ..Problem::failure(&self.object, what) })
    }

    fn phase_hint(&self) -> Option<&'static str> {
        if self.failure_reason.contains("during the server starting") {
            return Some(
                "the Velero server was restarted meanwhile; run it again, and find out why it restarted",
            );
        }
        let unavailable = |text: &String| text.contains("is in Unavailable status");
        self.validation_errors.iter().any(unavailable).then_some(
            "check `kubectl get backupstoragelocations -A`: the bucket is unreachable, or denies access",
        )
    }

    /// With `on-error: Continue` only this count reports a failed hook, and the volume holds its old contents.
    fn hooks(&self) -> Option<Problem> {
        let HookStatus { hooks_attempted, hooks_failed } = self.hooks;
        (*hooks_failed > 0).then(|| {
            let what = format!("ran {hooks_attempted} hooks, of which {hooks_failed} failed");
            Problem::failure(&self.object, what).with_hint(
                "the errors below, or its log, list them; run the hook's command in the pod by hand",
            )
        })
    }

    fn operations(&self) -> Option<Problem> {
        (self.operations_failed > 0).then(|| {
            let (failed, all) = (self.operations_failed, self.operations_attempted);
            Problem::failure(
                &self.object,
                format!("started {all} plugin operations, of which {failed} failed"),
            )
        })
    }
}

/// Returns the phase, if it is not a success.
fn ending(phase: &Phase) -> Option<String> {
    match phase.progress() {
        Progress::Succeeded => None,
        Progress::Running => Some(format!("has not finished: it is {phase}")),
        Progress::Failed if phase.is("Deleting") => Some("is being deleted".to_owned()),
        Progress::Failed => Some(format!("finished as {phase}")),
    }
}

/// One problem for each text, and one for those whose text is missing: `count` is what the status says.
fn texts(object: &str, weight: Weight, count: u64, messages: &Messages) -> Vec<Problem> {
    let noun = match weight {
        Weight::Failure => "error",
        Weight::Warning => "warning",
    };
    let problem = |what| Problem { weight, ..Problem::failure(object, what) };
    let mut problems: Vec<Problem> =
        messages.shown().take(TEXTS_MAX).map(|text| problem(format!("has the {noun}: {text}"))).collect();
    let listed = problems.len() as u64;
    let all = count.max(messages.shown().count() as u64);
    if all > listed {
        let more = if listed == 0 { "" } else { "more " };
        let plural = if all - listed == 1 { "" } else { "s" };
        let what = format!("has {} {more}{noun}{plural}", all - listed);
        problems.push(problem(what).with_hint("read the text in its log"));
    }
    problems
}

/// Returns why this volume's data were not transferred completely.
pub(super) fn transfer(transfer: &Transfer<'_>) -> Option<Problem> {
    let status = &transfer.status;
    let ending = ending(&status.phase)?;
    let place = transfer.node.map(|node| format!(" on {node}")).unwrap_or_default();
    let mut what = format!("{ending}{place}");
    match non_empty(&status.message) {
        Some(why) => what.push_str(&format!(": {why}")),
        None if status.phase.ended() => what.push_str(", and Velero gives no reason"),
        None => {}
    }
    let hint = transfer_hint(transfer).map(str::to_owned);
    Some(Problem { hint, ..Problem::failure(&transfer.object, what) })
}

fn transfer_hint(transfer: &Transfer<'_>) -> Option<&'static str> {
    let status = &transfer.status;
    if status.message.contains("BLOB not found") || status.message.contains("unexpected content error") {
        return Some(
            "data are missing from the repository in the bucket, or were modified: restore an older backup, or from \
             a copy of the bucket; newer backups of the same volume may depend on the missing data",
        );
    }
    (status.phase.is("Canceled") && status.message.is_empty()).then_some(
        "check the location, and the node agent's log: an outage of the object store of some minutes causes this",
    )
}
