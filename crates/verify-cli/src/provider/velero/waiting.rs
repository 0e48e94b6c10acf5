//! Waiting for what others do in the cluster: patient as long as something moves, and never for ever.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Pod;

use crate::cluster::{Kind, PodState, Unanswered};
use crate::duration::Period;
use crate::interrupt::interrupted;
use crate::provider::Watch;
use crate::velero::problem::Problem;

/// How often the cluster is asked.
const POLL: Duration = Duration::from_millis(200);
/// How often what is waited for is told again.
const TELL_PERIOD: Duration = Duration::from_secs(10);

/// What a look found.
pub(super) enum Look<T> {
    /// What was waited for.
    Done(T),
    /// It is not there yet.
    Waiting {
        /// What it hangs on.
        on: Problem,
        /// Anything that changes as long as something moves.
        state: String,
    },
}

/// Looks again and again until it is done.
///
/// # Errors
///
/// If `look` fails, if we are asked to stop, or if nothing has moved for as long as `patience`: then it says
/// what hangs.
pub(super) fn wait<T>(
    patience: Period,
    watch: &Watch<'_>,
    mut look: impl FnMut() -> Result<Look<T>>,
) -> Result<T> {
    let longest = patience.duration();
    let (mut moved, mut last, mut told, mut told_at) =
        (Instant::now(), String::new(), String::new(), Instant::now());
    loop {
        if (watch.asked)() {
            return Err(interrupted().into());
        }
        let (on, state) = match look() {
            Ok(Look::Done(done)) => return Ok(done),
            Ok(Look::Waiting { on, state }) => (on, state),
            // What we wait for goes on without it.
            Err(error) if error.is::<Unanswered>() => {
                (Problem::failure("the API server", "does not answer"), last.clone())
            }
            Err(error) => return Err(error),
        };
        if state != last {
            (moved, last) = (Instant::now(), state);
        }
        if moved.elapsed() > longest {
            bail!("gave up after nothing had moved for {patience}: {}", on.told());
        }
        let text = on.to_string();
        if text != told && (told.is_empty() || told_at.elapsed() >= TELL_PERIOD) {
            watch.tell(&text);
            (told, told_at) = (text, Instant::now());
        }
        std::thread::sleep(POLL);
    }
}

/// Waits until the containers of a pod of ours run.
///
/// # Errors
///
/// As for [`wait`], or if the pod fails or goes.
pub(super) fn running(pods: &Kind<Pod>, name: &str, patience: Period, watch: &Watch<'_>) -> Result<Pod> {
    wait(patience, watch, || {
        let Some(pod) = pods.get(name)? else {
            bail!("failed to wait for the pod {name}: somebody removed it; run it again")
        };
        Ok(match PodState::of(&pod) {
            PodState::Running => Look::Done(pod),
            PodState::Failed(reason) => bail!("failed to start the pod {name}: {reason}"),
            PodState::Waiting { on, way_out } => {
                let problem = Problem::failure(format!("the pod {name}"), on.clone());
                let problem = Problem { way_out: way_out.map(str::to_owned), ..problem };
                Look::Waiting { on: problem, state: on }
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_move_is_given_up_and_what_moves_is_not() {
        let watch = Watch::silent();
        let patience = Period::from_ms(300);
        let on = || Problem::failure("Backup b", "is New").way_out("look at Velero");
        let stuck = wait::<()>(patience, &watch, || Ok(Look::Waiting { on: on(), state: String::new() }));
        assert_eq!(
            stuck.unwrap_err().to_string(),
            "gave up after nothing had moved for 300ms: Backup b is New; look at Velero"
        );
        let mut looks = 0;
        let moving = wait(patience, &watch, || {
            looks += 1;
            Ok(if looks == 5 {
                Look::Done(looks)
            } else {
                Look::Waiting { on: on(), state: looks.to_string() }
            })
        });
        assert_eq!(moving.unwrap(), 5);
    }
}
