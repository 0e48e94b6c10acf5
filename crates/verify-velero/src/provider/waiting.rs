//! Waiting for what others do in the cluster: as long as there is progress, up to a limit.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Pod;

use super::claim_state::ClaimState;
use crate::cluster::{End, Kind, PodState, Unanswered, Waiting};
use verify_drill::duration::Period;
use verify_drill::hint::hinted;
use verify_drill::interrupt::interrupted;
use verify_drill::problem::Problem;
use verify_drill::until::{Check, Pace, Waited, until};
use verify_drill::watch::Watch;

/// Interval at which a wait is reported again.
const SHOW_PERIOD: Duration = Duration::from_secs(10);

/// Time for which a registry's refusal is tolerated: the kubelet retries after 10 s, and after 20 s more.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(25);

/// State of something that is not done.
pub(super) struct Pending {
    /// Object of the wait, reported as progress and when the patience ends.
    pub(super) on: Problem,
    /// Text that changes whenever anything moves.
    pub(super) state: String,
}

/// Polls until `check` is done.
///
/// # Errors
///
/// If `check` fails, if we are interrupted, or if nothing has moved for `patience`: then with what it waits for, and its
/// hint.
pub(super) fn wait<T>(
    patience: Period,
    watch: &Watch<'_>,
    mut check: impl FnMut() -> Result<Check<T, Pending>>,
) -> Result<T> {
    let longest = patience.duration();
    let (mut moved, mut last, mut shown, mut shown_at) =
        (Instant::now(), String::new(), String::new(), Instant::now());
    let waited = until(Duration::MAX, Pace::REMOTE, watch.asked, || {
        let Pending { on, state } = match check() {
            Ok(Check::Done(done)) => return Ok(Check::Done(done)),
            Ok(Check::Waiting(pending)) => pending,
            // What we wait for goes on without it.
            Err(error) if error.is::<Unanswered>() => {
                Pending { on: Problem::failure("the API server", "does not answer"), state: last.clone() }
            }
            Err(error) => return Err(error),
        };
        if state != last {
            (moved, last) = (Instant::now(), state);
        }
        if moved.elapsed() > longest {
            return Err(hinted(format!("no progress for {patience}: {on}"), on.hint));
        }
        let text = on.to_string();
        if text != shown && (shown.is_empty() || shown_at.elapsed() >= SHOW_PERIOD) {
            watch.report(&text);
            (shown, shown_at) = (text, Instant::now());
        }
        Ok(Check::Waiting(()))
    })?;
    match waited {
        Waited::Done(done) => Ok(done),
        Waited::Stopped | Waited::TimedOut(()) => Err(interrupted().into()),
    }
}

/// Waits until the containers of a pod of state-lab run. Where its claim gets no volume, that is what it waits for.
///
/// # Errors
///
/// As for [`wait`], or if the pod fails or goes.
pub(super) fn running(
    pods: &Kind<Pod>,
    name: &str,
    mut claim: Option<ClaimState<'_>>,
    patience: Period,
    watch: &Watch<'_>,
) -> Result<Pod> {
    let mut refused_at = None;
    wait(patience, watch, || {
        let Some(pod) = pods.get(name)? else {
            bail!("failed to wait for the pod {name}: it was deleted; run it again")
        };
        Ok(match PodState::of(&pod) {
            PodState::Running => Check::Done(pod),
            PodState::Failed(End { why, hint }) => {
                return Err(hinted(format!("failed to start the pod {name}: it {why}"), hint));
            }
            PodState::Waiting(Waiting { on, hint, stage, refused }) => {
                if refused && refused_at.get_or_insert_with(Instant::now).elapsed() > REFUSAL_PATIENCE {
                    return Err(hinted(format!("failed to start the pod {name}: it {on}"), hint));
                }
                let problem = Problem::failure(format!("the pod {name}"), on);
                let problem = Problem { hint: hint.map(str::to_owned), ..problem };
                let of_claim = claim.as_mut().and_then(ClaimState::problem);
                Check::Waiting(Pending { on: of_claim.unwrap_or(problem), state: stage })
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::fake_server::FakeServer;
    use verify_drill::failure::Failure;

    #[test]
    fn what_does_not_move_is_given_up_and_what_moves_is_not() {
        let watch = Watch::silent();
        let patience = Period::from_ms(300);
        let on = || Problem::failure("Backup b", "is New").with_hint("check Velero");
        let stuck =
            wait::<()>(patience, &watch, || Ok(Check::Waiting(Pending { on: on(), state: String::new() })));
        let stuck = Failure::of(&stuck.unwrap_err(), |_| None);
        assert_eq!(stuck.causes, ["no progress for 300ms: Backup b is New"]);
        assert_eq!(stuck.hint.as_deref(), Some("check Velero"));
        let mut checks = 0;
        let moving = wait(patience, &watch, || {
            checks += 1;
            Ok(if checks == 5 {
                Check::Done(checks)
            } else {
                Check::Waiting(Pending { on: on(), state: checks.to_string() })
            })
        });
        assert_eq!(moving.unwrap(), 5);
    }

    #[test]
    fn a_pod_that_does_not_start_is_polled_once_a_second() {
        let server = FakeServer::new(|target, since| {
            let waiting = json!({ "name": "tool", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                                  "state": { "waiting": { "reason": "ContainerCreating" } } });
            let running = json!({ "name": "tool", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                                  "state": { "running": {} } });
            let started = since > Duration::from_millis(2_500);
            let (phase, container) = if started { ("Running", running) } else { ("Pending", waiting) };
            Some(match target.rsplit('/').next()? {
                "p" => json!({ "metadata": { "name": "p" }, "spec": { "containers": [] },
                               "status": { "phase": phase, "containerStatuses": [container] } }),
                _ => json!([{ "metadata": { "name": "c" }, "status": { "phase": "Pending" } }]),
            })
        });
        let pods = server.cluster.of::<Pod>("app");
        let claim = ClaimState::new(&server.cluster, "app", "c");
        running(&pods, "p", Some(claim), Period::from_ms(60_000), &Watch::silent()).unwrap();
        let gaps = server.shortest_gaps();
        assert_eq!(gaps.keys().collect::<Vec<_>>(), ["events", "persistentvolumeclaims", "pods"]);
        assert!(gaps.values().all(|gap| *gap >= Duration::from_secs(1)), "{gaps:?}");
    }
}
