//! Asking Velero again for a Restore that it refused because it had not seen the ConfigMap of its resource modifier.
//!
//! Velero reads ConfigMaps from a cache, which may be older than a Restore that was created after the ConfigMap. It refuses
//! such a Restore for good, so that a new one of the same name has to take its place.

use std::time::{Duration, Instant};

use super::object::Observed;
use super::restore::Restore;

/// Interval between two Restores of the same name.
const PERIOD: Duration = Duration::from_secs(2);
/// Start of Velero's refusal; the ConfigMap's name follows.
const REFUSAL: &str = "failed to get resource modifiers configmap";

/// State of the retries.
pub struct Retry {
    /// Time limit for Velero to see the ConfigMap.
    patience: Duration,
    /// Time of the first refusal.
    refused_at: Option<Instant>,
    /// Time of the refusal of the Restore that is being deleted; `None` while there is one to follow.
    removed_at: Option<Instant>,
}

/// Next step for a Restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Follow it; also where it does not exist although it was not removed here.
    Follow,
    Remove,
    Create,
    /// Wait until it has been removed.
    Wait,
}

impl Retry {
    pub fn within(patience: Duration) -> Self {
        Self { patience, refused_at: None, removed_at: None }
    }

    /// Returns the next step for the Restore in its current state.
    pub fn step(&mut self, restore: Option<&Restore>, now: Instant) -> Step {
        match (restore, self.removed_at) {
            (Some(_), Some(_)) => Step::Wait,
            (None, Some(removed_at)) if now - removed_at < PERIOD => Step::Wait,
            (None, Some(_)) => {
                self.removed_at = None;
                Step::Create
            }
            (Some(restore), None) if is_unseen(restore) => {
                let refused_at = *self.refused_at.get_or_insert(now);
                if now - refused_at > self.patience {
                    return Step::Follow;
                }
                self.removed_at = Some(now);
                Step::Remove
            }
            (_, None) => Step::Follow,
        }
    }
}

/// Returns whether Velero refused a Restore because it has no ConfigMap of its name.
fn is_unseen(restore: &Restore) -> bool {
    let status = restore.observed();
    status.phase.is("FailedValidation")
        && !status.validation_errors.is_empty()
        && status.validation_errors.iter().all(|error| error.starts_with(REFUSAL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::velero::sample;

    fn refused(errors: &[&str]) -> Restore {
        let mut restore: Restore = sample::load("Restore/FailedValidation.1");
        restore.status.get_or_insert_default().validation_errors =
            errors.iter().map(|&error| error.to_owned()).collect();
        restore
    }

    const UNSEEN: &str = "failed to get resource modifiers configmap velero/state-lab-0123456789";

    #[test]
    fn a_restore_whose_modifier_was_not_seen_is_removed_and_created_again() {
        let (start, unseen) = (Instant::now(), refused(&[UNSEEN]));
        let running: Restore = sample::load("Restore/InProgress.1");
        let mut retry = Retry::within(Duration::from_secs(60));
        for (seconds, restore, step) in [
            (0, Some(&running), Step::Follow),
            (1, Some(&unseen), Step::Remove),
            (2, Some(&unseen), Step::Wait),
            (2, None, Step::Wait),
            (3, None, Step::Create),
            (4, Some(&unseen), Step::Remove),
            (7, None, Step::Create),
            (8, Some(&running), Step::Follow),
            // Something else has removed it.
            (9, None, Step::Follow),
            // The patience began with the first refusal.
            (62, Some(&unseen), Step::Follow),
        ] {
            assert_eq!(retry.step(restore, start + Duration::from_secs(seconds)), step, "{seconds}");
        }
    }

    #[test]
    fn a_restore_that_was_refused_for_anything_else_is_not_asked_for_again() {
        let mut done: Restore = sample::load("Restore/Completed.1");
        done.status.get_or_insert_default().validation_errors = vec![UNSEEN.to_owned()];
        let parsing = "Error in parsing resource modifiers provided in configmap velero/state-lab-0123456789";
        let of_file: Restore = sample::load("Restore/FailedValidation.1");
        for restore in [done, of_file, refused(&[]), refused(&[parsing]), refused(&[UNSEEN, parsing])] {
            let mut retry = Retry::within(Duration::from_secs(60));
            assert_eq!(retry.step(Some(&restore), Instant::now()), Step::Follow, "{restore:?}");
        }
    }
}
