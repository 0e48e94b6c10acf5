//! Waiting for what others do in the cluster: patient as long as something moves, and never for ever.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use kube::ResourceExt;

use crate::cluster::{Kind, Unanswered};
use crate::duration::Period;
use crate::provider::{Watch, interrupted};
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
        let Some(pod) = pods.get(name)? else { bail!("failed to wait for the pod {name}: it is gone") };
        Ok(match State::of(&pod) {
            State::Running => Look::Done(pod),
            State::Failed(reason) => bail!("failed to start the pod {name}: {reason}"),
            State::Waiting { on, way_out } => {
                let problem = Problem::failure(format!("the pod {name}"), on.clone());
                let problem = Problem { way_out: way_out.map(str::to_owned), ..problem };
                Look::Waiting { on: problem, state: on }
            }
        })
    })
}

/// Where a pod is on its way to run.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Running,
    Failed(String),
    Waiting { on: String, way_out: Option<&'static str> },
}

impl State {
    fn of(pod: &Pod) -> Self {
        let waiting = |on: &str| Self::Waiting { on: on.to_owned(), way_out: None };
        let Some(status) = &pod.status else { return waiting("is not scheduled yet") };
        let inits = status.init_container_statuses.iter().flatten();
        let containers = || status.container_statuses.iter().flatten();
        let name = pod.name_any();
        if status.phase.as_deref() == Some("Failed") {
            let ended = inits.chain(containers()).find_map(failure);
            let reason = ended.or_else(|| status.message.clone()).or_else(|| status.reason.clone());
            return Self::Failed(
                reason.unwrap_or_else(|| format!("the cluster ended {name} and does not say why")),
            );
        }
        let all_run = containers().count() > 0
            && containers()
                .all(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()));
        if all_run {
            return Self::Running;
        }
        let held_up = inits.chain(containers()).find_map(Self::of_container);
        held_up.or_else(|| Self::unscheduled(status)).unwrap_or_else(|| waiting("is on its way"))
    }

    /// A container that cannot start, or that others wait for.
    fn of_container(container: &ContainerStatus) -> Option<Self> {
        let (name, state) = (&container.name, container.state.as_ref()?);
        let Some(wait) = &state.waiting else {
            state.running.as_ref()?;
            return Some(Self::Waiting { on: format!("runs its container {name}"), way_out: None });
        };
        let reason = wait.reason.as_deref().unwrap_or("is waiting");
        if matches!(reason, "PodInitializing" | "ContainerCreating") {
            return None;
        }
        let message = wait.message.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
        let way_out = reason.contains("Image").then_some(
            "look whether the nodes can pull the image, and whether its name is right (`image` in [velero])",
        );
        Some(Self::Waiting { on: format!("cannot start its container {name}: {reason}{message}"), way_out })
    }

    fn unscheduled(status: &PodStatus) -> Option<Self> {
        let mut conditions = status.conditions.iter().flatten();
        let unscheduled =
            conditions.find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
        let message = unscheduled.message.as_deref().unwrap_or("no reason is given");
        Some(Self::Waiting {
            on: format!("is not scheduled: {message}"),
            way_out: Some("look at the nodes, and at the events of its claims (`kubectl describe`)"),
        })
    }
}

/// Why a container ended badly.
fn failure(container: &ContainerStatus) -> Option<String> {
    let ended = container.state.as_ref()?.terminated.as_ref()?;
    (ended.exit_code != 0).then(|| {
        let said = ended.message.as_deref().map(|text| format!(": {}", text.trim())).unwrap_or_default();
        format!("its container {} ended with {}{said}", container.name, ended.exit_code)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn state(status: &Value) -> State {
        State::of(&serde_json::from_value(json!({ "metadata": { "name": "p" }, "status": status })).unwrap())
    }

    #[test]
    fn a_pod_runs_fails_or_waits_for_something_that_has_a_name() {
        let container = |name: &str, state: Value| json!({ "name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state });
        let running = json!({ "running": {} });
        let up = json!({ "containerStatuses": [container("c", running.clone())] });
        assert_eq!(state(&up), State::Running);
        let gate = container("gate", json!({ "terminated": { "exitCode": 2, "message": "still open\n" } }));
        let failed = json!({ "phase": "Failed", "initContainerStatuses": [gate] });
        assert_eq!(state(&failed), State::Failed("its container gate ended with 2: still open".to_owned()));
        let told = |status: &Value| match state(status) {
            State::Waiting { on, .. } => on,
            other => panic!("{other:?}"),
        };
        let pulling = json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } });
        let initialising = container("c", json!({ "waiting": { "reason": "PodInitializing" } }));
        for (status, expected) in [
            (json!({}), "is on its way"),
            (
                json!({ "containerStatuses": [container("c", pulling)] }),
                "cannot start its container c: ImagePullBackOff: no such image",
            ),
            (
                json!({ "initContainerStatuses": [container("gate", running)], "containerStatuses": [initialising] }),
                "runs its container gate",
            ),
            (
                json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "message": "no nodes" }] }),
                "is not scheduled: no nodes",
            ),
        ] {
            assert_eq!(told(&status), expected);
        }
    }

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
